// SPDX-License-Identifier: MIT
// A recorded session with a chip: what a program asked of the driver, and what the buffers held.
// docs/capture-format.md describes the file; here it is already undone: no frames, no
// compression, no shared blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "npu-device/device.hpp"

namespace npu::device {

/// Bytes that many events may share.
using CaptureBytes = std::shared_ptr<const std::vector<std::byte>>;

/// One process begins to record. Every event carries the process that it comes from: a program
/// that forks has several.
struct CaptureStart {
  std::uint32_t process = 0;  ///< process id
  std::string program;        ///< its command line, words separated by spaces
  std::string driver;         ///< uAPI that it speaks: "rocket" or "rknpu"
  std::string backend;        ///< "sim", or "rocket", "mmio", ...: what executed the jobs
  std::string path;           ///< device node
  std::string provenance;     ///< of its times: "measured" (a chip) or "modelled" (sim)
  std::string machine;        ///< uname -m
  std::string kernel;         ///< uname -r
  std::string tool;           ///< "rosenblatt 0.1.0"
  std::string time;           ///< UTC, ISO 8601
  std::uint32_t cores = 0;    ///< 0: not known
};

/// Files are numbered per process from 0, in the order of open(); a duplicate of a descriptor is
/// the same file.
struct CaptureOpen {
  std::uint32_t file = 0;
};
struct CaptureClose {
  std::uint32_t file = 0;
};

/// An ioctl as the program made it. `before` and `after` are its argument, sizes as its number
/// says.
struct CaptureIoctl {
  std::uint32_t file = 0;
  std::uint32_t thread = 0;
  std::uint32_t request = 0;
  std::int32_t result = 0;                 ///< >= 0, or -errno
  std::uint64_t start_ns = 0, end_ns = 0;  ///< CLOCK_MONOTONIC
  std::vector<std::byte> before, after;
};

/// A buffer object came to be; zeroed, unless writes follow.
struct CaptureCreate {
  std::uint32_t file = 0, handle = 0;
  std::uint64_t iova = 0;
  std::uint64_t size = 0;
};
/// Its handle was closed.
struct CaptureDestroy {
  std::uint32_t file = 0, handle = 0;
};

/// Bytes of a buffer that differ from what the events before gave: written by the program, as seen
/// before a job; or by the job before this event.
struct CaptureWrite {
  enum class By : std::uint8_t { host, device };
  By by = By::host;
  std::uint32_t file = 0, handle = 0;
  std::uint64_t offset = 0;
  CaptureBytes bytes;
};

/// A job, after the host writes that it could see and before the device writes that it made.
struct CaptureJob {
  enum class Outcome : std::uint8_t {
    done,
    timed_out,  ///< retired by the driver
    faulted,    ///< the simulator knows why: see note
    dropped,    ///< SUBMIT returned 0, and the driver never ran it
    unknown,    ///< nothing to wait for, or the capture ends
  };
  std::uint32_t file = 0;
  std::uint64_t submit = 0;  ///< of the file, from 0
  std::uint32_t index = 0;   ///< in that submit
  Job job;
  Outcome outcome = Outcome::unknown;
  std::string note;                        ///< fault in words, if known
  std::uint64_t start_ns = 0, end_ns = 0;  ///< CLOCK_MONOTONIC, host's view
};

struct CaptureEvent {
  std::uint32_t process = 0;
  std::variant<CaptureStart, CaptureOpen, CaptureClose, CaptureIoctl, CaptureCreate, CaptureDestroy,
               CaptureWrite, CaptureJob>
      what;
};

/// A whole file.
struct Capture {
  std::uint32_t version = 0;  ///< of the format
  std::vector<CaptureEvent> events;
  bool truncated = false;  ///< the file ends inside of something: what is here is whole
};

/// The buffers as the events leave them. Apply the events in order.
class CaptureMemory {
 public:
  /// process, file
  using File = std::pair<std::uint32_t, std::uint32_t>;
  struct Bo {
    std::uint64_t iova = 0;
    std::vector<std::byte> bytes;
  };
  using Bos = std::map<std::uint32_t, Bo>;  // by handle

  /// Throws bad_file for an event that cannot follow the ones before: an unknown buffer, a write
  /// beyond its end, a handle that is in use.
  void apply(const CaptureEvent& event);
  const Bos& bos(File file) const;  ///< empty for an unknown file
  /// Bytes at an IOVA of a file up to the end of its buffer; empty where there is none.
  std::span<const std::byte> at(File file, std::uint64_t iova) const;

 private:
  std::map<File, Bos> files_;
};

}  // namespace npu::device
