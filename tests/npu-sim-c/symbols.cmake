# SPDX-License-Identifier: MIT
# cmake -D nm=... -D library=... -D header=... -P symbols.cmake
execute_process(COMMAND ${nm} -D --defined-only ${library} OUTPUT_VARIABLE listing
                COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL " [A-Za-z] [^\n]+" lines "${listing}")
set(exported)
foreach(line ${lines})
  string(REGEX REPLACE "^ [A-Za-z] ([^@]+).*" "\\1" name "${line}")
  if(NOT name STREQUAL "NPUSIM_0")  # the version itself
    if(NOT line MATCHES "@@NPUSIM_0$")
      message(FATAL_ERROR "no version NPUSIM_0:${line}")
    endif()
    list(APPEND exported ${name})
  endif()
endforeach()
file(READ ${header} text)
string(REGEX REPLACE "/\\*([^*]|\\*[^/])*\\*/" "" code "${text}")
string(REGEX MATCHALL "npusim_[a-z_]+\\(" declared "${code}")
list(TRANSFORM declared REPLACE "\\($" "")
list(SORT exported)
list(SORT declared)
if(NOT exported STREQUAL declared OR NOT declared)
  message(FATAL_ERROR "exported: ${exported}\ndeclared: ${declared}")
endif()
