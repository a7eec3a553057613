// SPDX-License-Identifier: MIT
#include "hostile.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "../../npu-sim-property/session.hpp"
#include "regdb/tables.hpp"

namespace npu::sim::fuzz {
namespace {

namespace prop = npu::sim::property;
using regdb::Regcmd;

// One change: [kind][index, 2 bytes][value, 4 bytes].
constexpr std::size_t kChange = 7;

struct Layout {
  std::uint32_t image, image_bytes, program;
};

// Numbers that sit at limits, and addresses that are somebody's.
std::uint32_t interesting(std::uint32_t selector, const Layout& at) {
  const std::array<std::uint32_t, 20> values = {0,
                                                1,
                                                2,
                                                15,
                                                0xFFFF,
                                                0x10000,
                                                0x1FFF,
                                                0x1FFF1FFF,
                                                0x7FFFFFFF,
                                                0x80000000,
                                                0xFFFFFFFF,
                                                0xFFFFFFF0,
                                                0xFFFFF000,
                                                at.image,
                                                at.program,
                                                at.image + at.image_bytes - 16,
                                                at.image + at.image_bytes,
                                                at.image - 16,
                                                at.program + 64,
                                                at.image + at.image_bytes / 2};
  return values[selector % values.size()];
}

void change(std::vector<std::uint64_t>& words, const std::uint8_t* in, const Layout& at) {
  const std::size_t index = (in[1] | std::size_t{in[2]} << 8) % words.size();
  std::uint32_t value;
  std::memcpy(&value, in + 3, 4);
  Regcmd c = Regcmd::unpack(words[index]);
  switch (in[0] % 12) {
    case 0: c.value = value; break;
    case 1: c.value ^= std::uint32_t{1} << value % 32; break;
    case 2: c.value += static_cast<std::uint32_t>(static_cast<std::int8_t>(value)); break;
    case 3: c.value += static_cast<std::uint32_t>(static_cast<std::int8_t>(value)) << 16; break;
    case 4: c.value = interesting(value, at); break;
    case 5: c.value = (c.value & 0xFFFF) | value << 16; break;
    case 6: c.value = (c.value & 0xFFFF0000) | (value & 0xFFFF); break;
    case 7: c = {}; break;  // an empty word: the register keeps what it held
    case 8: {               // another register instead
      const auto registers = regdb::registers();
      const auto& reg = registers[value % registers.size()];
      c = {static_cast<std::uint16_t>(regdb::target_of(reg.block)), value >> 8, reg.offset};
      break;
    }
    case 9: c = Regcmd::unpack(words[value % words.size()]); break;
    case 10: {  // an address that lies near another one of the program
      const Regcmd other = Regcmd::unpack(words[value % words.size()]);
      c.value =
          other.value + static_cast<std::uint32_t>(static_cast<std::int8_t>(value >> 24)) * 16;
      break;
    }
    default: words[index] ^= std::uint64_t{value} << (in[0] >> 4) * 2; return;
  }
  words[index] = c.pack();
}

std::size_t pages(std::size_t n) { return (n + 4095) / 4096 * 4096; }

}  // namespace

std::vector<std::uint8_t> Hostile::snapshot() const {
  std::vector<std::uint8_t> out;
  for (const auto& [memory, bytes] : pieces) {
    const auto* from = reinterpret_cast<const std::uint8_t*>(memory.get());
    out.insert(out.end(), from, from + bytes);
  }
  return out;
}

Hostile make_hostile(const std::uint8_t* data, std::size_t size) {
  std::uint32_t seed;
  std::memcpy(&seed, data, 4);
  const std::uint8_t place = data[4], options = data[5];
  prop::Draw draw(seed);
  prop::Arena arena(draw);
  if ((place & 3) == 1) {
    // The end of the window: whatever runs on past the image leaves it.
    arena.image.base = 0xFFF00000;
    arena.dma_base = 0;
  }
  prop::Session session = prop::draw_session(draw, arena, 1 + data[6] % 6);
  session.chained = true;
  session.partial = (options & 0x10) != 0;

  // Programs beside the image, or inside of it, where outputs reach them.
  std::size_t words_needed = 0;
  for (const prop::Task& task : session.tasks) words_needed += task.body.size() + 6;
  Layout at{};
  const bool inside = (place & 4) != 0;
  at.program = inside ? arena.reserve(words_needed * 8) : 0x10000;
  at.image = arena.image.base;
  at.image_bytes = static_cast<std::uint32_t>(arena.image.bytes.size());
  prop::Programs programs = prop::link(session, at.program);
  for (std::size_t i = kHeader; i + kChange <= size && i < kHeader + 64 * kChange; i += kChange)
    change(programs.words, data + i, at);

  Hostile h;
  h.space = std::make_shared<AddressSpace>();
  const auto map = [&](std::uint32_t iova, const void* from, std::size_t bytes) {
    if (iova + std::uint64_t{pages(bytes)} > AddressSpace::kWindow) return;
    std::shared_ptr<std::byte[]> memory(new std::byte[pages(bytes)]());
    std::memcpy(memory.get(), from, bytes);
    h.pieces.emplace_back(memory, pages(bytes));
    h.space->map(iova, std::move(memory), bytes);
  };
  const std::size_t code_bytes = programs.words.size() * 8;
  if (inside)
    std::memcpy(arena.image.at(at.program), programs.words.data(),
                std::min<std::size_t>(code_bytes, words_needed * 8));
  else
    map(at.program, programs.words.data(), code_bytes);
  // The image whole, in pieces side by side, or with holes.
  const std::size_t piece = (place & 8) != 0 ? 4096 * (1 + std::size_t{data[7]} % 8) : SIZE_MAX;
  const auto& bytes = arena.image.bytes;
  for (std::size_t first = 0, n = 0; first < bytes.size(); first += piece, ++n) {
    const std::size_t count = std::min(piece, bytes.size() - first);
    const bool hole = (place & 0x10) != 0 && piece != SIZE_MAX && n % 5 == 4;
    if (!hole) map(at.image + static_cast<std::uint32_t>(first), bytes.data() + first, count);
    if (piece == SIZE_MAX) break;
  }
  h.program = at.program;
  h.words = programs.count[0];
  h.tasks = static_cast<std::uint32_t>(session.tasks.size());
  if ((place & 0x20) != 0) h.tasks = 1 + data[7] * 16u;
  h.dma_base = arena.dma_base;
  h.core = (options & 3) % 3;
  h.observed = (options & 4) != 0;
  h.quirks = (options & 8) == 0;
  return h;
}

}  // namespace npu::sim::fuzz
