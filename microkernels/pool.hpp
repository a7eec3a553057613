// SPDX-License-Identifier: MIT
// Max, min and average pools on the NPU: shape -> plan -> programs -> run.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "microkernels/conv2d.hpp"
#include "microkernels/elements.hpp"
#include "microkernels/executor.hpp"
#include "microkernels/gemm.hpp"
#include "microkernels/pool_emit.hpp"
#include "microkernels/pool_plan.hpp"
#include "npu-device/device.hpp"

namespace npu::kernels {

/// A pool with its buffers on the devices, for any number of images. One device per core, which
/// must outlive it.
///
///   Pool2d pool(devices, global_pool(7, 7, 1280), DataType::i8, {.method = PoolMethod::average});
///   pool.run(image, means);
///
/// Elements: i8 std::int8_t, f16 std::uint16_t, the bits of finite numbers.
class Pool2d {
 public:
  /// Throws what plan_pool2d(), Conv2d, Gemm and Device::create_buffer() throw.
  Pool2d(std::span<device::Device* const> devices, const Pool2dShape& shape, DataType type,
         const Pool2dOptions& options = {});
  ~Pool2d();

  /// One image. Throws invalid_argument for tensors of the wrong size; what Executor::run() throws.
  void run(ConstElements in, Elements out, RunStats* stats = nullptr);

  const Pool2dPlan& plan() const { return plan_; }

 private:
  void run_ppu(const std::byte* in, std::byte* out, RunStats& stats);
  void run_shifted(const std::byte* in, std::byte* out, RunStats& stats);
  void run_convolution(const std::byte* in, std::byte* out, RunStats& stats);
  void run_matrix(const std::byte* in, std::byte* out, RunStats& stats);

  Pool2dPlan plan_;
  std::unique_ptr<Executor> executor_;    ///< paths ppu and shifted
  std::vector<std::uint32_t> out_slots_;  ///< of each core
  std::vector<Range> in_rows_;
  std::vector<std::unique_ptr<Conv2d>> convolutions_;  ///< of each pass
  std::unique_ptr<Gemm> gemm_;
};

/// The image as the first pass reads it, NHWC: plan.rows by plan.columns.
std::vector<std::byte> pool_input(const Pool2dPlan& plan, const std::byte* in);

/// The windows of an average that does not count padding and that reach into it, as the plan's path
/// would compute them on what they hold of the image.
void pool_borders(const Pool2dPlan& plan, const std::byte* in, std::byte* out);

/// What the chip computes on the plan's path, in plain C++ on the host: the oracle of the tests.
void ref_pool2d(const Pool2dPlan& plan, ConstElements in, Elements out);

/// One average: the window's elements in the image (`height` x `width` of them count), as the path
/// rounds them. i8 or the bits of an f16.
std::int32_t pool_average(const Pool2dPlan& plan, std::span<const std::int32_t> window,
                          std::uint32_t height, std::uint32_t width);

}  // namespace npu::kernels
