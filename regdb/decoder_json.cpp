// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "regdb/decoder.hpp"
#include "regdb/error.hpp"

namespace npu::regdb {
namespace {

using nlohmann::json;

[[noreturn]] void fail(std::size_t index, const std::string& why) {
  throw Error(ErrorCode::bad_file, fmt::format("word {}: {}", index, why));
}

std::uint64_t number(const json& value, std::size_t index, const char* key, std::uint64_t max) {
  std::uint64_t n = 0;
  if (value.is_number_unsigned()) {
    n = value.get<std::uint64_t>();
  } else if (value.is_string()) {
    const std::string text = value.get<std::string>();
    const bool hex = text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    const std::string digits = hex ? text.substr(2) : text;
    const char* allowed = hex ? "0123456789abcdefABCDEF" : "0123456789";
    if (digits.empty() || digits.size() > (hex ? 16u : 19u) ||
        digits.find_first_not_of(allowed) != std::string::npos)
      fail(index, fmt::format("\"{}\" is no number: \"{}\"", key, text));
    n = std::stoull(digits, nullptr, hex ? 16 : 10);
  } else {
    fail(index, fmt::format("\"{}\" is neither a number nor a string such as \"0x10\"", key));
  }
  if (n > max) fail(index, fmt::format("\"{}\" is larger than {:#x}", key, max));
  return n;
}

std::optional<std::uint64_t> optional_number(const json& object, std::size_t index, const char* key,
                                             std::uint64_t max) {
  const auto it = object.find(key);
  if (it == object.end()) return std::nullopt;
  return number(*it, index, key, max);
}

std::uint32_t field_bits(const FieldInfo& field, const json& value, std::size_t index) {
  const std::string name(field.name);
  if (value.is_string()) {
    for (const EnumValue& v : field.values)
      if (v.name == value.get_ref<const std::string&>()) return v.value;
    fail(index, fmt::format("field {} has no value named \"{}\"", name, value.get<std::string>()));
  }
  std::int64_t n = 0;
  if (value.is_boolean()) {
    n = value.get<bool>();
  } else if (value.is_number_unsigned()) {
    const auto u = value.get<std::uint64_t>();
    if (u > 0x1FFFFFFFF) fail(index, fmt::format("field {} does not fit: {}", name, u));
    n = static_cast<std::int64_t>(u);
  } else if (value.is_number_integer()) {
    n = value.get<std::int64_t>();
  } else {
    fail(index, fmt::format("field {} is not a number", name));
  }
  const std::int64_t mask = field.mask();
  std::int64_t bits = n;
  switch (field.encoding) {
    case Encoding::count_minus_1: bits = n - 1; break;
    case Encoding::signed_value:
      if (n < -(mask / 2 + 1) || n > mask / 2)
        fail(index, fmt::format("field {} does not fit: {}", name, n));
      return static_cast<std::uint32_t>(n & mask);
    case Encoding::address:
      if (n < 0 || n > 0xFFFFFFFF || (n & ((std::int64_t{1} << field.low) - 1)) != 0)
        fail(index, fmt::format("field {} is no aligned 32-bit address: {}", name, n));
      return static_cast<std::uint32_t>(n >> field.low);
    default: break;
  }
  if (bits < 0 || bits > mask) fail(index, fmt::format("field {} does not fit: {}", name, n));
  return static_cast<std::uint32_t>(bits);
}

std::uint32_t value_from_fields(const RegisterInfo& reg, const json& fields, std::size_t index) {
  if (!fields.is_object()) fail(index, "\"fields\" is not an object");
  std::uint32_t value = 0;
  std::size_t used = 0;
  for (const FieldInfo& field : reg.fields) {
    const auto it = fields.find(std::string(field.name));
    if (it == fields.end()) continue;
    value |= field_bits(field, *it, index) << field.low;
    ++used;
  }
  if (used != fields.size())
    fail(index, fmt::format("\"fields\" names a field that {} does not have", reg.name));
  return value;
}

std::uint64_t pack(std::uint64_t target, std::uint64_t value, std::uint64_t offset) {
  return Regcmd{static_cast<std::uint16_t>(target), static_cast<std::uint32_t>(value),
                static_cast<std::uint16_t>(offset)}
      .pack();
}

/// The string member `key`, or nothing.
std::string name_in(const json& object, std::size_t index, const char* key) {
  const auto it = object.find(key);
  if (it == object.end()) return {};
  if (!it->is_string()) fail(index, fmt::format("\"{}\" is not a string", key));
  return it->get<std::string>();
}

/// Inverse of DecodedWord::block, which shows an unknown target as its number.
std::uint64_t target_of_name(const std::string& block, std::size_t index) {
  if (block == "ENABLE") return static_cast<std::uint16_t>(Target::enable);
  if (block == "MARKER") return static_cast<std::uint16_t>(Target::marker);
  if (block == "EMPTY") return static_cast<std::uint16_t>(Target::none);
  if (const auto known = find_block(block)) {
    if (target_of(*known) == Target::none)
      fail(index, fmt::format("no register command reaches the block {}", block));
    return static_cast<std::uint16_t>(target_of(*known));
  }
  if (block.starts_with("0x")) return number(block, index, "block", 0xFFFF);
  fail(index, fmt::format("there is no block named \"{}\"", block));
}

/// Inverse of DecodedWord::name, which shows an unknown register as its offset.
std::optional<std::uint64_t> offset_of_name(const std::string& block, const std::string& name,
                                            std::size_t index) {
  if (const RegisterInfo* reg = find_register(block, name)) return reg->offset;
  // The enable word stands at the PC's OPERATION_ENABLE.
  if (block == "ENABLE") return 0x0008;
  if (name.starts_with("0x")) return number(name, index, "register", 0xFFFF);
  if (block == "MARKER" || block == "EMPTY") return 0;
  if (name.empty()) return std::nullopt;
  fail(index, fmt::format("{} has no register named \"{}\"", block, name));
}

}  // namespace

json to_json(const DecodedWord& d, std::size_t index) {
  json out = {{"index", index},
              {"word", fmt::format("{:#018x}", d.word)},
              {"target", fmt::format("{:#06x}", d.command.target)},
              {"block", d.block},
              {"register", d.name},
              {"offset", fmt::format("{:#06x}", d.command.offset)},
              {"value", fmt::format("{:#010x}", d.command.value)}};
  if (d.reg == nullptr) return out;
  json fields = json::object();
  for (const DecodedField& field : d.fields) {
    json& value = fields[std::string(field.info->name)];
    if (!field.label.empty())
      value = std::string(field.label);
    else if (field.info->encoding == Encoding::boolean)
      value = field.bits != 0;
    else
      value = field.value;
  }
  out["fields"] = std::move(fields);
  return out;
}

std::uint64_t word_from_json(const json& object, std::size_t index) {
  if (!object.is_object()) fail(index, "not a JSON object");
  const auto word = optional_number(object, index, "word", ~std::uint64_t{0});
  auto target = optional_number(object, index, "target", 0xFFFF);
  auto offset = optional_number(object, index, "offset", 0xFFFF);
  auto value = optional_number(object, index, "value", 0xFFFFFFFF);
  if (word) {
    const Regcmd c = Regcmd::unpack(*word);
    if ((target && *target != c.target) || (offset && *offset != c.offset) ||
        (value && *value != c.value))
      fail(index, fmt::format("\"word\" {:#018x} contradicts the other members", *word));
    target = c.target;
    offset = c.offset;
    value = c.value;
  }
  const std::string block = name_in(object, index, "block");
  const std::string name = name_in(object, index, "register");
  if (!block.empty()) {
    const std::uint64_t named = target_of_name(block, index);
    if (target && *target != named)
      fail(index, fmt::format("block {} contradicts target {:#06x}", block, *target));
    target = named;
    if (!offset) offset = offset_of_name(block, name, index);
    if ((block == "MARKER" || block == "EMPTY") && !value) value = 0;
  }
  if (target && offset && object.contains("fields")) {
    const DecodedWord d = decode(pack(*target, 0, *offset));
    const json& fields = object["fields"];
    if (d.reg != nullptr) {
      const std::uint32_t from_fields = value_from_fields(*d.reg, fields, index);
      if (value && *value != from_fields)
        fail(index, fmt::format("value {:#x} contradicts \"fields\", which say {:#x}", *value,
                                from_fields));
      value = from_fields;
    } else if (!fields.empty()) {
      fail(index, fmt::format("{} has no known register at {:#06x} that \"fields\" could describe",
                              d.block, *offset));
    }
  }
  if (!target || !offset || !value)
    fail(index,
         "needs \"word\", or \"target\", \"offset\" and \"value\", or \"block\", "
         "\"register\" and \"fields\"");
  // Numbers decide; the names must be the ones that these numbers have.
  const DecodedWord d = decode(pack(*target, *value, *offset));
  if (!name.empty() && name != d.name)
    fail(index, fmt::format("register {} contradicts {}.{} at offset {:#06x}", name, d.block,
                            d.name, *offset));
  return d.word;
}

}  // namespace npu::regdb
