# SPDX-License-Identifier: MIT
# Makes the .deb packages and looks into them.
file(REMOVE_RECURSE ${scratch})
execute_process(COMMAND ${CMAKE_CPACK_COMMAND} -G DEB -B ${scratch}
                        --config ${build}/CPackConfig.cmake
                WORKING_DIRECTORY ${build} COMMAND_ERROR_IS_FATAL ANY)

# holds(PACKAGE CONTROL regex... FILES regex...): its control fields and its listing match.
function(holds package)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "CONTROL;FILES")
  set(deb ${scratch}/${package}_${version}_${architecture}.deb)
  if(NOT EXISTS ${deb})
    message(FATAL_ERROR "cpack made no ${deb}")
  endif()
  execute_process(COMMAND ${dpkg_deb} -I ${deb} OUTPUT_VARIABLE control COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND ${dpkg_deb} -c ${deb} OUTPUT_VARIABLE files COMMAND_ERROR_IS_FATAL ANY)
  foreach(regex ${ARG_CONTROL})
    if(NOT control MATCHES ${regex})
      message(FATAL_ERROR "control of ${package} has no match for '${regex}':\n${control}")
    endif()
  endforeach()
  foreach(regex ${ARG_FILES})
    if(NOT files MATCHES ${regex})
      message(FATAL_ERROR "${package} holds no file like '${regex}':\n${files}")
    endif()
  endforeach()
  message("${files}")
endfunction()

holds(rosenblatt
      CONTROL "Package: rosenblatt\n" "Architecture: ${architecture}\n" "Version: ${version}\n"
              "Depends: [^\n]*libc6[^\n]*libdrm2" "Depends: [^\n]*libedit2[^\n]*libfdt1"
              "Depends: [^\n]*libcpp-httplib"
      FILES "\\./usr/bin/npu-probe\n" "\\./usr/bin/npu-chat\n"
            "\\./usr/bin/npu-serve\n" "\\./usr/share/doc/rosenblatt/copyright\n"
            "\\./usr/share/doc/rosenblatt/README.md\n"
            "\\./usr/share/rosenblatt/overlays/rk3588-rock-5-itx\\.dtbo\n"
            "\\./usr/share/rosenblatt/models/tiny-chat/tiny-chat-Q4_K_M\\.gguf\n")
holds(libnpusim0
      CONTROL "Package: libnpusim0\n" "Architecture: ${architecture}\n"
              "Depends: [^\n]*libc6" "postinst" "shlibs"
      FILES "/libnpusim\\.so\\.0 -> " "/libnpusim\\.so\\.${version}\n"
            "\\./usr/share/doc/libnpusim0/copyright\n")
holds(librosenblatt-dev
      CONTROL "Package: librosenblatt-dev\n" "Architecture: ${architecture}\n"
              "Depends: [^\n]*libfmt-dev" "Depends: [^\n]*libnpusim0 \\(= ${version}\\)"
      FILES "/librosenblatt_regdb\\.a\n" "/librosenblatt_npu_sim\\.a\n"
            "/librosenblatt_npu_device\\.a\n" "/librosenblatt_microkernels\\.a\n"
            "/rosenblatt/regdb/registers\\.hpp\n" "/rosenblatt/npu-sim/chip\\.hpp\n"
            "/rosenblatt-config\\.cmake\n" "\\./usr/include/npusim\\.h\n"
            "/pkgconfig/npusim\\.pc\n" "/libnpusim\\.so -> libnpusim\\.so\\.0\n")

# The binaries inside must be for the architecture that the package names.
execute_process(COMMAND ${dpkg_deb} -x ${scratch}/rosenblatt_${version}_${architecture}.deb
                        ${scratch}/unpacked COMMAND_ERROR_IS_FATAL ANY)
foreach(program npu-probe npu-chat npu-serve)
  file(READ ${scratch}/unpacked/usr/bin/${program} machine OFFSET 18 LIMIT 2 HEX)  # ELF e_machine
  if(NOT "${architecture}:${machine}" MATCHES "^(amd64:3e00|arm64:b700)$")
    message(FATAL_ERROR "${program} in the ${architecture} package has ELF machine ${machine}")
  endif()
endforeach()
