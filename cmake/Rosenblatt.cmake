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

option(ROSENBLATT_WERROR "Treat compiler warnings as errors" ON)
option(ROSENBLATT_FUZZ "Build fuzz targets with libFuzzer (needs clang)" OFF)
set(ROSENBLATT_SANITIZE "" CACHE STRING "Comma-separated list for -fsanitize=, or empty")

add_compile_options(-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wcast-align
                    -Wundef -Wno-psabi)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # clang 14 -Wextra asks for every field of a designated initializer; the defaults are meant.
  add_compile_options(-Wno-missing-field-initializers)
else()
  add_compile_options(-Wno-missing-field-initializers)
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

# rosenblatt_library(<name> SOURCES ... DEPS ...): the static library of one folder,
# with the alias rosenblatt::<name>. DEPS are public.
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
  if(ROSENBLATT_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    add_test(NAME ${name} COMMAND ${name} -runs=0 ${ARG_CORPUS})
  else()
    target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/fuzz/run_corpus.cpp)
    add_test(NAME ${name} COMMAND ${name} ${ARG_CORPUS})
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "unit;fuzz" TIMEOUT 300)
endfunction()
