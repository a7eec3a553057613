// SPDX-License-Identifier: MIT
// Chrome's trace event format, which Perfetto and chrome://tracing open.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <memory>
#include <string>

#include "npu-sim/timeline.hpp"

namespace npu::sim {

/// A trace that becomes a file at the end: one process for each core, one thread for each block.
class TraceFile {
 public:
  /// Throws bad_file if the file cannot be written: found out now, not after the work.
  TraceFile(std::string path, double npu_hz, std::string calibration);
  ~TraceFile();
  TraceFile(TraceFile&&) noexcept;
  TraceFile& operator=(TraceFile&&) noexcept;

  /// Adds a stretch of work behind the one before.
  void add(const Timeline& timeline, const std::string& label);
  /// Throws bad_file.
  void save();

 private:
  std::string path_, calibration_;
  double npu_hz_, clock_us_ = 0;
  std::unique_ptr<nlohmann::json> events_;
};

}  // namespace npu::sim
