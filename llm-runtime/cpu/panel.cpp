// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu/panel.hpp"

#include <algorithm>
#include <cstring>

#include "llm-runtime/half.hpp"

namespace npu::llm::cpu {
namespace {

constexpr std::size_t kR = kPanelRows;

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

/// Where byte (g, j, r, b) of an array of `quads` vectors a group lies.
constexpr std::size_t at(std::size_t quads, std::size_t g, std::size_t j, std::size_t r,
                         std::size_t b) {
  return ((g * quads + j) * kR + r) * 4 + b;
}

}  // namespace

SlabRow unpack_slab_row(TensorType type, const std::byte* slab, std::size_t columns,
                        std::size_t r) {
  SlabRow row{};
  const SlabLayout layout = slab_layout(type, columns);
  const auto* low = reinterpret_cast<const std::uint8_t*>(slab);
  const auto* high = low + layout.high;
  for (std::size_t k = 0; k < columns; ++k) {
    const std::size_t g = k / 32, j = k % 32 / 4, b = k % 4;
    if (type == TensorType::q8_0) {
      row.code[k] = low[at(8, g, j, r, b)] ^ 0x80;
      continue;
    }
    int code = low[at(4, g, j % 4, r, b)] >> (j / 4 * 4) & 15;
    if (type == TensorType::q5_0 || type == TensorType::q5_k)
      code |= (high[at(1, g, 0, r, b)] >> j & 1) << 4;
    if (type == TensorType::q6_k) code |= (high[at(2, g, j / 4, r, b)] >> (j % 4 * 2) & 3) << 4;
    row.code[k] = static_cast<std::uint8_t>(code);
  }
  const auto half = [&](std::size_t base, std::size_t index) {
    return f16_to_float(load<F16Bits>(slab + base + (index * kR + r) * 2));
  };
  const auto byte = [&](std::size_t i) {
    return static_cast<unsigned>(low[layout.scales + i * kR + r]);
  };
  std::fill_n(row.scale, 16, 1);
  for (std::size_t g = 0; g < 8; ++g)
    row.d[g] = is_k_quant(type) ? half(layout.d, 0) : g < columns / 32 ? half(layout.d, g) : 0.0F;
  if (type == TensorType::q6_k)
    for (std::size_t s = 0; s < 16; ++s) row.scale[s] = static_cast<std::int8_t>(byte(s));
  if (type == TensorType::q4_k || type == TensorType::q5_k) {
    row.dmin = half(layout.dmin, 0);
    for (std::size_t g = 0; g < 8; ++g) {  // [ggml-quants.c, get_scale_min_k4]
      const unsigned scale = g < 4 ? byte(g) & 63 : (byte(g + 4) & 15) | byte(g - 4) >> 6 << 4;
      const unsigned minimum = g < 4 ? byte(g + 4) & 63 : byte(g + 4) >> 4 | byte(g) >> 6 << 4;
      row.scale[2 * g] = row.scale[2 * g + 1] = static_cast<int>(scale);
      row.minimum[2 * g] = row.minimum[2 * g + 1] = static_cast<int>(minimum);
    }
  }
  return row;
}

void dequantize_slab_row(TensorType type, const std::byte* slab, std::size_t columns, std::size_t r,
                         float* out) {
  if (is_float(type)) {
    for (std::size_t k = 0; k < columns; ++k) {
      if (type == TensorType::f32)
        out[k] = load<float>(slab + (k * kR + r) * 4);
      else if (const auto bits = load<std::uint16_t>(slab + (k * kR + r) * 2);
               type == TensorType::f16)
        out[k] = f16_to_float(bits);
      else
        out[k] = bf16_to_float(bits);
    }
    return;
  }
  const SlabRow row = unpack_slab_row(type, slab, columns, r);
  const int offset = value_offset(type);
  for (std::size_t k = 0; k < columns; ++k) {
    const float scale = row.d[k / 32] * static_cast<float>(row.scale[k / 16]);
    const float minimum = row.dmin * static_cast<float>(row.minimum[k / 16]);
    out[k] = scale * static_cast<float>(row.code[k] - offset) - minimum;
  }
}

}  // namespace npu::llm::cpu
