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
};

}  // namespace npu::sim
