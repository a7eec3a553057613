// SPDX-License-Identifier: MIT
#include "npu-device/register_access.hpp"

#include <fmt/format.h>

#include "regdb/error.hpp"
#include "regdb/registers.hpp"

namespace npu::device {
namespace {

// The same bits in every block's S_POINTER [TRM 36.4.3; control-and-uapi.md B.7].
constexpr std::uint32_t kPointer = 1u << 0, kPointerAlternates = 1u << 1,
                        kExecuterAlternates = 1u << 2, kClears = 3u << 4, kExecuter = 1u << 16;
constexpr std::uint32_t kBlock = 0xF000, kStatus = 0x0, kSPointer = 0x4;

std::uint32_t pointer_of(std::uint32_t offset) {
  if (!has_groups(offset))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("The register at {:#06x} exists once, so it has no groups; read it "
                            "plainly.",
                            offset));
  return (offset & kBlock) | kSPointer;
}

}  // namespace

void check_register_offset(std::uint32_t offset, bool for_read) {
  if (offset > 0xFFFC || offset % 4 != 0)
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("{:#x} is no register: offsets are multiples of 4 from 0 to 0xfffc.", offset));
  if (for_read && locks_chip(offset))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{:#06x} is not read: reads at 0x2000 to 0x2fff of a core lock the "
                            "chip until it is powered off (seen on a board).",
                            offset));
}

bool has_groups(std::uint32_t offset) {
  switch (offset & ~0xFFFu) {
    case regdb::cna::S_POINTER::offset& kBlock:
    case regdb::core::S_POINTER::offset& kBlock:
    case regdb::dpu::S_POINTER::offset& kBlock:
    case regdb::dpu_rdma::RDMA_S_POINTER::offset& kBlock:
    case regdb::ppu::S_POINTER::offset& kBlock:
    case regdb::ppu_rdma::RDMA_S_POINTER::offset& kBlock:
      return (offset & 0xFFF) != kStatus && (offset & 0xFFF) != kSPointer;
    default: return false;
  }
}

BlockPointers block_pointers(RegisterAccess& registers, unsigned core, std::uint32_t offset) {
  const std::uint32_t value = registers.read(core, pointer_of(offset));
  return {value & kPointer, (value & kExecuter) != 0 ? 1u : 0u};
}

unsigned last_group(RegisterAccess& registers, unsigned core, std::uint32_t offset) {
  const std::uint32_t value = registers.read(core, pointer_of(offset));
  const unsigned executer = (value & kExecuter) != 0 ? 1 : 0;
  return (value & kExecuterAlternates) != 0 ? executer ^ 1 : executer;
}

std::uint32_t read_group(RegisterAccess& registers, unsigned core, std::uint32_t offset,
                         unsigned group) {
  const std::uint32_t pointer = pointer_of(offset);
  const std::uint32_t before = registers.read(core, pointer);
  if ((before & kPointer) == group) return registers.read(core, offset);
  // The pointer can be set only while it does not alternate by itself. Bits 29:28 of CNA and CORE
  // must keep the core's index, so nothing else changes.
  const std::uint32_t base = before & ~(kPointer | kPointerAlternates | kClears | kExecuter);
  registers.write(core, pointer, base | group);
  const std::uint32_t value = registers.read(core, offset);
  registers.write(core, pointer, base | (before & kPointer));
  if ((before & kPointerAlternates) != 0)
    registers.write(core, pointer, base | (before & (kPointer | kPointerAlternates)));
  return value;
}

}  // namespace npu::device
