# SPDX-License-Identifier: MIT
# cmake -D program=... -D without=TESTS -D capture=FILE -D preload=LIBRARIES -D driver=rocket
#       -P captured.cmake
file(REMOVE ${capture})
set(ENV{LD_PRELOAD} ${preload})
set(ENV{NPU_CAPTURE} ${capture})
set(ENV{NPU_SIM_QUIET} 1)
set(ENV{NPU_SIM_DRIVER} ${driver})
execute_process(COMMAND ${program} --gtest_filter=-${without}
                COMMAND_ERROR_IS_FATAL ANY)
file(SIZE ${capture} bytes)
if(bytes LESS 100000)
  message(FATAL_ERROR "${capture} has only ${bytes} bytes")
endif()
