# SPDX-License-Identifier: MIT
execute_process(COMMAND ${dtc} -@ -I dts -O dtb -o ${output} ${source}
  RESULT_VARIABLE result ERROR_VARIABLE said OUTPUT_VARIABLE said)
if(NOT result EQUAL 0 OR NOT said STREQUAL "")
  message(FATAL_ERROR "dtc ended with ${result}:\n${said}")
endif()
