// SPDX-License-Identifier: MIT
// A capture job by job, and the same on a device.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "npu-device/capture.hpp"
#include "npu-device/device.hpp"
#include "npu-probe/relocation.hpp"

namespace npu::probe {

/// A process and one of its files.
using SessionFile = device::CaptureMemory::File;

/// A job of a capture.
struct SessionJob {
  std::size_t number = 0;  ///< from 0, in the order of the capture, all files together
  SessionFile file;
  const device::CaptureJob* job = nullptr;
  std::vector<const device::CaptureEvent*> writes;  ///< what it wrote: CaptureWrites
};

/// Walks through a capture and keeps its memory.
class SessionWalk {
 public:
  using Seen = std::function<void(const device::CaptureEvent&)>;
  /// The capture must live as long as the walk. Throws bad_file if its buffers need more memory at
  /// once than a board could have.
  explicit SessionWalk(const device::Capture& capture);

  /// Applies the events up to the next job, nullptr if there is none; `seen` gets each of them but
  /// the jobs and their writes. memory() is then what the job finds. Throws bad_file as
  /// CaptureMemory::apply().
  const SessionJob* next(const Seen& seen = {});
  /// Applies what the job wrote; next() does so if nobody did.
  void finish();

  const device::CaptureMemory& memory() const { return memory_; }

 private:
  void collect_writes();

  const device::Capture& capture_;
  device::CaptureMemory memory_;
  std::size_t position_ = 0, jobs_ = 0;
  SessionJob job_;
  bool finished_ = true;
  std::vector<bool> taken_;  // events that a job before them has claimed
};

/// The words of a task that lie in a buffer; fewer than it has if the buffer ends.
std::vector<std::uint64_t> program_words(const device::CaptureMemory& memory, SessionFile file,
                                         const device::Task& task);

/// Those of all tasks of a job.
std::vector<std::vector<std::uint64_t>> programs_of(const SessionJob& job,
                                                    const device::CaptureMemory& memory);

/// "done", "timed out", "faulted", "dropped", "unknown"
std::string_view to_string(device::CaptureJob::Outcome outcome);

/// A capture's files on a device: a file of its own for each, buffers created and freed in the same
/// order, programs relocated where they lie elsewhere.
class Player {
 public:
  explicit Player(std::unique_ptr<device::Device> device) : pattern_(std::move(device)) {}

  /// After the event was applied to `memory`. Throws what the device throws.
  void follow(const device::CaptureEvent& event, const device::CaptureMemory& memory);

  struct End {
    device::CaptureJob::Outcome outcome = device::CaptureJob::Outcome::done;
    bool refused = false;  ///< by SUBMIT; the note says why
    std::string note;
  };
  /// Runs a job (or one of its tasks) to its end; a backend that cannot tell how it ended says
  /// `done`. `memory` is what the recording held before.
  End run(const SessionJob& job, const device::CaptureMemory& memory,
          std::optional<std::size_t> task = {});

  /// A buffer's bytes with the addresses of programs as recorded; good until the next call. Empty
  /// for an unknown buffer.
  std::span<const std::byte> content(SessionFile file, std::uint32_t handle);
  /// Gives a buffer other bytes, programs as recorded.
  void restore(SessionFile file, std::uint32_t handle, std::span<const std::byte> recorded);

  /// nullptr before the file's first event.
  device::Device* device(SessionFile file);
  /// Where its buffers lie.
  const IovaMap* addresses(SessionFile file);
  const device::DeviceInfo& info() const { return pattern_->info(); }
  /// Whether it says how a job ended.
  bool tells_outcome() const { return info().backend != "rocket"; }

 private:
  struct File {
    std::unique_ptr<device::Device> device;
    std::map<std::uint32_t, device::Buffer> buffers;  // by recorded handle
    IovaMap addresses;
    // Relocated words that differ from the recording: handle -> offset.
    struct Patch {
      std::uint64_t device, recorded;
    };
    std::map<std::uint32_t, std::map<std::uint64_t, Patch>> patches;
  };
  File& open(SessionFile file);
  static void write(File& file, std::uint32_t handle, std::uint64_t offset,
                    std::span<const std::byte> bytes, std::span<const std::byte> whole);
  static void relocate(File& file, SessionFile id, const device::CaptureMemory& memory,
                       std::span<const device::Task> tasks);

  std::unique_ptr<device::Device> pattern_;
  std::map<SessionFile, File> files_;
  std::vector<std::byte> scratch_;
};

}  // namespace npu::probe
