// SPDX-License-Identifier: MIT
// The NPU path on the simulator: int32 sums are those of the CPU's integer reference, so what the
// projector gives is equal bit for bit to the same floats made from the reference's sums.
#include "llm-runtime/offload/npu_projector.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "../graph/tiny_models.hpp"
#include "llm-runtime/cpu_projector.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

struct Npu {
  explicit Npu(std::size_t cores) {
    devices.push_back(device::open_device("sim"));
    while (devices.size() < cores) devices.push_back(devices.front()->open_another());
    for (const auto& device : devices) pointers.push_back(device.get());
  }
  std::vector<std::unique_ptr<device::Device>> devices;
  std::vector<device::Device*> pointers;
};

std::vector<float> random_rows(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw;
  std::vector<float> values(n);
  for (float& v : values) v = draw(random);
  return values;
}

std::vector<std::vector<float>> outputs(const Model& model, Group group, std::size_t m) {
  std::vector<std::vector<float>> outs;
  for (const GroupWeight& w : group_weights(model, group, 0)) outs.emplace_back(m * w.view.rows);
  return outs;
}

std::vector<std::vector<float>> project(Projector& projector, const Model& model, Group group,
                                        std::uint32_t layer, const std::vector<float>& x,
                                        std::size_t m) {
  auto outs = outputs(model, group, m);
  std::vector<float*> at;
  for (auto& out : outs) at.push_back(out.data());
  projector.project(group, layer, x.data(), m, at);
  return outs;
}

std::vector<std::vector<float>> reference(const Model& model, Group group, std::uint32_t layer,
                                          const std::vector<float>& x, std::uint32_t m,
                                          const QuantisationOptions& options,
                                          cpu::ThreadPool& pool) {
  const QuantisedMatrix w = quantise_group(model, group, layer, options, pool);
  QuantisedMatrix q = quantised_matrix(m, w.columns, options);
  quantise_rows(x.data(), m, options.rotate, q, pool);
  auto outs = outputs(model, group, m);
  std::uint32_t first = 0;
  std::size_t j = 0;
  for (const GroupWeight& weight : group_weights(model, group, layer)) {
    const std::uint32_t rows = weight.view.rows;
    for (std::uint32_t i = 0; i < m; ++i) {
      const std::span<float> out(outs[j].data() + std::size_t{i} * rows, rows);
      if (!weight.bias.empty()) std::ranges::copy(weight.bias, out.begin());
      for (std::uint32_t p = 0; p < w.parts(); ++p) {
        const auto sums = reference_sums(w, q, p);
        add_scaled(std::span(sums).subspan(std::size_t{i} * w.rows + first, rows),
                   std::span(w.scales).subspan(first * w.parts(), rows * w.parts()), p,
                   q.scales[i * w.parts() + p], out);
      }
    }
    first += rows;
    ++j;
  }
  return outs;
}

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
            << to_string(group) << " of " << m << " rows, part " << options.part;
      }
    }
  };
  check(1, {}, {1, 16, 21});  // 21: in two turns
  check(3, {}, {5});
  check(3, {.part = 128}, {6});
  check(2, {.rotate = true}, {3});
  check(3, {.part = 96, .rotate = true}, {2});
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
