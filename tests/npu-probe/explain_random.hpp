// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <random>

#include "npu-probe/explain_tensor.hpp"

namespace npu::probe::test {

/// A small tensor whose elements do not overlap.
inline NpuTensor random_tensor(std::mt19937& random) {
  const auto pick = [&](std::uint32_t low, std::uint32_t high) {
    return std::uniform_int_distribution<std::uint32_t>(low, high)(random);
  };
  constexpr ElementType kTypes[] = {ElementType::int4,  ElementType::int8, ElementType::uint8,
                                    ElementType::int16, ElementType::fp16, ElementType::bf16,
                                    ElementType::int32, ElementType::fp32, ElementType::tf32};
  NpuTensor t;
  t.kind = static_cast<LayoutKind>(pick(0, 7));
  t.type = kTypes[pick(0, 8)];
  t.h = pick(1, 6), t.w = pick(1, 6), t.c = pick(1, 70);
  const std::uint32_t bits = bits_of(t.type);
  switch (t.kind) {
    case LayoutKind::cube:
      t.line_stride = (t.w + pick(0, 2)) * 16;
      t.plane_stride = t.line_stride * (t.h + pick(0, 2));
      t.group_planes = pick(1, 3);
      t.group_written = pick(1, t.group_planes);
      t.group_stride = t.plane_stride * (t.group_planes + pick(0, 1));
      break;
    case LayoutKind::pixels:
      t.c = pick(1, 4) * (bits == 4 ? 2 : 1);
      t.position_stride = (t.c * bits + 7) / 8 + pick(0, 1);
      t.line_stride = t.w * t.position_stride + pick(0, 9);
      break;
    case LayoutKind::kernels:
    case LayoutKind::depthwise:
      t.block_n = 16u << pick(0, 2), t.block_c = 16u << pick(0, 2);
      t.n = t.kind == LayoutKind::kernels ? pick(1, 70) : 1;
      t.c = pick(1, 70);
      t.stored_n = t.n + pick(0, 2);
      t.stored_c = (t.c + 15) / 16 * 16;
      break;
    case LayoutKind::vector: t.h = t.w = 1; break;
    case LayoutKind::bias_blocks:
      t.h = t.w = 1;
      t.type = pick(0, 1) != 0 ? ElementType::int32 : ElementType::int16;
      break;
    case LayoutKind::atoms:
      t.h = t.w = 1;
      t.group_stride = 16 * pick(1, 4);
      break;
    case LayoutKind::transposed:
      t.type = ElementType::int16;
      t.w = 1, t.c = pick(1, 64), t.h = pick(1, 20) * 1;
      break;
  }
  t.stored_n = std::max(t.stored_n, t.n);
  t.stored_c = std::max(t.stored_c, t.c);
  return t;
}

}  // namespace npu::probe::test
