// SPDX-License-Identifier: MIT
#include "regdb/lint_values.hpp"

#include <algorithm>

namespace npu::regdb {
namespace {

constexpr std::uint32_t kPointerEnable = 2, kPointerClear = 16;

// Offset within its block.
bool is_pointer(const RegisterInfo& reg) { return (reg.offset & 0xFFF) == 4; }

}  // namespace

std::string path_of(const LintOperand& operand) {
  std::string path =
      std::string(info(operand.reg->block).name) + "." + std::string(operand.reg->name);
  if (operand.field != nullptr) path += "." + lower_name(operand.field->name);
  return path;
}

bool compare(LintCompare op, std::int64_t left, std::int64_t right) {
  switch (op) {
    case LintCompare::eq: return left == right;
    case LintCompare::ne: return left != right;
    case LintCompare::le: return left <= right;
    case LintCompare::ge: return left >= right;
    case LintCompare::multiple_of: return right != 0 && left % right == 0;
  }
  return true;
}

std::uint32_t enable_bit(Block block) {
  switch (block) {
    case Block::cna: return enable_mask::cna;
    case Block::core: return enable_mask::core;
    case Block::dpu: return enable_mask::dpu;
    case Block::dpu_rdma: return enable_mask::dpu_rdma;
    case Block::ppu: return enable_mask::ppu;
    case Block::ppu_rdma: return enable_mask::ppu_rdma;
    default: return 0;
  }
}

LintValues::LintValues() {
  for (auto& group : groups_) {
    group.resize(registers().size());
    for (std::size_t i = 0; i < group.size(); ++i) group[i].bits = registers()[i].reset;
  }
}

std::size_t LintValues::index(const RegisterInfo& reg) const {
  return static_cast<std::size_t>(&reg - registers().data());
}

LintValues::Value LintValues::write(const RegisterInfo& reg, std::uint32_t bits, std::size_t task,
                                    std::size_t word) {
  const unsigned group = (group_ & enable_bit(reg.block)) != 0 && !is_pointer(reg) ? 1 : 0;
  Value& value = groups_[group][index(reg)];
  const Value before = value;
  if (is_pointer(reg)) {
    if ((bits & kPointerClear) != 0) group_ &= ~enable_bit(reg.block);
    if (reg.block == Block::cna) cna_pointer_ = bits;
    if (reg.block == Block::core) core_pointer_ = bits;
  }
  value = {bits, task, word, true};
  return before;
}

const LintValues::Value& LintValues::of(const RegisterInfo& reg) const {
  const unsigned group = (group_ & enable_bit(reg.block)) != 0 && !is_pointer(reg) ? 1 : 0;
  return groups_[group][index(reg)];
}

bool LintValues::set_up(Block block) const {
  const auto all = registers();
  return std::any_of(all.begin(), all.end(), [&](const RegisterInfo& reg) {
    return reg.block == block && !is_pointer(reg) && of(reg).written;
  });
}

std::optional<std::uint32_t> LintValues::pointer(Block block) const {
  for (const RegisterInfo& reg : registers())
    if (reg.block == block && is_pointer(reg) && of(reg).written) return of(reg).bits;
  return std::nullopt;
}

void LintValues::ran(std::uint32_t mask) {
  for (const Block block :
       {Block::cna, Block::core, Block::dpu, Block::dpu_rdma, Block::ppu, Block::ppu_rdma}) {
    const std::uint32_t bit = enable_bit(block);
    const std::uint32_t value = block == Block::cna    ? cna_pointer_
                                : block == Block::core ? core_pointer_
                                                       : pointer(block).value_or(0);
    if ((mask & bit) != 0 && (value & kPointerEnable) != 0) group_ ^= bit;
  }
  cna_pointer_ = core_pointer_ = kDriverPointer;
}

}  // namespace npu::regdb
