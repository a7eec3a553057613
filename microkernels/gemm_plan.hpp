// SPDX-License-Identifier: MIT
// How a matrix product is cut into tasks: plain data, no device involved.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "microkernels/data_type.hpp"
#include "microkernels/executor.hpp"
#include "microkernels/gemm_choice.hpp"
#include "microkernels/gemm_time.hpp"

namespace npu::kernels {

/// Output of a product of int8.
using GemmOutput = DataType;

/// Sums of more products of two int8 may leave int32.
inline constexpr std::uint32_t kMaxGemmK = 131071;
/// 511 * 64 < 2^15: sums of more products of two int4 may leave int16. A multiple of 32.
inline constexpr std::uint32_t kMaxGemmKInt16 = 480;

/// Rows, columns or products [begin, begin + size).
struct Range {
  std::uint32_t begin = 0, size = 0;
  std::uint32_t end() const { return begin + size; }
  friend bool operator==(const Range&, const Range&) = default;
};

/// `whole` in `parts` ranges as even as possible, or fewer if there are not as many steps; sizes
/// are multiples of `step` but for the last one.
std::vector<Range> split_range(Range whole, std::uint32_t parts, std::uint32_t step);

/// One task: a tile of C over a slice of K. Offsets are bytes into the core's buffers.
struct GemmTask {
  std::uint32_t stage = 0, slice = 0;
  Range m, n, k;  ///< real sizes
  std::uint32_t m_padded = 0, n_padded = 0, k_padded = 0;
  std::uint32_t width = 0, height = 0;  ///< the rows as the convolution's cube: width * height
  std::uint32_t data_banks = 0, weight_banks = 0;
  bool starts_job = false;  ///< the executor cuts jobs here; nothing in CBUF outlives a job
  bool data_reuse = false, weight_reuse = false;
  bool adds = false;                     ///< to what the slice before left in scratch, in fp16
  bool to_scratch = false;               ///< writes there, not to C
  std::uint32_t a_part = 0, c_part = 0;  ///< which of the buffers of A and C
  std::uint64_t sums_offset = 0;         ///< what it adds to, in scratch
  std::uint64_t a_offset = 0, b_offset = 0, bias_offset = 0, c_offset = 0;

  std::uint64_t macs() const { return std::uint64_t{m_padded} * n_padded * k_padded; }
  friend bool operator==(const GemmTask&, const GemmTask&) = default;
};

/// What one core does. Tasks are ordered by stage, then by slice. If the host adds the slices, all
/// use the same place in C, and each is a stage that has to be read back before the next one is
/// started. If the chip does, a job holds all slices of its part of C; they take turns between the
/// halves of scratch and only the last one writes C, so whatever fails, C is not written.
struct GemmCore {
  Range m, n;
  std::uint64_t b_bytes = 0, bias_bytes = 0, scratch_bytes = 0;
  std::vector<std::uint64_t> a_bytes, c_bytes;  ///< of every buffer; 0: there is none
  std::vector<GemmTask> tasks;
  friend bool operator==(const GemmCore&, const GemmCore&) = default;
};

/// What the host does before and after a part of the tasks. Stages that write different buffers of
/// C may be queued one behind the other.
struct GemmStage {
  bool packs = false;  ///< A's buffer a_part has to be packed before
  std::uint32_t a_part = 0, c_part = 0;
  friend bool operator==(const GemmStage&, const GemmStage&) = default;
};

struct GemmPlan {
  /// Stages whose results may wait to be read: as many buffers of C.
  static constexpr std::uint32_t kWindow = 4;

  GemmShape shape;
  GemmTypes types;
  GemmChoice choice;
  DataType task_output = DataType::i32;  ///< what the tasks write: whole sums if K is sliced
  std::uint32_t slices = 1;              ///< of K
  std::vector<Range> k_slices;
  std::vector<GemmStage> stages;  ///< a pass each, or a slice that the host adds
  /// Moved by the NPU: what a task finds in CBUF is not counted, what it adds to is, as output.
  std::uint64_t feature_bytes = 0, weight_bytes = 0, output_bytes = 0;
  double seconds = 0;           ///< modelled: time.seconds
  GemmTime time;                ///< what that is made of
  std::vector<GemmCore> cores;  ///< at most as many as asked for, with disjoint parts of C
  /// Whether the stages are passes, which may be queued.
  bool queues() const { return stages.size() != slices || choice.sums == SliceSums::chip; }
  friend bool operator==(const GemmPlan&, const GemmPlan&) = default;
};

/// Cuts a product for at most `cores` (at least 1) cores and picks, of all choices, the one that
/// takes the least time by the timing model, the host's work included.
///
/// Limits honoured by every task [compute.md 2.1]: K a multiple of the weight block's channels (32,
/// tf32 16), N of its kernels (int8 32, int4 64, floats 16), M of 4 and at least 4; banks for the
/// features, for integers with one spare (the int8 feature DMA may read one bank too far), a group
/// of kernels fits into the remaining ones, height at most 1020 (FEATURE_GRAINS), at most 4096
/// columns, and few enough products to end long before the kernel's 500 ms. Where the chip adds
/// slices: 12 to 512 rows and at most 384 columns, the sizes that boards have run [notes
/// k-accumulation, HW].
///
/// Throws invalid_argument for an empty shape, types that are no pair of the list above, K above
/// their limit, or options.choice if the chip cannot do that; out_of_memory if a matrix does not
/// fit a buffer object.
GemmPlan plan_gemm(const GemmShape& shape, const GemmTypes& types, unsigned cores = 1,
                   const GemmOptions& options = {});
/// Products of int8.
inline GemmPlan plan_gemm(const GemmShape& shape, GemmOutput output, unsigned cores = 1) {
  return plan_gemm(shape, GemmTypes{DataType::i8, output}, cores);
}

/// Slots of a GEMM program: weights, bias, room for sums that the chip adds, then the buffers of
/// features, then those of the output.
enum GemmSlot : std::uint32_t { kGemmB, kGemmBias, kGemmScratch, kGemmA };
std::uint32_t gemm_c_slot(const GemmCore& core, std::uint32_t part = 0);
std::vector<Slot> gemm_slots(const GemmCore& core);
TaskInfo task_info(const GemmPlan& plan, const GemmCore& core, const GemmTask& task);

/// Several lines for people: sizes, slices, bytes, one line per task.
std::string to_string(const GemmPlan& plan);

}  // namespace npu::kernels
