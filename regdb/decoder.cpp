// SPDX-License-Identifier: MIT
#include "regdb/decoder.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace npu::regdb {
namespace {

std::string field_text(const DecodedField& field) {
  const std::string name = lower_name(field.info->name);
  if (!field.label.empty()) return fmt::format("{}={}", name, field.label);
  if (field.info->encoding == Encoding::address) return fmt::format("{}={:#x}", name, field.value);
  if (field.info->encoding == Encoding::raw && field.value > 0xFFFF)
    return fmt::format("{}={:#x}", name, field.value);
  return fmt::format("{}={}", name, field.value);
}

}  // namespace

std::vector<DecodedField> decode_fields(const RegisterInfo& reg, std::uint32_t value) {
  std::vector<DecodedField> fields;
  for (const FieldInfo& field : reg.fields) {
    const std::uint32_t bits = field.extract(value);
    if (field.reserved() && bits == 0) continue;
    DecodedField f{&field, bits, own_value(field, bits), {}};
    for (const EnumValue& named : field.values)
      if (named.value == bits) f.label = named.name;
    fields.push_back(f);
  }
  return fields;
}

DecodedWord decode(std::uint64_t word) {
  DecodedWord d{word, Regcmd::unpack(word), {}, {}, nullptr, {}};
  const Regcmd& c = d.command;
  d.name = fmt::format("{:#06x}", c.offset);
  if (c.target == static_cast<std::uint16_t>(Target::enable)) {
    d.block = "ENABLE";
    // The mask has the layout of GLOBAL.OPERATION_ENABLE.
    d.reg = find_register("GLOBAL", "OPERATION_ENABLE");
  } else if (c.target == static_cast<std::uint16_t>(Target::marker)) {
    d.block = "MARKER";
  } else if (c.target == 0) {
    d.block = "EMPTY";
  } else if (const auto block = block_of_target(c.target)) {
    d.block = info(*block).name;
    d.reg = find_register(*block, c.offset);
  } else {
    d.block = fmt::format("{:#06x}", c.target);
  }
  if (d.reg == nullptr) return d;
  d.name = d.reg->name;
  d.fields = decode_fields(*d.reg, c.value);
  return d;
}

std::string to_text(const DecodedWord& d) {
  if (d.block == "EMPTY" && d.word == 0) return "EMPTY";
  if (d.block == "MARKER" && d.command.value == 0 && d.command.offset == 0) return "MARKER";
  std::string out = fmt::format("{}.{} = {:#010x}", d.block, d.name, d.command.value);
  if (d.reg == nullptr) return out;
  bool first = true;
  for (const DecodedField& field : d.fields) {
    // A register that is one plain number needs no second copy of it.
    if (d.reg->fields.size() == 1 && field.info->encoding == Encoding::raw && field.label.empty())
      continue;
    // Zero is what most fields of most words hold; it is said only where it has a name.
    if (field.bits == 0 && field.label.empty() && field.info->encoding != Encoding::count_minus_1)
      continue;
    out += first ? "  " : " ";
    out += field_text(field);
    first = false;
  }
  return out;
}

std::string to_line(const DecodedWord& d, std::size_t index, const TextOptions& options) {
  const std::string text = to_text(d);
  const std::size_t gap = std::min(text.find("  "), text.size());
  const std::string fields = gap < text.size() ? text.substr(gap + 2) : "";
  const std::string head = text.substr(0, gap);
  if (!options.colour)
    return fields.empty() ? fmt::format("{:5}  {:016x}  {}", index, d.word, head)
                          : fmt::format("{:5}  {:016x}  {:<52} {}", index, d.word, head, fields);
  const bool unknown = d.reg == nullptr && d.block != "EMPTY" && d.block != "MARKER";
  const char* colour = unknown ? "\x1b[31m" : d.block == "ENABLE" ? "\x1b[32m" : "\x1b[36m";
  return fmt::format("\x1b[2m{:5}  {:016x}\x1b[0m  {}{:<52}\x1b[0m {}", index, d.word, colour, head,
                     fields);
}

}  // namespace npu::regdb
