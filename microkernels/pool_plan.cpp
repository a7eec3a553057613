// SPDX-License-Identifier: MIT
#include "microkernels/pool_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "microkernels/layout.hpp"
#include "microkernels/pool_emit.hpp"
#include "npu-sim/timing.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

constexpr std::uint32_t kMaxWindow = 16, kMaxPad = 7, kMaxImage = 8191;
constexpr std::uint32_t kMaxConvWindow = 31, kMaxConvStride = 7;

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorCode::invalid_argument, "pool: " + why);
}

// One axis of a pass.
struct Axis {
  std::uint32_t kernel = 1, stride = 1, before = 0, after = 0;
};

void check_axis(const char* name, std::uint32_t in, const Axis& a) {
  if (in == 0 || in > kMaxImage)
    refuse(fmt::format("an image is 1 to {} {}, not {}", kMaxImage, name, in));
  if (a.kernel == 0 || a.stride == 0) refuse(fmt::format("a window or stride of 0 {}", name));
  if (a.before > kMaxPad || a.after > kMaxPad || a.before >= a.kernel || a.after >= a.kernel)
    if (a.before != 0 || a.after != 0)
      refuse(fmt::format("padding is at most {} and less than the window ({} {})", kMaxPad,
                         a.kernel, name));
  if (a.kernel > in + a.before + a.after)
    refuse(fmt::format("a window of {} {} in an image of {} with its padding", a.kernel, name,
                       in + a.before + a.after));
  if (a.kernel > kMaxWindow && (a.before != 0 || a.after != 0))
    refuse(fmt::format("padding is for windows of at most {} {}", kMaxWindow, name));
  const bool whole = a.kernel == in && a.before == 0 && a.after == 0;
  if (!whole && a.kernel > kMaxWindow && a.stride != a.kernel)
    refuse(
        fmt::format("a window of {} {} takes a stride as large, or an image as large; others "
                    "are 1 to {}",
                    a.kernel, name, kMaxWindow));
  if (!whole && a.kernel <= kMaxWindow && a.stride > kMaxWindow)
    refuse(fmt::format("strides are 1 to {}, not {}", kMaxWindow, a.stride));
}

Axis y_axis(const Pool2dShape& s) { return {s.kernel_height, s.stride_y, s.pad_top, s.pad_bottom}; }
Axis x_axis(const Pool2dShape& s) { return {s.kernel_width, s.stride_x, s.pad_left, s.pad_right}; }

// Factors of 2 to `most`, the last one to `most_last`, as few as possible, small ones first:
// what is left between passes stays large [notes ppu-reduce-mean, HW].
std::optional<std::vector<std::uint32_t>> factors(std::uint32_t n, std::uint32_t most,
                                                  std::uint32_t most_last) {
  if (n <= most_last) return std::vector{n};
  for (std::uint32_t last = most_last; last > 1; --last) {
    if (n % last != 0) continue;
    auto rest = factors(n / last, most, most);
    if (!rest) continue;
    rest->push_back(last);
    std::sort(rest->begin(), rest->end() - 1);
    return rest;
  }
  return {};
}

std::vector<Axis> disjoint(const std::vector<std::uint32_t>& kernels) {
  std::vector<Axis> axes;
  for (const std::uint32_t k : kernels) axes.push_back({k, k, 0, 0});
  return axes;
}

// The passes of the PPU along one axis.
std::vector<Axis> ppu_axis(const char* name, std::uint32_t in, Axis a, PoolMethod method,
                           bool rows) {
  const bool one = (in + a.before + a.after - a.kernel) / a.stride == 0;
  if (one && a.kernel <= kMaxWindow) a.stride = a.kernel;  // nothing overlaps
  if (a.kernel > kMaxWindow) {
    const auto kernels = factors(a.kernel, kMaxWindow, kMaxWindow);
    if (!kernels)
      refuse(fmt::format("the PPU pools {} {} in passes of 2 to {}, but a factor of it is larger",
                         a.kernel, name, kMaxWindow));
    return disjoint(*kernels);
  }
  std::vector<Axis> axes;
  while (rows && ppu_columns(a.kernel, a.stride) == 0) {
    if (method == PoolMethod::average)
      refuse(
          fmt::format("the PPU's line buffer holds 8 rows of windows, but {} overlap: use the "
                      "path convolution",
                      ceil_div(a.kernel, a.stride)));
    axes.push_back({8, 1, a.before, a.after});
    a = {a.kernel - 7, a.stride, 0, 0};
  }
  axes.push_back(a);
  return axes;
}

std::vector<Axis> conv_axis(const char* name, std::uint32_t in, Axis a) {
  const bool one = (in + a.before + a.after - a.kernel) / a.stride == 0;
  if (a.kernel > kMaxConvWindow) {
    const auto kernels = factors(a.kernel, kMaxConvStride, one ? kMaxConvWindow : kMaxConvStride);
    if (!kernels)
      refuse(fmt::format("convolutions pool {} {} in passes of 2 to {}, but a factor is larger",
                         a.kernel, name, kMaxConvStride));
    auto axes = disjoint(*kernels);
    if (one) axes.back().stride = 1;
    return axes;
  }
  if (one) a.stride = 1;
  // A wider stride: more is computed, and the host leaves it out.
  for (std::uint32_t d = std::min(a.stride, kMaxConvStride);; --d)
    if (a.stride % d == 0) {
      a.stride = d;
      return {a};
    }
}

// Passes of both axes; the one with fewer waits at the beginning.
std::vector<Pool2dShape> combine(const Pool2dShape& s, const std::vector<Axis>& y,
                                 const std::vector<Axis>& x) {
  const std::size_t count = std::max(y.size(), x.size());
  const auto axis = [&](const std::vector<Axis>& axes, std::size_t i) {
    const std::size_t wait = count - axes.size();
    return i < wait ? Axis{} : axes[i - wait];
  };
  std::vector<Pool2dShape> passes;
  std::uint32_t height = s.in_height, width = s.in_width;
  for (std::size_t i = 0; i < count; ++i) {
    const Axis v = axis(y, i), h = axis(x, i);
    passes.push_back({height, width, s.channels, v.kernel, h.kernel, v.stride, h.stride, v.before,
                      h.before, v.after, h.after});
    height = passes.back().out_height();
    width = passes.back().out_width();
  }
  return passes;
}

// One axis of the image as the first pass sees it: which rows it is made of, -1 for padding.
struct LaidOut {
  Axis axis;
  std::vector<std::int32_t> from;
};

// Rows beyond the only window are left out. On the PPU, windows that are further apart than they
// are long never end, and 16 with 7 of padding is wrong [iree-rocket pooling.rs, LIMITS.md, HW]:
// the host lays them side by side.
LaidOut lay_out(std::uint32_t in, Axis a, bool ppu) {
  const std::uint32_t out = (in + a.before + a.after - a.kernel) / a.stride + 1;
  const bool apart = ppu && a.stride > a.kernel && out > 1;
  const bool padded = ppu && a.kernel == kMaxWindow && std::max(a.before, a.after) == kMaxPad;
  LaidOut l{a, {}};
  if (apart || padded) {
    const std::uint32_t windows = apart ? out : 1;
    const std::uint32_t length = apart ? a.kernel : (out - 1) * a.stride + a.kernel;
    for (std::uint32_t w = 0; w < windows; ++w)
      for (std::uint32_t i = 0; i < length; ++i) {
        const auto at =
            static_cast<std::int32_t>(w * a.stride + i) - static_cast<std::int32_t>(a.before);
        l.from.push_back(at < static_cast<std::int32_t>(in) ? std::max(at, -1) : -1);
      }
    l.axis = {a.kernel, apart ? a.kernel : a.stride, 0, 0};
    return l;
  }
  if (out == 1) {
    in = std::min(in, a.kernel - a.before);
    l.axis.after = a.kernel - a.before - in;
  }
  for (std::uint32_t i = 0; i < in; ++i) l.from.push_back(static_cast<std::int32_t>(i));
  return l;
}

// The image of the first pass; where it comes from goes to the plan.
Pool2dShape laid_out(Pool2dPlan& plan, bool ppu) {
  const Pool2dShape& s = plan.shape;
  LaidOut y = lay_out(s.in_height, y_axis(s), ppu), x = lay_out(s.in_width, x_axis(s), ppu);
  plan.rows = std::move(y.from);
  plan.columns = std::move(x.from);
  return {static_cast<std::uint32_t>(plan.rows.size()),
          static_cast<std::uint32_t>(plan.columns.size()),
          s.channels,
          s.kernel_height,
          s.kernel_width,
          y.axis.stride,
          x.axis.stride,
          y.axis.before,
          x.axis.before,
          y.axis.after,
          x.axis.after};
}

// Rows or surfaces, whichever spreads more evenly; whole rows if alike, for less overlap is read.
std::vector<PoolCore> split(std::uint32_t rows, std::uint32_t surfaces, unsigned cores) {
  const auto by_rows = split_range({0, rows}, cores, 1);
  const auto by_surfaces = split_range({0, surfaces}, cores, 1);
  const double row_share = static_cast<double>(by_rows.front().size) / rows;
  const double surface_share = static_cast<double>(by_surfaces.front().size) / surfaces;
  std::vector<PoolCore> result;
  if (surface_share <= row_share)
    for (const Range& r : by_surfaces) result.push_back({{0, rows}, r});
  else
    for (const Range& r : by_rows) result.push_back({r, {0, surfaces}});
  return result;
}

double modelled(const PoolProgram& program, unsigned cores, bool ppu) {
  const sim::Calibration& c = sim::default_calibration().values;
  const sim::Operating operating{.active_cores = cores};
  double seconds = c.job_little_us * 1e-6;
  for (const sim::TaskWork& work : program.work) {
    const double device = sim::estimate(work, c, operating).seconds;
    seconds += ppu ? std::max(device, c.driver_timeout_ms * 1e-3)
                   : device + c.task_interrupt_little_us * 1e-6;
  }
  return seconds;
}

void plan_ppu(Pool2dPlan& plan, unsigned cores) {
  const Pool2dShape s = laid_out(plan, true);
  plan.passes = combine(s, ppu_axis("rows", s.in_height, y_axis(s), plan.options.method, true),
                        ppu_axis("columns", s.in_width, x_axis(s), plan.options.method, false));
  for (const Pool2dShape& pass : plan.passes)
    if (pass.in_height > kMaxImage || pass.in_width > kMaxImage)
      refuse(fmt::format("windows side by side are more than {} rows or columns", kMaxImage));
  plan.cores =
      split(plan.passes.back().out_height(), ceil_div(s.channels, atom_elements(plan.type)), cores);
  for (const PoolCore& core : plan.cores)
    plan.seconds = std::max(plan.seconds, modelled(emit_ppu_pool(plan, core),
                                                   static_cast<unsigned>(plan.cores.size()), true));
}

void plan_shifted(Pool2dPlan& plan, unsigned cores) {
  if (plan.options.method == PoolMethod::average)
    refuse("shifted views are for max and min; averages go to ppu, convolution or matrix");
  plan.passes = {plan.shape};
  plan.cores = split(plan.shape.out_height(),
                     ceil_div(plan.shape.channels, atom_elements(plan.type)), cores);
  for (const PoolCore& core : plan.cores)
    plan.seconds = std::max(
        plan.seconds,
        modelled(emit_shifted_pool(plan, core), static_cast<unsigned>(plan.cores.size()), false));
}

void plan_convolution(Pool2dPlan& plan, unsigned cores) {
  if (plan.options.method != PoolMethod::average)
    refuse("convolutions are for averages; max and min go to ppu or shifted");
  const Pool2dShape s = laid_out(plan, false);
  plan.passes = combine(s, conv_axis("rows", s.in_height, y_axis(s)),
                        conv_axis("columns", s.in_width, x_axis(s)));
  const sim::Calibration& c = sim::default_calibration().values;
  for (const Pool2dShape& pass : plan.passes)
    plan.seconds += c.job_little_us * 1e-6 +
                    plan_conv2d(pool_convolution(pass), {plan.type, plan.type}, cores).seconds;
}

void plan_matrix(Pool2dPlan& plan, unsigned cores) {
  const Pool2dShape& s = plan.shape;
  if (plan.options.method != PoolMethod::average ||
      s != global_pool(s.in_height, s.in_width, s.channels))
    refuse("a matrix product is for the average of a whole image");
  plan.passes = {s};
  const GemmPlan gemm = plan_gemm(pool_product(s), pool_product_types(plan.type), cores);
  if (gemm.slices != 1) refuse("the image's sums do not fit one pass of the MAC array");
  plan.seconds = sim::default_calibration().values.job_little_us * 1e-6 + gemm.seconds;
}

}  // namespace

std::string_view to_string(PoolMethod method) {
  switch (method) {
    case PoolMethod::max: return "max";
    case PoolMethod::min: return "min";
    case PoolMethod::average: return "average";
  }
  return "?";
}

std::string_view to_string(PoolPath path) {
  switch (path) {
    case PoolPath::automatic: return "automatic";
    case PoolPath::ppu: return "ppu";
    case PoolPath::shifted: return "shifted";
    case PoolPath::convolution: return "convolution";
    case PoolPath::matrix: return "matrix";
  }
  return "?";
}

std::uint32_t Pool2dShape::out_height() const {
  return (in_height + pad_top + pad_bottom - kernel_height) / stride_y + 1;
}
std::uint32_t Pool2dShape::out_width() const {
  return (in_width + pad_left + pad_right - kernel_width) / stride_x + 1;
}

Pool2dShape global_pool(std::uint32_t height, std::uint32_t width, std::uint32_t channels) {
  return {.in_height = height,
          .in_width = width,
          .channels = channels,
          .kernel_height = height,
          .kernel_width = width};
}

PoolSpan input_span(Range out, std::uint32_t in, std::uint32_t kernel, std::uint32_t stride,
                    std::uint32_t pad) {
  const std::uint32_t begin = out.begin * stride, end = (out.end() - 1) * stride + kernel;
  PoolSpan span{.first = std::max(begin, pad) - pad, .before = std::max(begin, pad) - begin};
  span.after = std::max(end, in + pad) - (in + pad);
  span.size = end - pad - span.after - span.first;
  return span;
}

Requant average_scale(std::uint32_t n, std::int8_t zero) {
  int exponent = 0;
  const double fraction = std::frexp(1.0 / n, &exponent);  // from 0.5 up to 1
  auto scale = static_cast<std::int32_t>(std::lround(fraction * 0x8000));
  if (scale == 0x8000) scale /= 2, ++exponent;  // does not fit its 16 bits with a sign
  return {static_cast<std::int16_t>(scale), static_cast<std::uint8_t>(15 - exponent), zero};
}

GemmShape pool_product(const Pool2dShape& s) { return {s.channels, 1, s.in_height * s.in_width}; }
GemmTypes pool_product_types(DataType type) {
  return {type, type == DataType::i8 ? DataType::i32 : DataType::f32};
}

Conv2dShape pool_convolution(const Pool2dShape& pass) {
  return {.in_height = pass.in_height,
          .in_width = pass.in_width,
          .in_channels = pass.channels,
          .out_channels = pass.channels,
          .kernel_height = pass.kernel_height,
          .kernel_width = pass.kernel_width,
          .stride_y = pass.stride_y,
          .stride_x = pass.stride_x,
          .pad_top = pass.pad_top,
          .pad_left = pass.pad_left,
          .pad_bottom = pass.pad_bottom,
          .pad_right = pass.pad_right,
          .depthwise = true};
}

Pool2dPlan plan_pool2d(const Pool2dShape& shape, DataType type, const Pool2dOptions& options,
                       unsigned cores) {
  if (type != DataType::i8 && type != DataType::f16)
    refuse(fmt::format("pools are of i8 and f16, not {}", to_string(type)));
  if (shape.channels == 0 || cores == 0) refuse("no channels, or no core");
  if (type == DataType::f16 && options.zero != 0) refuse("floats have no zero point");
  check_axis("rows", shape.in_height, y_axis(shape));
  check_axis("columns", shape.in_width, x_axis(shape));
  Pool2dPlan plan{.shape = shape, .type = type, .options = options, .passes = {}, .cores = {}};
  // The average of one element is itself: nothing to divide.
  if (shape.kernel_height == 1 && shape.kernel_width == 1) plan.options.method = PoolMethod::max;

  const auto planned = [&](PoolPath path) {
    Pool2dPlan p = plan;
    p.options.path = path;
    switch (path) {
      case PoolPath::ppu: plan_ppu(p, cores); break;
      case PoolPath::shifted: plan_shifted(p, cores); break;
      case PoolPath::convolution: plan_convolution(p, cores); break;
      case PoolPath::matrix: plan_matrix(p, cores); break;
      case PoolPath::automatic: break;
    }
    return p;
  };
  if (options.path != PoolPath::automatic) return planned(options.path);
  std::optional<Pool2dPlan> best;
  std::optional<Error> reason;
  for (const PoolPath path :
       {PoolPath::shifted, PoolPath::convolution, PoolPath::matrix, PoolPath::ppu}) {
    try {
      Pool2dPlan p = planned(path);
      if (!best || p.seconds < best->seconds) best = std::move(p);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::invalid_argument) throw;
      reason = error;
    }
  }
  if (!best) throw *reason;
  return *best;
}

std::string to_string(const Pool2dPlan& plan) {
  const Pool2dShape& s = plan.shape;
  std::string text = fmt::format(
      "{} pool {} {}x{}x{} -> {}x{}, window {}x{} stride {}x{}, path {}, {} core(s), "
      "modelled {:.1f} us\n",
      to_string(plan.options.method), to_string(plan.type), s.in_height, s.in_width, s.channels,
      s.out_height(), s.out_width(), s.kernel_height, s.kernel_width, s.stride_y, s.stride_x,
      to_string(plan.options.path), std::max<std::size_t>(plan.cores.size(), 1),
      plan.seconds * 1e6);
  for (const Pool2dShape& p : plan.passes)
    text += fmt::format("  pass {}x{} -> {}x{}, window {}x{} stride {}x{} padding {} {} {} {}\n",
                        p.in_height, p.in_width, p.out_height(), p.out_width(), p.kernel_height,
                        p.kernel_width, p.stride_y, p.stride_x, p.pad_top, p.pad_left, p.pad_bottom,
                        p.pad_right);
  return text;
}

}  // namespace npu::kernels
