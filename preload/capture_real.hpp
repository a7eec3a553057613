// SPDX-License-Identifier: MIT
// The functions behind the ones that librocket-capture.so stands in for: libc's, or those of
// librocket-sim.so, if that is loaded behind it.
#pragma once

#include <dlfcn.h>

namespace npu::preload {

template <class F>
F* next_function(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}
// NEXT(open)(path, flags): the next definition of a function, looked up once.
#define NEXT(name)                                                                   \
  ([] {                                                                              \
    static const auto next = ::npu::preload::next_function<decltype(::name)>(#name); \
    return next;                                                                     \
  }())

}  // namespace npu::preload
