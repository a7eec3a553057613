# SPDX-License-Identifier: MIT
# cmake -D tool=npu-probe -D case=DIR -D directory=SCRATCH -P capture_command.cmake
# A network of 28 jobs is recorded, and its recording runs bit for bit as it did.
set(file ${directory}/capture_command.npucap)
file(REMOVE ${file})

# expect(CODE TEXT COMMAND...): exit code, and what stdout and stderr must have.
function(expect code text)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE out ERROR_VARIABLE err)
  if(NOT result EQUAL code OR NOT "${out}${err}" MATCHES "${text}")
    message(FATAL_ERROR "${ARGN}\nended with ${result}, not ${code}, or lacks \"${text}\":\n${out}${err}")
  endif()
endfunction()

set(replay ${tool} replay -q --device rocket ${case})
expect(0 "npu-probe capture: 28 jobs, " ${tool} capture -q -o ${file} -- ${replay})
expect(0 "28 of 28 jobs bit-exact" ${tool} replay ${file})
file(SIZE ${file} before)
expect(2 "exists" ${tool} capture -o ${file} -- ${replay})
file(SIZE ${file} after)
if(NOT before EQUAL after)
  message(FATAL_ERROR "the refused capture touched the file")
endif()
expect(7 "opened no NPU" ${tool} capture -f -o ${file} -- sh -c "exit 7")
expect(137 "" ${tool} capture -f -o ${file} -- sh -c "kill -9 $$")
expect(4 "No such file" ${tool} capture -f -o ${file} -- ${directory}/no-such-program)
if(EXISTS ${file})
  message(FATAL_ERROR "a capture is left of a program that never ran")
endif()
expect(4 "No such file" ${tool} capture -o ${directory}/no-such-directory/a -- true)
expect(2 "" ${tool} capture -- true)
expect(2 "simulated device only" ${tool} capture --device rocket --inject delay@1:1 -o ${file} -- true)

# A real node, as far as the recorder can tell: another library gives it.
expect(0 "npu-probe capture: 28 jobs, "
       ${CMAKE_COMMAND} -E env LD_PRELOAD=${sim} NPU_SIM_QUIET=1
       ${tool} capture --device rocket -o ${file} -- ${replay})
expect(0 "28 of 28 jobs bit-exact" ${tool} replay ${file})
