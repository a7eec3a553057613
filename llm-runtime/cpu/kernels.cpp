// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu/kernels.hpp"

namespace npu::llm::cpu {

void quantize(ActivationBlock block, const float* x, std::size_t n, const ActivationRow& out) {
  plain::quantize(block, x, n, out);
}
void multiply(const Panels& w, const Activations& x, std::size_t first, std::size_t last,
              float* out) {
  plain::multiply(w, x, first, last, out);
}
void multiply_f32(const Panels& w, const float* x, std::size_t x_stride, std::size_t rows,
                  float* out) {
  plain::multiply_f32(w, x, x_stride, rows, out);
}

}  // namespace npu::llm::cpu
