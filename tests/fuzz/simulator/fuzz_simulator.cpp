// SPDX-License-Identifier: MIT
// Hostile register programs: whatever the words say, a task ends with an interrupt or a fault, and
// what it has written does not depend on the host's threads. Inputs of a multiple of 8 bytes are
// programs, word by word (the corpus holds recorded ones); those of one byte more choose registers
// by two bytes; all others change valid programs of every kind (hostile.hpp).
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "hostile.hpp"
#include "npu-sim/chip.hpp"
#include "regdb/registers.hpp"
#include "regdb/tables.hpp"

namespace {

namespace sim = npu::sim;
namespace rd = npu::regdb;

constexpr std::uint32_t kProgram = 0x10000, kData = 0x100000;
constexpr std::size_t kDataBytes = 0x40000;
constexpr std::uint64_t kBudget = 20'000'000;

// Everything that is computed for an observer is computed, and added up.
class Listener : public sim::Observer {
 public:
  void task(const sim::TaskRecord& record) override {
    for (const sim::Transfer& transfer : record.transfers) bytes += transfer.total();
    text += record.operation.size() + record.quirks.size();
  }
  std::uint64_t bytes = 0;
  std::size_t text = 0;
};

sim::ChipOptions options(unsigned threads, bool observed, bool quirks) {
  sim::ChipOptions o;
  o.threads = threads;
  o.task_mac_budget = kBudget;
  if (observed) o.observer = std::make_shared<Listener>();
  if (!quirks) {
    o.quirks.core_index_in_s_pointer = o.quirks.mrdma_trap = false;
    o.quirks.size_e_counts_surfaces = o.quirks.lut_zero_decodes_as_2_17 = false;
    o.quirks.lut_lost_between_starts = o.quirks.stage_mul_partial_surface = false;
    o.quirks.flying_width_limit = false;
  }
  return o;
}

// Exactly one of an interrupt and a fault; the fault's place, or nothing.
std::string run(sim::Chip& chip, const sim::fuzz::Hostile& h) {
  const unsigned core = h.core;
  chip.reset(core);
  chip.attach(core, h.space);
  chip.write(core, rd::cna::S_POINTER::offset, 0xE + 0x10000000 * core);
  chip.write(core, rd::core::S_POINTER::offset, 0xE + 0x10000000 * core);
  chip.write(core, rd::pc::BASE_ADDRESS::offset, h.program);
  chip.write(core, rd::pc::REGISTER_AMOUNTS::offset, (h.words + 1) / 2 - 1);
  chip.write(core, rd::pc::INTERRUPT_MASK::offset, 0x300);
  chip.write(core, rd::pc::TASK_CON::offset, 0x7000 | (h.tasks & 0xFFF));
  chip.write(core, rd::pc::TASK_DMA_BASE_ADDR::offset, h.dma_base);
  chip.write(core, rd::pc::OPERATION_ENABLE::offset, 1);
  const bool done = (chip.read(core, rd::pc::INTERRUPT_RAW_STATUS::offset) & 0xF00) != 0;
  const auto& fault = chip.fault(core);
  if (done == fault.has_value()) std::abort();
  const std::string where = fault ? fault->where + ": " + fault->message : std::string();
  chip.attach(core, nullptr);
  return where;
}

void run_changed(const std::uint8_t* data, std::size_t size) {
  const auto hostile = sim::fuzz::make_hostile(data, size);
  sim::Chip chip(options(1, hostile.observed, hostile.quirks));
  const std::string first = run(chip, hostile);
  if (data[5] < 0xC0) return;
  // A quarter of the inputs again, with helpers.
  const auto again = sim::fuzz::make_hostile(data, size);
  static sim::Chip wide(options(3, false, true)), wide_plain(options(3, false, false));
  const std::string second = run(hostile.quirks ? wide : wide_plain, again);
  if (first != second || hostile.snapshot() != again.snapshot()) std::abort();
}

// Random targets and offsets would hit a register once in millions of words: two bytes of input
// choose a register instead, and every eighth word is taken as it is.
std::uint64_t make_word(const std::uint8_t* in) {
  std::uint64_t raw;
  std::memcpy(&raw, in, 8);
  if ((in[7] & 7) == 7) return raw;
  const auto registers = rd::registers();
  const std::size_t index = (in[6] | in[7] << 8) % registers.size();
  const auto& reg = registers[index];
  auto value = static_cast<std::uint32_t>(raw);
  // Small numbers are the ones that get past the checks.
  if ((in[5] & 3) == 0) value &= 0x3F003F;
  if ((in[5] & 3) == 1) value &= 0x3F;
  if ((in[5] & 3) == 2 && reg.name.ends_with("ADDR")) value = kData + (value & 0x3FFF0);
  return rd::Regcmd{static_cast<std::uint16_t>(rd::target_of(reg.block)), value, reg.offset}.pack();
}

void run_words(const std::uint8_t* data, std::size_t size) {
  const std::size_t words = std::min<std::size_t>(size / 8, 512);
  std::shared_ptr<std::byte[]> program(new std::byte[0x2000]()),
      memory(new std::byte[kDataBytes]());
  for (std::size_t i = 0; i < words; ++i) {
    std::uint64_t word;
    std::memcpy(&word, data + i * 8, 8);
    if (size % 8 != 0) word = make_word(data + i * 8);
    std::memcpy(program.get() + i * 8, &word, 8);
  }
  // An enable word, so that most inputs reach the pipeline.
  const std::uint64_t enable =
      rd::Regcmd{static_cast<std::uint16_t>(rd::Target::enable), 0x1D, 8}.pack();
  std::memcpy(program.get() + (words + 1) * 8, &enable, 8);
  sim::fuzz::Hostile h;
  h.space = std::make_shared<sim::AddressSpace>();
  h.space->map(kProgram, program, 0x2000);
  h.space->map(kData, memory, kDataBytes);
  h.program = kProgram;
  h.words = static_cast<std::uint32_t>(words) + 3;
  static sim::Chip chip(options(1, false, true));
  run(chip, h);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size % 8 <= 1)
    run_words(data, size);
  else if (size >= sim::fuzz::kHeader)
    run_changed(data, size);
  return 0;
}
