// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu_projector.hpp"

#include "llm-runtime/cpu/matmul.hpp"

namespace npu::llm {
namespace {

constexpr std::size_t kLayerGroups = kGroups.size() - 1;

}  // namespace

CpuProjector::CpuProjector(const Model& model, cpu::ThreadPool& pool, bool exact,
                           const PackedCacheOptions& cache)
    : pool_(pool), output_(model.layers().size() * kLayerGroups), exact_(exact) {
  std::vector<WeightView> views;
  const auto add = [&](Group group, std::uint32_t layer) {
    std::vector<Weight>& to = groups_.emplace_back();
    for (const GroupWeight& weight : group_weights(model, group, layer)) {
      to.push_back({{}, weight.bias.empty() ? nullptr : weight.bias.data()});
      views.push_back(weight.view);
    }
  };
  for (std::uint32_t layer = 0; layer < model.layers().size(); ++layer) {
    for (std::size_t i = 0; i < kLayerGroups; ++i) add(kGroups[i], layer);
  }
  add(Group::output, 0);

  packed_ = find_packed(model, views, pool, cache);
  std::vector<const cpu::Matrix*> matrices;
  for (auto& group : groups_) {
    for (Weight& weight : group) {
      const std::size_t i = matrices.size();
      weight.matrix = packed_ ? packed_->matrix(i, views[i]) : cpu::Matrix(views[i], pool);
      matrices.push_back(&weight.matrix);
    }
  }
  if (!packed_) keep_packed(model, matrices, pool, cache);
}

const std::vector<CpuProjector::Weight>& CpuProjector::weights(Group group,
                                                               std::uint32_t layer) const {
  return groups_.at(
      group == Group::output ? output_ : layer * kLayerGroups + static_cast<std::size_t>(group));
}

void CpuProjector::project(Group group, std::uint32_t layer, const float* x, std::size_t m,
                           std::span<float* const> outs) {
  const std::vector<Weight>& group_weights = weights(group, layer);
  std::vector<cpu::Product> products;
  for (std::size_t i = 0; i < group_weights.size(); ++i) {
    const Weight& weight = group_weights[i];
    products.push_back({&weight.matrix, weight.bias, outs[i], weight.matrix.rows()});
  }
  const std::size_t columns = group_weights.front().matrix.columns();
  if (exact_) {
    cpu::matmul_f32(pool_, products, x, columns, m);
  } else {
    cpu::matmul(pool_, products, x, columns, m);
  }
}

std::uint64_t CpuProjector::bytes() const {
  std::uint64_t sum = 0;
  for (const auto& group : groups_) {
    for (const Weight& weight : group) sum += weight.matrix.bytes();
  }
  return sum;
}

}  // namespace npu::llm
