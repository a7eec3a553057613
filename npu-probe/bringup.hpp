// SPDX-License-Identifier: MIT
// The ladder from "can the device be opened" to "three cores compute".
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace npu::probe {

enum class RungState { pass, fail, skip };

struct RungResult {
  std::string name;
  RungState state = RungState::skip;
  std::string detail;  ///< what was seen, or why it was skipped
  std::string remedy;  ///< after a failure
  double milliseconds = 0;
};

struct BringupOptions {
  std::string device;
  bool allow_faults = false;  ///< provoke a fault on real hardware too
};

struct BringupReport {
  std::string device;      ///< backend
  std::string provenance;  ///< of the times: "measured" on a chip, "host" on the simulator
  bool opened = false;
  int open_exit_code = 0;  ///< exit code that says why the device could not be opened
  std::vector<RungResult> rungs;
  bool passed() const;
};

/// Climbs until going on makes no sense. `progress` (may be empty) sees each rung as it ends.
BringupReport bringup(const BringupOptions& options,
                      const std::function<void(const RungResult&)>& progress);

}  // namespace npu::probe
