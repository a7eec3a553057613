// SPDX-License-Identifier: MIT
// Random programs of every kind behind an IOMMU, on pages that lie scattered: the bytes are those
// of the same programs in mapped memory (tests/npu-sim-property compares those with a reference).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "npu-sim/core_port.hpp"
#include "page_tables.hpp"
#include "regdb/registers.hpp"
#include "tests/npu-sim-property/session.hpp"

namespace npu::sim::test {
namespace {

namespace rd = npu::regdb;
using property::Arena;
using property::Draw;
using property::Image;
using property::Programs;
using property::Session;

constexpr std::uint64_t kDirectory = 0x81'0000'0000, kTables = 0x82'0000'0000;

// A core with its IOMMU, and memory with a copy of an image and of its programs.
class Board {
 public:
  Board(Chip& chip, unsigned core, Draw& draw)
      : core_(core),
        draw_(draw),
        port_(chip, {.core = core, .mode = StartMode::in_write, .memory = ram_.callbacks()}) {}

  // Maps copies of [iova, iova + bytes) on pages at random addresses.
  void load(std::uint32_t iova, const void* data, std::size_t bytes) {
    for (std::size_t at = 0; at < bytes; at += 4096) {
      const std::uint64_t physical = next_ += 4096 * std::uint64_t{draw_.pick(1, 1 << 20)};
      tables_.map(iova + static_cast<std::uint32_t>(at), physical);
      std::memcpy(ram_.page(physical), static_cast<const char*>(data) + at,
                  std::min<std::size_t>(4096, bytes - at));
      pages_.push_back({iova + static_cast<std::uint32_t>(at), physical});
    }
  }

  std::optional<std::string> run(const Session& session, const Programs& programs,
                                 std::uint32_t dma_base) {
    const auto iommu = [this](std::uint32_t offset, std::uint32_t value) {
      if (core_ == 0) port_.write(0x9000 + offset, value);
      port_.write(0xA000 + offset, value);
    };
    iommu(0x00, fold_address(kDirectory) | 1);
    iommu(0x08, 4);
    iommu(0x1C, 3);
    iommu(0x08, 0);
    const std::size_t starts = session.chained ? 1 : session.tasks.size();
    for (std::size_t i = 0; i < starts; ++i) {
      port_.write(rd::pc::BASE_ADDRESS::offset, 1);
      port_.write(rd::cna::S_POINTER::offset, 0xE + 0x10000000 * core_);
      port_.write(rd::core::S_POINTER::offset, 0xE + 0x10000000 * core_);
      port_.write(rd::pc::BASE_ADDRESS::offset, programs.base + programs.first[i] * 8);
      port_.write(rd::pc::REGISTER_AMOUNTS::offset, (programs.count[i] + 1) / 2 - 1);
      port_.write(rd::pc::INTERRUPT_MASK::offset, 0xF00);
      port_.write(rd::pc::INTERRUPT_CLEAR::offset, 0x1FFFF);
      port_.write(rd::pc::TASK_CON::offset,
                  0x7000 | static_cast<std::uint32_t>(session.chained ? session.tasks.size() : 1));
      port_.write(rd::pc::TASK_DMA_BASE_ADDR::offset, dma_base);
      port_.write(rd::pc::OPERATION_ENABLE::offset, 1);
      if (const auto fault = port_.fault())
        return fmt::format("start {}: fault {}: {}", i, fault->where, fault->message);
      if (!port_.irq()) return fmt::format("start {}: no interrupt", i);
    }
    return std::nullopt;
  }

  std::optional<std::string> difference(const Image& want) {
    for (const auto& [iova, physical] : pages_) {
      if (iova < want.base || iova - want.base >= want.bytes.size()) continue;
      const std::size_t at = iova - want.base,
                        n = std::min(want.bytes.size() - at, std::size_t{4096});
      if (std::memcmp(ram_.page(physical), want.bytes.data() + at, n) != 0)
        return fmt::format("the page at IOVA {:#x} differs", iova);
    }
    return std::nullopt;
  }

 private:
  unsigned core_;
  Draw& draw_;
  Ram ram_;
  PageTables tables_{ram_, kDirectory, kTables};
  CorePort port_;
  std::uint64_t next_ = 0x1000;
  std::vector<std::pair<std::uint32_t, std::uint64_t>> pages_;
};

// Memory after the session on core 0 of the chip, without an IOMMU.
Image direct(Chip& chip, const Arena& arena, const Session& session) {
  property::Bench bench(arena);
  const Programs programs = bench.add(session);
  chip.reset(0);
  if (const auto fault = property::start(chip, 0, bench, session, programs))
    throw std::runtime_error(*fault);
  Image out = arena.image;
  std::memcpy(out.bytes.data(), bench.memory.get(), bench.bytes);
  return out;
}

TEST(IommuProperty, ProgramsOnScatteredPagesGiveTheBytesOfMappedMemory) {
  Chip chip;
  property::for_each_case(40, [&](Draw& draw) {
    Arena arena(draw);
    const Session session = property::draw_session(draw, arena, 4);
    const unsigned core = draw.pick(0, 2);
    const std::uint32_t base =
        (arena.image.base + static_cast<std::uint32_t>(arena.image.bytes.size()) + 0x11000) &
        ~0xFFFu;
    const Programs programs = property::link(session, base);
    const Image want = direct(chip, arena, session);
    chip.reset(core);
    Board board(chip, core, draw);
    board.load(arena.image.base, arena.image.bytes.data(), arena.image.bytes.size());
    board.load(base, programs.words.data(), programs.words.size() * 8);
    auto wrong = board.run(session, programs, arena.dma_base);
    if (!wrong) wrong = board.difference(want);
    if (wrong)
      for (const property::Task& task : session.tasks) *wrong += "\n  " + task.text;
    return wrong;
  });
}

}  // namespace
}  // namespace npu::sim::test
