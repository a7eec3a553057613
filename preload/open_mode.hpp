// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <stdarg.h>
#include <sys/types.h>

namespace npu::preload {

/// The mode that open() was given: an argument only where a file may be created, else 0.
inline mode_t mode_of(int flags, va_list list) {
  const bool has_mode = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  return has_mode ? static_cast<mode_t>(va_arg(list, int)) : 0;
}

}  // namespace npu::preload
