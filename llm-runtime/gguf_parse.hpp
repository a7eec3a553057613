// SPDX-License-Identifier: MIT
// The walk through a GGUF header; every size is checked against what is left before it is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "llm-runtime/gguf.hpp"

namespace npu::llm {

struct GgufContents {
  std::uint32_t version = 0;
  std::uint32_t alignment = 32;
  std::vector<std::string_view> keys;
  std::unordered_map<std::string_view, MetaValue> values;
  std::vector<TensorInfo> tensors;
  std::unordered_map<std::string_view, std::size_t> index;
};

/// Throws Error(bad_file) beginning with `name`.
GgufContents parse_gguf(std::span<const std::byte> bytes, const std::string& name);

/// Names from a file are shown without control characters and not at any length.
std::string shown(std::string_view name);

/// Bytes of one element; 0 for strings and arrays, whose size varies.
std::uint32_t fixed_size(MetaType type);

}  // namespace npu::llm
