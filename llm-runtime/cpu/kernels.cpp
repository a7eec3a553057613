// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu/kernels.hpp"

namespace npu::llm::cpu {

void quantize(const float* x, std::size_t n, Activations32* out, std::size_t stride) {
  plain::quantize(x, n, out, stride);
}
void quantize(const float* x, std::size_t n, Activations256* out, std::size_t stride) {
  plain::quantize(x, n, out, stride);
}
void multiply_f32(const Panels& w, const float* x, std::size_t x_stride, std::size_t m,
                  float* sums) {
  plain::multiply_f32(w, x, x_stride, m, sums);
}

}  // namespace npu::llm::cpu
