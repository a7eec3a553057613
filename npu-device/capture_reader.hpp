// SPDX-License-Identifier: MIT
// Reads captures; docs/capture-format.md describes the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "npu-device/capture.hpp"

namespace npu::device {

/// What a file may cost in memory: a small file can ask for a lot.
struct CaptureLimits {
  std::uint64_t bytes = std::uint64_t{8} << 30;  ///< of unpacked data and of events
};

/// Throws bad_file: no capture, a newer version, damaged (with the offset), beyond the limits.
/// A file that ends early gives what is whole, and truncated = true.
Capture read_capture(std::span<const std::byte> file, const CaptureLimits& limits = {});

/// The same of a file. Throws bad_file if it cannot be read.
Capture read_capture(const std::string& path, const CaptureLimits& limits = {});

}  // namespace npu::device
