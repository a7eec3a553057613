// SPDX-License-Identifier: MIT
// How long a planned product would take on a board, by the timing model of npu-sim and the host's
// constants of its calibration.
#pragma once

#include <cstdint>

#include "microkernels/gemm_choice.hpp"

namespace npu::kernels {

struct GemmPlan;

/// Modelled seconds of one run with weights packed before, and what they are made of. Parts overlap
/// (cores with each other, reading one core's result back with the others' work), so they add up to
/// more than the whole.
struct GemmTime {
  double seconds = 0;
  double pack = 0;      ///< A into the first core's buffer
  double copy = 0;      ///< to the other cores' buffers
  double sync = 0;      ///< cache maintenance of what passes between host and NPU
  double dispatch = 0;  ///< of the busiest core: submits, IOMMU, interrupts between starts
  double device = 0;    ///< of the busiest core
  double mac = 0;       ///< of that, with the array at work
  double read = 0;      ///< C back, K slices added on the host included
  std::uint32_t tasks = 0, jobs = 0;
  std::uint32_t kicks = 0;  ///< starts of the NPU, each with an interrupt
  std::uint64_t regcmd_words = 0;
  std::uint64_t bytes = 0;  ///< over the DRAM port, programs included
  friend bool operator==(const GemmTime&, const GemmTime&) = default;
};

/// The host's constants stand for our code because they were measured on a board's code of the same
/// kind: host_pack_ns on a row-major to cube packer, host_read_fast_ns on vector code from cube to
/// row-major, host_parallelism on several threads of that, cpu_bytes_per_second for plain copies,
/// host_sync_alone_bytes_per_second for PREP_BO and FINI_BO from one thread.
GemmTime modelled_time(const GemmPlan& plan, const GemmOptions& options);

/// Near enough to rank choices, from the largest task of each: seconds.
double rough_time(const GemmShape& shape, const GemmTypes& types, const GemmChoice& choice,
                  const GemmOptions& options);

}  // namespace npu::kernels
