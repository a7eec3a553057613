// SPDX-License-Identifier: MIT
// How long a CPU takes for the matrix products: of this computer by the clock, of an RK3588 by what
// was published.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "llm-runtime/projector.hpp"
#include "npu-sim/calibration.hpp"

namespace npu::llm {

struct CpuTimes {
  bool modelled = false;            ///< else this computer's, a `host` figure
  std::vector<std::uint32_t> rows;  ///< ascending, at least two
  /// Of one layer, in the order of kGroups: [group][rows], seconds.
  std::array<std::vector<double>, kGroups.size()> seconds;

  /// Between two entries and beyond the last one on a straight line.
  double of(Group group, std::uint32_t m) const;
};

/// Of the CPU cores of an RK3588: the weights' bytes over the memory, or the arithmetic, whichever
/// takes longer (Calibration::cpu_bytes_per_second and cpu_ops_per_second).
CpuTimes modelled_cpu_times(const Model& model, const sim::Calibration& calibration);

/// Of the projector, by running it on a few layers; takes a fraction of a second to a few seconds.
/// The best of several runs counts.
CpuTimes measured_cpu_times(const Model& model, Projector& projector);

/// Bytes in the file of a group's weights: a mean over the layers.
double group_file_bytes(const Model& model, Group group);

}  // namespace npu::llm
