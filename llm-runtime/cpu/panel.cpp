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
template <class T>
void store(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof(value));
}

/// Where byte (g, j, r, b) of an array of `quads` vectors a group lies.
constexpr std::size_t at(std::size_t quads, std::size_t g, std::size_t j, std::size_t r,
                         std::size_t b) {
  return ((g * quads + j) * kR + r) * 4 + b;
}

/// The unsigned codes of one row of a slab, in the order of the columns, from the file's blocks.
void file_codes(TensorType type, const std::byte* in, std::size_t columns, std::uint8_t* code) {
  switch (type) {
    case TensorType::q4_0:
      for (std::size_t k = 0; k < columns; k += 32) {
        const auto block = load<BlockQ4_0>(in + row_bytes(type, k));
        for (std::size_t i = 0; i < 16; ++i) {
          code[k + i] = block.qs[i] & 15;
          code[k + i + 16] = block.qs[i] >> 4;
        }
      }
      break;
    case TensorType::q5_0:
      for (std::size_t k = 0; k < columns; k += 32) {
        const auto block = load<BlockQ5_0>(in + row_bytes(type, k));
        const auto fifth = [&](std::size_t i) {
          return static_cast<std::uint8_t>((block.qh[i / 8] >> (i % 8) & 1) << 4);
        };
        for (std::size_t i = 0; i < 16; ++i) {
          code[k + i] = (block.qs[i] & 15) | fifth(i);
          code[k + i + 16] = static_cast<std::uint8_t>(block.qs[i] >> 4) | fifth(i + 16);
        }
      }
      break;
    case TensorType::q8_0:
      for (std::size_t k = 0; k < columns; k += 32) {
        const auto block = load<BlockQ8_0>(in + row_bytes(type, k));
        for (std::size_t i = 0; i < 32; ++i)
          code[k + i] = static_cast<std::uint8_t>(block.qs[i]) ^ 0x80;
      }
      break;
    case TensorType::q4_k: {
      const auto block = load<BlockQ4_K>(in);
      for (std::size_t k = 0; k < 256; ++k) {
        const std::uint8_t two = block.qs[k / 64 * 32 + k % 32];
        code[k] = k / 32 % 2 == 0 ? two & 15 : two >> 4;
      }
      break;
    }
    case TensorType::q5_k: {
      const auto block = load<BlockQ5_K>(in);
      for (std::size_t k = 0; k < 256; ++k) {
        const std::uint8_t two = block.qs[k / 64 * 32 + k % 32];
        const int fifth = block.qh[k % 32] >> (k / 32) & 1;
        code[k] = static_cast<std::uint8_t>((k / 32 % 2 == 0 ? two & 15 : two >> 4) | fifth << 4);
      }
      break;
    }
    case TensorType::q6_k: {
      const auto block = load<BlockQ6_K>(in);
      for (std::size_t k = 0; k < 256; ++k) {
        const std::size_t half = k / 128, quarter = k % 128 / 32, i = k % 32;
        const std::uint8_t two = block.ql[half * 64 + quarter % 2 * 32 + i];
        const int upper = block.qh[half * 32 + i] >> (2 * quarter) & 3;
        code[k] = static_cast<std::uint8_t>((quarter < 2 ? two & 15 : two >> 4) | upper << 4);
      }
      break;
    }
    default: break;
  }
}

/// Codes of one row into the slab's arrays of quantised values.
void pack_codes(TensorType type, const std::uint8_t* code, std::size_t columns, std::size_t r,
                std::byte* slab) {
  auto* low = reinterpret_cast<std::uint8_t*>(slab);
  auto* high = low + slab_layout(type, columns).high;
  for (std::size_t g = 0; g < columns / 32; ++g, code += 32) {
    if (type == TensorType::q8_0) {
      for (std::size_t j = 0; j < 8; ++j) std::memcpy(low + at(8, g, j, r, 0), code + 4 * j, 4);
      continue;
    }
    for (std::size_t j = 0; j < 4; ++j)
      for (std::size_t b = 0; b < 4; ++b)
        low[at(4, g, j, r, b)] =
            static_cast<std::uint8_t>((code[4 * j + b] & 15) | (code[16 + 4 * j + b] & 15) << 4);
    for (std::size_t b = 0; b < 4; ++b) {
      if (type == TensorType::q5_0 || type == TensorType::q5_k) {
        unsigned bits = 0;
        for (std::size_t j = 0; j < 8; ++j) bits |= (code[4 * j + b] >> 4 & 1U) << j;
        high[at(1, g, 0, r, b)] = static_cast<std::uint8_t>(bits);
      } else if (type == TensorType::q6_k) {
        for (std::size_t h = 0; h < 2; ++h) {
          unsigned bits = 0;
          for (std::size_t i = 0; i < 4; ++i) bits |= (code[16 * h + 4 * i + b] >> 4) << (2 * i);
          high[at(2, g, h, r, b)] = static_cast<std::uint8_t>(bits);
        }
      }
    }
  }
}

/// Scales of one row of a slab; `in` is the row's first block.
void pack_scales(TensorType type, const std::byte* in, std::size_t columns, std::size_t r,
                 std::byte* slab) {
  const SlabLayout layout = slab_layout(type, columns);
  const auto put_half = [&](std::size_t base, std::size_t index, F16Bits half) {
    store(slab + base + (index * kR + r) * 2, half);
  };
  const auto put_bytes = [&](const void* bytes, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
      slab[layout.scales + i * kR + r] = static_cast<const std::byte*>(bytes)[i];
  };
  switch (type) {
    case TensorType::q4_0:
    case TensorType::q5_0:
    case TensorType::q8_0:  // all of them begin with d
      for (std::size_t g = 0; g < columns / 32; ++g)
        put_half(layout.d, g, load<F16Bits>(in + row_bytes(type, g * 32)));
      break;
    case TensorType::q4_k:
    case TensorType::q5_k: {  // both begin alike
      const auto block = load<BlockQ4_K>(in);
      put_bytes(block.scales, 12);
      put_half(layout.d, 0, block.d);
      put_half(layout.dmin, 0, block.dmin);
      break;
    }
    case TensorType::q6_k: {
      const auto block = load<BlockQ6_K>(in);
      put_bytes(block.scales, 16);
      put_half(layout.d, 0, block.d);
      break;
    }
    default: break;
  }
}

void pack_float(TensorType type, const std::byte* in, std::size_t columns, std::size_t r,
                std::byte* slab) {
  const std::size_t size = block_shape(type).bytes;
  for (std::size_t k = 0; k < columns; ++k)
    std::memcpy(slab + (k * kR + r) * size, in + k * size, size);
}

}  // namespace

void pack_panel(const WeightView& view, std::size_t first, std::byte* panel) {
  std::memset(panel, 0, panel_bytes(view.type, view.columns));
  const std::size_t rows = std::min(kR, view.rows - first);
  std::uint8_t code[kSlabColumns];
  for (std::size_t k = 0; k < view.columns; k += kSlabColumns) {
    const std::size_t columns = std::min(kSlabColumns, view.columns - k);
    for (std::size_t r = 0; r < rows; ++r) {
      const std::byte* in =
          view.data + (first + r) * row_bytes(view.type, view.columns) + row_bytes(view.type, k);
      if (is_float(view.type)) {
        pack_float(view.type, in, columns, r, panel);
        continue;
      }
      file_codes(view.type, in, columns, code);
      pack_codes(view.type, code, columns, r, panel);
      pack_scales(view.type, in, columns, r, panel);
    }
    panel += slab_bytes(view.type, columns);
  }
}

SlabRow unpack_slab_row(TensorType type, const std::byte* slab, std::size_t columns,
                        std::size_t r) {
  SlabRow row{};
  const SlabLayout layout = slab_layout(type, columns);
  const auto* low = reinterpret_cast<const std::uint8_t*>(slab);
  const auto* high = low + layout.high;
  for (std::size_t k = 0; k < columns; ++k) {
    const std::size_t g = k / 32, j = k % 32 / 4, b = k % 4;
    if (type == TensorType::q8_0) {
      row.code[k] = low[at(8, g, j, r, b)];
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
