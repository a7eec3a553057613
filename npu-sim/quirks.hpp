// SPDX-License-Identifier: MIT
// Where sources disagree about the silicon: one switch each, hardware-proven reading as default.
#pragma once

namespace npu::sim {

enum class TieRule { half_even, half_up, half_away };

/// Every switch has a row in docs/open-questions.md with the experiment that settles it.
struct Quirks {
  /// OUT_CVT with CVT_ROUND = 0: half to even, measured on a board
  /// [notes encodings/out-cvt-converter.md, HW sweep 2026-09-23]. CVT_ROUND = 1: half away.
  TieRule out_cvt_tie = TieRule::half_even;
  /// CLIP_TRUNCATE with ROUND_TYPE = 0 [TRM; inferred from OUT_CVT].
  TieRule clip_truncate_tie = TieRule::half_even;
  /// EW operand converter with CVT_ROUND = 0 [TRM; inferred from OUT_CVT].
  TieRule ew_cvt_tie = TieRule::half_even;
  /// A program that overwrites the core index in bits 29:28 of CNA's or CORE's S_POINTER never
  /// ends [notes encodings/regcmd-task-model.md, 24 of 24 jobs on a board].
  bool core_index_in_s_pointer = true;
  /// DPU_RDMA enabled for a convolution whose main reader is neither disabled nor fed never ends
  /// [notes encodings/mrdma-trap.md, on a board].
  bool mrdma_trap = true;
  /// SIZE_E + 1 is the number of surfaces that the DPU writes for each group of kernels: with fewer
  /// than the group has, the rest stays unwritten; with more, the task never ends, after it wrote
  /// the first position. A last group cut short (by DATA_CUBE_CHANNEL.channel) has too few as well:
  /// the whole groups are written, then the task hangs [notes encodings/size-e-quirk.md,
  /// out-cvt-converter.md, output-transpose-int16.md, depthwise-conv.md, HW sweeps; the rule is
  /// read off them. Mesa pads `channel` to whole groups, which is why its programs end].
  bool size_e_counts_surfaces = true;
  /// Behind a table, OUT_CVT with CVT_TYPE 1 decodes a sum (entry plus OFFSET) of exactly zero as
  /// 2^17 [one rule for quirks 1, 2 and 4 of notes encodings/dpu-lut-activation.md, HW].
  bool lut_zero_decodes_as_2_17 = true;
  /// Tables have to be loaded in the start that uses them: reused from an earlier one they gave
  /// unrelated values [allbilly expt/trm_register_findings.md, board].
  bool lut_lost_between_starts = true;
  /// A multiplier vector of BRDMA or NRDMA reads zeros for the channels of a partial last surface
  /// behind whole ones [allbilly expt, 60 layouts on a board].
  bool stage_mul_partial_surface = true;
  /// 8191 or 8192 columns in a DPU-only program: the last 7 are not right [notes
  /// dpu-lut-activation, HW: about 54 fp16 elements; which, and what they hold, is inferred].
  bool flying_width_limit = true;
  /// FC_DATA_BANK makes the feature reader start that many CBUF banks late: the result is garbage,
  /// the task ends [notes encodings/cbuf-reuse.md, HW sweep; that the field is a start bank is
  /// inferred there]. Off: the field has no effect.
  bool fc_data_bank_shifts_features = true;
  /// Int8 depthwise: odd channels among the first 32 of 64 are padded with byte 1 of PAD_CON1
  /// [notes depthwise-conv.md, HW sweep at 64 channels; whether it repeats is not known]. Off: byte
  /// 0 pads every channel, as Mesa's programs, which extend the sign, expect of it.
  bool pad_byte_lanes = false;
  /// Code 7 (tf32) in the DPU's precision fields: the task ends and writes nothing
  /// [notes encodings/precision-field.md, HW].
  bool dpu_code_7_writes_nothing = true;
  /// MAC_GATING with bit 24 clear stops the MAC array: the task never ends
  /// [notes chips/rk3588.md, HW sweep].
  bool mac_gating_bit_24 = true;
  /// The readers of COMB_USE 5 step over W * H atoms and a notch, so a notch that was rounded up to
  /// 12 atoms mis-strides planes of fewer positions [notes encodings/k-accumulation.md: too small
  /// planes fail; the step is read off Mesa's addresses for row slices]. Off: the pitch that the
  /// two base addresses show.
  bool ew_operand_notch = true;
  /// The rows of windows that overlap share a line buffer of 128 columns of output; a pool that
  /// needs more never ends [iree-rocket LIMITS.md, HW: five kernels meet the rule to the column].
  bool pool_line_buffer = true;
  /// A pool whose stride is wider than its kernel never ends [iree-rocket pooling.rs, HW].
  bool pool_stride_beyond_kernel = true;
  bool operator==(const Quirks&) const = default;
};

}  // namespace npu::sim
