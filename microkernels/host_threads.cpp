// SPDX-License-Identifier: MIT
#include "microkernels/host_threads.hpp"

namespace npu::kernels {

sim::ThreadPool& host_threads() {
  static sim::ThreadPool pool(0);
  return pool;
}

}  // namespace npu::kernels
