# SPDX-License-Identifier: MIT
# The imported target libfdt: device trees as blobs. Debian 12 has no .pc file for it.
find_path(LIBFDT_INCLUDE_DIR libfdt.h REQUIRED)
# Debian's libfdt-dev of two architectures cannot be installed together, so a cross build takes the
# headers of this machine's, which are the same, and links the board's libfdt1 by its file name.
find_library(LIBFDT_LIBRARY NAMES fdt libfdt.so.1 REQUIRED)
add_library(libfdt INTERFACE IMPORTED GLOBAL)
target_include_directories(libfdt INTERFACE ${LIBFDT_INCLUDE_DIR})
target_link_libraries(libfdt INTERFACE ${LIBFDT_LIBRARY})
