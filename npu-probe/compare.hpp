// SPDX-License-Identifier: MIT
// One capture on two devices in lock step.
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "npu-device/capture.hpp"
#include "npu-probe/data_difference.hpp"
#include "npu-probe/session.hpp"

namespace npu::probe {

/// A register that holds something else after a job. Addresses are those of the recording.
struct RegisterDifference {
  std::uint32_t offset = 0;  ///< block base included
  std::string name;          ///< "DPU.DATA_CUBE_WIDTH"
  std::uint32_t a = 0, b = 0;
  std::string text_a, text_b;  ///< decoded
};

/// A job, or one task of it, on both devices.
struct StepComparison {
  std::size_t job = 0;
  SessionFile file;
  std::uint64_t submit = 0;
  std::uint32_t index = 0;
  std::optional<std::size_t> task;  ///< of a job that was split
  std::size_t tasks = 0;            ///< of the step
  std::string what;                 ///< operators of the job
  Player::End a, b;
  std::vector<RegisterDifference> registers;
  std::size_t registers_compared = 0;  ///< 0: a side cannot give them, or the core was reset
  std::uint64_t compared = 0;          ///< bytes
  std::vector<BufferDifference> buffers;
  /// Bytes that differ from the recording; empty for a step that is not a whole job and where the
  /// recording does not say.
  std::optional<std::uint64_t> off_a, off_b;
  std::string whole;  ///< why a job was not split although that was asked for
  bool outcome_differs() const { return a.outcome != b.outcome || a.refused != b.refused; }
  bool differs() const { return outcome_differs() || !registers.empty() || !buffers.empty(); }
};

struct CompareOptions {
  bool all = false;      ///< go on after the first difference
  bool by_task = false;  ///< split jobs where that is exact
  bool chained = false;  ///< after a difference each device goes on with its own bytes
  bool registers = true;
  std::optional<std::size_t> only, until;  ///< jobs
};

struct CompareTotal {
  std::size_t jobs = 0;  ///< of the capture
  std::size_t steps = 0, differ = 0, dropped = 0;
  bool stopped = false;  ///< at the first difference
};

/// Plays the capture on both. Throws as replay_capture().
CompareTotal compare_devices(std::unique_ptr<device::Device> a, std::unique_ptr<device::Device> b,
                             const device::Capture& capture, const CompareOptions& options,
                             const std::function<void(const StepComparison&)>& done);

/// Why the tasks of a job cannot be submitted one by one with the same result, or nothing if they
/// can: every task writes all registers that those before it wrote, in both register groups alike,
/// reuses nothing that they left in CBUF, and raises the interrupt that the driver waits for.
std::string why_not_split(const std::vector<std::vector<std::uint64_t>>& tasks);

void print(std::ostream& out, const StepComparison& step, const std::string& a,
           const std::string& b);
nlohmann::json to_json(const StepComparison& step);

}  // namespace npu::probe
