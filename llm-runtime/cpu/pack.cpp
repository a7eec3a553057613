// SPDX-License-Identifier: MIT
// From a GGUF file's blocks into the packed layout, when a model is loaded.
#include <algorithm>
#include <cstring>

#include "llm-runtime/cpu/panel.hpp"

namespace npu::llm::cpu {
namespace {

constexpr std::size_t kR = kPanelRows;

template <class T>
T load(const void* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}
template <class T>
void store(void* at, T value) {
  std::memcpy(at, &value, sizeof(value));
}

using Word = std::uint32_t;  // the four bytes (b) of one row in an array
constexpr std::size_t kMostWords = 8 * kSlabColumns / 32;
constexpr Word kLowNibbles = 0x0F0F0F0F;

Word word(const void* at) { return load<Word>(at); }

// What follows turns a row's blocks into the words that its arrays of quantised values have for
// this row, in their order: a block's words are transposed whole, four values at a time. ([j] and
// the like: quads, see layout.hpp.)

/// [g][j 0..3]: the file pairs value i with i + 16 as the layout does.
void words_of(const BlockQ4_0& block, std::size_t g, std::size_t, Word* out) {
  std::memcpy(out + 4 * g, block.qs, sizeof(block.qs));
}

/// Exchanges bits `low` and `high` of every bit's index: 1 << high goes to 1 << low and back.
template <unsigned low, unsigned high>
Word swap_index_bits(Word x) {
  constexpr unsigned kFar = (1U << high) - (1U << low);
  constexpr Word kUp = [] {  // bits that move up: low set in their index, high not
    Word mask = 0;
    for (unsigned i = 0; i < 32; ++i)
      if ((i >> low & 1) == 1 && (i >> high & 1) == 0) mask |= Word{1} << i;
    return mask;
  }();
  const Word moved = (x >> kFar ^ x) & kUp;
  return x ^ moved ^ moved << kFar;
}

/// [g][j 0..3], then fifth bits [g]: bit 4 j + b of the file's 32 goes to bit j of byte b.
void words_of(const BlockQ5_0& block, std::size_t g, std::size_t groups, Word* out) {
  std::memcpy(out + 4 * g, block.qs, sizeof(block.qs));
  // The index's five bits j2 j1 j0 b1 b0 become b1 b0 j2 j1 j0.
  Word bits = swap_index_bits<0, 3>(word(block.qh));
  bits = swap_index_bits<1, 4>(bits);
  bits = swap_index_bits<0, 1>(bits);
  out[4 * groups + g] = swap_index_bits<0, 2>(bits);
}

/// [g][j 0..7].
void words_of(const BlockQ8_0& block, std::size_t g, std::size_t, Word* out) {
  for (std::size_t j = 0; j < 8; ++j) out[8 * g + j] = word(block.qs + 4 * j);
}

/// [g][j 0..3] of 64 values whose nibbles the file pairs with those 32 further.
void low_nibbles(const std::uint8_t* qs, Word* first, Word* second) {
  for (std::size_t j = 0; j < 4; ++j) {
    const Word a = word(qs + 4 * j), b = word(qs + 16 + 4 * j);
    first[j] = (a & kLowNibbles) | (b & kLowNibbles) << 4;
    second[j] = (a >> 4 & kLowNibbles) | (b & ~kLowNibbles);
  }
}

void words_of(const BlockQ4_K& block, Word* out) {
  for (std::size_t g = 0; g < 8; g += 2)
    low_nibbles(block.qs + 16 * g, out + 4 * g, out + 4 * (g + 1));
}

/// Then fifth bits [g]: bit g of the file's byte 4 j + b goes to bit j of byte b.
void words_of(const BlockQ5_K& block, Word* out) {
  for (std::size_t g = 0; g < 8; g += 2)
    low_nibbles(block.qs + 16 * g, out + 4 * g, out + 4 * (g + 1));
  std::uint64_t two[8];  // a word as it is for even groups, shifted for odd ones
  for (unsigned j = 0; j < 8; ++j) {
    const Word one = word(block.qh + 4 * j);
    two[j] = one | std::uint64_t{one >> 1} << 32;
  }
  for (unsigned g = 0; g < 8; g += 2) {
    std::uint64_t bits = 0;
    for (unsigned j = 0; j < 8; ++j) bits |= (two[j] >> g & 0x0101010101010101) << j;
    store(out + 32 + g, bits);
  }
}

/// Then upper bits [g][h]: two bits of the file's byte belong to the same value of four groups.
void words_of(const BlockQ6_K& block, Word* out) {
  for (std::size_t half = 0; half < 2; ++half) {
    Word* low = out + 16 * half;
    low_nibbles(block.ql + 64 * half, low, low + 8);
    low_nibbles(block.ql + 64 * half + 32, low + 4, low + 12);
    const std::uint8_t* upper = block.qh + 32 * half;
    std::uint64_t two[4];  // words of both h
    for (std::size_t i = 0; i < 4; ++i)
      two[i] = word(upper + 4 * i) | std::uint64_t{word(upper + 16 + 4 * i)} << 32;
    for (unsigned quarter = 0; quarter < 4; ++quarter) {
      std::uint64_t bits = 0;
      for (unsigned i = 0; i < 4; ++i)
        bits |= (two[i] >> (2 * quarter) & 0x0303030303030303) << (2 * i);
      store(out + 32 + (4 * half + quarter) * 2, bits);
    }
  }
}

/// out[w][r] = in[r][w].
void transpose(const Word (*in)[kMostWords], std::size_t count, std::byte* out) {
  for (std::size_t w = 0; w < count; ++w, out += kR * sizeof(Word))
    for (std::size_t r = 0; r < kR; ++r) store(out + r * sizeof(Word), in[r][w]);
}

/// What is known of a slab before its rows are looked at.
struct Slab {
  const std::byte* in;  ///< the first row's blocks
  std::size_t stride;   ///< bytes from row to row
  std::size_t rows, columns;
  SlabLayout layout;
  std::byte* out;
};

/// Sixteen rows at a time are more than the hardware's prefetchers follow: a row's blocks of the
/// next slab, while the other rows have their turn.
void fetch_ahead(const std::byte* in, std::size_t bytes) {
  for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(in + bytes + at);
}

void put_half(const Slab& slab, std::size_t base, std::size_t index, std::size_t r, F16Bits half) {
  store(slab.out + base + (index * kR + r) * sizeof(half), half);
}

/// A block where it lies: a copy would be stored in parts and loaded across them, which stalls.
/// GgufFile::weight_view() has seen to the alignment of its halves.
template <class Block>
const Block& block_at(const std::byte* at) {
  return *reinterpret_cast<const Block*>(at);
}

/// Q4_0, Q5_0, Q8_0.
template <class Block>
void pack_32(const Slab& slab, Word (*words)[kMostWords]) {
  const std::size_t groups = slab.columns / 32;
  for (std::size_t r = 0; r < slab.rows; ++r) {
    const std::byte* in = slab.in + r * slab.stride;
    fetch_ahead(in, groups * sizeof(Block));
    for (std::size_t g = 0; g < groups; ++g, in += sizeof(Block)) {
      const auto& block = block_at<Block>(in);
      words_of(block, g, groups, words[r]);
      put_half(slab, slab.layout.d, g, r, block.d);
    }
  }
  transpose(words, groups * (sizeof(Block) - sizeof(F16Bits)) / sizeof(Word), slab.out);
}

/// K-quants.
template <class Block>
void pack_256(const Slab& slab, Word (*words)[kMostWords]) {
  for (std::size_t r = 0; r < slab.rows; ++r) {
    const auto& block = block_at<Block>(slab.in + r * slab.stride);
    fetch_ahead(slab.in + r * slab.stride, sizeof(Block));
    words_of(block, words[r]);
    for (std::size_t i = 0; i < sizeof(block.scales); ++i)
      store(slab.out + slab.layout.scales + i * kR + r, block.scales[i]);
    put_half(slab, slab.layout.d, 0, r, block.d);
    if constexpr (requires { block.dmin; }) put_half(slab, slab.layout.dmin, 0, r, block.dmin);
  }
  // Quantised values end where scales begin.
  transpose(words, slab.layout.scales / (kR * sizeof(Word)), slab.out);
}

template <class T>
void pack_float(const Slab& slab) {
  for (std::size_t r = 0; r < slab.rows; ++r)
    for (std::size_t k = 0; k < slab.columns; ++k)
      store(slab.out + (k * kR + r) * sizeof(T),
            load<T>(slab.in + r * slab.stride + k * sizeof(T)));
}

void pack_slab(TensorType type, const Slab& slab, Word (*words)[kMostWords]) {
  switch (type) {
    case TensorType::q4_0: return pack_32<BlockQ4_0>(slab, words);
    case TensorType::q5_0: return pack_32<BlockQ5_0>(slab, words);
    case TensorType::q8_0: return pack_32<BlockQ8_0>(slab, words);
    case TensorType::q4_k: return pack_256<BlockQ4_K>(slab, words);
    case TensorType::q5_k: return pack_256<BlockQ5_K>(slab, words);
    case TensorType::q6_k: return pack_256<BlockQ6_K>(slab, words);
    case TensorType::f32: return pack_float<std::uint32_t>(slab);
    case TensorType::f16:
    case TensorType::bf16: return pack_float<std::uint16_t>(slab);
  }
}

}  // namespace

void pack_panel(const WeightView& view, std::size_t first, std::byte* panel) {
  const std::size_t stride = row_bytes(view.type, view.columns);
  Word words[kR][kMostWords] = {};
  // Memory of the panel is new: it is written once, from front to back. Zeros remain for rows
  // beyond the last one and behind the arrays.
  alignas(kAlignment) std::byte slab[kR * kSlabColumns * sizeof(float)];
  std::memset(slab, 0, slab_bytes(view.type, std::min<std::size_t>(kSlabColumns, view.columns)));
  for (std::size_t k = 0; k < view.columns; k += kSlabColumns) {
    const std::size_t columns = std::min(kSlabColumns, view.columns - k);
    const std::size_t bytes = slab_bytes(view.type, columns);
    if (columns < kSlabColumns) std::memset(slab, 0, bytes);
    pack_slab(view.type,
              {.in = view.data + first * stride + row_bytes(view.type, k),
               .stride = stride,
               .rows = std::min(kR, view.rows - first),
               .columns = columns,
               .layout = slab_layout(view.type, columns),
               .out = slab},
              words);
    std::memcpy(panel, slab, bytes);
    panel += bytes;
  }
}

}  // namespace npu::llm::cpu
