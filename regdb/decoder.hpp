// SPDX-License-Identifier: MIT
// Register commands for people and for other programs, and back.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "regdb/tables.hpp"

namespace npu::regdb {

struct DecodedField {
  const FieldInfo* info;
  std::uint32_t bits;      ///< as they stand in the register
  std::int64_t value;      ///< in the field's own terms: counts, signed numbers, addresses
  std::string_view label;  ///< name of an enum's value, or empty
};

/// One word. `reg` is nullptr for control words (empty, marker) and for unknown registers.
struct DecodedWord {
  std::uint64_t word;
  Regcmd command;
  std::string block;  ///< "CNA", "ENABLE", "MARKER", "EMPTY" or "0x1234" (unknown target)
  std::string name;   ///< register name, or "0x1098" (unknown register)
  const RegisterInfo* reg;
  std::vector<DecodedField> fields;  ///< without reserved fields that are 0
};

/// The fields of a register that holds `value`, without reserved ones that are 0.
std::vector<DecodedField> decode_fields(const RegisterInfo& reg, std::uint32_t value);

/// Never fails: what is unknown is shown with its numbers.
DecodedWord decode(std::uint64_t word);

/// "DPU.DATA_CUBE_WIDTH = 0x0000000d  width=14": the words after the raw value, without colour.
std::string to_text(const DecodedWord& word);

struct TextOptions {
  bool colour = false;
};

/// One aligned line with index and raw word.
std::string to_line(const DecodedWord& word, std::size_t index, const TextOptions& options = {});

/// {"index","word","target","block","register","offset","value","fields":{name: value or label}}.
/// Numbers in "fields" are the fields' own values; enum values with a name are strings.
nlohmann::json to_json(const DecodedWord& word, std::size_t index);

/// The way back, from "word", or "target", "offset" and "value", or "block", "register" and
/// "fields" (a field that is left out is 0, a count 1). What stands there twice must agree, names
/// included. Throws bad_file with the index of the word if parts contradict each other or are
/// missing.
std::uint64_t word_from_json(const nlohmann::json& json, std::size_t index);

}  // namespace npu::regdb
