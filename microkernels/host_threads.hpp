// SPDX-License-Identifier: MIT
#pragma once

#include "npu-sim/thread_pool.hpp"

namespace npu::kernels {

/// The host's threads for packing, reading back and driving several devices, one per CPU. Made at
/// the first call.
sim::ThreadPool& host_threads();

}  // namespace npu::kernels
