// SPDX-License-Identifier: MIT
#include "llm-runtime/dequantize.hpp"

#include <cstring>

#include "llm-runtime/half.hpp"

// Compiled with -ffp-contract=off: where `scale * q - min` became one fused operation, its last bit
// would differ from ggml's.
namespace npu::llm {
namespace {

template <class Block>
const Block* blocks(const std::byte* from) {
  return reinterpret_cast<const Block*>(from);
}

void row_q4_0(const BlockQ4_0* block, std::span<float> to) {
  for (float* out = to.data(); out != to.data() + to.size(); out += 32, ++block) {
    const float d = f16_to_float(block->d);
    for (int i = 0; i < 16; ++i) {
      out[i] = static_cast<float>((block->qs[i] & 15) - 8) * d;
      out[i + 16] = static_cast<float>((block->qs[i] >> 4) - 8) * d;
    }
  }
}

void row_q5_0(const BlockQ5_0* block, std::span<float> to) {
  for (float* out = to.data(); out != to.data() + to.size(); out += 32, ++block) {
    const float d = f16_to_float(block->d);
    std::uint32_t high = 0;
    std::memcpy(&high, block->qh, sizeof high);
    for (int i = 0; i < 16; ++i) {
      const int low = (block->qs[i] & 15) | static_cast<int>(high >> i & 1) << 4;
      const int top = (block->qs[i] >> 4) | static_cast<int>(high >> (i + 16) & 1) << 4;
      out[i] = static_cast<float>(low - 16) * d;
      out[i + 16] = static_cast<float>(top - 16) * d;
    }
  }
}

void row_q8_0(const BlockQ8_0* block, std::span<float> to) {
  for (float* out = to.data(); out != to.data() + to.size(); out += 32, ++block) {
    const float d = f16_to_float(block->d);
    for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(block->qs[i]) * d;
  }
}

void row_q4_k(const BlockQ4_K* block, std::span<float> to) {
  for (float* out = to.data(); out != to.data() + to.size(); out += kSuperBlock, ++block) {
    const float d = f16_to_float(block->d), dmin = f16_to_float(block->dmin);
    for (int group = 0; group < 8; ++group) {
      const ScaleMin packed = unpack_scale_min(block->scales, group);
      const float scale = d * packed.scale, min = dmin * packed.min;
      const std::uint8_t* qs = block->qs + group / 2 * 32;
      for (int i = 0; i < 32; ++i) {
        const int q = group % 2 == 0 ? qs[i] & 15 : qs[i] >> 4;
        out[group * 32 + i] = scale * static_cast<float>(q) - min;
      }
    }
  }
}

void row_q5_k(const BlockQ5_K* block, std::span<float> to) {
  for (float* out = to.data(); out != to.data() + to.size(); out += kSuperBlock, ++block) {
    const float d = f16_to_float(block->d), dmin = f16_to_float(block->dmin);
    for (int group = 0; group < 8; ++group) {
      const ScaleMin packed = unpack_scale_min(block->scales, group);
      const float scale = d * packed.scale, min = dmin * packed.min;
      const std::uint8_t* qs = block->qs + group / 2 * 32;
      for (int i = 0; i < 32; ++i) {
        const int low = group % 2 == 0 ? qs[i] & 15 : qs[i] >> 4;
        const int q = low + (block->qh[i] >> group & 1) * 16;
        out[group * 32 + i] = scale * static_cast<float>(q) - min;
      }
    }
  }
}

/// A half block of 128 values lies in 64 bytes of ql and 32 of qh: value 32 * k + i has its low
/// bits in the (k / 2)th nibble of ql[32 * (k % 2) + i], its high bits in bits 2k of qh[i].
void row_q6_k(const BlockQ6_K* block, std::span<float> to) {
  for (float* out = to.data(); out != to.data() + to.size(); out += kSuperBlock, ++block) {
    const float d = f16_to_float(block->d);
    for (int half = 0; half < 2; ++half) {
      for (int k = 0; k < 4; ++k) {
        for (int i = 0; i < 32; ++i) {
          const int low = block->ql[half * 64 + k % 2 * 32 + i] >> (k / 2 * 4) & 15;
          const int high = block->qh[half * 32 + i] >> (2 * k) & 3;
          const int at = half * 128 + k * 32 + i;
          const float scale = d * block->scales[at / 16];
          out[at] = scale * static_cast<float>((low | high << 4) - 32);
        }
      }
    }
  }
}

}  // namespace

ScaleMin unpack_scale_min(const std::uint8_t (&scales)[12], int group) {
  if (group < 4) {
    return {static_cast<std::uint8_t>(scales[group] & 63),
            static_cast<std::uint8_t>(scales[group + 4] & 63)};
  }
  return {static_cast<std::uint8_t>((scales[group + 4] & 15) | (scales[group - 4] >> 6) << 4),
          static_cast<std::uint8_t>((scales[group + 4] >> 4) | (scales[group] >> 6) << 4)};
}

void pack_scale_min(std::uint8_t (&scales)[12], const std::array<ScaleMin, 8>& values) {
  for (std::size_t group = 0; group < 4; ++group) {
    const ScaleMin low = values[group], high = values[group + 4];
    scales[group] = static_cast<std::uint8_t>(low.scale | high.scale >> 4 << 6);
    scales[group + 4] = static_cast<std::uint8_t>(low.min | high.min >> 4 << 6);
    scales[group + 8] = static_cast<std::uint8_t>((high.scale & 15) | (high.min & 15) << 4);
  }
}

void dequantize_row(TensorType type, const std::byte* from, std::span<float> to) {
  if (to.empty()) return;
  switch (type) {
    case TensorType::f32: std::memcpy(to.data(), from, to.size_bytes()); break;
    case TensorType::f16:
      for (std::size_t i = 0; i < to.size(); ++i) to[i] = f16_to_float(blocks<F16Bits>(from)[i]);
      break;
    case TensorType::bf16:
      for (std::size_t i = 0; i < to.size(); ++i)
        to[i] = bf16_to_float(blocks<std::uint16_t>(from)[i]);
      break;
    case TensorType::q4_0: row_q4_0(blocks<BlockQ4_0>(from), to); break;
    case TensorType::q5_0: row_q5_0(blocks<BlockQ5_0>(from), to); break;
    case TensorType::q8_0: row_q8_0(blocks<BlockQ8_0>(from), to); break;
    case TensorType::q4_k: row_q4_k(blocks<BlockQ4_K>(from), to); break;
    case TensorType::q5_k: row_q5_k(blocks<BlockQ5_K>(from), to); break;
    case TensorType::q6_k: row_q6_k(blocks<BlockQ6_K>(from), to); break;
  }
}

void dequantize_row(const WeightView& view, std::uint32_t row, std::span<float> to) {
  dequantize_row(view.type, view.data + row * row_bytes(view.type, view.columns), to);
}

}  // namespace npu::llm
