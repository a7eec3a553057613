// SPDX-License-Identifier: MIT
// Captures among other input files, and how their jobs are named to people.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "npu-device/capture.hpp"
#include "npu-probe/session.hpp"

namespace npu::probe {

/// Whether a file is a capture, by its beginning or its name (.npucap).
bool is_capture(const std::filesystem::path& path);

/// "process 812 (rocket on sim, measured): python3 net.py": each program of the capture, one line.
std::vector<std::string> programs_of(const device::Capture& capture);

/// "process 812 file 0 submit 3.1"
std::string place_of(const SessionJob& job);

}  // namespace npu::probe
