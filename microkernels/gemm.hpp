// SPDX-License-Identifier: MIT
// Matrix products on the NPU: shape -> plan -> programs -> run.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "microkernels/elements.hpp"
#include "microkernels/executor.hpp"
#include "microkernels/gemm_plan.hpp"
#include "microkernels/requant.hpp"
#include "npu-device/device.hpp"

namespace npu::kernels {

/// What one product took. Times are those of the host's clock.
struct GemmStats {
  RunStats run;  ///< all stages together
  std::uint32_t cores = 0, slices = 0;
  std::uint64_t macs = 0;                                               ///< m * n * k
  std::uint64_t feature_bytes = 0, weight_bytes = 0, output_bytes = 0;  ///< moved by the NPU
  std::chrono::nanoseconds pack{}, unpack{};
  std::chrono::nanoseconds pack_weights{};  ///< once for all runs with the same weights
};

class Gemm;

/// What a product has in common with others on the same devices.
struct GemmSharing {
  /// Same B, bias and requantisation; other rows of A. Both plans have to cut B in the same way:
  /// see like_weights_of().
  const Gemm* weights = nullptr;
  BufferPool* pool = nullptr;  ///< for all else; its users take turns
};

/// Told of a block of C as soon as it is read back: rows and columns, and its elements, of the
/// sums' type, `stride` elements from row to row. Called from several threads at a time; blocks do
/// not overlap and cover C.
using GemmConsumer = std::function<void(const Range& rows, const Range& columns,
                                        const std::byte* block, std::size_t stride)>;

/// A product with its buffers on the devices: weights are packed once and serve any number of
/// runs. One device per core (the kernel keeps a file's work on one core), which must outlive it.
/// Results do not depend on the number of devices; those of floats depend on the number of slices
/// of K in the plan, by the order of additions.
///
/// Matrices on the host are row-major. Elements: i8, i4 std::int8_t (i4 from -8 to 7); i16
/// std::int16_t; f16, bf16 std::uint16_t, the bits; tf32, f32 float; i32 std::int32_t.
class Gemm {
 public:
  /// Plans, allocates and, unless the output is int8, writes the programs. With weights of another
  /// product it is ready to run. Throws what plan_gemm() and Device::create_buffer() throw, and
  /// invalid_argument without a device, or if the other product cuts B in another way or has no
  /// weights yet.
  Gemm(std::span<device::Device* const> devices, const GemmShape& shape, const GemmTypes& types,
       const GemmOptions& options = {}, const GemmSharing& sharing = {});

  /// B, row-major [n][k]; must be called before the first run().
  void set_weights(ConstElements b);

  /// For int8 output, before the first run(): `bias` is empty or holds n values.
  /// `channels`: a multiplier per column of C, before `requant` (requant_per_channel()); the chip
  /// applies them, or the host by the same arithmetic where it adds slices of K.
  void set_requant(const Requant& requant, std::span<const std::int32_t> bias = {},
                   const ChannelScales& channels = {});

  /// C[m][n] = A[m][k] . B^T. Throws invalid_argument for matrices of the wrong size or element
  /// size; what Executor::run() throws.
  void run(ConstElements a, Elements c, GemmStats* stats = nullptr);

  /// The same, block by block, while the chip is still at work on others: C never lies in memory as
  /// a whole unless the host adds slices of K. For sums only (i32, i16, f32): throws
  /// invalid_argument where the host completes the result.
  void run(ConstElements a, const GemmConsumer& consume, GemmStats* stats = nullptr);

  const GemmPlan& plan() const { return plan_; }
  /// Memory of the packed weights on all cores.
  std::uint64_t weight_bytes() const;

 private:
  void upload_programs();
  void pack_a(ConstElements a, std::uint32_t part, GemmStats& stats);
  void check_ready(ConstElements a) const;
  /// Null instead of one of both: no memory for all of C, nobody to tell.
  void run_stages(ConstElements a, std::byte* c, const GemmConsumer* consume, GemmStats& stats);
  void read_back(std::size_t core, std::uint32_t stage, std::byte* c, const GemmConsumer* consume);

  GemmPlan plan_;
  Requant requant_;
  ChannelScales channels_;
  std::vector<std::int32_t> bias_;
  Executor executor_;
  std::chrono::nanoseconds pack_weights_{};
  bool has_weights_ = false, has_programs_ = false;
};

/// Options for products that share the weights of this plan. Where it shares out rows, the others
/// may have as many cores or fewer: let the tallest one pack the weights.
GemmOptions like_weights_of(const GemmPlan& plan, GemmOptions options = {});

/// c[m][n] = a[m][k] . b[n][k]^T, once. Throws as Gemm.
void gemm(std::span<device::Device* const> devices, const GemmShape& shape, const GemmTypes& types,
          ConstElements a, ConstElements b, Elements c, GemmStats* stats = nullptr);

void gemm_i8i32(std::span<device::Device* const> devices, const GemmShape& shape,
                std::span<const std::int8_t> a, std::span<const std::int8_t> b,
                std::span<std::int32_t> c, GemmStats* stats = nullptr);
void gemm_i8i32(device::Device& device, const GemmShape& shape, std::span<const std::int8_t> a,
                std::span<const std::int8_t> b, std::span<std::int32_t> c,
                GemmStats* stats = nullptr);

/// c[m][n] = requantise(a[m][k] . b[n][k]^T + bias[n]), once; `bias` is empty or holds n values.
void gemm_i8i8(std::span<device::Device* const> devices, const GemmShape& shape,
               const Requant& requant, std::span<const std::int32_t> bias,
               std::span<const std::int8_t> a, std::span<const std::int8_t> b,
               std::span<std::int8_t> c, GemmStats* stats = nullptr);
void gemm_i8i8(device::Device& device, const GemmShape& shape, const Requant& requant,
               std::span<const std::int32_t> bias, std::span<const std::int8_t> a,
               std::span<const std::int8_t> b, std::span<std::int8_t> c,
               GemmStats* stats = nullptr);

/// c[m][n] = a[m][k] . b[n][k]^T of int16, exact: the chip multiplies the bytes as int8, all four
/// products in one GEMM of 2m x 2n, and the host puts them together [notes tile-layouts, HW].
/// Throws as Gemm.
void gemm_i16i64(std::span<device::Device* const> devices, const GemmShape& shape,
                 std::span<const std::int16_t> a, std::span<const std::int16_t> b,
                 std::span<std::int64_t> c, GemmStats* stats = nullptr);

}  // namespace npu::kernels
