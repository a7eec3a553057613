// SPDX-License-Identifier: MIT
// Which file a descriptor stands for: the same for duplicates and for what fork() hands on.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "preload/raw_syscall.hpp"

namespace npu::preload {

using FileId = std::pair<dev_t, ino64_t>;

/// nullopt for a descriptor that is not open. errno is as it was.
inline std::optional<FileId> id_of(int fd) {
  const int saved = errno;
  struct stat64 st;
  // The plain system call: fstat() is interposed.
  const bool open = raw_syscall(SYS_fstat, fd, &st) == 0;
  errno = saved;
  if (!open) return std::nullopt;
  return FileId(st.st_dev, st.st_ino);
}

}  // namespace npu::preload
