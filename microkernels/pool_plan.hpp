// SPDX-License-Identifier: MIT
// How a pool is cut into passes, tasks and cores: plain data, no device involved.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "microkernels/conv2d_plan.hpp"
#include "microkernels/data_type.hpp"
#include "microkernels/executor.hpp"
#include "microkernels/gemm_plan.hpp"

namespace npu::kernels {

enum class PoolMethod : std::uint8_t { max, min, average };
std::string_view to_string(PoolMethod method);

/// Which part of the chip pools.
enum class PoolPath : std::uint8_t {
  automatic,    ///< the least modelled time of those that can
  ppu,          ///< the pooling unit. Stock drivers do not wait for its interrupt and retire each
                ///< task after 500 ms, with the output right [notes pool-completion, HW]
  shifted,      ///< max and min: element-wise operations of the image and itself moved, in the DPU
  convolution,  ///< averages: depthwise convolutions with equal weights
  matrix,       ///< averages of a whole image: a product with ones, divided by the host
};
std::string_view to_string(PoolPath path);

/// One image, NHWC: [in_height][in_width][channels] -> [out_height][out_width][channels].
struct Pool2dShape {
  std::uint32_t in_height = 0, in_width = 0, channels = 0;
  std::uint32_t kernel_height = 1, kernel_width = 1;
  std::uint32_t stride_y = 1, stride_x = 1;
  std::uint32_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;

  std::uint32_t out_height() const;
  std::uint32_t out_width() const;
  friend bool operator==(const Pool2dShape&, const Pool2dShape&) = default;
};

/// The window is the image.
Pool2dShape global_pool(std::uint32_t height, std::uint32_t width, std::uint32_t channels);

struct Pool2dOptions {
  PoolMethod method = PoolMethod::max;
  PoolPath path = PoolPath::automatic;
  /// Averages: padding counts as elements that are `zero`; else only what lies in the image is
  /// counted, and the host computes the windows that reach into the padding.
  bool count_padding = true;
  std::int8_t zero = 0;  ///< averages of i8: the integer that stands for 0
  friend bool operator==(const Pool2dOptions&, const Pool2dOptions&) = default;
};

/// What one core computes: rows of the output, of some surfaces of channels (atoms of 16 i8 or 8
/// f16). All rows, or all surfaces.
struct PoolCore {
  Range rows, surfaces;
  friend bool operator==(const PoolCore&, const PoolCore&) = default;
};

struct Pool2dPlan {
  Pool2dShape shape;
  DataType type = DataType::i8;
  Pool2dOptions options;            ///< the path that was chosen
  std::vector<Pool2dShape> passes;  ///< one pools what the other left; mostly one
  /// Which rows and columns of the image the first pass's input is made of, -1 for padding.
  std::vector<std::int32_t> rows, columns;
  std::vector<PoolCore> cores;  ///< paths ppu and shifted
  double seconds = 0;           ///< modelled, on a stock driver, of the busiest core
  friend bool operator==(const Pool2dPlan&, const Pool2dPlan&) = default;
};

/// Plans a pool of i8 or f16. Windows are 1 to 16 high and wide with strides of 1 to 16, or as
/// large as the image, or larger than 16 with a stride as large; padding is 0 to 7 and less than
/// the window.
///
/// What each path computes:
///   max, min      exact on every path (of zeros of either sign one or the other)
///   ppu, i8       average = round(sum * floor(2^16 / kh) * floor(2^16 / kw) / 2^32), ties to even
///                 [notes ppu-pooling, HW]
///   ppu, f16      sum * fp17(1 / kh) * fp17(1 / kw), sums exact, rounded once
///   convolution   i8: requantise(sum - zero * n, average_scale(n)); f16: x * fp16(1 / n), summed
///                 exactly and rounded to fp32, then to fp16
///   matrix        i8: sum / n, ties to even; f16: exact sums of 32 elements in order, rounded to
///                 fp32 and added in it, divided by n, rounded to fp16
/// and in passes each pass rounds. A pass is a window that is no larger than 16 (convolution: 31)
/// and, but for the last, not overlapping; for max and min also 8 rows and the rest of a window of
/// more than 8 overlapping rows, which the PPU's line buffer does not hold [iree-rocket LIMITS.md,
/// HW].
///
/// Throws invalid_argument for a shape beyond the limits, or a path that cannot do it, with the
/// reason.
Pool2dPlan plan_pool2d(const Pool2dShape& shape, DataType type, const Pool2dOptions& options,
                       unsigned cores = 1);

std::string to_string(const Pool2dPlan& plan);

/// The rows of a pass's input that rows of its output need, without padding, and the padding that
/// is left above and below. Works for columns too.
struct PoolSpan {
  std::uint32_t first = 0, size = 0, before = 0, after = 0;
};
PoolSpan input_span(Range out, std::uint32_t in, std::uint32_t kernel, std::uint32_t stride,
                    std::uint32_t pad);

/// The product of the path matrix: sums of a channel's elements, [channels][1].
GemmShape pool_product(const Pool2dShape& shape);
GemmTypes pool_product_types(DataType type);

/// A pass of the path convolution.
Conv2dShape pool_convolution(const Pool2dShape& pass);

/// value / divisor (above 0), ties to even.
constexpr std::int64_t divide_even(std::int64_t value, std::int64_t divisor) {
  std::int64_t quotient = value / divisor, rest = value % divisor;
  if (rest < 0) rest += divisor, --quotient;
  return quotient + (2 * rest > divisor || (2 * rest == divisor && (quotient & 1) != 0));
}

/// 1 / n with 15 bits.
Requant average_scale(std::uint32_t n, std::int8_t zero);

}  // namespace npu::kernels
