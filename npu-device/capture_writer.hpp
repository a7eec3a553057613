// SPDX-License-Identifier: MIT
// Writes captures, event by event, so that whatever was flushed survives the process.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "npu-device/capture.hpp"

namespace npu::device {

/// Appends to a .npucap file. Several processes may append to one file, each with a writer of its
/// own or with the copy that fork() made of one (flush it before). Not thread safe. Uses system
/// calls only, no stdio: fit for a library that is loaded into other programs.
class CaptureWriter {
 public:
  /// Creates the file, or goes on with a capture. Throws bad_file (not a capture, cannot be
  /// opened), permission_denied.
  explicit CaptureWriter(const std::string& path);
  ~CaptureWriter();  ///< without a flush
  CaptureWriter(CaptureWriter&&) noexcept;
  CaptureWriter& operator=(CaptureWriter&&) noexcept;

  /// Takes an event; a job with its outcome. Throws invalid_argument for one that the format cannot
  /// hold (over a million tasks or handles, texts over 64 KiB), bad_file as flush() does.
  void append(const CaptureEvent& event);

  /// The same job in two steps, so that the file tells of it if the machine does not survive it.
  /// `outcome`, `note`, `start_ns`, `end_ns` are the second step's.
  void begin_job(std::uint32_t process, const CaptureJob& job);
  void end_job(std::uint32_t process, const CaptureJob& job);

  /// One frame with one write(). Throws bad_file: the disk is full, the file is gone. Nothing more
  /// can be written then.
  void flush();

  std::uint64_t bytes_written() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace npu::device
