// SPDX-License-Identifier: MIT
// Element-wise operations of two vectors.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "microkernels/data_type.hpp"
#include "microkernels/dpu_setup.hpp"
#include "microkernels/elements.hpp"
#include "microkernels/executor.hpp"
#include "microkernels/requant.hpp"
#include "npu-device/device.hpp"

namespace npu::kernels {

enum class ElementwiseOp : std::uint8_t { add, sub, mul, max, min };
std::string_view to_string(ElementwiseOp op);

/// Scales of quantised int8 vectors: b is first brought into the units of a, then the result into
/// those of the output:
///   b' = round((b + operand.offset) * operand.scale / 2^operand.shift), the offset inside,
///   y = sat8(round((a op b') * result.scale / 2^result.shift) + result.offset).
/// Ties go to even. a's zero point has to be in operand.offset and result.offset.
struct ElementwiseScales {
  Requant operand, result;
};

/// c[i] = a[i] op b[i]. Integers saturate to their type; fp16 is computed in fp32 and rounded once,
/// ties to even. Types: i8, i16, f16; i32 but for mul, whose operand the chip cuts to 16 bits
/// [rocket-userspace ew_int_probe, HW].
///
/// Vectors are spread over the devices, one per core, and cut into tasks of kMaxFlyingAtoms.
class Elementwise {
 public:
  /// `n`: elements, at least 1. Throws invalid_argument for a type or count that cannot be, and
  /// what Device::create_buffer() throws.
  Elementwise(std::span<device::Device* const> devices, DataType type, ElementwiseOp op,
              std::uint64_t n, const std::optional<ElementwiseScales>& scales = {});

  /// Host elements as Gemm has them. Throws invalid_argument for vectors of another size, and what
  /// Executor::run() throws.
  void run(ConstElements a, ConstElements b, Elements c, RunStats* stats = nullptr);

 private:
  struct Part {
    std::uint64_t begin = 0, size = 0;  ///< elements
  };
  DataType type_;
  std::uint64_t n_;
  std::vector<Part> parts_;
  Executor executor_;
};

/// The register settings of an operation: EW of `setup`, with `operand` from memory. Throws
/// invalid_argument for a combination that the chip does not compute.
void set_elementwise(DpuSetup& setup, DataType type, ElementwiseOp op, const Place& operand);

/// What the chip computes, for one pair of elements given as their bits.
std::uint32_t ref_elementwise(DataType type, ElementwiseOp op,
                              const std::optional<ElementwiseScales>& scales, std::uint32_t a,
                              std::uint32_t b);

}  // namespace npu::kernels
