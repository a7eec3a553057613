// SPDX-License-Identifier: MIT
// How the results of two captures' jobs differ.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "npu-device/capture.hpp"
#include "npu-probe/data_difference.hpp"
#include "npu-probe/session.hpp"

namespace npu::probe {

struct JobDataDifference {
  std::size_t job_a = 0, job_b = 0;
  device::CaptureJob::Outcome outcome_a{}, outcome_b{};
  std::uint64_t compared = 0;             ///< bytes that one of the jobs wrote
  std::vector<BufferDifference> buffers;  ///< handles of A
  bool differs() const { return !buffers.empty() || outcome_a != outcome_b; }
};

/// Gives what knows the tensors of a job from its programs; called before the job's writes.
using MakeLocate = std::function<Locate(const SessionJob& job, const device::CaptureMemory&)>;

/// Compares what pairs of jobs (numbers in A and in B, both rising) left in the bytes that either
/// wrote. `make_locate` may be null; it gets the jobs of A.
std::vector<JobDataDifference> diff_data(
    const device::Capture& a, const device::Capture& b,
    const std::vector<std::pair<std::size_t, std::size_t>>& jobs, const MakeLocate& make_locate);

}  // namespace npu::probe
