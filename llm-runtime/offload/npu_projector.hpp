// SPDX-License-Identifier: MIT
// The matrix products on the NPU: int8 operands, int32 sums, scales applied by the CPU.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "llm-runtime/cpu/thread_pool.hpp"
#include "llm-runtime/offload/quantise.hpp"
#include "llm-runtime/projector.hpp"
#include "microkernels/gemm.hpp"
#include "npu-device/device.hpp"

namespace npu::llm {

/// From how many rows on a group's products go to the NPU.
struct OffloadPlan {
  static constexpr std::uint32_t kNever = std::numeric_limits<std::uint32_t>::max();
  std::array<std::uint32_t, kGroups.size()> from_rows{1, 1, 1, 1, 1};  ///< in the order of kGroups
  std::uint32_t of(Group group) const { return from_rows[static_cast<std::size_t>(group)]; }
};

struct OffloadOptions {
  OffloadPlan plan;
  QuantisationOptions quantisation;
  std::uint32_t most_rows = 256;  ///< of a product; more are taken in turns
  double npu_hz = 600e6;          ///< for which the products are planned
};

/// What the NPU did, added up over all calls.
struct OffloadStats {
  std::uint64_t calls = 0;     ///< groups that went to the NPU
  std::uint64_t products = 0;  ///< matrix products: a group's parts and turns
  std::uint64_t submits = 0, jobs = 0, tasks = 0, macs = 0;
  /// Device::now(): measured on a chip, modelled on the simulator.
  std::chrono::nanoseconds device{};
  /// The host's clock. Sums are scaled while they are unpacked; `scale` is for wide activations.
  std::chrono::nanoseconds quantise{}, pack{}, submit{}, wait{}, unpack{}, scale{};
};

/// How the products are planned: columns shared out over the cores, sums scaled as they are read.
kernels::GemmOptions product_options(const OffloadOptions& options,
                                     const sim::Calibration* calibration = nullptr);

/// Heights for which programs are made: a product of m rows runs as the smallest that holds them.
std::vector<std::uint32_t> product_heights(std::uint32_t most_rows);

class NpuProjector : public Projector {
 public:
  /// Quantises and packs the weights of all groups that the plan ever sends to the NPU. One device
  /// per core. `rest` takes what the plan does not: it may be null if that is nothing. All must
  /// outlive it. Throws what Gemm throws; out_of_memory if the weights do not fit the devices.
  NpuProjector(const Model& model, cpu::ThreadPool& pool, std::span<device::Device* const> devices,
               Projector* rest, const OffloadOptions& options);
  ~NpuProjector() override;

  void project(Group group, std::uint32_t layer, const float* x, std::size_t m,
               std::span<float* const> outs) override;

  const OffloadStats& stats() const { return stats_; }
  std::uint64_t weight_bytes() const { return weight_bytes_; }  ///< on the devices

 private:
  struct Weights;
  struct Kind;
  Weights pack(const Model& model, Group group, std::uint32_t layer);
  kernels::Gemm& product(Kind& kind, Weights& weights, std::size_t part, std::uint32_t rows);
  void run(Group group, Weights& weights, const float* x, std::uint32_t m,
           std::span<float* const> outs);
  static void scale(std::span<const std::int32_t> sums, std::size_t begin, const Weights& weights,
                    std::uint32_t p, float token_scale, std::size_t i, std::span<float* const> outs,
                    bool first);

  cpu::ThreadPool& pool_;
  std::vector<device::Device*> devices_;
  Projector* rest_;
  OffloadOptions options_;
  std::vector<std::uint32_t> heights_;
  kernels::BufferPool buffers_;
  std::vector<Kind> kinds_;       ///< a group's shapes, the same in every layer
  std::vector<Weights> weights_;  ///< four of each layer, then the output
  QuantisedMatrix x_;
  std::vector<std::int8_t> a_;
  std::vector<std::int32_t> sums_;
  OffloadStats stats_;
  std::uint64_t weight_bytes_ = 0;
};

/// int8 rows of a group's matrices, one behind the other, as they are multiplied.
struct QuantisedGroup {
  QuantisedMatrix matrix;
  ColumnTransform transform;
};
QuantisedGroup quantise_group(const Model& model, Group group, std::uint32_t layer,
                              const QuantisationOptions& options, cpu::ThreadPool& pool);
/// m rows of x, each as two if `wide`.
QuantisedMatrix quantise_rows(const float* x, std::uint32_t m, std::uint32_t columns,
                              std::uint32_t part, const ColumnTransform& transform, bool wide,
                              cpu::ThreadPool& pool);

}  // namespace npu::llm
