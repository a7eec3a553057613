// SPDX-License-Identifier: MIT
// The register database at run time: names, positions and meaning of every field.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "regdb/regcmd.hpp"

namespace npu::regdb {

enum class Encoding : std::uint8_t {
  raw,
  boolean,
  count_minus_1,  ///< the member is a count, the field holds one less
  signed_value,   ///< two's complement of the field's width
  address,        ///< a DMA address; the member holds all of it
  enumeration,
  reserved,
};

enum class Access : std::uint8_t { read_write, read_only, write_1_clear, write_only };

struct EnumValue {
  std::string_view name;
  std::uint32_t value;
};

struct FieldInfo {
  std::string_view name;
  std::uint8_t high, low;  ///< bit positions, inclusive
  Encoding encoding;
  std::span<const EnumValue> values;
  std::string_view meaning;
  std::string_view source;
  std::string_view confidence;  ///< board, manual, driver or inferred
  constexpr bool reserved() const { return encoding == Encoding::reserved; }
  constexpr std::uint32_t mask() const {
    return high - low == 31 ? 0xFFFFFFFFu : (1u << (high - low + 1)) - 1;
  }
  constexpr std::uint32_t extract(std::uint32_t word) const { return word >> low & mask(); }
};

struct RegisterInfo {
  Block block;
  std::string_view name;
  std::uint16_t offset;  ///< block base included
  Access access;
  std::uint32_t reset;
  std::span<const FieldInfo> fields;  ///< high bits first; together they cover all 32 bits
};

struct BlockInfo {
  Block block;
  std::string_view name;
  std::uint16_t base;
  Target target;  ///< Target::none for blocks that no command reaches
  std::string_view meaning;
};

std::span<const BlockInfo> blocks();
const BlockInfo& info(Block block);

/// All registers, in the order of their offsets.
std::span<const RegisterInfo> registers();

/// nullptr if there is none.
const RegisterInfo* find_register(Block block, std::uint16_t offset);
const RegisterInfo* find_register(std::string_view block, std::string_view name);
std::optional<Block> find_block(std::string_view name);

/// A field's bits in its own terms: counts, signed numbers, whole addresses.
std::int64_t own_value(const FieldInfo& field, std::uint32_t bits);
/// Fields are "data_bank" where people read them.
std::string lower_name(std::string_view name);

/// Target::none for DDMA, SDMA and GLOBAL.
Target target_of(Block block);
std::optional<Block> block_of_target(std::uint16_t target);

}  // namespace npu::regdb
