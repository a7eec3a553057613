# SPDX-License-Identifier: MIT
# Installs the build into a scratch prefix, then configures, builds and runs outside/ against it.
file(REMOVE_RECURSE ${scratch})
function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

run(${CMAKE_COMMAND} --install ${build} --prefix ${scratch}/prefix)
foreach(file bin/npu-probe share/doc/rosenblatt/copyright share/doc/rosenblatt/README.md
             include/rosenblatt/regdb/registers.hpp include/rosenblatt/npu-sim/chip.hpp
             include/rosenblatt/npu-device/device.hpp)
  if(NOT EXISTS ${scratch}/prefix/${file})
    message(FATAL_ERROR "the installation has no ${file}")
  endif()
endforeach()
run(${emulator} ${scratch}/prefix/bin/npu-probe --version)

set(options -G Ninja -D CMAKE_BUILD_TYPE=Release -D CMAKE_PREFIX_PATH=${scratch}/prefix
            -D CMAKE_CXX_FLAGS=${flags})
if(toolchain)
  list(APPEND options -D CMAKE_TOOLCHAIN_FILE=${toolchain})
else()
  list(APPEND options -D CMAKE_CXX_COMPILER=${compiler})
endif()
run(${CMAKE_COMMAND} -S ${outside} -B ${scratch}/build ${options})
run(${CMAKE_COMMAND} --build ${scratch}/build)
run(${emulator} ${scratch}/build/outside)
