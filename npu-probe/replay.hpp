// SPDX-License-Identifier: MIT
// Runs a recorded case on a device and compares with TFLite's results.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "npu-device/device.hpp"
#include "npu-probe/case.hpp"

namespace npu::probe {

struct OperatorResult {
  int op = 0;
  int tensor = 0;
  std::string what;  ///< "conv 3x3 s2 16->32"
  std::uint64_t elements = 0, equal = 0;
  std::uint32_t max_abs_diff = 0;
  std::string sha256;           ///< of the bytes that the device wrote
  bool executor_equal = false;  ///< it equals the independent executor's
};

struct CaseResult {
  std::string name;
  std::vector<OperatorResult> operators;
  bool agrees_with_cpu = true;  ///< what the case says may be asserted
  std::uint64_t elements() const;
  double equal_share() const;
  std::uint32_t max_abs_diff() const;
  bool executor_equal() const;
  /// No element of any operator differs by more than 1.
  bool match() const { return !operators.empty() && max_abs_diff() <= 1; }
};

/// Every operator on the reference's own input; `chained`: the whole graph on its own
/// intermediate results. `device` is only the pattern: each submit opens a file of its own on it,
/// so that its buffers start at IOVA 0 as they did in the recording. Addresses in the programs
/// are rewritten where the device places a buffer elsewhere.
/// Throws bad_file for a case that contradicts itself, device_fault and timeout from the device.
CaseResult replay_case(const device::Device& device, const Case& c, bool chained);

}  // namespace npu::probe
