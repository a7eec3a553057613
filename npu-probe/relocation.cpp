// SPDX-License-Identifier: MIT
#include "npu-probe/relocation.hpp"

#include <algorithm>

#include "regdb/registers.hpp"
#include "regdb/tables.hpp"

namespace npu::probe {
namespace {

namespace rd = npu::regdb;

constexpr std::uint64_t kPage = 4096;

bool is_register(const rd::Regcmd& command, rd::Target target, std::uint16_t offset) {
  return command.target == static_cast<std::uint16_t>(target) && command.offset == offset;
}
bool is_link(const rd::Regcmd& command) {
  return is_register(command, rd::Target::pc, rd::pc::BASE_ADDRESS::offset);
}
bool is_dma_base(const rd::Regcmd& command) {
  return is_register(command, rd::Target::pc, rd::pc::TASK_DMA_BASE_ADDR::offset);
}
bool is_enable(const rd::Regcmd& command) {
  return command.target == static_cast<std::uint16_t>(rd::Target::enable);
}

}  // namespace

void IovaMap::add(std::uint64_t recorded, std::uint64_t size, std::uint64_t placed) {
  remove(recorded);
  recorded_[recorded] = {size, placed};
  placed_[placed] = {size, recorded};
  moved_ += recorded != placed;
}

void IovaMap::remove(std::uint64_t recorded) {
  const auto it = recorded_.find(recorded);
  if (it == recorded_.end()) return;
  moved_ -= recorded != it->second.other;
  placed_.erase(it->second.other);
  recorded_.erase(it);
}

std::uint32_t IovaMap::follow(const std::map<std::uint64_t, Range>& ranges, std::uint32_t iova) {
  const auto after = ranges.upper_bound(iova);
  if (after == ranges.begin()) return iova;
  const auto& [start, range] = *std::prev(after);
  const std::uint64_t end = start + (range.size + kPage - 1) / kPage * kPage;
  return iova <= end ? static_cast<std::uint32_t>(range.other + (iova - start)) : iova;
}

std::uint32_t IovaMap::to_device(std::uint32_t iova) const { return follow(recorded_, iova); }
std::uint32_t IovaMap::to_recording(std::uint32_t iova) const { return follow(placed_, iova); }

bool writes_address(std::uint64_t word) {
  const rd::Regcmd command = rd::Regcmd::unpack(word);
  const auto block = rd::block_of_target(command.target);
  const rd::RegisterInfo* reg = block ? rd::find_register(*block, command.offset) : nullptr;
  return reg != nullptr &&
         std::any_of(reg->fields.begin(), reg->fields.end(),
                     [](const rd::FieldInfo& f) { return f.encoding == rd::Encoding::address; });
}

ChainLink relocate_program(std::span<std::uint64_t> words, const IovaMap& map,
                           std::uint32_t& dma_base) {
  // The PC stops at the enable word; what is written up to there holds for the whole task.
  std::size_t end = 0;
  ChainLink link;
  for (; end < words.size(); ++end) {
    const rd::Regcmd command = rd::Regcmd::unpack(words[end]);
    if (is_dma_base(command)) dma_base = command.value & ~0xFu;
    if (is_link(command)) link.iova = command.value;
    if (is_register(command, rd::Target::pc, rd::pc::REGISTER_AMOUNTS::offset))
      link.words =
          (rd::pc::REGISTER_AMOUNTS::decode(command.value).pc_data_amount + 1) * std::uint32_t{2};
    if (is_enable(command)) break;
  }
  if (link.iova == 0) link.words = 0;
  for (std::uint64_t& word : words.first(end)) {
    rd::Regcmd command = rd::Regcmd::unpack(word);
    if (!writes_address(word)) continue;
    if (is_link(command)) {
      if (command.value != 0) command.value = map.to_device(command.value);
    } else {
      command.value = map.to_device(command.value + dma_base) - dma_base;
    }
    word = command.pack();
  }
  return link;
}

}  // namespace npu::probe
