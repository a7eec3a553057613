// SPDX-License-Identifier: MIT
#include "npu-probe/explain_tensor.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace npu::probe {
namespace {

constexpr std::uint32_t kBiasBlock = 64;  // bytes for 8 channels

std::uint32_t planes_of(const NpuTensor& t) { return (t.c + t.atom() - 1) / t.atom(); }

// Planes have line_stride between rows; a negative or huge stride gives an address outside of the
// 4 GiB window, which no element has.
std::optional<std::uint64_t> checked(std::int64_t offset) {
  if (offset < 0) return std::nullopt;
  return static_cast<std::uint64_t>(offset);
}

std::int64_t plane_offset(const NpuTensor& t, std::uint32_t plane) {
  const std::uint32_t group = std::max(t.group_planes, 1u);
  return std::int64_t{plane / group} * t.group_stride +
         std::int64_t{plane % group} * t.plane_stride;
}

bool plane_written(const NpuTensor& t, std::uint32_t plane) {
  return plane % std::max(t.group_planes, 1u) < t.group_written;
}

std::uint64_t bytes_before(const NpuTensor& t, std::uint64_t count) {
  return count * bits_of(t.type) / 8;
}

// Blocks of at most block_n kernels by block_c channels; every block as small as what is left.
std::uint64_t kernel_index(const NpuTensor& t, const Coordinate& at) {
  const std::uint64_t taps = std::uint64_t{t.h} * t.w, tap = std::uint64_t{at.h} * t.w + at.w;
  const std::uint32_t first = at.n / t.block_n * t.block_n;
  const std::uint32_t kernels = std::min(t.block_n, t.stored_n - first);
  const std::uint32_t channel = at.c / t.block_c * t.block_c;
  const std::uint32_t wide = std::min(t.block_c, t.stored_c - channel);
  return std::uint64_t{first} * taps * t.stored_c +
         (std::uint64_t{channel} * taps + tap * wide) * kernels +
         std::uint64_t{at.n - first} * wide + (at.c - channel);
}

Coordinate kernel_coordinate(const NpuTensor& t, std::uint64_t index) {
  const std::uint64_t taps = std::uint64_t{t.h} * t.w;
  const std::uint64_t row = taps * t.stored_c;  // of one kernel
  const auto first = static_cast<std::uint32_t>(index / (row * t.block_n) * t.block_n);
  const std::uint32_t kernels = std::min(t.block_n, t.stored_n - first);
  index -= first * row;
  const auto channel = static_cast<std::uint32_t>(index / (taps * t.block_c * kernels) * t.block_c);
  const std::uint32_t wide = std::min(t.block_c, t.stored_c - channel);
  index -= std::uint64_t{channel} * taps * kernels;
  const std::uint64_t tap = index / (std::uint64_t{wide} * kernels);
  index %= std::uint64_t{wide} * kernels;
  return {first + static_cast<std::uint32_t>(index / wide), static_cast<std::uint32_t>(tap / t.w),
          static_cast<std::uint32_t>(tap % t.w),
          channel + static_cast<std::uint32_t>(index % wide)};
}

// Beyond what registers can say nothing is computed: sizes of 0, products that would not fit.
bool sensible(const NpuTensor& t) {
  constexpr std::uint32_t kMost = 1u << 20;
  constexpr double kMostElements = 1e15;
  if (t.n == 0 || t.h == 0 || t.w == 0 || t.c == 0) return false;
  if (t.n > kMost || t.h > kMost || t.w > kMost || t.c > kMost || t.position_stride == 0)
    return false;
  if (t.kind == LayoutKind::transposed) return t.w == 1 && t.c <= 64;
  if (t.kind != LayoutKind::kernels && t.kind != LayoutKind::depthwise) return true;
  return t.block_n != 0 && t.block_c != 0 && t.block_n <= kMost && t.block_c <= kMost &&
         t.stored_n >= t.n && t.stored_c >= t.c &&
         double{1} * t.stored_n * t.block_n * t.h * t.w * t.stored_c < kMostElements;
}

std::optional<Coordinate> in_plane(const NpuTensor& t, std::uint32_t plane, std::uint64_t offset) {
  if (!plane_written(t, plane)) return std::nullopt;
  const std::int64_t at = static_cast<std::int64_t>(offset) - plane_offset(t, plane);
  if (at < 0 || t.line_stride < 0) return std::nullopt;
  const std::uint64_t y =
      t.line_stride == 0
          ? 0
          : std::min<std::uint64_t>(static_cast<std::uint64_t>(at / t.line_stride), t.h - 1);
  const std::uint64_t in_line =
      static_cast<std::uint64_t>(at) - y * static_cast<std::uint64_t>(t.line_stride);
  const std::uint64_t x = in_line / t.position_stride;
  if (x >= t.w) return std::nullopt;
  const std::uint64_t byte = in_line % t.position_stride;
  const std::uint64_t lane = byte * 8 / bits_of(t.type);
  const std::uint64_t c = std::uint64_t{plane} * t.atom() + lane;
  if (lane >= t.atom() || c >= t.c) return std::nullopt;
  return Coordinate{0, static_cast<std::uint32_t>(y), static_cast<std::uint32_t>(x),
                    static_cast<std::uint32_t>(c)};
}

std::optional<Coordinate> cube_coordinate(const NpuTensor& t, std::uint64_t offset) {
  const std::uint32_t planes = planes_of(t), group = std::max(t.group_planes, 1u);
  // Where planes follow each other the strides tell the one; else all are looked at.
  if (t.group_stride > 0 && t.plane_stride >= 0) {
    const std::uint64_t g = offset / static_cast<std::uint64_t>(t.group_stride);
    const std::uint64_t rest = offset % static_cast<std::uint64_t>(t.group_stride);
    const std::uint64_t p =
        group == 1 || t.plane_stride == 0 ? 0 : rest / static_cast<std::uint64_t>(t.plane_stride);
    const std::uint64_t plane = g * group + p;
    if (p < group && plane < planes)
      if (const auto found = in_plane(t, static_cast<std::uint32_t>(plane), offset)) return found;
  }
  for (std::uint32_t plane = 0; plane < planes; ++plane)
    if (const auto found = in_plane(t, plane, offset)) return found;
  return std::nullopt;
}

std::optional<Coordinate> pixel_coordinate(const NpuTensor& t, std::uint64_t offset) {
  if (t.line_stride < 0) return std::nullopt;
  const std::uint64_t line = static_cast<std::uint64_t>(t.line_stride);
  const std::uint64_t y = line == 0 ? 0 : std::min<std::uint64_t>(offset / line, t.h - 1);
  const std::uint64_t in_line = offset - y * line;
  const std::uint64_t x = in_line / t.position_stride;
  const std::uint64_t c = in_line % t.position_stride * 8 / bits_of(t.type);
  if (x >= t.w || c >= t.c) return std::nullopt;
  return Coordinate{0, static_cast<std::uint32_t>(y), static_cast<std::uint32_t>(x),
                    static_cast<std::uint32_t>(c)};
}

// 16-bit units: four rows of four channels apart [notes output-transpose-int16, HW].
std::uint64_t transposed_slot(const NpuTensor& t, std::uint64_t y, std::uint64_t channel) {
  return 4 * y + channel / 4 % 4 + channel / 16 * 4 * t.h + channel % 4 * 16 * t.h;
}

}  // namespace

std::string_view to_string(ElementType type) {
  switch (type) {
    case ElementType::int4: return "int4";
    case ElementType::int8: return "int8";
    case ElementType::uint8: return "uint8";
    case ElementType::int16: return "int16";
    case ElementType::fp16: return "fp16";
    case ElementType::bf16: return "bf16";
    case ElementType::int32: return "int32";
    case ElementType::fp32: return "fp32";
    case ElementType::tf32: return "tf32";
  }
  return "?";
}

std::string_view to_string(TensorRole role) {
  switch (role) {
    case TensorRole::input: return "input";
    case TensorRole::weights: return "weights";
    case TensorRole::bias: return "bias";
    case TensorRole::multiplier: return "multiplier";
    case TensorRole::weight_zero: return "weight zero";
    case TensorRole::operand: return "operand";
    case TensorRole::output: return "output";
    case TensorRole::index: return "index";
  }
  return "?";
}

std::optional<std::uint64_t> offset_of(const NpuTensor& t, const Coordinate& at) {
  if (!sensible(t) || at.n >= t.n || at.h >= t.h || at.w >= t.w || at.c >= t.c) return std::nullopt;
  const std::uint32_t bits = bits_of(t.type);
  switch (t.kind) {
    case LayoutKind::cube:
    case LayoutKind::atoms: {
      const std::uint32_t plane = at.c / t.atom();
      if (!plane_written(t, plane)) return std::nullopt;
      return checked(plane_offset(t, plane) + std::int64_t{at.h} * t.line_stride +
                     std::int64_t{at.w} * t.position_stride + at.c % t.atom() * bits / 8);
    }
    case LayoutKind::pixels:
      return checked(std::int64_t{at.h} * t.line_stride + std::int64_t{at.w} * t.position_stride +
                     std::int64_t{at.c} * bits / 8);
    case LayoutKind::kernels: return bytes_before(t, kernel_index(t, at));
    case LayoutKind::depthwise: {
      // Kernels of one channel each: the channel takes the part of the kernel's depth.
      const std::uint64_t taps = std::uint64_t{t.h} * t.w, tap = std::uint64_t{at.h} * t.w + at.w;
      const std::uint32_t first = at.c / t.block_c * t.block_c;
      const std::uint32_t wide = std::min(t.block_c, t.stored_c - first);
      return bytes_before(t, first * taps + tap * wide + (at.c - first));
    }
    case LayoutKind::vector: return bytes_before(t, at.c);
    case LayoutKind::bias_blocks: return std::uint64_t{at.c} / 8 * kBiasBlock + at.c % 8 * bits / 8;
    case LayoutKind::transposed: return 2 * transposed_slot(t, at.h, at.c);
  }
  return std::nullopt;
}

std::optional<Coordinate> coordinate_of(const NpuTensor& t, std::uint64_t offset) {
  if (!sensible(t) || offset >= std::uint64_t{1} << 33) return std::nullopt;
  const std::uint32_t bits = bits_of(t.type);
  const auto inside = [&](const Coordinate& at) -> std::optional<Coordinate> {
    if (at.n >= t.n || at.h >= t.h || at.w >= t.w || at.c >= t.c) return std::nullopt;
    return at;
  };
  switch (t.kind) {
    case LayoutKind::cube:
    case LayoutKind::atoms: return cube_coordinate(t, offset);
    case LayoutKind::pixels: return pixel_coordinate(t, offset);
    case LayoutKind::kernels: {
      const std::uint64_t index = offset * 8 / bits;
      if (index >= std::uint64_t{t.stored_n} * t.h * t.w * t.stored_c) return std::nullopt;
      return inside(kernel_coordinate(t, index));
    }
    case LayoutKind::depthwise: {
      std::uint64_t index = offset * 8 / bits;
      const std::uint64_t taps = std::uint64_t{t.h} * t.w;
      if (index >= taps * t.stored_c) return std::nullopt;
      const auto first = static_cast<std::uint32_t>(index / (taps * t.block_c) * t.block_c);
      const std::uint32_t wide = std::min(t.block_c, t.stored_c - first);
      index -= first * taps;
      const std::uint64_t tap = index / wide;
      return inside({0, static_cast<std::uint32_t>(tap / t.w),
                     static_cast<std::uint32_t>(tap % t.w),
                     first + static_cast<std::uint32_t>(index % wide)});
    }
    case LayoutKind::vector: {
      const std::uint64_t c = offset * 8 / bits;
      if (c >= t.c) return std::nullopt;
      return Coordinate{0, 0, 0, static_cast<std::uint32_t>(c)};
    }
    case LayoutKind::bias_blocks: {
      const std::uint64_t lane = offset % kBiasBlock * 8 / bits;
      const std::uint64_t c = offset / kBiasBlock * 8 + lane;
      if (lane >= 8 || c >= t.c) return std::nullopt;
      return Coordinate{0, 0, 0, static_cast<std::uint32_t>(c)};
    }
    case LayoutKind::transposed: {
      const std::uint64_t slot = offset / 2, quarter = std::uint64_t{16} * t.h;
      const std::uint64_t rest = slot % quarter;
      const std::uint64_t c = slot / quarter + rest / (std::uint64_t{4} * t.h) * 16 + rest % 4 * 4;
      if (slot / quarter >= 4) return std::nullopt;
      const std::uint64_t y = rest % (std::uint64_t{4} * t.h) / 4;
      if (c >= t.c || transposed_slot(t, y, c) != slot) return std::nullopt;
      return inside({0, static_cast<std::uint32_t>(y), 0, static_cast<std::uint32_t>(c)});
    }
  }
  return std::nullopt;
}

std::uint64_t span_bytes(const NpuTensor& t) {
  if (!sensible(t)) return 0;
  switch (t.kind) {
    case LayoutKind::kernels:
      return (std::uint64_t{t.stored_n} * t.h * t.w * t.stored_c * bits_of(t.type) + 7) / 8;
    case LayoutKind::depthwise:
      return (std::uint64_t{t.h} * t.w * t.stored_c * bits_of(t.type) + 7) / 8;
    case LayoutKind::vector: return (std::uint64_t{t.c} * bits_of(t.type) + 7) / 8;
    case LayoutKind::bias_blocks:
      return std::uint64_t{(t.c - 1) / 8} * kBiasBlock + 8 * bits_of(t.type) / 8;
    case LayoutKind::transposed: {
      std::uint64_t last = 0;
      for (std::uint32_t c = 0; c < t.c; ++c) last = std::max(last, transposed_slot(t, t.h - 1, c));
      return 2 * (last + 1);
    }
    case LayoutKind::pixels: {
      const std::int64_t end = std::int64_t{t.h - 1} * t.line_stride +
                               std::int64_t{t.w - 1} * t.position_stride +
                               (std::int64_t{t.c} * bits_of(t.type) + 7) / 8;
      return end < 0 ? 0 : static_cast<std::uint64_t>(end);
    }
    case LayoutKind::cube:
    case LayoutKind::atoms: break;
  }
  std::int64_t end = 0;
  for (std::uint32_t plane = 0; plane < planes_of(t); ++plane)
    if (plane_written(t, plane))
      end = std::max(end, plane_offset(t, plane) + std::int64_t{t.h - 1} * t.line_stride +
                              std::int64_t{t.w} * t.position_stride);
  return static_cast<std::uint64_t>(end);
}

std::uint64_t elements(const NpuTensor& t) { return std::uint64_t{t.n} * t.h * t.w * t.c; }

std::string formula(const NpuTensor& t) {
  switch (t.kind) {
    case LayoutKind::cube: return fmt::format("[C/{}][H][W][{}]", t.atom(), t.atom());
    case LayoutKind::pixels: return t.w == 1 && t.position_stride == 16 ? "[H][C]" : "[H][W][C]";
    case LayoutKind::kernels:
      return fmt::format("[O/{}][I/{}][H][W][{}][{}]", t.block_n, t.block_c, t.block_n, t.block_c);
    case LayoutKind::depthwise: return fmt::format("[C/{}][H][W][{}]", t.block_c, t.block_c);
    case LayoutKind::vector: return "[C]";
    case LayoutKind::bias_blocks: return "[C/8][8] in blocks of 64 bytes";
    case LayoutKind::atoms: return fmt::format("[C/{}][{}]", t.atom(), t.atom());
    case LayoutKind::transposed: return "[C%4][C/16][H][C/4%4]";
  }
  return "?";
}

std::string in_words(const NpuTensor& t) {
  switch (t.kind) {
    case LayoutKind::cube: {
      std::string text =
          fmt::format("planes of {} channels, {} bytes apart, rows {}", t.atom(),
                      t.group_planes > 1 ? t.plane_stride : t.group_stride, t.line_stride);
      if (t.group_planes > 1) {
        text += fmt::format("; groups of {} planes {} apart", t.group_planes, t.group_stride);
        if (t.group_written < t.group_planes) text += fmt::format(", {} written", t.group_written);
      }
      return text;
    }
    case LayoutKind::pixels:
      return fmt::format("all channels of a position together, {} bytes a position, rows {}",
                         t.position_stride, t.line_stride);
    case LayoutKind::kernels: {
      std::string text = fmt::format("blocks of {} kernels by {} channels", t.block_n, t.block_c);
      if (t.stored_n != t.n || t.stored_c != t.c)
        text += fmt::format(", filled up to {} kernels of {}", t.stored_n, t.stored_c);
      return text;
    }
    case LayoutKind::depthwise: {
      std::string text = fmt::format("blocks of {} channels", t.block_c);
      if (t.stored_c != t.c) text += fmt::format(", filled up to {}", t.stored_c);
      return text;
    }
    case LayoutKind::vector: return "one after another";
    case LayoutKind::bias_blocks: return "8 channels side by side, blocks 64 bytes apart";
    case LayoutKind::atoms: return fmt::format("atoms of 16 bytes, {} apart", t.group_stride);
    case LayoutKind::transposed: return "transposed by TP_ORG_EN";
  }
  return "?";
}

std::string dimensions(const NpuTensor& t) {
  switch (t.kind) {
    case LayoutKind::vector:
    case LayoutKind::bias_blocks:
    case LayoutKind::atoms: return fmt::format("{}", t.c);
    default: return fmt::format("{}x{}x{}x{}", t.n, t.h, t.w, t.c);
  }
}

std::string to_string(const NpuTensor& t, const Coordinate& at) {
  switch (t.kind) {
    case LayoutKind::vector:
    case LayoutKind::bias_blocks:
    case LayoutKind::atoms: return fmt::format("(c {})", at.c);
    case LayoutKind::kernels:
      return fmt::format("(o {}, h {}, w {}, i {})", at.n, at.h, at.w, at.c);
    default: return fmt::format("(h {}, w {}, c {})", at.h, at.w, at.c);
  }
}

}  // namespace npu::probe
