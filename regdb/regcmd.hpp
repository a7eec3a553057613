// SPDX-License-Identifier: MIT
// Register commands: the 64-bit words of a program that the PC fetches.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace npu::regdb {

enum class Block : std::uint8_t { pc, cna, core, dpu, dpu_rdma, ppu, ppu_rdma, ddma, sdma, global };

/// Bits 63:48 of a word: one bit per block in the high byte, plus 1 [TRM 36.5; Mesa].
enum class Target : std::uint16_t {
  none = 0,         ///< empty word
  marker = 0x0041,  ///< must stand before the enable word [TRM]
  enable = 0x0081,  ///< starts the blocks of its mask
  pc = 0x0101,
  cna = 0x0201,
  core = 0x0801,
  dpu = 0x1001,
  dpu_rdma = 0x2001,
  ppu = 0x4001,
  ppu_rdma = 0x8001,
};

/// Bits of the enable word (layout of GLOBAL.OPERATION_ENABLE).
namespace enable_mask {
inline constexpr std::uint32_t cna = 1u << 0, core = 1u << 2, dpu = 1u << 3, dpu_rdma = 1u << 4,
                               ppu = 1u << 5, ppu_rdma = 1u << 6;
}

/// [63:48] target, [47:16] value, [15:0] register offset, block base included.
struct Regcmd {
  std::uint16_t target = 0;
  std::uint32_t value = 0;
  std::uint16_t offset = 0;

  constexpr std::uint64_t pack() const {
    return std::uint64_t{target} << 48 | std::uint64_t{value} << 16 | offset;
  }
  static constexpr Regcmd unpack(std::uint64_t word) {
    return {static_cast<std::uint16_t>(word >> 48), static_cast<std::uint32_t>(word >> 16),
            static_cast<std::uint16_t>(word)};
  }
  friend bool operator==(const Regcmd&, const Regcmd&) = default;
};

/// A generated register struct, such as cna::DATA_SIZE0.
template <class R>
concept Register = requires(const R& r) {
  { R::target } -> std::convertible_to<Target>;
  { R::offset } -> std::convertible_to<std::uint16_t>;
  { r.encode() } -> std::same_as<std::uint32_t>;
};

/// Builds a register program word by word.
class RegcmdStream {
 public:
  template <Register R>
  RegcmdStream& write(const R& r) {
    return raw(static_cast<std::uint16_t>(R::target), r.encode(), R::offset);
  }
  RegcmdStream& raw(std::uint16_t target, std::uint32_t value, std::uint16_t offset) {
    return word(Regcmd{target, value, offset}.pack());
  }
  RegcmdStream& word(std::uint64_t w) {
    words_.push_back(w);
    return *this;
  }

  /// The four trailer words: address of the next program (an empty word if there is none), its
  /// amount, the marker, the enable word [Mesa rkt_regcmd.c; TRM 36.5].
  void end(std::uint32_t mask, std::uint32_t next_iova = 0, std::uint32_t next_amount = 0) {
    if (next_iova == 0 && next_amount == 0)
      word(0);
    else
      raw(static_cast<std::uint16_t>(Target::pc), next_iova, 0x0010);
    raw(static_cast<std::uint16_t>(Target::pc), next_amount, 0x0014);
    raw(static_cast<std::uint16_t>(Target::marker), 0, 0);
    raw(static_cast<std::uint16_t>(Target::enable), mask, 0x0008);
  }

  const std::vector<std::uint64_t>& words() const { return words_; }
  std::size_t size() const { return words_.size(); }

 private:
  std::vector<std::uint64_t> words_;
};

/// Splits a stream into tasks; each ends with its enable word. Words after the last enable word
/// make a last, unfinished task.
std::vector<std::span<const std::uint64_t>> split_tasks(std::span<const std::uint64_t> words);

/// Little-endian bytes to words. Throws bad_file if there are none or the size is not a multiple
/// of 8.
std::vector<std::uint64_t> parse_regcmd_bytes(std::span<const std::byte> bytes);

}  // namespace npu::regdb
