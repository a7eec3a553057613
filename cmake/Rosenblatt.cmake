# SPDX-License-Identifier: MIT
# Build habits that every folder shares.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)

# The compilers of Debian 12 are the ones that CI builds with: there a warning is an error. A newer
# compiler may know new warnings, which must not keep a newcomer from building.
set(known_compiler OFF)
if((CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION MATCHES "^12\\.")
   OR (CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION MATCHES "^14\\."))
  set(known_compiler ON)
endif()
option(ROSENBLATT_WERROR "Treat compiler warnings as errors" ${known_compiler})
option(ROSENBLATT_FUZZ "Build fuzz targets with libFuzzer (needs clang)" OFF)
set(ROSENBLATT_SANITIZE "" CACHE STRING "Comma-separated list for -fsanitize=, or empty")

if(NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(CCACHE ccache)
  if(CCACHE)
    set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  endif()
endif()

# -Wextra asks for every field of a designated initializer; the defaults are meant.
add_compile_options(-Wall -Wextra -Wshadow -Wundef -Wcast-align -Wno-psabi
                    -Wno-missing-field-initializers
                    $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # False positives of g++ 12 in std::string (GCC bug 105651), std::optional and std::variant (bug
  # 80635). clang warns of what is really uninitialised.
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>
                      $<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized>)
endif()
if(ROSENBLATT_WERROR)
  add_compile_options(-Werror)
endif()
if(ROSENBLATT_SANITIZE)
  add_compile_options(-fsanitize=${ROSENBLATT_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${ROSENBLATT_SANITIZE})
endif()

# Generated headers are included as "regdb/registers.hpp", hand-written ones as "npu-sim/chip.hpp".
include_directories(${CMAKE_SOURCE_DIR})

# Folders whose headers and libraries other projects get from find_package(rosenblatt).
set(ROSENBLATT_PUBLIC_FOLDERS regdb npu-sim npu-device microkernels)

# rosenblatt_library(<name> SOURCES ... DEPS ...): the static library of one folder,
# with the alias rosenblatt::<name>. DEPS are public. Installed if the folder is a public one.
function(rosenblatt_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  add_library(rosenblatt::${name} ALIAS ${name})
  target_include_directories(${name} PUBLIC
    $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}>
    $<BUILD_INTERFACE:${CMAKE_BINARY_DIR}/gen>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/rosenblatt>)
  target_compile_features(${name} PUBLIC cxx_std_20)
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  set_target_properties(${name} PROPERTIES OUTPUT_NAME rosenblatt_${name})
  cmake_path(RELATIVE_PATH CMAKE_CURRENT_SOURCE_DIR BASE_DIRECTORY ${CMAKE_SOURCE_DIR}
             OUTPUT_VARIABLE folder)
  if(folder IN_LIST ROSENBLATT_PUBLIC_FOLDERS)
    install(TARGETS ${name} EXPORT rosenblatt-targets
            ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
    set_property(GLOBAL APPEND PROPERTY ROSENBLATT_INSTALLED_LIBRARIES ${name})
  endif()
endfunction()

# rosenblatt_test(<name> SOURCES ... DEPS ... [LABELS ...] [TIMEOUT s]): one GoogleTest binary.
# Labels: "unit" (default, fast; also run in asan and under qemu-user), "slow", "e2e".
function(rosenblatt_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_compile_definitions(${name} PRIVATE
    ROSENBLATT_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
    ROSENBLATT_VECTORS_DIR="${CMAKE_SOURCE_DIR}/tests/vectors")
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
endfunction()

# rosenblatt_fuzzer(<name> SOURCES ... DEPS ... CORPUS dir): with the preset "fuzz" a libFuzzer
# binary; otherwise the same entry point run once over every file of the corpus, as a test.
function(rosenblatt_fuzzer name)
  cmake_parse_arguments(ARG "" "CORPUS" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  if(NOT TARGET fuzzers)
    add_custom_target(fuzzers)  # all of them and nothing else
  endif()
  add_dependencies(fuzzers ${name})
  if(ROSENBLATT_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    add_test(NAME ${name} COMMAND ${name} -runs=0 ${ARG_CORPUS})
    # For scripts/test.sh: what to run, and the seeds to start from.
    file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/fuzzers/${name}
         CONTENT "$<TARGET_FILE:${name}>\n${ARG_CORPUS}\n")
  else()
    target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/fuzz/run_corpus.cpp)
    add_test(NAME ${name} COMMAND ${name} ${ARG_CORPUS})
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "unit;fuzz" TIMEOUT 300)
endfunction()
