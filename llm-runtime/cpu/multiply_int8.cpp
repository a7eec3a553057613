// SPDX-License-Identifier: MIT
// Products of quantised weights: one row of activations straight from the packed slab (decode),
// several rows through a slab that is unpacked once (prefill, batches).
#include "llm-runtime/cpu/kernels.hpp"

// VNNI lives in Highway's AVX3_DL target. SVE vectors cannot be array elements.
#define HWY_WANT_AVX3_DL
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "llm-runtime/cpu/multiply_int8.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "llm-runtime/cpu/arm_features.hpp"
#include "llm-runtime/cpu/tile_int8-inl.h"

HWY_BEFORE_NAMESPACE();
namespace npu::llm::cpu::HWY_NAMESPACE {
#if LLM_PLAIN

void multiply_of_32(const Panels& w, const Activations32* x, std::size_t stride, std::size_t m,
                    float* sums) {
  plain::multiply(w, x, stride, m, sums);
}
void multiply_of_256(const Panels& w, const Activations256* x, std::size_t stride, std::size_t m,
                     float* sums) {
  plain::multiply(w, x, stride, m, sums);
}

#else

// On ARM the inner loops with dot products are a file of their own, multiply_int8_dotprod.cpp,
// and those with matrix products another, multiply_int8_i8mm.cpp.
constexpr Dots kFast = Dots::none;

void multiply_of_32(const Panels& w, const Activations32* x, std::size_t stride, std::size_t m,
                    float* sums) {
#if HWY_ARCH_ARM_A64
  if (m > 1 && has_i8mm()) return i8mm::multiply(w, x, stride, m, sums);
  if (has_dotprod()) return dotprod::multiply(w, x, stride, m, sums);
#endif
  multiply_any<kFast>(w, x, stride, m, sums);
}
void multiply_of_256(const Panels& w, const Activations256* x, std::size_t stride, std::size_t m,
                     float* sums) {
#if HWY_ARCH_ARM_A64
  if (m > 1 && has_i8mm()) return i8mm::multiply(w, x, stride, m, sums);
  if (has_dotprod()) return dotprod::multiply(w, x, stride, m, sums);
#endif
  multiply_any<kFast>(w, x, stride, m, sums);
}

#endif  // LLM_PLAIN
}  // namespace npu::llm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npu::llm::cpu {
namespace {
HWY_EXPORT(multiply_of_32);
HWY_EXPORT(multiply_of_256);
}  // namespace

void multiply(const Panels& w, const Activations32* x, std::size_t stride, std::size_t m,
              float* sums) {
  HWY_DYNAMIC_DISPATCH(multiply_of_32)(w, x, stride, m, sums);
}
void multiply(const Panels& w, const Activations256* x, std::size_t stride, std::size_t m,
              float* sums) {
  HWY_DYNAMIC_DISPATCH(multiply_of_256)(w, x, stride, m, sums);
}

}  // namespace npu::llm::cpu
#endif  // HWY_ONCE
