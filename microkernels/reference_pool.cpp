// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>
#include <cstring>

#include "microkernels/layout.hpp"
#include "microkernels/pool.hpp"
#include "microkernels/wide_sum.hpp"
#include "npu-sim/float_types.hpp"

namespace npu::kernels {
namespace {

std::int32_t saturate(std::int64_t value) {
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(value, -128, 127));
}

float half(std::int32_t bits) { return sim::fp16_to_float(static_cast<std::uint16_t>(bits)); }

// 6 bits of exponent, of which the PPU takes 2^16 as 1.
double reciprocal(std::uint32_t k) {
  const std::uint32_t bits = ppu_reciprocal(DataType::f16, k);
  return std::ldexp(1024 + static_cast<double>(bits & 0x3FF),
                    static_cast<int>(bits >> 10) - 15 - 10 - 16);
}

std::int32_t load(DataType type, const std::byte* data, std::size_t index) {
  if (type == DataType::i8) return static_cast<std::int8_t>(data[index]);
  std::uint16_t value = 0;
  std::memcpy(&value, data + index * 2, 2);
  return value;
}

void store(DataType type, std::byte* data, std::size_t index, std::int32_t value) {
  if (type == DataType::i8) {
    data[index] = static_cast<std::byte>(value);
  } else {
    const auto bits = static_cast<std::uint16_t>(value);
    std::memcpy(data + index * 2, &bits, 2);
  }
}

// Rows or columns of the image in a window.
Range inside(std::uint32_t out, std::uint32_t stride, std::uint32_t kernel, std::uint32_t pad,
             std::uint32_t in) {
  const PoolSpan span = input_span({out, 1}, in, kernel, stride, pad);
  return {span.first, span.size};
}

// The elements of one channel in a window.
void collect(const Pool2dPlan& plan, const Pool2dShape& s, const std::byte* in, Range rows,
             Range columns, std::uint32_t channel, std::vector<std::int32_t>& window) {
  window.clear();
  for (std::uint32_t y = rows.begin; y < rows.end(); ++y)
    for (std::uint32_t x = columns.begin; x < columns.end(); ++x)
      window.push_back(
          load(plan.type, in, (std::size_t{y} * s.in_width + x) * s.channels + channel));
}

std::int32_t extreme(const Pool2dPlan& plan, std::span<const std::int32_t> window) {
  const bool max = plan.options.method == PoolMethod::max;
  const auto less = [&](std::int32_t a, std::int32_t b) {
    return plan.type == DataType::i8 ? a < b : half(a) < half(b);
  };
  std::int32_t best = window[0];
  for (const std::int32_t value : window)
    if (max ? less(best, value) : less(value, best)) best = value;
  return best;
}

// A pass, with the padding as elements that count.
std::vector<std::byte> pass(const Pool2dPlan& plan, const Pool2dShape& s, const std::byte* in) {
  const bool average = plan.options.method == PoolMethod::average;
  std::vector<std::byte> out(std::size_t{s.out_height()} * s.out_width() * s.channels *
                             host_bytes(plan.type));
  std::vector<std::int32_t> window;
  std::size_t index = 0;
  for (std::uint32_t y = 0; y < s.out_height(); ++y)
    for (std::uint32_t x = 0; x < s.out_width(); ++x)
      for (std::uint32_t c = 0; c < s.channels; ++c, ++index) {
        const Range rows = inside(y, s.stride_y, s.kernel_height, s.pad_top, s.in_height);
        const Range columns = inside(x, s.stride_x, s.kernel_width, s.pad_left, s.in_width);
        collect(plan, s, in, rows, columns, c, window);
        if (average)
          window.resize(std::size_t{s.kernel_height} * s.kernel_width, plan.options.zero);
        store(plan.type, out.data(), index,
              average ? pool_average(plan, window, s.kernel_height, s.kernel_width)
                      : extreme(plan, window));
      }
  return out;
}

}  // namespace

std::int32_t pool_average(const Pool2dPlan& plan, std::span<const std::int32_t> window,
                          std::uint32_t height, std::uint32_t width) {
  const std::uint32_t n = height * width;
  if (plan.type == DataType::i8) {
    std::int64_t sum = 0;
    for (const std::int32_t value : window) sum += value;
    if (plan.options.path == PoolPath::ppu)
      return saturate(
          divide_even(sum * (0x10000 / height) * (0x10000 / width), std::int64_t{1} << 32));
    if (plan.options.path == PoolPath::matrix) return saturate(divide_even(sum, n));
    const std::int8_t zero = plan.options.zero;
    return requantise(static_cast<std::int32_t>(sum - std::int64_t{zero} * n),
                      average_scale(n, zero));
  }
  if (plan.options.path == PoolPath::ppu) {
    double sum = 0;  // exact: at most 256 values of fp16
    for (const std::int32_t value : window) sum += double{half(value)};
    return sim::float_to_fp16(static_cast<float>(sum * reciprocal(width) * reciprocal(height)));
  }
  if (plan.options.path == PoolPath::matrix) {
    constexpr std::size_t kGroup = 32;  // ref_gemm()
    float total = 0;
    for (std::size_t i = 0; i < window.size(); i += kGroup) {
      WideSum sum;
      for (const std::int32_t value : window.subspan(i, std::min(kGroup, window.size() - i)))
        sum.add(double{half(value)});
      total += sum.rounded();
    }
    return sim::float_to_fp16(total / static_cast<float>(n));
  }
  WideSum sum;
  const double weight = half(sim::float_to_fp16(1.0f / static_cast<float>(n)));
  for (const std::int32_t value : window) sum.add(double{half(value)} * weight);
  return sim::float_to_fp16(sum.rounded());
}

std::vector<std::byte> pool_input(const Pool2dPlan& plan, const std::byte* in) {
  const Pool2dShape& s = plan.shape;
  const std::size_t pixel = s.channels * host_bytes(plan.type);
  std::vector<std::byte> image(plan.rows.size() * plan.columns.size() * pixel);
  const auto fill = static_cast<std::int32_t>(pool_padding(plan.type, plan.options));
  std::size_t at = 0;
  for (const std::int32_t y : plan.rows)
    for (const std::int32_t x : plan.columns) {
      std::byte* to = image.data() + at++ * pixel;
      if (y >= 0 && x >= 0)
        std::memcpy(
            to,
            in + (static_cast<std::size_t>(y) * s.in_width + static_cast<std::size_t>(x)) * pixel,
            pixel);
      else
        for (std::uint32_t c = 0; c < s.channels; ++c) store(plan.type, to, c, fill);
    }
  return image;
}

void pool_borders(const Pool2dPlan& plan, const std::byte* in, std::byte* out) {
  const Pool2dShape& s = plan.shape;
  std::vector<std::int32_t> window;
  for (std::uint32_t y = 0; y < s.out_height(); ++y) {
    const Range rows = inside(y, s.stride_y, s.kernel_height, s.pad_top, s.in_height);
    for (std::uint32_t x = 0; x < s.out_width(); ++x) {
      const Range columns = inside(x, s.stride_x, s.kernel_width, s.pad_left, s.in_width);
      if (rows.size == s.kernel_height && columns.size == s.kernel_width) continue;
      for (std::uint32_t c = 0; c < s.channels; ++c) {
        collect(plan, s, in, rows, columns, c, window);
        store(plan.type, out, (std::size_t{y} * s.out_width() + x) * s.channels + c,
              pool_average(plan, window, rows.size, columns.size));
      }
    }
  }
}

void ref_pool2d(const Pool2dPlan& plan, ConstElements in, Elements out) {
  // One window for one output of the shape, or the plan's passes if there are several.
  std::vector<std::byte> image(in.data(), in.data() + in.size() * in.element_bytes());
  if (plan.passes.size() == 1 || plan.options.method != PoolMethod::average) {
    image = pass(plan, plan.shape, image.data());
  } else {
    image = pool_input(plan, in.data());
    for (const Pool2dShape& s : plan.passes) image = pass(plan, s, image.data());
  }
  std::memcpy(out.data(), image.data(), image.size());
  if (plan.options.method == PoolMethod::average && !plan.options.count_padding)
    pool_borders(plan, in.data(), out.data());
}

}  // namespace npu::kernels
