// SPDX-License-Identifier: MIT
#include "npu-probe/capture_input.hpp"

#include <fmt/format.h>

#include <array>
#include <fstream>

namespace npu::probe {

bool is_capture(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  if (path.extension() == ".npucap") return true;
  std::array<char, 6> start{};
  std::ifstream in(path, std::ios::binary);
  in.read(start.data(), start.size());
  return in && std::string_view(start.data(), start.size()) == "NPUCAP";
}

std::vector<std::string> programs_of(const device::Capture& capture) {
  std::vector<std::string> lines;
  for (const device::CaptureEvent& event : capture.events)
    if (const auto* start = std::get_if<device::CaptureStart>(&event.what))
      lines.push_back(fmt::format("process {} ({} on {}, {}): {}", event.process, start->driver,
                                  start->backend, start->time, start->program));
  return lines;
}

std::string place_of(const SessionJob& job) {
  return fmt::format("process {} file {} submit {}.{}", job.file.first, job.file.second,
                     job.job->submit, job.job->index);
}

}  // namespace npu::probe
