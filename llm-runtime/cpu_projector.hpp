// SPDX-License-Identifier: MIT
// The matrix products on the CPU's own kernels.
#pragma once

#include <optional>
#include <vector>

#include "llm-runtime/cpu/matrix.hpp"
#include "llm-runtime/cpu/thread_pool.hpp"
#include "llm-runtime/packed_cache.hpp"
#include "llm-runtime/projector.hpp"

namespace npu::llm {

class CpuProjector : public Projector {
 public:
  /// Packs all weights, or finds them packed. `exact`: F32 arithmetic on the weights' own values,
  /// for comparisons.
  CpuProjector(const Model& model, cpu::ThreadPool& pool, bool exact,
               const PackedCacheOptions& cache = {});

  void project(Group group, std::uint32_t layer, const float* x, std::size_t m,
               std::span<float* const> outs) override;

  std::uint64_t bytes() const;  ///< of the packed weights

 private:
  struct Weight {
    cpu::Matrix matrix;
    const float* bias = nullptr;
  };
  const std::vector<Weight>& weights(Group group, std::uint32_t layer) const;

  cpu::ThreadPool& pool_;
  std::size_t output_ = 0;  ///< index of the output group
  bool exact_ = false;
  std::optional<PackedFile> packed_;         ///< what the matrices below may lie in
  std::vector<std::vector<Weight>> groups_;  ///< four of each layer, then the output
};

}  // namespace npu::llm
