// SPDX-License-Identifier: MIT
// The NPU path on the simulator: int32 sums are those of the CPU's integer reference, so what the
// projector gives is equal bit for bit to the same floats made from the reference's sums.
#include "llm-runtime/offload/npu_projector.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../graph/tiny_models.hpp"
#include "llm-runtime/cpu_projector.hpp"
#include "llm-runtime/graph.hpp"
#include "llm-runtime/kv_store.hpp"
#include "npu_cases.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

TEST(ProductHeights, HoldEveryNumberOfRowsWithFewPaddedOnes) {
  const auto heights = product_heights(256);
  EXPECT_THAT(heights, testing::ElementsAre(4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256));
  for (std::uint32_t m = 16; m <= 256; ++m) {
    EXPECT_LE(*std::ranges::lower_bound(heights, m), m + m / 2);
  }
  EXPECT_THAT(product_heights(4), testing::ElementsAre(4));
  EXPECT_THAT(product_heights(20), testing::ElementsAre(4, 8, 12, 16, 20));
}

TEST(NpuProjector, EveryGroupEqualsTheIntegerReference) {
  const Model model = tiny("Q4_K_M");
  cpu::ThreadPool pool(2);
  const auto check = [&](std::size_t cores, const QuantisationOptions& options,
                         std::initializer_list<std::uint32_t> heights) {
    const Npu npu(cores);
    NpuProjector projector(model, pool, npu.pointers, nullptr,
                           {.quantisation = options, .most_rows = 16});
    std::uint32_t seed = 1;
    for (const Group group : kGroups) {
      for (const std::uint32_t m : heights) {
        const std::uint32_t layer = group == Group::output ? 0 : seed % 2;
        const auto x = random_rows(m * group_columns(model.shape(), group), ++seed);
        ASSERT_EQ(project(projector, model, group, layer, x, m),
                  reference(model, group, layer, x, m, options, pool))
            << to_string(group) << " of " << m << " rows, " << to_text(options);
      }
    }
  };
  check(1, {}, {1, 16, 21});  // 21: in two turns
  check(3, {}, {5});
  check(3, {.part = 128}, {6});
  check(2, kPlainQuantisation, {3});
  check(3, {.part = 96, .equalise = false}, {2});
  check(1, {.part = 160, .wide = true}, {1, 9});  // 18 rows: in two turns
}

/// Every product from the CPU's integer reference.
class ReferenceProjector : public Projector {
 public:
  ReferenceProjector(const Model& model, cpu::ThreadPool& pool) : model_(model), pool_(pool) {}
  void project(Group group, std::uint32_t layer, const float* x, std::size_t m,
               std::span<float* const> outs) override {
    const std::vector<float> rows(x, x + m * group_columns(model_.shape(), group));
    const auto result =
        reference(model_, group, layer, rows, static_cast<std::uint32_t>(m), {}, pool_);
    for (std::size_t j = 0; j < result.size(); ++j) std::ranges::copy(result[j], outs[j]);
  }

 private:
  const Model& model_;
  cpu::ThreadPool& pool_;
};

TEST(NpuProjector, AWholeModelsLogitsAreThoseOfTheIntegerReference) {
  const Model model = Model::load(ROSENBLATT_SOURCE_DIR "/models/tiny-chat/tiny-chat-Q4_K_M.gguf");
  cpu::ThreadPool pool(2);
  const Npu npu(3);
  NpuProjector on_npu(model, pool, npu.pointers, nullptr, {.most_rows = 16});
  ReferenceProjector on_cpu(model, pool);
  const auto logits = [&](Projector& projector) {
    KvStore cache(model.shape(), cpu::KvType::f16, 1, 32);
    Graph graph(model, pool, projector, cache);
    std::vector<BatchRow> rows;  // "<|im_start|>user\n..."
    for (const int token : {1022, 263, 261, 198,  262, 257,  220, 16,  16, 272, 220,
                            16,   20,  30,  1023, 198, 1022, 485, 445, 83, 457, 198}) {
      rows.push_back({token, 0, static_cast<std::uint32_t>(rows.size()), true});
    }
    const auto result = graph.evaluate(rows);
    return std::vector<float>(result.begin(), result.end());
  };
  const auto want = logits(on_cpu), got = logits(on_npu);
  ASSERT_EQ(got.size(), 22u * model.shape().vocabulary);
  EXPECT_EQ(got, want);
}

TEST(NpuProjector, OneSubmitPerCoreForAFusedGroup) {
  const Model model = tiny("Q4_K_M");
  cpu::ThreadPool pool(1);
  const Npu npu(3);
  NpuProjector projector(model, pool, npu.pointers, nullptr, {.most_rows = 32});
  const auto x = random_rows(16 * 256, 1);
  project(projector, model, Group::qkv, 0, x, 16);
  const OffloadStats& stats = projector.stats();
  EXPECT_EQ(stats.calls, 1u);
  EXPECT_EQ(stats.products, 1u);
  EXPECT_LE(stats.submits, 3u);
  EXPECT_GT(stats.device.count(), 0);
  EXPECT_EQ(stats.macs, 16u * 512 * 256);
}

/// FNV-1a.
std::uint64_t checksum(std::span<const std::int8_t> bytes) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const std::int8_t byte : bytes) {
    hash = (hash ^ static_cast<std::uint8_t>(byte)) * 0x100000001B3u;
  }
  return hash;
}

// Seen on x86-64; every architecture, compiler and number of threads has to give the same.
TEST(QuantiseGroup, GivesTheSameNumbersEverywhere) {
  const Model model = tiny("Q4_K_M");
  for (const unsigned threads : {1u, 3u}) {
    cpu::ThreadPool pool(threads);
    const auto [w, transform] = quantise_group(model, Group::gate_up, 1, {}, pool);
    EXPECT_EQ(checksum(w.q), 10148070396937225831u);
    std::vector<float> x(3 * 256);
    std::uint32_t state = 1;
    for (float& v : x) {
      state = state * 1664525 + 1013904223;
      v = static_cast<float>(static_cast<std::int32_t>(state)) * 1e-9f;
    }
    EXPECT_EQ(checksum(quantise_rows(x.data(), 3, 256, 0, transform, false, pool).q),
              1206748741531916506u);
    EXPECT_EQ(checksum(quantise_rows(x.data(), 3, 256, 0, transform, true, pool).q),
              15617192401950812143u);
  }
}

TEST(NpuProjector, ThePlanLeavesTheRestToTheCpu) {
  const Model model = tiny("Q4_K_M");
  cpu::ThreadPool pool(1);
  const Npu npu(1);
  CpuProjector cpu(model, pool, false);
  OffloadOptions options{.most_rows = 32};
  options.plan.from_rows = {8, OffloadPlan::kNever, 1, 1, OffloadPlan::kNever};
  NpuProjector projector(model, pool, npu.pointers, &cpu, options);
  const auto x = random_rows(8 * 256, 2);
  EXPECT_EQ(project(projector, model, Group::qkv, 1, x, 7),
            project(cpu, model, Group::qkv, 1, x, 7));
  EXPECT_EQ(project(projector, model, Group::o, 1, x, 8), project(cpu, model, Group::o, 1, x, 8));
  EXPECT_EQ(projector.stats().calls, 0u);
  EXPECT_NE(project(projector, model, Group::qkv, 1, x, 8),
            project(cpu, model, Group::qkv, 1, x, 8));
  EXPECT_EQ(projector.stats().calls, 1u);
  // Weights that never go there are not packed: qkv, gate, up and down of two layers.
  EXPECT_EQ(projector.weight_bytes(), 2u * (512 * 256 + 3 * 512 * 256));
}

TEST(NpuProjector, RefusesHeightsThatTheChipDoesNotTake) {
  const Model model = tiny("Q4_K_M");
  cpu::ThreadPool pool(1);
  const Npu npu(1);
  for (const std::uint32_t rows : {0u, 2u, 30u, 8192u}) {
    EXPECT_THROW(NpuProjector(model, pool, npu.pointers, nullptr, {.most_rows = rows}), Error)
        << rows;
  }
}

}  // namespace
}  // namespace npu::llm
