// SPDX-License-Identifier: MIT
#include "llm-runtime/quantize.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "llm-runtime/dequantize.hpp"
#include "llm-runtime/half.hpp"

namespace npu::llm {
namespace {

template <class Block>
Block* blocks(std::byte* to) {
  return reinterpret_cast<Block*>(to);
}

/// The value of largest magnitude, with its sign.
float extreme(std::span<const float> values) {
  float found = 0;
  for (const float value : values) {
    if (std::fabs(value) > std::fabs(found)) found = value;
  }
  return found;
}

/// 0 where the inverse would not be finite.
float inverse(float value) { return std::fabs(value) > 1e-38f ? 1.0f / value : 0.0f; }

int nearest(float value, int low, int high) {
  return std::clamp(static_cast<int>(std::lrintf(std::clamp(value, -1e6f, 1e6f))), low, high);
}

/// The scale with which x ~ scale * q, q in [-most, most - 1], errs least: the extreme value takes
/// -most, or a little less of the range; each candidate is refined by least squares.
float best_scale(std::span<const float> x, int most) {
  const float largest = extreme(x);
  if (largest == 0) return 0;
  float best = 0, best_gain = -1;
  for (int step = -8; step <= 8; ++step) {
    const float scale_inverse =
        -(static_cast<float>(most) + 0.1f * static_cast<float>(step)) / largest;
    float xq = 0, qq = 0;
    for (const float value : x) {
      const auto q = static_cast<float>(nearest(value * scale_inverse, -most, most - 1));
      xq += value * q;
      qq += q * q;
    }
    // With the best scale xq / qq the squared error is sum(x^2) - xq^2 / qq.
    if (qq > 0 && xq * xq > best_gain * qq) {
      best_gain = xq * xq / qq;
      best = xq / qq;
    }
  }
  return best;
}

struct Affine {
  float scale = 0, min = 0;  ///< x ~ scale * q - min, min >= 0
};

/// For q in [0, most]: the whole range first, then narrower ones, each refined by least squares.
Affine best_affine(std::span<const float> x, int most) {
  const float low = std::min(0.0f, *std::min_element(x.begin(), x.end()));
  const float high = *std::max_element(x.begin(), x.end());
  if (high <= low) return {0, -low};
  const auto count = static_cast<float>(x.size());
  Affine best{(high - low) / static_cast<float>(most), -low};
  float best_error = INFINITY;
  for (int step = -6; step <= 10; ++step) {
    const float steps = static_cast<float>(most) + 0.1f * static_cast<float>(step);
    const float scale_inverse = steps / (high - low);
    float sq = 0, sqq = 0, sx = 0, sxq = 0;
    for (const float value : x) {
      const auto q = static_cast<float>(nearest((value - low) * scale_inverse, 0, most));
      sq += q, sqq += q * q, sx += value, sxq += value * q;
    }
    const float determinant = count * sqq - sq * sq;
    if (determinant <= 0) continue;
    Affine fit{(count * sxq - sq * sx) / determinant, (sq * sxq - sqq * sx) / determinant};
    if (fit.min < 0) fit = {sqq > 0 ? sxq / sqq : 0, 0};
    if (fit.scale <= 0) continue;
    float error = 0;
    for (const float value : x) {
      const auto q = static_cast<float>(nearest((value + fit.min) / fit.scale, 0, most));
      const float off = fit.scale * q - fit.min - value;
      error += off * off;
    }
    if (error < best_error) best_error = error, best = fit;
  }
  return best;
}

void block_q4_0(std::span<const float> x, BlockQ4_0& block) {
  const float d = extreme(x) / -8;
  block.d = float_to_f16(d);
  const float scale = inverse(d);
  for (std::size_t i = 0; i < 16; ++i) {
    const int low = std::min(15, static_cast<int>(x[i] * scale + 8.5f));
    const int high = std::min(15, static_cast<int>(x[i + 16] * scale + 8.5f));
    block.qs[i] = static_cast<std::uint8_t>(low | high << 4);
  }
}

void block_q5_0(std::span<const float> x, BlockQ5_0& block) {
  const float d = extreme(x) / -16;
  block.d = float_to_f16(d);
  const float scale = inverse(d);
  std::uint32_t fifth = 0;
  for (std::size_t i = 0; i < 16; ++i) {
    const auto low =
        static_cast<std::uint32_t>(std::min(31, static_cast<int>(x[i] * scale + 16.5f)));
    const auto high =
        static_cast<std::uint32_t>(std::min(31, static_cast<int>(x[i + 16] * scale + 16.5f)));
    block.qs[i] = static_cast<std::uint8_t>((low & 15) | (high & 15) << 4);
    fifth |= low >> 4 << i | high >> 4 << (i + 16);
  }
  std::memcpy(block.qh, &fifth, sizeof fifth);
}

void block_q8_0(std::span<const float> x, BlockQ8_0& block) {
  const float d = std::fabs(extreme(x)) / 127;
  block.d = float_to_f16(d);
  const float scale = inverse(d);
  for (std::size_t i = 0; i < 32; ++i)
    block.qs[i] = static_cast<std::int8_t>(std::roundf(x[i] * scale));
}

/// Fills d, dmin and the packed scales, which Q4_K and Q5_K share; `quants` gets 0 to `most`.
template <class Block>
void quantize_groups(std::span<const float> x, int most, Block& block,
                     std::array<std::uint8_t, kSuperBlock>& quants) {
  std::array<Affine, 8> fits;
  float scale = 0, min = 0;
  for (std::size_t group = 0; group < 8; ++group) {
    fits[group] = best_affine(x.subspan(group * 32, 32), most);
    scale = std::max(scale, fits[group].scale);
    min = std::max(min, fits[group].min);
  }
  block.d = float_to_f16(scale / 63);
  block.dmin = float_to_f16(min / 63);
  const float d = f16_to_float(block.d), dmin = f16_to_float(block.dmin);
  std::array<ScaleMin, 8> packed;
  for (std::size_t group = 0; group < 8; ++group) {
    packed[group] = {static_cast<std::uint8_t>(nearest(fits[group].scale * inverse(d), 0, 63)),
                     static_cast<std::uint8_t>(nearest(fits[group].min * inverse(dmin), 0, 63))};
    const float step = inverse(d * packed[group].scale), low = dmin * packed[group].min;
    for (std::size_t i = group * 32; i < group * 32 + 32; ++i)
      quants[i] = static_cast<std::uint8_t>(nearest((x[i] + low) * step, 0, most));
  }
  pack_scale_min(block.scales, packed);
}

void block_q4_k(std::span<const float> x, BlockQ4_K& block) {
  std::array<std::uint8_t, kSuperBlock> q{};
  quantize_groups(x, 15, block, q);
  for (std::size_t pair = 0; pair < 4; ++pair) {
    for (std::size_t i = 0; i < 32; ++i)
      block.qs[pair * 32 + i] =
          static_cast<std::uint8_t>(q[pair * 64 + i] | q[pair * 64 + 32 + i] << 4);
  }
}

void block_q5_k(std::span<const float> x, BlockQ5_K& block) {
  std::array<std::uint8_t, kSuperBlock> q{};
  quantize_groups(x, 31, block, q);
  std::memset(block.qh, 0, sizeof block.qh);
  for (std::size_t group = 0; group < 8; ++group) {
    for (std::size_t i = 0; i < 32; ++i) {
      const unsigned value = q[group * 32 + i];
      block.qh[i] = static_cast<std::uint8_t>(block.qh[i] | value >> 4 << group);
      std::uint8_t& low = block.qs[group / 2 * 32 + i];
      low = static_cast<std::uint8_t>(group % 2 == 0 ? value & 15 : low | (value & 15) << 4);
    }
  }
}

void block_q6_k(std::span<const float> x, BlockQ6_K& block) {
  std::array<float, 16> scales;
  for (std::size_t group = 0; group < 16; ++group)
    scales[group] = best_scale(x.subspan(group * 16, 16), 32);
  block.d = float_to_f16(extreme(scales) / -128);
  const float d = f16_to_float(block.d);
  std::memset(block.ql, 0, sizeof block.ql);
  std::memset(block.qh, 0, sizeof block.qh);
  for (std::size_t group = 0; group < 16; ++group) {
    block.scales[group] = static_cast<std::int8_t>(nearest(scales[group] * inverse(d), -128, 127));
    const float step = inverse(d * block.scales[group]);
    for (std::size_t at = group * 16; at < group * 16 + 16; ++at) {
      const auto q = static_cast<unsigned>(nearest(x[at] * step, -32, 31) + 32);
      const std::size_t half = at / 128, k = at % 128 / 32, i = at % 32;
      std::uint8_t& low = block.ql[half * 64 + k % 2 * 32 + i];
      std::uint8_t& high = block.qh[half * 32 + i];
      low = static_cast<std::uint8_t>(low | (q & 15) << (k / 2 * 4));
      high = static_cast<std::uint8_t>(high | q >> 4 << (2 * k));
    }
  }
}

template <class Block>
void each_block(std::span<const float> from, std::byte* to, std::size_t values,
                void (*quantize_block)(std::span<const float>, Block&)) {
  for (std::size_t i = 0; i < from.size() / values; ++i)
    quantize_block(from.subspan(i * values, values), blocks<Block>(to)[i]);
}

}  // namespace

void quantize_row(TensorType type, std::span<const float> from, std::byte* to) {
  if (from.empty()) return;
  switch (type) {
    case TensorType::f32: std::memcpy(to, from.data(), from.size_bytes()); break;
    case TensorType::f16:
      for (std::size_t i = 0; i < from.size(); ++i) blocks<F16Bits>(to)[i] = float_to_f16(from[i]);
      break;
    case TensorType::bf16:
      for (std::size_t i = 0; i < from.size(); ++i)
        blocks<std::uint16_t>(to)[i] = float_to_bf16(from[i]);
      break;
    case TensorType::q4_0: each_block(from, to, 32, block_q4_0); break;
    case TensorType::q5_0: each_block(from, to, 32, block_q5_0); break;
    case TensorType::q8_0: each_block(from, to, 32, block_q8_0); break;
    case TensorType::q4_k: each_block(from, to, kSuperBlock, block_q4_k); break;
    case TensorType::q5_k: each_block(from, to, kSuperBlock, block_q5_k); break;
    case TensorType::q6_k: each_block(from, to, kSuperBlock, block_q6_k); break;
  }
}

std::vector<std::byte> quantize(TensorType type, std::span<const float> from) {
  std::vector<std::byte> to(row_bytes(type, from.size()));
  quantize_row(type, from, to.data());
  return to;
}

}  // namespace npu::llm
