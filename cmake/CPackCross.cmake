# SPDX-License-Identifier: MIT
# Read by cpack in a cross build: lets dpkg-shlibdeps look among the libraries of the target.
set(ENV{DEB_HOST_ARCH} ${CPACK_DEBIAN_PACKAGE_ARCHITECTURE})
