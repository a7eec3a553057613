// SPDX-License-Identifier: MIT
#include "npu-probe/regs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <nlohmann/json.hpp>

#include "npu-device/mmio_iommu.hpp"
#include "regdb/error.hpp"
#include "regdb/registers.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;
using regdb::Access;
using regdb::Encoding;
using regdb::FieldInfo;
using regdb::RegisterInfo;
namespace mmu = device::mmu;

constexpr std::string_view kSource = "rockchip-iommu.c", kDriver = "driver";

constexpr FieldInfo field(std::string_view name, std::uint8_t high, std::uint8_t low,
                          Encoding encoding = Encoding::raw) {
  return {name, high, low, encoding, {}, {}, kSource, kDriver};
}

// [control-and-uapi.md D.1]
constexpr FieldInfo kWord[] = {field("VALUE", 31, 0)};
constexpr FieldInfo kStatus[] = {field("STALL_NOT_ACTIVE", 31, 31, Encoding::boolean),
                                 field("RESERVED", 30, 6, Encoding::reserved),
                                 field("FAULT_IS_WRITE", 5, 5, Encoding::boolean),
                                 field("REPLAY_EMPTY", 4, 4, Encoding::boolean),
                                 field("IDLE", 3, 3, Encoding::boolean),
                                 field("STALL_ACTIVE", 2, 2, Encoding::boolean),
                                 field("PAGE_FAULT_ACTIVE", 1, 1, Encoding::boolean),
                                 field("PAGING_ENABLED", 0, 0, Encoding::boolean)};
constexpr FieldInfo kInterrupts[] = {field("RESERVED", 31, 2, Encoding::reserved),
                                     field("BUS_ERROR", 1, 1, Encoding::boolean),
                                     field("PAGE_FAULT", 0, 0, Encoding::boolean)};

constexpr regdb::Block kNoBlock = regdb::Block::global;  // the database has no block for it
constexpr RegisterInfo kMmu[] = {
    {kNoBlock, "DTE_ADDR", mmu::kDteAddr, Access::read_write, 0, kWord},
    {kNoBlock, "STATUS", mmu::kStatus, Access::read_only, 0, kStatus},
    {kNoBlock, "COMMAND", mmu::kCommand, Access::write_only, 0, kWord},
    {kNoBlock, "PAGE_FAULT_ADDR", mmu::kPageFaultAddr, Access::read_only, 0, kWord},
    {kNoBlock, "ZAP_ONE_LINE", mmu::kZapOneLine, Access::write_only, 0, kWord},
    {kNoBlock, "INT_RAWSTAT", mmu::kIntRawStat, Access::read_only, 0, kInterrupts},
    {kNoBlock, "INT_CLEAR", mmu::kIntClear, Access::write_only, 0, kInterrupts},
    {kNoBlock, "INT_MASK", mmu::kIntMask, Access::read_write, 0, kInterrupts},
    {kNoBlock, "INT_STATUS", mmu::kIntStatus, Access::read_only, 0, kInterrupts},
    {kNoBlock, "AUTO_GATING", mmu::kAutoGating, Access::read_write, 0, kWord},
};

std::string why_unread(const RegisterInfo& info, std::uint32_t offset) {
  if (device::locks_chip(offset)) return "locks the chip";
  if (info.access == Access::write_only || offset == regdb::pc::INTERRUPT_CLEAR::offset)
    return "write only";
  // The table's port: each access steps to its next entry [nvdla SDP LUT_ACCESS_DATA].
  if (offset == regdb::dpu::LUT_ACCESS_DATA::offset) return "reading steps through the table";
  return {};
}

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) ==
           std::tolower(static_cast<unsigned char>(y));
  });
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == text.npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string lower(std::string_view name) {
  std::string text(name);
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  return text;
}

regdb::DecodedWord decoded(const RegisterValue& v) {
  regdb::DecodedWord word{};
  word.word = 1;
  word.command.value = v.value;
  word.command.offset = static_cast<std::uint16_t>(v.reg.offset);
  word.block = v.reg.block;
  word.name = v.reg.info->name;
  word.reg = v.reg.info;
  word.fields = regdb::decode_fields(*v.reg.info, v.value);
  return word;
}

std::string shown(const regdb::DecodedField& f) {
  if (!f.label.empty()) return std::string(f.label);
  if (f.info->encoding == Encoding::address) return fmt::format("{:#x}", f.value);
  if (f.info->encoding == Encoding::raw && f.value > 0xFFFF) return fmt::format("{:#x}", f.value);
  return std::to_string(f.value);
}

}  // namespace

std::vector<ChipRegister> chip_registers(unsigned core, bool has_iommu) {
  std::vector<ChipRegister> all;
  for (const RegisterInfo& info : regdb::registers()) {
    // Core 0 has an IOMMU window where the others have SDMA.
    if (has_iommu && core == 0 && info.block == regdb::Block::sdma) continue;
    all.push_back({std::string(regdb::info(info.block).name), &info, info.offset,
                   why_unread(info, info.offset)});
  }
  if (has_iommu) {
    const auto windows = device::iommu_windows(core);
    for (std::size_t i = 0; i < windows.size(); ++i)
      for (const RegisterInfo& info : kMmu)
        all.push_back({windows.size() == 1 ? "MMU" : fmt::format("MMU{}", i), &info,
                       windows[i] + info.offset, why_unread(info, windows[i] + info.offset)});
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.offset < b.offset; });
  return all;
}

RegisterSelection select_registers(const std::vector<ChipRegister>& all, std::string_view text) {
  const auto parts = split(text, '.');
  const auto bad = [&](const std::string& why) -> Error {
    return {ErrorCode::invalid_argument, fmt::format("\"{}\": {}", text, why)};
  };
  if (parts.size() > 3) throw bad("use BLOCK, BLOCK.REGISTER or BLOCK.REGISTER.FIELD");
  RegisterSelection selection;
  std::vector<std::string> blocks;
  for (const ChipRegister& reg : all) {
    if (blocks.empty() || blocks.back() != reg.block) blocks.push_back(reg.block);
    if (!same_name(reg.block, parts[0])) continue;
    if (parts.size() == 1 || same_name(reg.info->name, parts[1]))
      selection.registers.push_back(reg);
  }
  if (selection.registers.empty()) {
    std::string names;
    for (const ChipRegister& reg : all)
      if (same_name(reg.block, parts[0]))
        names += (names.empty() ? "" : ", ") + std::string(reg.info->name);
    throw names.empty()
        ? bad(fmt::format("there is no such block; this core has {}", fmt::join(blocks, ", ")))
        : bad(fmt::format("no such register; the block has {}", names));
  }
  if (parts.size() < 3) return selection;
  std::string names;
  for (const FieldInfo& info : selection.registers[0].info->fields) {
    if (same_name(info.name, parts[2])) selection.field = &info;
    if (!info.reserved()) names += (names.empty() ? "" : ", ") + lower(info.name);
  }
  if (selection.field == nullptr) throw bad("no such field; the register has " + names);
  return selection;
}

std::vector<RegisterValue> read_registers(device::RegisterAccess& access, unsigned core,
                                          const std::vector<ChipRegister>& registers, Group group) {
  std::vector<RegisterValue> values;
  for (const ChipRegister& reg : registers) {
    if (!reg.unread.empty()) continue;
    RegisterValue v{reg, 0, std::nullopt};
    if (!device::has_groups(reg.offset)) {
      v.value = access.read(core, reg.offset);
    } else if (group == Group::cpu) {
      v.group = device::block_pointers(access, core, reg.offset).producer;
      v.value = access.read(core, reg.offset);
    } else {
      v.group = group == Group::last ? device::last_group(access, core, reg.offset)
                                     : (group == Group::second ? 1u : 0u);
      v.value = device::read_group(access, core, reg.offset, *v.group);
    }
    values.push_back(std::move(v));
  }
  return values;
}

std::string to_text(const RegisterValue& value) { return regdb::to_text(decoded(value)); }

json to_json(const RegisterValue& v) {
  json fields = json::object();
  for (const regdb::DecodedField& f : regdb::decode_fields(*v.reg.info, v.value)) {
    if (!f.label.empty())
      fields[std::string(f.info->name)] = f.label;
    else
      fields[std::string(f.info->name)] = f.value;
  }
  json object = {{"block", v.reg.block},
                 {"register", v.reg.info->name},
                 {"offset", v.reg.offset},
                 {"value", v.value},
                 {"fields", std::move(fields)}};
  if (v.group) object["group"] = *v.group;
  return object;
}

std::map<std::string, std::uint32_t> parse_dump(std::string_view text, const std::string& file) {
  const auto bad = [&](std::string_view why) {
    return Error(ErrorCode::bad_file,
                 fmt::format("{}: {}; give the output of `npu-probe regs dump --json`", file, why));
  };
  const json dump = json::parse(text, nullptr, false);
  if (!dump.is_object() || !dump.contains("registers") || !dump["registers"].is_array())
    throw bad("is no dump");
  std::map<std::string, std::uint32_t> values;
  for (const json& reg : dump["registers"]) {
    const auto is_text = [&](const char* name) {
      return reg.is_object() && reg.contains(name) && reg[name].is_string();
    };
    if (!is_text("block") || !is_text("register") || !reg.contains("value") ||
        !reg["value"].is_number_unsigned() || reg["value"].get<std::uint64_t>() > 0xFFFFFFFFu)
      throw bad("has a register without block, register and value");
    values[reg["block"].get<std::string>() + "." + reg["register"].get<std::string>()] =
        reg["value"];
  }
  return values;
}

std::vector<FieldChange> changed_fields(const ChipRegister& reg, std::uint32_t before,
                                        std::uint32_t after) {
  std::vector<FieldChange> changes;
  for (const FieldInfo& info : reg.info->fields) {
    if (info.extract(before) == info.extract(after)) continue;
    const auto one = [&](std::uint32_t word) {
      for (const auto& f : regdb::decode_fields(*reg.info, word))
        if (f.info == &info) return shown(f);
      return std::string("0");
    };
    changes.push_back({lower(info.name), one(before), one(after)});
  }
  return changes;
}

std::uint32_t RegisterWrite::merge(std::uint32_t before) const {
  if (field == nullptr) return bits;
  return (before & ~(field->mask() << field->low)) | bits << field->low;
}

RegisterWrite parse_write(const std::vector<ChipRegister>& all, const std::string& text) {
  const std::size_t equals = text.find('=');
  const auto bad = [&](const std::string& why) -> Error {
    return {ErrorCode::invalid_argument, fmt::format("\"{}\": {}", text, why)};
  };
  if (equals == text.npos) throw bad("use BLOCK.REGISTER=VALUE or BLOCK.REGISTER.FIELD=VALUE");
  const std::string target = text.substr(0, equals);
  if (target.find('.') == target.npos) throw bad("name a register, not a whole block");
  const RegisterSelection selection = select_registers(all, target);
  RegisterWrite write{selection.registers[0], selection.field, 0};
  if (write.reg.info->access == Access::read_only) throw bad("the register is read only");

  const std::string_view word = std::string_view(text).substr(equals + 1);
  const FieldInfo whole = field("VALUE", 31, 0);
  const FieldInfo& info = write.field ? *write.field : whole;
  for (const regdb::EnumValue& value : info.values)
    if (same_name(value.name, word)) return write.bits = value.value, write;
  const bool negative = word.starts_with('-');
  std::string_view digits = negative ? word.substr(1) : word;
  const bool hex = digits.starts_with("0x") || digits.starts_with("0X");
  if (hex) digits.remove_prefix(2);
  std::uint64_t magnitude = 0;
  const auto parsed =
      std::from_chars(digits.data(), digits.data() + digits.size(), magnitude, hex ? 16 : 10);
  if (digits.empty() || parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size() ||
      magnitude > 0x1'0000'0000)
    throw bad(fmt::format("\"{}\" is no number{}", word,
                          info.values.empty() ? "" : " and no name that the field has"));
  std::int64_t value =
      negative ? -static_cast<std::int64_t>(magnitude) : static_cast<std::int64_t>(magnitude);
  std::int64_t low = 0, high = info.mask();
  if (info.encoding == Encoding::signed_value) {
    high = info.mask() >> 1;
    low = -high - 1;
  } else if (info.encoding == Encoding::count_minus_1) {
    low = 1;
    high += 1;
  } else if (info.encoding == Encoding::address) {
    const std::int64_t unit = std::int64_t{1} << info.low;
    if (value % unit != 0) throw bad(fmt::format("the address is a multiple of {}", unit));
    high *= unit;
  }
  if (value < low || value > high) throw bad(fmt::format("the value is from {} to {}", low, high));
  if (info.encoding == Encoding::count_minus_1) value -= 1;
  if (info.encoding == Encoding::address) value >>= info.low;
  write.bits = static_cast<std::uint32_t>(value) & info.mask();
  return write;
}

}  // namespace npu::probe
