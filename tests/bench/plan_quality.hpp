// SPDX-License-Identifier: MIT
// What plan_quality and the test of its goals share: the shapes, and the published stack's plan for
// them. Nothing here is measured: all is arithmetic on npu-sim's calibration (docs/timing.md).
#pragma once

#include <array>
#include <cstdint>

#include "microkernels/gemm_plan.hpp"
#include "npu-probe/timing_workloads.hpp"

namespace npu::bench {

struct Operator {
  const char* name;
  std::uint32_t n, k;
};
/// Qwen2.5-1.5B: 1536 wide, 12 heads of 128 and 2 of keys and values, feed forward 8960. What takes
/// the same input may be one product: q, k and v; gate and up.
inline constexpr Operator kQwen[] = {{"qkv", 2048, 1536},      {"q", 1536, 1536},
                                     {"k, v", 256, 1536},      {"o", 1536, 1536},
                                     {"gate, up", 8960, 1536}, {"gate with up", 17920, 1536},
                                     {"down", 1536, 8960}};

/// The best figure that the open stack has published for a board: operations per second of
/// 512x3840x4096 in fp16 at 600 MHz (notes perf/not-mac-bound).
inline constexpr double kPublishedRate = 460e9;

/// `as_published`: the plan of that figure: weights resident, slices of K added by the DPU,
/// features kept in CBUF, tiles of 256x256, five files on three cores. Else with what the library
/// has learned since: tiles of 256x128, right-sized outputs, reading back by vector code.
inline probe::Modelled published(const kernels::GemmShape& shape, double hz, bool as_published) {
  probe::GemmRun run;
  run.m = shape.m, run.n = shape.n, run.k = shape.k;
  run.files = 5, run.cores = 3;
  run.resident = run.accumulate = run.data_reuse = true;
  run.asymmetric = run.output_right_sized = run.fast_read = !as_published;
  return probe::gemm_time(run, sim::default_calibration().values, {hz, 3}, {});
}

inline double operations(const kernels::GemmShape& s) { return 2.0 * s.m * s.n * s.k; }

}  // namespace npu::bench
