// SPDX-License-Identifier: MIT
#include "preload/user_memory.hpp"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "preload/raw_syscall.hpp"

namespace npu::preload {
namespace {

// A pipe takes bytes from one address and gives them to another, and tells a bad one by EFAULT.
bool copy_by_pipe(void* to, const void* from, std::size_t bytes) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  constexpr std::size_t kPiece = 4096;  // what an empty pipe always has room for
  bool good = true;
  for (std::size_t done = 0; good && done < bytes;) {
    const std::size_t piece = std::min(bytes - done, kPiece);
    const ssize_t taken = write(ends[1], static_cast<const std::byte*>(from) + done, piece);
    good = taken > 0 && read(ends[0], static_cast<std::byte*>(to) + done,
                             static_cast<std::size_t>(taken)) == taken;
    done += good ? static_cast<std::size_t>(taken) : 0;
  }
  for (const int end : ends) raw_syscall(SYS_close, end);
  return good;
}

// The kernel copies between two addresses of this very process, and refuses where we would crash.
bool copy(void* to, const void* from, std::size_t bytes, bool reads_user) {
  if (bytes == 0) return true;
  iovec mine{reads_user ? to : const_cast<void*>(from), bytes};
  iovec user{reads_user ? const_cast<void*>(from) : to, bytes};
  const ssize_t done = reads_user ? process_vm_readv(getpid(), &mine, 1, &user, 1, 0)
                                  : process_vm_writev(getpid(), &mine, 1, &user, 1, 0);
  if (done == static_cast<ssize_t>(bytes)) return true;
  // Emulators (qemu-user) and sandboxes do not have the call.
  return done < 0 && (errno == ENOSYS || errno == EPERM) && copy_by_pipe(to, from, bytes);
}

}  // namespace

bool copy_from_user(void* to, std::uint64_t from, std::size_t bytes) {
  return copy(to, reinterpret_cast<const void*>(static_cast<std::uintptr_t>(from)), bytes, true);
}

bool copy_to_user(std::uint64_t to, const void* from, std::size_t bytes) {
  return copy(reinterpret_cast<void*>(static_cast<std::uintptr_t>(to)), from, bytes, false);
}

}  // namespace npu::preload
