// SPDX-License-Identifier: MIT
// A vector copied by the NPU: what its DMAs do with nothing in between.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "microkernels/data_type.hpp"
#include "microkernels/elements.hpp"
#include "microkernels/executor.hpp"
#include "npu-device/device.hpp"

namespace npu::kernels {

/// to[i] = from[i], for i8, i16, i32 and f16. Integers come out as they went in, and so does every
/// finite fp16; it passes the DPU as fp32, so the payload of a NaN may change. A task moves
/// kMaxFlyingAtoms atoms by MRDMA and the write DMA [compute.md 6.1: the element-wise programs
/// without their second operand].
///
/// The parts of run() are public for benchmarks: upload() once, execute() often.
class Copy {
 public:
  /// `n`: elements, at least 1, spread over the devices, one per core. Throws invalid_argument for
  /// another type or no element, and what Device::create_buffer() throws.
  Copy(std::span<device::Device* const> devices, DataType type, std::uint64_t n);

  /// upload(), execute(), download(). Throws as they do.
  void run(ConstElements from, Elements to, RunStats* stats = nullptr);

  /// Host to the input buffers; throws invalid_argument for a vector of another size.
  void upload(ConstElements from);
  /// The NPU's work: jobs and waiting. Throws what Executor::run() throws.
  void execute(RunStats& stats);
  /// Output buffers to the host; throws as upload().
  void download(Elements to) const;

  /// Read plus written by one execute(), programs not counted.
  std::uint64_t bytes_moved() const;

 private:
  void check(std::size_t count, std::size_t element_bytes) const;

  DataType type_;
  std::vector<std::uint64_t> sizes_;  ///< elements of each core
  Executor executor_;
};

}  // namespace npu::kernels
