// SPDX-License-Identifier: MIT
#include "lint_pool.hpp"

#include "../programs_dpu/pool_program.hpp"

namespace npu::probe::test {

std::vector<std::uint64_t> pool_words(const PoolSize& size) {
  sim::programs::Pool p;
  p.in_h = size.in_height, p.in_w = size.in_width;
  p.kernel_h = p.kernel_w = size.kernel;
  p.stride_y = size.stride_y, p.stride_x = size.stride_x;
  // The program ends with its enable word; lint wants the whole trailer.
  std::vector<std::uint64_t> words = sim::programs::program(p, 0x10000, 0x40000);
  const std::uint64_t enable = words.back();
  words.back() = 0;
  if (words.size() % 2 == 0) words.push_back(0);
  words.push_back(regdb::Regcmd{0x0101, 0, 0x0014}.pack());
  words.push_back(regdb::Regcmd{0x0041, 0, 0}.pack());
  words.push_back(enable);
  return words;
}

}  // namespace npu::probe::test
