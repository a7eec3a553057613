// SPDX-License-Identifier: MIT
// The libraries that are loaded into other people's programs.
#pragma once

#include <string>

namespace npu::probe {

/// Path of a library beside the tool, in a build tree or where it is installed; `given` instead, if
/// it is not empty. Throws bad_file.
std::string preload_library(const std::string& name, const std::string& given = {});

/// Puts a library in front of those that LD_PRELOAD has.
void add_to_ld_preload(const std::string& library);

}  // namespace npu::probe
