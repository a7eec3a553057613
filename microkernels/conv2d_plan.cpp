// SPDX-License-Identifier: MIT
#include "microkernels/conv2d_plan.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "microkernels/activation.hpp"
#include "microkernels/executor.hpp"
#include "microkernels/flying_task.hpp"
#include "microkernels/layout.hpp"
#include "npu-device/device.hpp"
#include "npu-sim/timing.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr u32 kBanks = 12, kBankBytes = 32768, kBankEntries = 256;  // [mesa rkt_ml.h]
constexpr u32 kRegcmdWords = 130;  // of a task, for the timing model
constexpr u32 kLargestImage = 2047, kLargestKernel = 31, kLargestStride = 7;
constexpr u32 kLargestDilation = 32, kLargestPad = 15;
constexpr u32 kLargestKernelBytes = 1u << 19;
constexpr u32 kLargestSlab = 2047;
constexpr u32 kMostProductsInt16 = 511;  // of 64
constexpr u32 kTableWords = 1028;
constexpr u32 kMostKernels = 8160;  // of a task: 13 bits, whole groups

u32 extent(u32 kernel, u32 dilation) { return (kernel - 1) * dilation + 1; }

u32 out_size(u32 in, u32 spread, u32 before, u32 after, u32 kernel, u32 dilation, u32 stride) {
  if (in == 0) return 0;
  const u64 padded = (u64{in} - 1) * spread + 1 + before + after;
  const u32 window = extent(kernel, dilation);
  return padded < window ? 0 : static_cast<u32>((padded - window) / stride + 1);
}

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorCode::invalid_argument, "conv2d: " + why);
}

void in_range(const char* what, u32 value, u32 low, u32 high) {
  if (value < low || value > high)
    refuse(fmt::format("{} is {}; the chip takes {} to {}", what, value, low, high));
}

void check_types(const Conv2dShape& s, const Conv2dTypes& t) {
  using enum DataType;
  // The writer's form for 32-bit depthwise output is not proven: SIZE_E 3 leaves half of it out.
  const bool known = t == Conv2dTypes{i8, i8} || t == Conv2dTypes{f16, f16} ||
                     (!s.depthwise && (t == Conv2dTypes{i8, i32} || t == Conv2dTypes{f16, f32} ||
                                       t == Conv2dTypes{bf16, f32} || t == Conv2dTypes{i4, i16}));
  if (!known)
    refuse(fmt::format("there is no {}convolution {}: use {}", s.depthwise ? "depthwise " : "",
                       to_string(t),
                       s.depthwise ? "i8->i8 or f16->f16"
                                   : "i8->i8, i8->i32, i4->i16, f16->f32, f16->f16 or bf16->f32"));
  const u64 products = u64{s.kernel_height} * s.kernel_width * s.in_channels;
  if (t.in == i4 && products > kMostProductsInt16)
    refuse(fmt::format("{} products of int4 may leave int16: use at most {}, or i8->i32", products,
                       kMostProductsInt16));
}

void check_shape(const Conv2dShape& s, unsigned cores) {
  in_range("in_height", s.in_height, 1, kLargestImage);
  in_range("in_width", s.in_width, 1, kLargestImage);
  in_range("in_channels", s.in_channels, 1, 8160);
  in_range("out_channels", s.out_channels, 1, 1u << 20);
  in_range("kernel_height", s.kernel_height, 1, kLargestKernel);
  in_range("kernel_width", s.kernel_width, 1, kLargestKernel);
  in_range("stride_y", s.stride_y, 1, kLargestStride);
  in_range("stride_x", s.stride_x, 1, kLargestStride);
  in_range("dilation_y", s.dilation_y, 1, kLargestDilation);
  in_range("dilation_x", s.dilation_x, 1, kLargestDilation);
  for (const u32 pad : {s.pad_top, s.pad_left, s.pad_bottom, s.pad_right})
    in_range("padding", pad, 0, kLargestPad);
  // A window that sees padding only has no input rows to be read.
  if (std::max(s.pad_top, s.pad_bottom) >= extent(s.kernel_height, s.dilation_y) ||
      std::max(s.pad_left, s.pad_right) >= extent(s.kernel_width, s.dilation_x))
    refuse("the padding is as large as the kernel");
  if (s.depthwise && s.in_channels != s.out_channels)
    refuse(fmt::format("a depthwise convolution has one kernel per channel, but {} become {}",
                       s.in_channels, s.out_channels));
  if (s.out_height() == 0 || s.out_width() == 0)
    refuse(fmt::format("a kernel of {}x{} does not fit an image of {}x{} with its padding",
                       extent(s.kernel_height, s.dilation_y), extent(s.kernel_width, s.dilation_x),
                       s.in_height, s.in_width));
  in_range("the output's width", s.out_width(), 1, kLargestImage);
  if (s.groups != 1)
    refuse(fmt::format("a plan is of one group, not of {}: Conv2d takes them apart", s.groups));
  if (cores == 0) refuse("needs at least one core");
}

bool is_spread(const Conv2dShape& s) { return s.spread_y != 1 || s.spread_x != 1; }

void check_spread(const Conv2dShape& s, const Conv2dTypes& t) {
  if (!is_spread(s)) return;
  for (const u32 spread : {s.spread_y, s.spread_x})
    if (spread != 1 && spread != 2 && spread != 4 && spread != 8)
      refuse(fmt::format("the chip spreads an image by 1, 2, 4 or 8, not by {}", spread));
  if (t.in != DataType::f16 || s.depthwise || s.stride_y != 1 || s.stride_x != 1 ||
      s.dilation_y != 1 || s.dilation_x != 1)
    refuse("the chip spreads images of f16, for dense convolutions without stride and dilation");
  // Of 12 to 15 boards give nothing that is known at a spread of 2.
  for (const u32 pad : {s.pad_top, s.pad_left}) in_range("padding of a spread image", pad, 0, 11);
}

void check_fusion(const Conv2dShape& s, const Conv2dTypes& t, const Conv2dFusion& f) {
  const bool halves = t == Conv2dTypes{DataType::f16, DataType::f16};
  if (f.activation && !halves)
    refuse(fmt::format("{} takes no activation function: use f16->f16, or ActivationF16",
                       to_string(t)));
  if (f.addend && s.depthwise) refuse("a depthwise convolution takes no addend: use Elementwise");
  if (f.addend && !halves && t != Conv2dTypes{DataType::i8, DataType::i8})
    refuse(fmt::format("{} takes no addend: use i8->i8, f16->f16, or Elementwise", to_string(t)));
  // Boards take the wrong atoms of smaller planes [notes k-accumulation, HW].
  const u32 positions = s.out_height() * s.out_width();
  if (f.addend && positions < kLeastOperandPlane)
    refuse(fmt::format("an output of {} positions takes no addend, which needs {}: use Elementwise",
                       positions, kLeastOperandPlane));
}

// Mesa's depthwise features end with their last atom too; only the DPU's sizes are whole groups
// [mesa rkt_task.c]. fp16 is proven with whole groups only [notes depthwise-conv, HW].
u32 channel_step(DataType in) { return in == DataType::i8 ? 16 : 32; }

// Channels of the output that mean something, of those that a task computes.
u32 real_kernels(const Conv2dShape& s, Range kernels) {
  return std::min(kernels.size, s.out_channels - kernels.begin);
}

// 128-byte entries that a row of the image takes in CBUF [mesa rkt_task.c].
u32 entries_per_row(u32 width, u32 channels, DataType in) {
  const u32 atoms = channels / atom_elements(in);
  const u32 rest = atoms % 8;
  return atoms / 8 * width + (rest == 3 ? width : ceil_div(rest * width, 8u));
}

struct Sizes {
  u32 channels, kernels, kernel_bytes, row_entries, out_element_bytes;
  // A depthwise kernel_bytes is that of one channel.
  u64 weight_bytes(const Conv2dShape& s, const Conv2dTypes& t, Range of) const {
    return u64{s.depthwise ? channels : conv2d_mac_kernels(s, t, of)} * kernel_bytes;
  }
};

Sizes sizes(const Conv2dShape& s, const Conv2dTypes& t) {
  Sizes z{};
  z.channels = align_up(s.in_channels, channel_step(t.in));
  z.kernels = align_up(s.out_channels, conv2d_group(s, t.in));
  const u64 bytes =
      u64{s.kernel_height} * s.kernel_width * (s.depthwise ? 1 : z.channels) * bits(t.in) / 8;
  if (bytes >= kLargestKernelBytes)
    refuse(fmt::format("a kernel has {} bytes; the chip takes less than {}", bytes,
                       kLargestKernelBytes));
  z.kernel_bytes = static_cast<u32>(bytes);
  // The last channels of longer rows are read from the front of the line: 11 bits of entries, atoms
  // in fours [iree-rocket LIMITS.md, exact at 2048 in five types, HW].
  const u64 slab = u64{ceil_div(z.channels / atom_elements(t.in), 4u) - 1} * s.in_width;
  if (slab > kLargestSlab)
    refuse(
        fmt::format("rows of {} positions of {} channels are beyond what CBUF addresses: cut the "
                    "image into strips of at most {} columns",
                    s.in_width, z.channels, kLargestSlab * s.in_width / slab));
  z.row_entries = entries_per_row(s.in_width, z.channels, t.in);
  z.out_element_bytes = bits(t.out) / 8;
  return z;
}

// Input rows of output rows.
void set_input_rows(const Conv2dShape& s, Range rows, u32& first, u32& count, u32& pad_top) {
  if (is_spread(s)) {
    first = 0, count = s.in_height, pad_top = s.pad_top;
    return;
  }
  const std::int64_t begin = std::int64_t{rows.begin} * s.stride_y - s.pad_top;
  const std::int64_t end =
      std::int64_t{rows.end() - 1} * s.stride_y - s.pad_top + extent(s.kernel_height, s.dilation_y);
  first = static_cast<u32>(std::max<std::int64_t>(0, begin));
  count = static_cast<u32>(std::min<std::int64_t>(s.in_height, end)) - first;
  pad_top = static_cast<u32>(std::max<std::int64_t>(0, -begin));
}

sim::TaskWork work_of(const Conv2dPlan& plan, const Sizes& z, const Conv2dTask& task) {
  const Conv2dShape& s = plan.shape;
  const u64 positions = u64{task.rows.size} * s.out_width();
  const bool table = plan.fusion.activation && conv2d_after(plan) == Conv2dAfter::nothing;
  const u32 real = real_kernels(s, task.kernels);
  const u64 weights = z.weight_bytes(s, plan.types, task.kernels);
  return {.type = mac_type(plan.types.in),
          .kernels = conv2d_mac_kernels(s, plan.types, task.kernels),
          .channels = z.channels,
          .kernel_width = s.kernel_width,
          .kernel_height = s.kernel_height,
          .positions = positions,
          .depthwise = s.depthwise,
          .regcmd_words = kRegcmdWords + (table ? kTableWords : 0),
          .feature_bytes = u64{task.in_rows} * s.in_width * z.channels * bits(plan.types.in) / 8,
          .weight_bytes = weights,
          .operand_bytes = (plan.types.out == DataType::i8 ? u64{real} * 4 : 0) +
                           (plan.fusion.addend ? positions * real * z.out_element_bytes : 0),
          .output_bytes =
              positions * align_up(real, atom_elements(plan.types.out)) * z.out_element_bytes,
          .output_elements = positions * real,
          .weight_reuse = task.weight_reuse,
          .table = table};
}

// The tasks of a core with so many banks for features; none if they do not suffice.
std::vector<Conv2dTask> cut(const Conv2dPlan& plan, const Sizes& z, const Conv2dCore& core,
                            u32 data_banks) {
  const Conv2dShape& s = plan.shape;
  const u32 most_rows = data_banks * kBankEntries / z.row_entries;
  const u32 window =
      is_spread(s) ? s.in_height : std::min(extent(s.kernel_height, s.dilation_y), s.in_height);
  if (most_rows < window) return {};
  const u64 weight_room = u64{kBanks - data_banks} * kBankBytes;
  const u32 group = s.depthwise ? z.channels : mac_format(plan.types.in).kernel_group;
  if (u64{group} * z.kernel_bytes > weight_room) return {};
  const bool resident = z.weight_bytes(s, plan.types, core.kernels) <= weight_room;

  std::vector<Conv2dTask> tasks;
  u64 macs = 0, bytes = 0;
  for (u32 kernel = 0; kernel < core.kernels.size; kernel += kMostKernels) {
    const Range kernels{core.kernels.begin + kernel,
                        std::min(kMostKernels, core.kernels.size - kernel)};
    const u64 row_macs = u64{s.out_width()} * s.kernel_height * s.kernel_width * z.channels *
                         (s.depthwise ? 1 : kernels.size);
    u32 done = core.rows.begin;
    while (done < core.rows.end()) {
      Conv2dTask task{.kernels = kernels};
      // As many rows as CBUF holds: windows step by the stride, so start with the optimist's count.
      u32 rows = std::min(core.rows.end() - done, (most_rows + s.pad_top) / s.stride_y + 1);
      rows = static_cast<u32>(std::clamp<u64>(kMaxJobMacs / std::max<u64>(1, row_macs), 1, rows));
      for (;; --rows) {
        task.rows = {done, rows};
        set_input_rows(s, task.rows, task.in_first, task.in_rows, task.pad_top);
        if (task.in_rows <= most_rows) break;
        if (rows == 1) return {};
      }
      if (is_spread(s) && rows != core.rows.size) return {};
      // As many rows for each: no small task at the end.
      const u32 left = core.rows.end() - done;
      rows = ceil_div(left, ceil_div(left, rows));
      task.rows = {done, rows};
      set_input_rows(s, task.rows, task.in_first, task.in_rows, task.pad_top);
      if (plan.fusion.addend && rows * s.out_width() < kLeastOperandPlane) return {};
      task.data_banks = data_banks;
      task.weight_banks = kBanks - data_banks;
      task.weight_reuse = resident && !tasks.empty() && tasks.back().kernels == kernels;
      task.macs = row_macs * task.rows.size;
      const sim::TaskWork work = work_of(plan, z, task);
      task.bytes = work.feature_bytes + work.weight_bytes + work.output_bytes;
      macs += task.macs;
      bytes += task.bytes;
      done += rows;
      tasks.push_back(task);
    }
  }
  // What CBUF holds lasts for a job; the executor must not cut this list.
  if (macs > kMaxJobMacs || bytes > kMaxJobBytes)
    for (Conv2dTask& task : tasks) task.weight_reuse = false;
  return tasks;
}

// One pass of the DPU over a core's output.
void add_pass(const Conv2dPlan& plan, const Conv2dCore& core, bool table, u32 operands,
              std::vector<sim::TaskWork>& works) {
  u64 atoms = u64{ceil_div(real_kernels(plan.shape, core.kernels), atom_elements(plan.types.out))} *
              core.rows.size * plan.shape.out_width();
  for (; atoms != 0; atoms -= std::min<u64>(atoms, kMaxFlyingAtoms)) {
    const u64 bytes = std::min<u64>(atoms, kMaxFlyingAtoms) * kAtomBytes;
    works.push_back({.type = sim::MacType::fp16,
                     .regcmd_words = kRegcmdWords + (table ? kTableWords : 0),
                     .operand_bytes = bytes * operands,
                     .output_bytes = bytes,
                     .output_elements = bytes / 2,
                     .table = table});
  }
}

double modelled(const Conv2dPlan& plan, const Sizes& z, const Conv2dCore& core,
                const std::vector<Conv2dTask>& tasks, unsigned cores) {
  std::vector<sim::TaskWork> works;
  for (const Conv2dTask& task : tasks) works.push_back(work_of(plan, z, task));
  const Conv2dAfter after = conv2d_after(plan);
  if (after != Conv2dAfter::nothing) add_pass(plan, core, true, 1, works);
  if (after == Conv2dAfter::gate) add_pass(plan, core, false, 2, works);
  return sim::estimate_job(works, {}, sim::default_calibration().values, {.active_cores = cores})
      .total;
}

void fill_core(const Conv2dPlan& plan, const Sizes& z, Conv2dCore& core, unsigned cores,
               double& seconds) {
  const Conv2dShape& s = plan.shape;
  u32 pad = 0;
  set_input_rows(s, core.rows, core.in_first, core.in_rows, pad);
  core.in_bytes = u64{core.in_rows} * s.in_width * z.channels * bits(plan.types.in) / 8;
  core.weight_bytes = z.weight_bytes(s, plan.types, core.kernels);
  // int8: room for a multiplier beside each addend.
  const u32 bias_bytes = plan.types.out == DataType::i8 ? 8 : is_float(plan.types.in) ? 4 : 0;
  core.bias_bytes = u64{core.kernels.size} * bias_bytes;
  const u64 surface = u64{core.rows.size} * s.out_width();
  core.out_bytes = surface * core.kernels.size * z.out_element_bytes;
  if (plan.fusion.addend) {
    core.addend_plane = static_cast<u32>(surface);
    core.addend_bytes = u64{core.addend_plane} * core.kernels.size * z.out_element_bytes;
  }
  const Conv2dAfter after = conv2d_after(plan);
  if (after != Conv2dAfter::nothing) core.between_bytes = core.out_bytes;
  if (after == Conv2dAfter::gate) core.gate_bytes = core.out_bytes;
  for (const u64 bytes : {core.in_bytes, core.weight_bytes, core.out_bytes, core.addend_bytes})
    if (bytes > device::kMaxBufferBytes)
      throw Error(ErrorCode::out_of_memory,
                  fmt::format("conv2d: a buffer of {} bytes is needed, but one holds at most {}: "
                              "cut the image",
                              bytes, device::kMaxBufferBytes));
  double best = 0;
  for (u32 banks = 1; banks < kBanks; ++banks) {
    std::vector<Conv2dTask> tasks = cut(plan, z, core, banks);
    if (tasks.empty()) continue;
    const double time = modelled(plan, z, core, tasks, cores);
    if (core.tasks.empty() || time < best) {
      core.tasks = std::move(tasks);
      best = time;
    }
  }
  if (core.tasks.empty())
    refuse(
        fmt::format("{} rows of {} positions of {} channels and one group of kernels of {} bytes "
                    "do not fit into the 384 KiB of CBUF together",
                    extent(s.kernel_height, s.dilation_y), s.in_width, z.channels, z.kernel_bytes));
  seconds = std::max(seconds, best);
}

}  // namespace

u32 conv2d_group(const Conv2dShape& shape, DataType in) {
  if (shape.depthwise) return in == DataType::i8 ? 64 : 32;  // [notes depthwise-conv, HW]
  return mac_format(in).kernel_group;
}

u32 conv2d_mac_kernels(const Conv2dShape& s, const Conv2dTypes& t, Range kernels) {
  if (s.depthwise) return 1;
  if (t != Conv2dTypes{DataType::i8, DataType::i8}) return kernels.size;
  return align_up(real_kernels(s, kernels), 2u);
}

u32 Conv2dShape::out_height() const {
  return out_size(in_height, spread_y, pad_top, pad_bottom, kernel_height, dilation_y, stride_y);
}
u32 Conv2dShape::out_width() const {
  return out_size(in_width, spread_x, pad_left, pad_right, kernel_width, dilation_x, stride_x);
}
u64 Conv2dShape::macs() const {
  return u64{out_height()} * out_width() * out_channels * kernel_height * kernel_width *
         (depthwise ? 1 : in_channels);
}

Conv2dAfter conv2d_after(const Conv2dPlan& plan) {
  const Conv2dFusion& f = plan.fusion;
  if (!f.activation) return Conv2dAfter::nothing;
  if (f.activation == Activation::silu || f.activation == Activation::gelu)
    return Conv2dAfter::gate;
  return f.addend || plan.shape.depthwise ? Conv2dAfter::table : Conv2dAfter::nothing;
}

Conv2dPlan plan_conv2d(const Conv2dShape& shape, const Conv2dTypes& types, unsigned cores,
                       const Conv2dFusion& fusion) {
  check_shape(shape, cores);
  check_types(shape, types);
  check_spread(shape, types);
  check_fusion(shape, types, fusion);
  const Sizes z = sizes(shape, types);
  Conv2dPlan plan{.shape = shape,
                  .types = types,
                  .fusion = fusion,
                  .channels = z.channels,
                  .out_channels = z.kernels};
  const Range all_rows{0, shape.out_height()}, all_kernels{0, z.kernels};
  const u32 group = mac_format(types.in).kernel_group;
  if (fusion.addend)  // each core's rows are a plane
    cores = std::min(
        cores, std::max(1u, shape.out_height() / ceil_div(kLeastOperandPlane, shape.out_width())));
  const bool by_rows = shape.depthwise || shape.out_height() >= 4 * cores || z.kernels < 2 * group;
  if (is_spread(shape) && z.kernels < 2 * group) cores = 1;
  if (by_rows && !is_spread(shape)) {
    for (const Range& rows : split_range(all_rows, cores, 1))
      plan.cores.push_back({.rows = rows, .kernels = all_kernels});
  } else {
    for (const Range& kernels : split_range(all_kernels, cores, group))
      plan.cores.push_back({.rows = all_rows, .kernels = kernels});
  }
  for (Conv2dCore& core : plan.cores)
    fill_core(plan, z, core, static_cast<unsigned>(plan.cores.size()), plan.seconds);
  return plan;
}

std::string to_string(const Conv2dPlan& plan) {
  const Conv2dShape& s = plan.shape;
  const std::string after =
      (plan.fusion.addend ? " + addend" : "") +
      (plan.fusion.activation ? " " + std::string(to_string(*plan.fusion.activation)) : "");
  std::string text = fmt::format(
      "{} {}x{} s{}x{} {}x{}x{} -> {}x{}x{} {}{}: {} core(s), {:.1f} us modelled\n",
      s.depthwise ? "dwconv" : "conv", s.kernel_height, s.kernel_width, s.stride_y, s.stride_x,
      s.in_height, s.in_width, s.in_channels, s.out_height(), s.out_width(), s.out_channels,
      to_string(plan.types), after, plan.cores.size(), plan.seconds * 1e6);
  for (std::size_t i = 0; i < plan.cores.size(); ++i) {
    const Conv2dCore& core = plan.cores[i];
    text += fmt::format("  core {}: in {} weights {} bias {} out {} bytes\n", i, core.in_bytes,
                        core.weight_bytes, core.bias_bytes, core.out_bytes);
    for (const Conv2dTask& t : core.tasks)
      text += fmt::format("    rows {}+{} kernels {}+{} input rows {}+{} pad {} banks {}/{}{}\n",
                          t.rows.begin, t.rows.size, t.kernels.begin, t.kernels.size, t.in_first,
                          t.in_rows, t.pad_top, t.data_banks, t.weight_banks,
                          t.weight_reuse ? " weight-reuse" : "");
  }
  return text;
}

}  // namespace npu::kernels
