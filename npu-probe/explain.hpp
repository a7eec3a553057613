// SPDX-License-Identifier: MIT
// From register words to the operator that they ask for: no device, no memory. What the words say
// is described even where the model would refuse it; what is contradictory or not understood is
// said in a note.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "npu-probe/explain_tensor.hpp"
#include "npu-sim/lut.hpp"
#include "npu-sim/register_file.hpp"
#include "npu-sim/timing.hpp"

namespace npu::probe {

enum class OperatorKind : std::uint8_t {
  convolution,
  depthwise,
  transposed,   ///< convolution with a spread input (DECONV)
  gemm,         ///< convolution with 1x1 kernels on an image that is a column: a matrix product
  elementwise,  ///< two operands, or one and a constant
  activation,   ///< by table, or a rectifier alone
  copy,         ///< the DPU passes data through; with another type out it converts
  pool,
  none,     ///< no blocks, or a set of blocks that computes nothing
  unknown,  ///< blocks that do not make an operator
};
/// "convolution", ...: the spelling used in JSON.
std::string_view to_string(OperatorKind kind);

/// C[m][n] = A[m][k] . B[n][k]^T
struct MatrixShape {
  std::uint32_t m = 0, k = 0, n = 0;
  friend bool operator==(const MatrixShape&, const MatrixShape&) = default;
};

/// Something that the DPU does on the way to memory, in the order of the pipeline.
struct FusedPart {
  std::string stage;   ///< "CORE", "BS", "BN", "LUT", "EW", "OUT_CVT", "PPU"
  std::string what;    ///< "bias", "relu", "relu6", "prelu", "add", "table", ...
  std::string detail;  ///< figures, for people
  friend bool operator==(const FusedPart&, const FusedPart&) = default;
};

/// Integers: out = saturate(round(x * scale) + output_zero). Zero points in the type as stored.
struct Quantisation {
  std::optional<std::int32_t> input_zero;   ///< what padding holds, where there is padding
  std::optional<std::int32_t> weight_zero;  ///< same for all kernels
  std::optional<std::int32_t> output_zero;
  double scale = 1;  ///< OUT_CVT_SCALE * 2^-OUT_CVT_SHIFT * 2^-CLIP_TRUNCATE
  std::int32_t multiplier = 1;
  std::uint32_t shift = 0, truncate = 0;
};

struct Note {
  enum class Kind : std::uint8_t {
    info,
    quirk,          ///< the silicon does something unexpected (docs/open-questions.md)
    contradiction,  ///< registers disagree: the model calls the program bad
    hang,           ///< on the chip this task never ends
    unknown,        ///< not understood, or not modelled
  };
  Kind kind = Kind::info;
  std::string where;  ///< BLOCK.REGISTER.field, or empty
  std::string text;
  std::string quirk{};  ///< its row in docs/open-questions.md; empty: none
};
std::string_view to_string(Note::Kind kind);

/// One task, or several that are the tiles of one operator.
struct Operator {
  OperatorKind kind = OperatorKind::none;
  std::string name;          ///< "conv", "dwconv", "deconv", "gemm", "add", "max pool", "copy", ...
  std::string detail;        ///< of an element-wise operation: "constant 3", "per element"
  std::uint32_t blocks = 0;  ///< enable mask

  // conv, dwconv, deconv, pool
  std::uint32_t kernel_height = 1, kernel_width = 1;
  std::uint32_t stride_y = 1, stride_x = 1;
  std::uint32_t dilation_y = 1, dilation_x = 1;
  std::uint32_t spread_y = 1, spread_x = 1;  ///< deconv
  std::uint32_t pad_top = 0, pad_left = 0;
  /// Rows and columns that windows reach beyond the input; negative: input that nobody reads.
  std::int32_t pad_bottom = 0, pad_right = 0;

  std::optional<MatrixShape> matrix;  ///< gemm, and convolutions with 1x1 kernels (M = H * W)
  std::vector<FusedPart> fused;
  std::optional<Quantisation> quantisation;
  std::vector<NpuTensor> tensors;  ///< the part that this task touches; of several tiles the whole

  std::uint32_t data_banks = 0, weight_banks = 0;
  bool data_reuse = false, weight_reuse = false;

  sim::TaskWork work;                 ///< what the timing model sees
  std::optional<sim::TaskTime> time;  ///< modelled; empty where the model refuses the task
  std::uint64_t macs = 0;             ///< of the array, padding of channels and kernels included
  std::vector<Note> notes;

  const NpuTensor* find(TensorRole role) const;
};

/// The state that programs leave behind in a core: registers survive tasks and jobs, in two groups.
class RegisterState {
 public:
  RegisterState();
  /// What the kernel driver writes before each task it starts: S_POINTER of CNA and CORE with the
  /// core's index [rocket_job.c].
  void driver_start(unsigned core = 0);
  /// A word of a program. Enable words are only remembered.
  void write(std::uint64_t word);
  void write(std::uint32_t offset, std::uint32_t value);

  sim::RegisterFile cna, core, dpu, dpu_rdma, ppu, ppu_rdma;
  sim::Lut lut;
  std::uint32_t dma_base = 0;  ///< TASK_DMA_BASE_ADDR
  unsigned core_index = 0;
  /// OPERATION_ENABLE of the last word written, if it was an enable word.
  std::optional<std::uint32_t> enabled;
};

/// What the times of an explanation assume.
struct ExplainSetting {
  double npu_hz = 600e6;
  const sim::Calibration* calibration = nullptr;  ///< nullptr: the one that comes with the library
};

/// The operator of one task, given what earlier tasks left in `state`; `state` goes on. A program
/// without an enable word is kind none with a note. Never throws for any words.
Operator explain_task(std::span<const std::uint64_t> words, RegisterState& state,
                      const ExplainSetting& setting = {});

/// "conv 3x3 s2 p1 32->64, int8, 112x112 -> 56x56, +bias +relu"
std::string headline(const Operator& op);

}  // namespace npu::probe
