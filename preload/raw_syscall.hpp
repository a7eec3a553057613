// SPDX-License-Identifier: MIT
// System calls past everything that is interposed, syscall() itself included, and without the
// dynamic linker: they are made while it, or an allocator, begins its work.
#pragma once

#include <sys/syscall.h>

#include <cerrno>
#include <type_traits>

namespace npu::preload {

inline long raw_syscall6(long number, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
#elif defined(__aarch64__)
  register long x8 asm("x8") = number;
  register long result asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc 0"
               : "+r"(result)
               : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
               : "memory");
#else
#error "the preload library runs on x86-64 and aarch64"
#endif
  if (result < 0 && result > -4096) {
    errno = static_cast<int>(-result);
    return -1;
  }
  return result;
}

template <class T>
long syscall_argument(T value) {
  if constexpr (std::is_pointer_v<T>)
    return reinterpret_cast<long>(value);
  else if constexpr (std::is_null_pointer_v<T>)
    return 0;
  else
    return static_cast<long>(value);
}

template <class... Arguments>
long raw_syscall(long number, Arguments... arguments) {
  static_assert(sizeof...(arguments) <= 6);
  const long a[7] = {syscall_argument(arguments)..., 0};
  return raw_syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

}  // namespace npu::preload
