// SPDX-License-Identifier: MIT
// What can be chosen about a matrix product: plain data that a tuner can list, store and pin.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "microkernels/data_type.hpp"
#include "npu-sim/timing.hpp"

namespace npu::kernels {

/// C[m][n] = A[m][k] . B[n][k]^T, all row-major; every size at least 1.
struct GemmShape {
  std::uint32_t m = 0, n = 0, k = 0;
  friend bool operator==(const GemmShape&, const GemmShape&) = default;
};

/// What is multiplied and what comes out. Pairs that the chip computes, and those that the host
/// completes from slices of K:
///   i8 -> i32    exact
///   i8 -> i8     sums plus bias through the output converter
///   i4 -> i16    exact; K at most kMaxGemmKInt16, beyond which int16 could overflow
///   i4 -> i32    exact; slices of K of that size, added by the host
///   f16 -> f32, bf16 -> f32, tf32 -> f32    products of 32 consecutive k are summed exactly and
///                rounded once, such sums added in fp32 in K order; slices added by the host in
///                fp32
///   f16 -> f16   the same, rounded to fp16 at the end; GemmOptions::on_chip_sums changes that
struct GemmTypes {
  DataType in = DataType::i8, out = DataType::i32;
  friend bool operator==(const GemmTypes&, const GemmTypes&) = default;
};
std::string to_string(const GemmTypes& types);  ///< "i8->i32"

/// Which operand is the same for consecutive tasks.
enum class TaskOrder : std::uint8_t {
  features,  ///< a tile of rows meets all columns, then comes the next tile of rows
  weights,   ///< a tile of columns meets all rows, then comes the next tile of columns
};
/// Of C over the cores. Rows: every core holds all weights.
enum class CoreSplit : std::uint8_t { columns, rows };
/// Who adds the slices of K.
enum class SliceSums : std::uint8_t { host, chip };

std::string_view to_string(TaskOrder order);
std::string_view to_string(CoreSplit split);
std::string_view to_string(SliceSums sums);

/// How a product is cut. Sizes are those of the largest task; the tiles of an axis are as even as
/// their steps allow.
struct GemmChoice {
  std::uint32_t cores = 1;
  CoreSplit split = CoreSplit::columns;
  std::uint32_t rows = 0;     ///< a multiple of 4 (int8 output: of 8)
  std::uint32_t columns = 0;  ///< a multiple of the weight group
  std::uint32_t k = 0;        ///< a multiple of the weight block's channels
  TaskOrder order = TaskOrder::features;
  /// The blocks of C, one after the other on each core: while the chip computes one, the host packs
  /// the features of the next and reads the one before. 1 where the host adds slices.
  std::uint32_t row_passes = 1, column_passes = 1;
  bool reuse = false;  ///< the operand that `order` keeps stays in CBUF within a job
  SliceSums sums = SliceSums::host;
  bool chained = false;  ///< all tasks of a job in one start (device::DeviceInfo::chains)
  friend bool operator==(const GemmChoice&, const GemmChoice&) = default;
};

std::string to_string(const GemmChoice& choice);  ///< one line
std::string to_json(const GemmChoice& choice);    ///< one object
/// Throws bad_file for what to_json() does not write; passes that are not there are 1.
GemmChoice parse_gemm_choice(std::string_view json);

/// What a plan may do and what it is planned for.
struct GemmOptions {
  std::optional<GemmChoice> choice;  ///< exactly this one

  /// f16 -> f16 with K in slices: the DPU adds each slice to the sum of those before, instead of
  /// the host in fp32. Every slice's end rounds the running sum to fp16, so the error grows with
  /// the number of slices: at most half a unit in the last place of the largest partial sum for
  /// each. Off by default; the notes' stack has it on and saw 0.2 to 0.4 % on 512x3840x4096 with 8
  /// slices [notes k-accumulation, HW].
  bool on_chip_sums = false;
  bool reuse = true;               ///< operands may stay in CBUF between tasks of a job
  bool chained = false;            ///< jobs are chained: one start, one interrupt
  std::optional<CoreSplit> split;  ///< else by columns, unless rows balance clearly better
  /// Largest tiles.
  std::optional<std::uint32_t> most_rows, most_columns, most_k;
  std::optional<std::uint32_t> k;  ///< only choices with this k

  /// What the host's threads do with every element of C as they read it back, in ns: see
  /// GemmConsumer.
  double convert_ns = 0;

  // What the timing model assumes.
  double npu_hz = 600e6;
  sim::Dispatch dispatch;
  const sim::Calibration* calibration = nullptr;  ///< null: the default one
};

/// Every choice that plan_gemm() considers with these options, each valid, the one that it takes
/// among them. Throws as plan_gemm().
std::vector<GemmChoice> gemm_choices(const GemmShape& shape, const GemmTypes& types, unsigned cores,
                                     const GemmOptions& options = {});

}  // namespace npu::kernels
