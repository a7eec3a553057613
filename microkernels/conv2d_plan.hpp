// SPDX-License-Identifier: MIT
// How a convolution is cut into tasks: plain data, no device involved.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "microkernels/data_type.hpp"
#include "microkernels/gemm_plan.hpp"
#include "microkernels/program.hpp"
#include "microkernels/requant.hpp"

namespace npu::kernels {

struct Stage;
enum class Activation : std::uint8_t;

/// One image, NHWC: input [in_height][in_width][in_channels], kernels
/// [out_channels][kernel_height][kernel_width][in_channels / groups], depthwise
/// [kernel_height][kernel_width][channels], output [out_height][out_width][out_channels].
struct Conv2dShape {
  std::uint32_t in_height = 0, in_width = 0, in_channels = 0, out_channels = 0;
  std::uint32_t kernel_height = 1, kernel_width = 1;
  std::uint32_t stride_y = 1, stride_x = 1;                                ///< 1 to 7
  std::uint32_t dilation_y = 1, dilation_x = 1;                            ///< 1: none; up to 32
  std::uint32_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;  ///< up to 15
  bool depthwise = false;  ///< one kernel per channel; out_channels = in_channels
  /// The chip puts this many less one zeros between two positions of the input, padding goes around
  /// the result: 1, or 2, 4 and 8 for f16, dense, stride and dilation 1, padding to 11, an image
  /// that fits CBUF whole [notes conv-transpose, HW].
  std::uint32_t spread_y = 1, spread_x = 1;
  /// Channels that do not see each other: group g makes the g-th part of the output from the g-th
  /// part of the input. Conv2d runs a plan of one group for each.
  std::uint32_t groups = 1;

  std::uint32_t out_height() const;
  std::uint32_t out_width() const;
  std::uint64_t macs() const;
  friend bool operator==(const Conv2dShape&, const Conv2dShape&) = default;
};

/// i8 -> i8 (bias, ReLU, requantisation), i8 -> i32 (sums), f16 -> f32 and f16 -> f16 (both with
/// bias and ReLU), bf16 -> f32 as f16 -> f32, i4 -> i16 (sums of at most 511 products) [both:
/// iree-rocket conv2d_oracle_hw, boards]. Depthwise: i8 -> i8, f16 -> f16.
using Conv2dTypes = GemmTypes;

/// What else happens in the same job.
struct Conv2dFusion {
  /// f16 -> f16. Functions of one table are part of the convolution's tasks [userspace conv_act
  /// gate, HW]; silu, gelu, and any of a depthwise convolution or of one with an addend, are tasks
  /// of the DPU after them.
  std::optional<Activation> activation;
  /// A tensor like the output is added: i8 -> i8 [mesa rkt_regcmd.c, boards], f16 -> f16 [notes
  /// k-accumulation, HW]; not depthwise.
  bool addend = false;
  friend bool operator==(const Conv2dFusion&, const Conv2dFusion&) = default;
};

/// Kernels (depthwise: channels) that the DPU writes together. Tasks compute whole groups: with a
/// group cut short they do not end on a board [notes out-cvt-converter, depthwise-conv, HW].
std::uint32_t conv2d_group(const Conv2dShape& shape, DataType in);

/// Kernels that the array is told of and that lie in memory. int8 output: a last group that is cut
/// short to an even number, beside a DPU that counts whole groups, as Mesa runs the 1001 classes of
/// MobileNet [mesa rkt_task.c, boards]; else all. Depthwise: 1.
std::uint32_t conv2d_mac_kernels(const Conv2dShape& shape, const Conv2dTypes& types, Range kernels);

/// One task: output rows [rows.begin, rows.end()) of the kernels [kernels.begin, ...).
struct Conv2dTask {
  Range rows, kernels;
  std::uint32_t in_first = 0, in_rows = 0;  ///< input rows that are read
  std::uint32_t pad_top = 0;
  std::uint32_t data_banks = 0, weight_banks = 0;
  bool weight_reuse = false;
  std::uint64_t macs = 0, bytes = 0;
  friend bool operator==(const Conv2dTask&, const Conv2dTask&) = default;
};

/// What one core does; its buffers hold the input rows and kernels that it needs, no others.
struct Conv2dCore {
  Range rows, kernels;
  std::uint32_t in_first = 0, in_rows = 0;
  std::uint64_t in_bytes = 0, weight_bytes = 0, bias_bytes = 0, out_bytes = 0;
  std::uint64_t addend_bytes = 0;                   ///< planes of addend_plane atoms
  std::uint64_t between_bytes = 0, gate_bytes = 0;  ///< from task to task
  std::uint32_t addend_plane = 0;
  std::vector<Conv2dTask> tasks;
  friend bool operator==(const Conv2dCore&, const Conv2dCore&) = default;
};

struct Conv2dPlan {
  Conv2dShape shape;
  Conv2dTypes types;
  Conv2dFusion fusion;
  std::uint32_t channels = 0;      ///< in_channels as stored: whole atoms or blocks
  std::uint32_t out_channels = 0;  ///< out_channels as computed: whole groups of kernels
  double seconds = 0;              ///< modelled, of the busiest core
  std::vector<Conv2dCore> cores;
  friend bool operator==(const Conv2dPlan&, const Conv2dPlan&) = default;
};

/// Tasks of the DPU behind those of the array: none, one function, or a gate and a product.
enum class Conv2dAfter : std::uint8_t { nothing, table, gate };
Conv2dAfter conv2d_after(const Conv2dPlan& plan);

/// What happens to a sum with its bias, in this order.
struct Conv2dPost {
  Requant requant;  ///< i8 output: the last step
  /// max(x, 0); with an addend, on the sum with it.
  bool relu = false;
  /// With relu: also min(x, limit), i8: in the units that `requant` takes, floats: fp32 bits; 0:
  /// none.
  std::uint32_t relu_limit = 0;
  /// i8 output: a multiplier per channel, the first step.
  ChannelScales channels;
  /// i8 output with an addend: what makes it a sum, as ElementwiseScales::operand.
  Requant addend;
  bool bias = false;  ///< floats: add the bias buffer. Conv2d sets it
};

/// Cuts the rows of the output, and its channels where kernels would not fit. CBUF is shared so
/// that the modelled time is least: kernels that fit whole are loaded once and reused by the tasks
/// of a job [mesa rkt_task.c], others stream past each tile of rows. Cores get disjoint rows, or
/// kernels if there are few rows.
///
/// Limits of the chip [registers.csv; rocket-userspace]: sizes of an image 1 to 2047, kernels up to
/// 31x31 of less than 512 KiB, strides to 7, dilations to 32, padding to 15 and less than the
/// dilated kernel, one group, rows that CBUF addresses. Throws invalid_argument with the limit that
/// a shape breaks, out_of_memory beyond 2 GiB. Conv2d rewrites some of the shapes that break one.
Conv2dPlan plan_conv2d(const Conv2dShape& shape, const Conv2dTypes& types, unsigned cores = 1,
                       const Conv2dFusion& fusion = {});

std::string to_string(const Conv2dPlan& plan);

enum Conv2dSlot : std::uint32_t {
  kConvIn,
  kConvWeights,
  kConvBias,
  kConvOut,
  kConvAddend,
  kConvBetween,
  kConvGate,
  kConvSlots
};

std::vector<std::string> conv2d_slot_names();

/// Which slots of a program the buffers are, and where in them they begin.
struct Conv2dPlacement {
  std::array<std::uint32_t, kConvSlots> slot{kConvIn,     kConvWeights, kConvBias, kConvOut,
                                             kConvAddend, kConvBetween, kConvGate};
  std::array<std::uint64_t, kConvSlots> offset{};
};

/// A core's tasks. `pad_value`: what padding counts as (int8: the input's zero point; floats: 0).
Program emit_conv2d(const Conv2dPlan& plan, std::size_t core, std::int8_t pad_value,
                    const Conv2dPost& post);
/// The same, appended to what a stage has, with what the executor has to know of each task.
void append_conv2d(Stage& stage, const Conv2dPlan& plan, std::size_t core, std::int8_t pad_value,
                   const Conv2dPost& post, const Conv2dPlacement& placement = {});

}  // namespace npu::kernels
