// SPDX-License-Identifier: MIT
// Lets a run of the tests pretend to have an older CPU: ROSENBLATT_TEST_CPU = avx3, avx2, sse4 or
// scalar takes the better inner loops away before the first of them is chosen.
#include <hwy/targets.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

const bool chosen = [] {
  const char* cpu = std::getenv("ROSENBLATT_TEST_CPU");
  if (cpu == nullptr) return false;
  constexpr struct {
    const char* name;
    std::int64_t disabled;
  } kCpus[] = {{"avx3", HWY_AVX3_DL},
               {"avx2", HWY_AVX3_DL | HWY_AVX3},
               {"sse4", HWY_AVX3_DL | HWY_AVX3 | HWY_AVX2},
               {"scalar", HWY_AVX3_DL | HWY_AVX3 | HWY_AVX2 | HWY_SSE4 | HWY_SSSE3}};
  for (const auto& known : kCpus) {
    if (std::strcmp(cpu, known.name) != 0) continue;
    hwy::DisableTargets(known.disabled);
    return true;
  }
  std::fprintf(stderr, "ROSENBLATT_TEST_CPU is avx3, avx2, sse4 or scalar, not %s\n", cpu);
  std::exit(2);
}();

}  // namespace
