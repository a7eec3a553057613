// SPDX-License-Identifier: MIT
#include "board.hpp"

#include "regdb/registers.hpp"

namespace npu::sim::test {

namespace pc = npu::regdb::pc;

Board::Board(ChipOptions options) : chip(options), lint_(options) {
  for (unsigned core = 0; core < chip.cores(); ++core) chip.attach(core, space_);
}

Board::Buffer Board::alloc(std::size_t bytes, std::uint8_t fill) {
  const std::size_t size = (bytes + 4095) / 4096 * 4096;
  std::shared_ptr<std::byte[]> memory(new std::byte[size]);
  std::memset(memory.get(), fill, size);
  const Buffer buffer{next_, memory.get(), size};
  space_->map(next_, std::move(memory), size);
  next_ += static_cast<std::uint32_t>(size) + 0x10000;  // a hole, so that an overrun faults
  return buffer;
}

bool Board::start(std::uint32_t regcmd, std::size_t words, unsigned tasks, unsigned core) {
  const std::uint32_t pointer = 0xE + 0x10000000 * core;
  chip.write(core, pc::BASE_ADDRESS::offset, 1);
  chip.write(core, 0x1004, pointer);
  chip.write(core, 0x3004, pointer);
  chip.write(core, pc::BASE_ADDRESS::offset, regcmd);
  chip.write(core, pc::REGISTER_AMOUNTS::offset, static_cast<std::uint32_t>((words + 1) / 2 - 1));
  chip.write(core, pc::INTERRUPT_MASK::offset, 0x300);
  chip.write(core, pc::INTERRUPT_CLEAR::offset, 0x300);
  chip.write(core, pc::TASK_CON::offset, 0x7000 | tasks);
  chip.write(core, pc::TASK_DMA_BASE_ADDR::offset, 0);
  chip.write(core, pc::OPERATION_ENABLE::offset, 1);
  const auto& fault = chip.fault(core);
  chip_fault_ = fault;
  fault_ = fault ? std::string(to_string(fault->kind)) + ": " + fault->where : "";
  const bool done = chip.irq(core);
  if (done) {
    ++interrupts_;
    chip.write(core, pc::INTERRUPT_MASK::offset, 0);
    chip.write(core, pc::INTERRUPT_CLEAR::offset, 0x1FFFF);
  } else {
    chip.reset(core);
  }
  return done;
}

bool Board::run(const std::vector<std::uint64_t>& words, unsigned core) {
  const bool done = start(upload(words).iova, words.size(), 1, core);
  lint_.ran(words, chip_fault_, core);
  return done;
}

bool Board::run_chained(std::vector<std::vector<std::uint64_t>> programs, unsigned core) {
  std::size_t total = 0;
  std::vector<std::size_t> at;
  for (const auto& words : programs) {
    at.push_back(total);
    total += (words.size() + 1) / 2 * 2;
  }
  const Buffer buffer = alloc(total * 8);
  for (std::size_t i = 0; i < programs.size(); ++i) {
    auto& words = programs[i];
    if (i + 1 < programs.size()) {
      // The empty word before the trailer becomes the link, the amounts those of the next one.
      const auto next = static_cast<std::uint32_t>((programs[i + 1].size() + 1) / 2 - 1);
      const std::size_t trailer = words.size() - 4;
      words[trailer] = regdb::Regcmd{static_cast<std::uint16_t>(regdb::Target::pc),
                                     buffer.iova + static_cast<std::uint32_t>(at[i + 1] * 8),
                                     pc::BASE_ADDRESS::offset}
                           .pack();
      words[trailer + 1] = regdb::Regcmd{static_cast<std::uint16_t>(regdb::Target::pc), next,
                                         pc::REGISTER_AMOUNTS::offset}
                               .pack();
    }
    std::memcpy(buffer.as<std::uint64_t>() + at[i], words.data(), words.size() * 8);
    lint_.remember(words, core);
  }
  return start(buffer.iova, programs.front().size(), static_cast<unsigned>(programs.size()), core);
}

}  // namespace npu::sim::test
