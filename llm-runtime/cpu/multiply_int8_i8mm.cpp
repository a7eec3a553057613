// SPDX-License-Identifier: MIT
// The products of multiply_int8.cpp for ARM CPUs with SMMLA, compiled for those (CMakeLists.txt):
// Highway 1.0.3 has no such target. Nothing here may be shared with code for older CPUs: every
// function is a template of kFast = Dots::i8mm or always inlined.
#include "llm-runtime/cpu/kernels.hpp"

#define HWY_COMPILE_ONLY_STATIC
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#include "hwy/highway.h"
#include "llm-runtime/cpu/tile_int8-inl.h"

HWY_BEFORE_NAMESPACE();
namespace npu::llm::cpu::i8mm {

void multiply(const Panels& w, const Activations32* x, std::size_t stride, std::size_t m,
              float* sums) {
  HWY_NAMESPACE::multiply_any<HWY_NAMESPACE::Dots::i8mm>(w, x, stride, m, sums);
}
void multiply(const Panels& w, const Activations256* x, std::size_t stride, std::size_t m,
              float* sums) {
  HWY_NAMESPACE::multiply_any<HWY_NAMESPACE::Dots::i8mm>(w, x, stride, m, sums);
}

}  // namespace npu::llm::cpu::i8mm
HWY_AFTER_NAMESPACE();
