# SPDX-License-Identifier: MIT
# Installs the build into a scratch prefix, then configures, builds and runs outside/ against it.
file(REMOVE_RECURSE ${scratch})
function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

run(${CMAKE_COMMAND} --install ${build} --prefix ${scratch}/prefix)
foreach(file bin/npu-probe bin/npu-chat
             share/rosenblatt/models/tiny-chat/tiny-chat-Q4_K_M.gguf
             share/doc/rosenblatt/copyright share/doc/rosenblatt/README.md
             include/rosenblatt/regdb/registers.hpp include/rosenblatt/npu-sim/chip.hpp
             include/rosenblatt/npu-device/device.hpp include/npusim.h)
  if(NOT EXISTS ${scratch}/prefix/${file})
    message(FATAL_ERROR "the installation has no ${file}")
  endif()
endforeach()
run(${emulator} ${scratch}/prefix/bin/npu-probe --version)

# The installed model is found without being named, and talks.
execute_process(COMMAND ${CMAKE_COMMAND} -E env --unset=NPU_CHAT_MODEL --unset=NPU_DEVICE
                        ${emulator} ${scratch}/prefix/bin/npu-chat -t 1 --temp 0
                        -p "What is the capital of Japan?"
                OUTPUT_VARIABLE answer COMMAND_ERROR_IS_FATAL ANY)
if(NOT answer STREQUAL "The capital of Japan is Tokyo.\n")
  message(FATAL_ERROR "the installed npu-chat answers: ${answer}")
endif()

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
run(${CMAKE_COMMAND} -E env LD_LIBRARY_PATH=${scratch}/prefix/lib ${emulator}
    ${scratch}/build/outside_c)

# The same by pkg-config, as a project without CMake does.
file(GLOB_RECURSE pc ${scratch}/prefix/npusim.pc)
cmake_path(GET pc PARENT_PATH pc)
find_program(PKG_CONFIG pkg-config REQUIRED)
execute_process(COMMAND ${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${pc}
                        ${PKG_CONFIG} --cflags --libs npusim
                OUTPUT_VARIABLE options COMMAND_ERROR_IS_FATAL ANY)
separate_arguments(options UNIX_COMMAND "${options}")
run(${c_compiler} -std=c11 ${outside}/main.c -o ${scratch}/by_pkg_config ${options})
run(${CMAKE_COMMAND} -E env LD_LIBRARY_PATH=${scratch}/prefix/lib ${emulator}
    ${scratch}/by_pkg_config)
