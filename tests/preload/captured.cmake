# SPDX-License-Identifier: MIT
# cmake -D program=... -D capture=FILE -D preload=LIBRARIES -P captured.cmake
file(REMOVE ${capture})
set(ENV{LD_PRELOAD} ${preload})
set(ENV{NPU_CAPTURE} ${capture})
set(ENV{NPU_SIM_QUIET} 1)
execute_process(COMMAND ${program} --gtest_filter=-Processes.WaitsForABusyBufferAsTheKernelDoes
                COMMAND_ERROR_IS_FATAL ANY)
file(SIZE ${capture} bytes)
if(bytes LESS 100000)
  message(FATAL_ERROR "${capture} has only ${bytes} bytes")
endif()
