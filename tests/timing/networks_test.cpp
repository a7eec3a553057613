// SPDX-License-Identifier: MIT
// The tables of networks against the work that their papers and model cards state.
#include <gtest/gtest.h>

#include "npu-probe/timing_workloads.hpp"
#include "npu-sim/calibration.hpp"

namespace npu::probe {
namespace {

double megamacs(const std::string& name) {
  const auto layers = network_layers(name);
  if (!layers) return 0;
  double sum = 0;
  for (const Layer& layer : *layers) sum += static_cast<double>(layer.macs()) * 1e-6;
  return sum;
}

struct Published {
  const char* name;
  double megamacs, tolerance;  ///< what a paper counts differs by padding and by the last layer
};

TEST(Networks, DoTheWorkThatTheirPapersState) {
  for (const Published& p : {Published{"MobileNetV1 224", 569, 0.01},
                             {"mobilenet_v1_0.25_128", 14, 0.05},
                             {"MobileNetV2 224", 300, 0.01},
                             {"mobilenet_v2_0.35_96", 11, 0.1},
                             {"EfficientNet-Lite0", 407, 0.06},
                             {"EfficientNet-Lite4", 2640, 0.06},
                             {"ResNet-18", 1814, 0.01},
                             {"ResNet50 224", 4089, 0.01},
                             {"ResNet101", 7801, 0.01},
                             {"VGG16", 15470, 0.01},
                             {"SqueezeNet 1.1", 349, 0.12},
                             {"GoogLeNet", 1498, 0.06},
                             {"Inception V3", 5713, 0.06},
                             {"YOLOv5n 640", 2250, 0.03},
                             {"YOLOv5s 640", 8250, 0.03},
                             {"YOLOv5m 640", 24500, 0.03},
                             {"YOLOv8n 640", 4350, 0.03},
                             {"YOLOv8s 640", 14300, 0.03},
                             {"YOLOv8m 640", 39450, 0.03},
                             {"YOLOX-s 640", 13400, 0.03},
                             {"YOLOX-m 640", 36900, 0.03}})
    EXPECT_NEAR(megamacs(p.name) / p.megamacs, 1, p.tolerance) << p.name;
}

TEST(Networks, SizeAndWidthAreReadFromTheName) {
  EXPECT_NEAR(megamacs("MobileNetV1 448") / megamacs("MobileNetV1 224"), 4, 0.02);
  EXPECT_NEAR(megamacs("mobilenet v1 0.5 224") / megamacs("MobileNetV1"), 0.26, 0.02);
  EXPECT_EQ(megamacs("yolov5s-640-640"), megamacs("YOLOv5s 640x640"));
  EXPECT_NEAR(megamacs("YOLOv5s 320") / megamacs("YOLOv5s 640"), 0.25, 0.001);
  EXPECT_EQ(megamacs("SSD MobileNetV1"), megamacs("ssd_mobilenet_v1 300"));
}

TEST(Networks, WhatIsUnknownIsNotTakenForSomethingElse) {
  for (const char* name :
       {"", "MobileNet", "RetinaFace MobileNetV1", "DeepLabV3 MobileNetV2", "YOLOv5s-seg",
        "YOLOv9c", "SSD VGG16", "YOLOv5", "ResNet-20", "\xff\xfe", "MobileNetV4"})
    EXPECT_FALSE(network_layers(name).has_value()) << name;
}

TEST(Networks, CoresShareRowsButNotTables) {
  const sim::Calibration& c = sim::default_calibration().values;
  for (const char* name : {"MobileNetV1 224", "ResNet50", "YOLOv8n 640"}) {
    const std::vector<Layer> layers = network_layers(name).value();
    for (const Layer& layer : layers) {
      const auto work = [&](unsigned cores) {
        std::uint64_t positions = 0;
        for (const sim::TaskWork& task : layer_tasks(layer, sim::MacType::int8, c, cores))
          positions += task.output_elements;
        return positions;
      };
      const std::uint64_t alone = work(1), shared = work(3);
      if (layer.activation == Activation::table) {
        EXPECT_EQ(shared, alone);
      } else {
        EXPECT_GE(3 * shared, alone) << name;
        EXPECT_LE(shared, alone) << name;
      }
    }
  }
}

TEST(LanguageModels, AreFoundHoweverTheyAreWritten) {
  ASSERT_NE(find_language_model("Qwen2.5-1.5B decode"), nullptr);
  EXPECT_EQ(find_language_model("qwen2.5 1.5b prefill 128"),
            find_language_model("Qwen2.5-1.5B decode"));
  EXPECT_EQ(find_language_model("Llama3-8B decode"), find_language_model("Llama-3-8B"));
  EXPECT_NE(find_language_model("Qwen2-0.5B"), find_language_model("Qwen2-VL-2B"));
  EXPECT_EQ(find_language_model("SomethingElse"), nullptr);
}

// Weights in the head and in the layers, as the model cards count them, embedding once.
TEST(LanguageModels, HaveTheSizeInTheirName) {
  for (const auto& [name, billions] : {std::pair<const char*, double>{"TinyLlama-1.1B", 1.03},
                                       {"Qwen2.5-0.5B", 0.49},
                                       {"Qwen2.5-3B", 3.09},
                                       {"Qwen2.5-7B", 7.07},
                                       {"Llama-3-8B", 7.5},
                                       {"Llama-3.2-1B", 1.24},
                                       {"Llama-3.2-3B", 3.21},
                                       {"Phi-4-mini", 3.84},
                                       {"Phi-4-14B", 14.1},
                                       {"Mistral-7B", 7.11},
                                       {"Qwen3-0.6B", 0.6},
                                       {"Qwen3-4B", 4.02},
                                       {"Gemma2-2B", 2.61},
                                       {"Llama-2-7B", 6.6}}) {
    const LanguageModel* model = find_language_model(name);
    ASSERT_NE(model, nullptr) << name;
    EXPECT_NEAR(static_cast<double>(model->weights()) * 1e-9 / billions, 1, 0.02) << name;
  }
}

TEST(LanguageModels, OthersAreTakenByTheirSizeOnlyIfOneIsNear) {
  ASSERT_NE(similar_language_model("Foo-7B-chat decode"), nullptr);
  EXPECT_NEAR(static_cast<double>(similar_language_model("Foo-7B-chat")->weights()), 7e9, 0.5e9);
  EXPECT_EQ(similar_language_model("Foo-70B"), nullptr);
  EXPECT_EQ(similar_language_model("Foo decode"), nullptr);
  EXPECT_EQ(similar_language_model("Mixtral-8B"), nullptr);
  EXPECT_EQ(similar_language_model("7bits prefill 128"), nullptr);
}

}  // namespace
}  // namespace npu::probe
