# SPDX-License-Identifier: MIT
# Install rules, the CMake package config and the .deb packages:
#   rosenblatt          npu-probe, npu-chat and npu-serve with their tiny model, documentation
#   libnpusim0          libnpusim.so.0, the simulator behind a C interface
#   librosenblatt-dev   static libraries, libnpusim.so, headers, find_package(rosenblatt), npusim.pc
include(CMakePackageConfigHelpers)

# Libraries are installed by rosenblatt_library(); here is all that belongs to no single target.
foreach(folder ${ROSENBLATT_PUBLIC_FOLDERS})
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/${folder} ${CMAKE_BINARY_DIR}/gen/${folder}
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/rosenblatt COMPONENT dev
          OPTIONAL FILES_MATCHING PATTERN "*.hpp" PATTERN "*.h" PATTERN "npusim*" EXCLUDE
          PATTERN "command_line.hpp" EXCLUDE)
endforeach()

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/rosenblatt)
get_property(libraries GLOBAL PROPERTY ROSENBLATT_INSTALLED_LIBRARIES)
if(libraries)
  install(EXPORT rosenblatt-targets NAMESPACE rosenblatt:: DESTINATION ${config_dir} COMPONENT dev)
endif()
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/rosenblatt-config.cmake.in
                              ${CMAKE_BINARY_DIR}/rosenblatt-config.cmake
                              INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/rosenblatt-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/rosenblatt-config.cmake
              ${CMAKE_BINARY_DIR}/rosenblatt-config-version.cmake
        DESTINATION ${config_dir} COMPONENT dev)

if(TARGET npu-probe)
  install(TARGETS npu-probe RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT tools)
endif()
install(FILES ${CMAKE_SOURCE_DIR}/README.md ${CMAKE_SOURCE_DIR}/CHANGELOG.md
        TYPE DOC COMPONENT tools OPTIONAL)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/docs TYPE DOC COMPONENT tools
        FILES_MATCHING PATTERN "*.md")
# Debian wants the licence as "copyright" in the folder that bears the package's name.
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE RENAME copyright
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/rosenblatt COMPONENT tools)
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE RENAME copyright
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/librosenblatt-dev COMPONENT dev)
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE RENAME copyright
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/libnpusim0 COMPONENT npusim)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VENDOR "Rosenblatt")
set(CPACK_PACKAGE_CONTACT "The Rosenblatt developers <rosenblatt@localhost>")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/packages)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL tools npusim dev)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME rosenblatt)
set(CPACK_DEBIAN_NPUSIM_PACKAGE_NAME libnpusim0)
set(CPACK_DEBIAN_NPUSIM_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_DEV_PACKAGE_NAME librosenblatt-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_COMPONENT_TOOLS_DESCRIPTION "RK3588 NPU toolkit for mainline Linux: tools
npu-probe audits a board, climbs the bring-up ladder, decodes, replays and
runs register command streams on the NPU or on a simulated one.
npu-chat talks with Qwen2.5 models from GGUF files, on CPU or NPU; a tiny
model is included. npu-serve serves them to clients of OpenAI's API.")
set(CPACK_COMPONENT_NPUSIM_DESCRIPTION "RK3588 NPU toolkit for mainline Linux: simulator
The simulated NPU with its IOMMU behind a C interface, for emulators and for
programs in any language.")
set(CPACK_COMPONENT_DEV_DESCRIPTION "RK3588 NPU toolkit for mainline Linux: libraries
Static libraries and headers: register database, simulated NPU, device access
and microkernels, with a CMake package config; libnpusim with npusim.h and
npusim.pc.")
# Static libraries say nothing to dpkg-shlibdeps: name what their users link against.
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS
    "libnpusim0 (= ${PROJECT_VERSION}), libdrm-dev, libfmt-dev, libhwy-dev, libssl-dev, libzstd-dev, nlohmann-json3-dev, pkg-config, zlib1g-dev")
set(CPACK_DEBIAN_DEV_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_NPUSIM_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE arm64)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE amd64)
endif()
if(CMAKE_CROSSCOMPILING)
  # dpkg-shlibdeps takes the architecture and its objdump from the environment.
  set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_SOURCE_DIR}/cmake/CPackCross.cmake)
endif()
include(CPack)
