// SPDX-License-Identifier: MIT
#include "harness.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>

#include "regdb/registers.hpp"

namespace npu::sim::property {

namespace rd = npu::regdb;

float Draw::real(int low, int high) {
  if (once_in(16)) return 0;
  const int exponent = pick_signed(low, high);
  const float mantissa = 1.0f + static_cast<float>(bits() & 0x7FFFFF) * 0x1p-23f;
  return std::ldexp(once_in(2) ? -mantissa : mantissa, exponent);
}

Arena::Arena(Draw& d) : draw(d) {
  image.base = d.pick(1, 0x8000) << 16;
  if (d.once_in(3)) dma_base = d.pick(0, image.base >> 4) << 4;
}

std::uint32_t Arena::reserve(std::size_t size) {
  const std::size_t at = image.bytes.size() + 16 * draw.pick(0, 3);
  image.bytes.resize(at + (size + 15) / 16 * 16);
  for (std::size_t i = at; i < image.bytes.size(); i += 8) {
    const std::uint64_t random = draw.bits();
    std::memcpy(image.bytes.data() + i, &random, 8);
  }
  return image.base + static_cast<std::uint32_t>(at);
}

namespace {

constexpr std::array<rd::Target, 6> kBlocks = {rd::Target::cna, rd::Target::core,
                                               rd::Target::dpu, rd::Target::dpu_rdma,
                                               rd::Target::ppu, rd::Target::ppu_rdma};
constexpr std::array<std::uint32_t, 6> kEnableBits = {
    rd::enable_mask::cna,      rd::enable_mask::core, rd::enable_mask::dpu,
    rd::enable_mask::dpu_rdma, rd::enable_mask::ppu,  rd::enable_mask::ppu_rdma};

}  // namespace

Programs link(const Session& session, std::uint32_t base) {
  // Register groups: each block changes sides after each task that uses it, so a program finds
  // what the block's last task but one wrote [notes regcmd-task-model].
  std::array<std::array<std::map<std::uint16_t, std::uint32_t>, 2>, 6> held;
  std::array<unsigned, 6> group{};
  std::vector<std::vector<rd::Regcmd>> bodies;
  for (const Task& task : session.tasks) {
    std::vector<rd::Regcmd> body;
    for (const rd::Regcmd& command : task.body) {
      const auto block = static_cast<std::size_t>(
          std::find(kBlocks.begin(), kBlocks.end(), static_cast<rd::Target>(command.target)) -
          kBlocks.begin());
      auto& values = held[block][group[block]];
      const auto known = values.find(command.offset);
      const bool pointer = (command.offset & 0xFFF) == 4;
      if (session.partial && task.may_drop && !pointer && known != values.end() &&
          known->second == command.value)
        continue;
      values[command.offset] = command.value;
      body.push_back(command);
    }
    for (std::size_t block = 0; block < kBlocks.size(); ++block)
      if ((task.enable & kEnableBits[block]) != 0) group[block] ^= 1;
    bodies.push_back(std::move(body));
  }
  Programs out;
  std::uint32_t at = 0;
  for (const auto& body : bodies) {
    out.first.push_back(at);
    out.count.push_back(static_cast<std::uint32_t>(body.size()) + 4);
    at += (out.count.back() + 1) / 2 * 2;
  }
  for (std::size_t i = 0; i < bodies.size(); ++i) {
    rd::RegcmdStream s;
    for (const rd::Regcmd& command : bodies[i]) s.word(command.pack());
    if (session.chained && i + 1 < bodies.size())
      s.end(session.tasks[i].enable, base + out.first[i + 1] * 8, (out.count[i + 1] + 1) / 2 - 1);
    else
      s.end(session.tasks[i].enable);
    out.words.resize(out.first[i]);
    out.words.insert(out.words.end(), s.words().begin(), s.words().end());
  }
  out.words.resize(at);
  out.base = base;
  return out;
}

namespace {
std::size_t pages(std::size_t n) { return (n + 4095) / 4096 * 4096; }
}  // namespace

Bench::Bench(const Arena& arena) : dma_base(arena.dma_base) {
  bytes = arena.image.bytes.size();
  memory.reset(new std::byte[pages(bytes)]());
  std::memcpy(memory.get(), arena.image.bytes.data(), bytes);
  space->map(arena.image.base, memory, bytes);
  next_program = arena.image.base + static_cast<std::uint32_t>(pages(bytes)) + 0x10000;
}

Programs Bench::add(const Session& session) {
  Programs programs = link(session, next_program);
  const std::size_t size = programs.words.size() * 8;
  std::shared_ptr<std::byte[]> code(new std::byte[pages(size)]());
  std::memcpy(code.get(), programs.words.data(), size);
  space->map(next_program, std::move(code), size);
  next_program += static_cast<std::uint32_t>(pages(size)) + 4096;
  return programs;
}

std::optional<std::string> start(Chip& chip, unsigned core, const Bench& bench,
                                 const Session& session, const Programs& programs) {
  const auto write = [&]<rd::Register R>(const R& reg) {
    chip.write(core, R::offset, reg.encode());
  };
  chip.attach(core, bench.space);
  const std::size_t starts = session.chained ? 1 : session.tasks.size();
  for (std::size_t i = 0; i < starts; ++i) {
    chip.write(core, rd::pc::BASE_ADDRESS::offset, 1);
    chip.write(core, rd::cna::S_POINTER::offset, 0xE + 0x10000000 * core);
    chip.write(core, rd::core::S_POINTER::offset, 0xE + 0x10000000 * core);
    write(rd::pc::BASE_ADDRESS{.pc_source_addr = programs.base + programs.first[i] * 8});
    write(rd::pc::REGISTER_AMOUNTS{.pc_data_amount = (programs.count[i] + 1) / 2 - 1});
    chip.write(core, rd::pc::INTERRUPT_CLEAR::offset, 0x1FFFF);
    const auto tasks = static_cast<std::uint32_t>(session.chained ? session.tasks.size() : 1);
    write(rd::pc::TASK_CON{.task_count_clear = true, .task_pp_en = true, .task_number = tasks});
    chip.write(core, rd::pc::TASK_DMA_BASE_ADDR::offset, bench.dma_base);
    chip.write(core, rd::pc::OPERATION_ENABLE::offset, 1);
    if (const auto& fault = chip.fault(core))
      return fmt::format("start {}: fault {}: {}", i, fault->where, fault->message);
    if (chip.read(core, rd::pc::TASK_STATUS::offset) != tasks)
      return fmt::format("start {}: not all of its {} tasks ran", i, tasks);
  }
  return std::nullopt;
}

Image expected(const Arena& arena, const Session& session) {
  Image image = arena.image;
  PlainCbuf cbuf;
  for (const Task& task : session.tasks) task.effect(image, cbuf);
  return image;
}

std::optional<std::string> difference(const Bench& bench, const Image& want) {
  const auto* got = reinterpret_cast<const std::uint8_t*>(bench.memory.get());
  const auto at = static_cast<std::size_t>(
      std::mismatch(want.bytes.begin(), want.bytes.end(), got).first - want.bytes.begin());
  if (at == want.bytes.size()) return std::nullopt;
  std::size_t count = 0;
  for (std::size_t i = 0; i < want.bytes.size(); ++i) count += want.bytes[i] != got[i];
  return fmt::format("{} bytes differ, the first at IOVA {:#x}: {:#04x} instead of {:#04x}", count,
                     want.base + at, got[at], want.bytes[at]);
}

std::optional<std::string> mismatch(Chip& chip, const Arena& arena, const Session& session) {
  Bench bench(arena);
  const Programs programs = bench.add(session);
  chip.reset(0);
  std::optional<std::string> wrong = start(chip, 0, bench, session, programs);
  if (!wrong) wrong = difference(bench, expected(arena, session));
  chip.attach(0, nullptr);
  if (!wrong) return std::nullopt;
  for (const Task& task : session.tasks) *wrong += "\n  " + task.text;
  return fmt::format("{}{}{}", *wrong, session.chained ? "\n  chained" : "",
                     session.partial ? "\n  partial programs" : "");
}

}  // namespace npu::sim::property
