# SPDX-License-Identifier: MIT
# Writes <build>/gen/version.hpp: what --version prints. Runs at configure time and, so that a new
# commit shows without a new configuration, as a script before every build (target version_header).

if(CMAKE_SCRIPT_MODE_FILE)
  # cmake -D source=... -D version=... -D output=... -P Version.cmake
  set(text ${version})
  find_package(Git QUIET)
  if(GIT_FOUND AND EXISTS ${source}/.git)
    execute_process(COMMAND ${GIT_EXECUTABLE} describe --always --dirty --match "v[0-9]*"
                    WORKING_DIRECTORY ${source} OUTPUT_VARIABLE commit ERROR_QUIET
                    OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
    if(NOT failed AND NOT commit STREQUAL "v${version}")
      string(APPEND text "+${commit}")
    endif()
  endif()
  file(CONFIGURE OUTPUT ${output} @ONLY CONTENT [[
// SPDX-License-Identifier: MIT
// Written by cmake/Version.cmake.
#pragma once

#include <string_view>

namespace npu {

/// Version of the project and, between releases, what `git describe` says of the source.
inline constexpr std::string_view version = "@text@";

}  // namespace npu
]])
  return()
endif()

set(version_command ${CMAKE_COMMAND} -D source=${CMAKE_SOURCE_DIR} -D version=${PROJECT_VERSION}
    -D output=${CMAKE_BINARY_DIR}/gen/version.hpp -P ${CMAKE_CURRENT_LIST_FILE})
execute_process(COMMAND ${version_command} COMMAND_ERROR_IS_FATAL ANY)
add_custom_target(version_header ALL COMMAND ${version_command}
                  BYPRODUCTS ${CMAKE_BINARY_DIR}/gen/version.hpp COMMENT "")
