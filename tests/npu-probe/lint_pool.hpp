// SPDX-License-Identifier: MIT
// Stand-alone pools (maximum, fp16, 8 channels) for the tests of lint.
#pragma once

#include <cstdint>
#include <vector>

namespace npu::probe::test {

struct PoolSize {
  std::uint32_t in_height = 4, in_width = 4, kernel = 2, stride_y = 1, stride_x = 1;
};
std::vector<std::uint64_t> pool_words(const PoolSize& size);

}  // namespace npu::probe::test
