// SPDX-License-Identifier: MIT
// The register programs of a file, whatever kind of file it is: what diff compares.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "npu-device/capture.hpp"

namespace npu::probe {

/// A buffer that a program could name.
struct ProgramBuffer {
  std::uint32_t handle = 0;
  std::uint64_t iova = 0, size = 0;
  friend bool operator==(const ProgramBuffer&, const ProgramBuffer&) = default;
};
/// By handle; shared by the jobs that have the same ones.
using ProgramBuffers = std::shared_ptr<const std::vector<ProgramBuffer>>;

struct ProgramTask {
  std::size_t job = 0, task = 0;  ///< in that job
  std::vector<std::uint64_t> words;
  ProgramBuffers buffers;  ///< nullptr: not known
};

struct ProgramSet {
  std::string name;
  std::vector<ProgramTask> tasks;  ///< of all jobs, in their order
  std::size_t jobs = 0;
  std::optional<device::Capture> capture;  ///< for the data
};

/// Reads a capture, a case folder, or 64-bit words ("-": from `in`; one job). Throws bad_file.
ProgramSet load_programs(const std::string& file, std::istream& in);
ProgramSet programs_of_capture(std::string name, device::Capture capture);

/// Where an address lies: buffer (position in the list) and offset.
struct BufferOffset {
  std::size_t buffer = 0;
  std::uint64_t offset = 0;
};
/// A buffer's end counts as part of it unless another one begins there.
std::optional<BufferOffset> find_buffer(const std::vector<ProgramBuffer>& buffers,
                                        std::uint64_t iova);

}  // namespace npu::probe
