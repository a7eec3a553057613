// SPDX-License-Identifier: MIT
// Hostile register programs: whatever the words say, a task ends with an interrupt or a fault.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "npu-sim/chip.hpp"
#include "regdb/tables.hpp"

namespace {

constexpr std::uint32_t kProgram = 0x10000, kData = 0x100000;
constexpr std::size_t kDataBytes = 0x40000;

// Random targets and offsets would hit a register once in millions of words: two bytes of input
// choose a register instead, and every eighth word is taken as it is.
std::uint64_t make_word(const std::uint8_t* in) {
  std::uint64_t raw;
  std::memcpy(&raw, in, 8);
  if ((in[7] & 7) == 7) return raw;
  const auto registers = npu::regdb::registers();
  const std::size_t index = (in[6] | in[7] << 8) % registers.size();
  const auto& reg = registers[index];
  auto value = static_cast<std::uint32_t>(raw);
  // Small numbers are the ones that get past the checks.
  if ((in[5] & 3) == 0) value &= 0x3F003F;
  if ((in[5] & 3) == 1) value &= 0x3F;
  if ((in[5] & 3) == 2 && reg.name.ends_with("ADDR")) value = kData + (value & 0x3FFF0);
  return npu::regdb::Regcmd{static_cast<std::uint16_t>(npu::regdb::target_of(reg.block)), value,
                            reg.offset}
      .pack();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace sim = npu::sim;
  static sim::Chip chip({.cores = 1, .threads = 1, .quirks = {}, .task_mac_budget = 4'000'000});
  const auto space = std::make_shared<sim::AddressSpace>();
  const std::size_t words = std::min<std::size_t>(size / 8, 512);
  const std::size_t program_bytes = (words + 2) * 8;
  std::shared_ptr<std::byte[]> program(new std::byte[0x2000]()),
      memory(new std::byte[kDataBytes]());
  // The corpus holds whole recorded programs; the first byte says whether to take words as they
  // are.
  const bool verbatim = size % 8 == 0;
  for (std::size_t i = 0; i < words; ++i) {
    std::uint64_t word;
    std::memcpy(&word, data + i * 8, 8);
    if (!verbatim) word = make_word(data + i * 8);
    std::memcpy(program.get() + i * 8, &word, 8);
  }
  const std::uint64_t enable =
      npu::regdb::Regcmd{0x0081, 0x1D, 8}.pack();  // so that most inputs reach the pipeline
  std::memcpy(program.get() + (words + 1) * 8, &enable, 8);
  space->map(kProgram, program, 0x2000);
  space->map(kData, memory, kDataBytes);
  chip.reset(0);
  chip.attach(0, space);
  chip.write(0, 0x1004, 0xE);
  chip.write(0, 0x3004, 0xE);
  chip.write(0, 0x10, kProgram);
  chip.write(0, 0x14, static_cast<std::uint32_t>(program_bytes / 16));
  chip.write(0, 0x20, 0x300);
  chip.write(0, 0x30, 0x7001);
  chip.write(0, 0x08, 1);
  const bool done = (chip.read(0, 0x2C) & 0x300) != 0;
  if (done == chip.fault(0).has_value()) std::abort();  // exactly one of the two
  chip.attach(0, nullptr);
  return 0;
}
