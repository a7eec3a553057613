// SPDX-License-Identifier: MIT
// Runs a capture again and compares with what its jobs wrote, bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
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

enum class Verdict : std::uint8_t {
  exact,      ///< ended as recorded, every byte of its outputs equal
  differs,    ///< in its bytes, or in how it ended
  not_run,    ///< the driver dropped it when it was recorded
  unchecked,  ///< the recording does not say what it wrote
};
std::string_view to_string(Verdict verdict);

struct JobReplay {
  std::size_t number = 0;
  SessionFile file;
  std::uint64_t submit = 0;
  std::uint32_t index = 0;
  std::size_t tasks = 0;
  std::string what;  ///< its operators
  device::CaptureJob::Outcome recorded{}, replayed{};
  std::string note;  ///< how it ended, if not well
  Verdict verdict = Verdict::exact;
  bool faulted = false;        ///< timed out or faulted, and the recording knows nothing of that
  std::uint64_t compared = 0;  ///< bytes
  std::vector<BufferDifference> differences;  ///< a: recorded, b: replayed
};

struct CaptureReplayOptions {
  std::optional<std::size_t> only;   ///< this job, on what the recording gives it
  std::optional<std::size_t> until;  ///< the last job
  bool chained = false;  ///< jobs see what the jobs before them gave here, not what is recorded
};

struct CaptureReplay {
  std::size_t jobs = 0;  ///< of the capture
  std::size_t run = 0, exact = 0, differ = 0, not_run = 0, unchecked = 0, faulted = 0;
};

/// Plays the capture on `device` (a pattern: each file opens another one), and calls `done` after
/// each job. Throws invalid_argument if there is no job `only`, bad_file for a capture that
/// contradicts itself, and whatever the device throws but the faults of jobs.
CaptureReplay replay_capture(std::unique_ptr<device::Device> device, const device::Capture& capture,
                             const CaptureReplayOptions& options,
                             const std::function<void(const JobReplay&)>& done);

void print(std::ostream& out, const JobReplay& replay);
nlohmann::json to_json(const JobReplay& replay);
nlohmann::json to_json(const CaptureReplay& replay);
/// "27 of 28 jobs bit-exact, 1 differ"
std::string summary(const CaptureReplay& replay);

/// Buffers that a job may have written, by handle: its outputs and those that its writes name.
std::vector<std::uint32_t> written_buffers(const SessionJob& job);

}  // namespace npu::probe
