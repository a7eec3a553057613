// SPDX-License-Identifier: MIT
// What Highway 1.0.3 does not ask an ARM CPU about.
#pragma once

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace npu::llm::cpu {

/// SDOT, the dot product of four bytes (Cortex-A55 and A76, the cores of the RK3588, have it).
inline bool has_dotprod() {
#if defined(__aarch64__)
  constexpr unsigned long kAsimdDp = 1UL << 20;  // [asm/hwcap.h, HWCAP_ASIMDDP]
  static const bool has = (getauxval(AT_HWCAP) & kAsimdDp) != 0;
  return has;
#else
  return false;
#endif
}

/// SMMLA, products of 2 x 8 by 8 x 2 bytes (Cortex-X2, A710, Neoverse V1 and later).
inline bool has_i8mm() {
#if defined(__aarch64__)
  constexpr unsigned long kI8mm = 1UL << 13;  // [asm/hwcap.h, HWCAP2_I8MM]
  static const bool has = has_dotprod() && (getauxval(AT_HWCAP2) & kI8mm) != 0;
  return has;
#else
  return false;
#endif
}

}  // namespace npu::llm::cpu
