// SPDX-License-Identifier: MIT
// MobileNetV1 in the timing model: our plans take no longer than what Mesa's driver submits.
#include <gtest/gtest.h>

#include <fstream>

#include "mobilenet_quality.hpp"

namespace npu::bench {
namespace {

TEST(MobilenetPlans, TakeNoLongerThanMesasPrograms) {
  for (const double mhz : {200.0, 600.0, 1000.0})
    for (const unsigned cores : {1u, 3u})
      for (const auto& [multiplier, size] : {std::pair(1.0, 224u), std::pair(0.25, 128u)}) {
        const auto layers = mobilenet_quality(multiplier, size, cores, mhz * 1e6);
        const QualitySums all = sums(layers);
        EXPECT_EQ(layers.size(), 28u);
        EXPECT_LE(all.ours, all.mesa)
            << multiplier << " " << size << ", " << cores << " core(s), " << mhz << " MHz";
        // On one core no layer loses more than the words of its program.
        if (cores == 1) {
          for (const LayerQuality& l : layers)
            EXPECT_LE(l.ours.seconds, l.mesa.seconds * 1.001) << l.name << " " << l.shape;
        }
      }
}

// What the comparison calls Mesa's is what Mesa's driver was recorded to submit.
TEST(MobilenetPlans, TheOtherSideIsWhatMesaSubmits) {
  std::ifstream file(std::string(ROSENBLATT_VECTORS_DIR) + "/mesa/mobilenet_v1_0.25_128/regcmd.bin",
                     std::ios::binary);
  std::vector<std::vector<std::uint64_t>> recorded;
  for (std::vector<std::uint64_t> task(kMesaWords);
       file.read(reinterpret_cast<char*>(task.data()), kMesaWords * 8);)
    recorded.push_back(task);
  ASSERT_EQ(recorded.size(), 28u);
  std::size_t task = 0;
  for (const Layer& layer : mobilenet_v1(0.25, 128)) {
    if (layer.kind == Layer::Kind::average_pool) continue;
    SCOPED_TRACE(layer.name + " " + std::to_string(layer.in_size));
    for (const sim::TaskWork& ours : mesa_work(layer)) {
      ASSERT_LT(task, recorded.size());
      const sim::TaskWork mesas = work_of(std::span(recorded).subspan(task++, 1)).at(0);
      EXPECT_EQ(ours.kernels, mesas.kernels);
      EXPECT_EQ(ours.channels, mesas.channels);
      EXPECT_EQ(ours.positions, mesas.positions);
      EXPECT_EQ(ours.feature_bytes, mesas.feature_bytes);
      EXPECT_EQ(ours.weight_bytes, mesas.weight_bytes);
      EXPECT_EQ(ours.operand_bytes, mesas.operand_bytes);
      EXPECT_EQ(ours.output_bytes, mesas.output_bytes);
      EXPECT_EQ(ours.output_elements, mesas.output_elements);
      EXPECT_EQ(ours.regcmd_words, mesas.regcmd_words);
      EXPECT_EQ(ours.weight_reuse, mesas.weight_reuse);
    }
  }
  EXPECT_EQ(task, recorded.size());
}

}  // namespace
}  // namespace npu::bench
