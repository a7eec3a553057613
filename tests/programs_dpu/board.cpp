// SPDX-License-Identifier: MIT
#include "board.hpp"

#include <algorithm>

#include "regdb/registers.hpp"

namespace npu::sim::programs {

namespace rd = npu::regdb;

constexpr std::size_t kProgramBytes = 1 << 16;

Board::Board(ChipOptions options) : chip(options), lint_(options) {
  chip.attach(0, space_);
  program_ = room(kProgramBytes);
}

std::uint32_t Board::buffer(const void* data, std::size_t bytes, std::size_t room, std::byte fill) {
  const std::size_t size = (std::max({bytes, room, std::size_t{1}}) + 4095) / 4096 * 4096;
  std::shared_ptr<std::byte[]> memory(new std::byte[size]);
  std::fill_n(memory.get(), size, fill);
  if (bytes != 0) std::memcpy(memory.get(), data, bytes);
  const std::uint32_t iova = next_;
  space_->map(iova, std::move(memory), size);
  next_ += static_cast<std::uint32_t>(size) + 0x10000;
  return iova;
}

bool Board::run(const std::vector<std::uint64_t>& words) {
  if (words.size() * 8 > kProgramBytes) return false;
  set(program_, words);
  // The kernel driver's writes, in its order [rocket_job.c].
  chip.write(0, rd::pc::BASE_ADDRESS::offset, 1);
  chip.write(0, rd::cna::S_POINTER::offset, 0xE);
  chip.write(0, rd::core::S_POINTER::offset, 0xE);
  chip.write(0, rd::pc::BASE_ADDRESS::offset, program_);
  chip.write(0, rd::pc::REGISTER_AMOUNTS::offset,
             static_cast<std::uint32_t>((words.size() + 1) / 2 - 1));
  chip.write(0, rd::pc::INTERRUPT_CLEAR::offset, 0x1FFFF);
  chip.write(0, rd::pc::TASK_CON::offset, 0x7001);
  chip.write(0, rd::pc::TASK_DMA_BASE_ADDR::offset, 0);
  chip.write(0, rd::pc::OPERATION_ENABLE::offset, 1);
  lint_.ran(words, chip.fault(0));
  return (chip.read(0, rd::pc::INTERRUPT_RAW_STATUS::offset) & 0xF00) != 0;
}

}  // namespace npu::sim::programs
