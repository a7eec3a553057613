// SPDX-License-Identifier: MIT
// Looks for a faster plan than the planner's own.
#pragma once

#include <cstddef>
#include <functional>
#include <limits>

#include "microkernels/tuned_plans.hpp"

namespace npu::kernels {

/// Seconds that a product takes when it is cut so. May throw npu::Error: device_fault and timeout
/// mean that this choice does not work here, others end the search.
using GemmTimer = std::function<double(const GemmChoice&)>;

struct TuneSearch {
  /// Choices that are timed first, besides the usual one: the best ones by the timing model. 0: all
  /// there are. Then neighbours of the fastest (choices that differ from it in one thing) follow,
  /// `beam` at a time, until none is faster.
  std::size_t beam = 4;
  std::size_t most = std::numeric_limits<std::size_t>::max();  ///< timings at all
};

struct TuneResult {
  TunedGemm gemm;
  std::size_t choices = 0;  ///< in the space
  std::size_t timed = 0, failed = 0;
};

/// The space is that of gemm_choices() with both ways to split over cores, with and without reuse
/// and, if `options` allow it, chained jobs and sums on the chip. The usual plan (plan_gemm() with
/// `options`) is always timed and stays unless another is faster. Throws as plan_gemm(), and
/// device_fault if not even the usual plan works.
TuneResult tune_gemm(const GemmShape& shape, const GemmTypes& types, unsigned cores,
                     const GemmOptions& options, const TuneSearch& search, const GemmTimer& timer);

/// Times by the model alone: plan_gemm().seconds.
GemmTimer modelled_timer(const GemmShape& shape, const GemmTypes& types, unsigned cores,
                         const GemmOptions& options);

}  // namespace npu::kernels
