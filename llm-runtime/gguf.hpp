// SPDX-License-Identifier: MIT
// A GGUF file (version 2 or 3, little-endian), mapped read-only and used where it lies.
//
// Layout [ggml docs/gguf.md, gguf.cpp]: "GGUF", u32 version, u64 tensors, u64 metadata entries; the
// entries (key, u32 type, value); the tensors (name, u32 axes, u64 size of each, u32 type, u64
// offset); padding to general.alignment (32 by default); data. A string is a u64 length and bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "llm-runtime/tensor_type.hpp"

namespace npu::llm {

/// Numbers as in the file [gguf.h, enum gguf_type].
enum class MetaType : std::uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

std::string_view to_string(MetaType type);

/// A metadata value; `payload` lies in the file, unaligned. Of an array it holds the elements.
struct MetaValue {
  MetaType type = MetaType::u8;
  MetaType element_type = MetaType::u8;  ///< arrays only
  std::uint64_t count = 1;               ///< elements of an array
  std::span<const std::byte> payload;
};

/// The elements of an array, which may be arrays themselves; nothing for any other value.
std::vector<MetaValue> elements(const MetaValue& array);

/// A tensor as the file describes it. dims[0] is the axis that lies contiguous; unused ones are 1.
struct TensorInfo {
  std::string_view name;
  std::array<std::uint64_t, 4> dims{1, 1, 1, 1};
  std::uint32_t n_dims = 0;
  std::uint32_t type_number = 0;  ///< tensor_type() says whether this runtime knows it
  const std::byte* data = nullptr;
  std::uint64_t bytes = 0;  ///< 0 if the type is not known
};

/// "Q2_K (type 10)": also for the types that this runtime does not compute with.
std::string describe_type(std::uint32_t type_number);

enum class Advice { sequential, random, will_need, dont_need };

/// Movable, not copyable. Everything that it hands out points into the mapping and ends with it.
/// A file that another process shortens while it is mapped raises SIGBUS, as with every mmap.
class GgufFile {
 public:
  /// Throws Error(bad_file) with the path and a reason: not readable, not GGUF, truncated, a size
  /// that does not fit, a name used twice, tensors that overlap or reach beyond the end.
  static GgufFile open(const std::string& path);

  /// The same over bytes that outlive the result; `name` stands for the path in errors.
  static GgufFile parse(std::span<const std::byte> bytes, std::string name);

  GgufFile(GgufFile&&) noexcept;
  GgufFile& operator=(GgufFile&&) noexcept;
  ~GgufFile();

  const std::string& path() const;
  std::uint64_t size() const;  ///< bytes of the file
  std::uint32_t version() const;
  std::uint32_t alignment() const;

  /// Metadata in the file's order; nullptr if there is no such key.
  std::span<const std::string_view> keys() const;
  const MetaValue* value(std::string_view key) const;
  bool has(std::string_view key) const { return value(key) != nullptr; }

  /// Throw Error(bad_file) that names the key if it is missing, of another type or out of range.
  std::string_view get_string(std::string_view key) const;
  std::uint32_t get_u32(std::string_view key) const;  ///< from an integer of any type
  float get_f32(std::string_view key) const;          ///< from f32 or f64
  bool get_bool(std::string_view key) const;
  std::vector<std::string_view> get_strings(std::string_view key) const;
  std::vector<std::int64_t> get_ints(std::string_view key) const;  ///< integers of any type
  std::vector<float> get_floats(std::string_view key) const;       ///< f32 or f64

  /// `fallback` if the key is missing; a wrong type is still an error.
  std::string_view get_string(std::string_view key, std::string_view fallback) const;
  std::uint32_t get_u32(std::string_view key, std::uint32_t fallback) const;
  float get_f32(std::string_view key, float fallback) const;
  bool get_bool(std::string_view key, bool fallback) const;

  std::span<const TensorInfo> tensors() const;
  const TensorInfo* find(std::string_view name) const;  ///< nullptr if there is none

  /// A tensor of one axis (a single row) or two. Throws Error(bad_file) if it is missing, of a type
  /// that this runtime does not know, of another shape, or not aligned to its numbers.
  WeightView weight_view(std::string_view name) const;
  WeightView weight_view(std::string_view name, std::uint32_t rows, std::uint32_t columns) const;

  /// Hints for the kernel's read-ahead; no effect on results. Of the whole file or one tensor.
  void advise(Advice advice) const;
  void advise(Advice advice, const TensorInfo& tensor) const;

 private:
  struct State;
  explicit GgufFile(std::unique_ptr<State> state);
  const MetaValue& required(std::string_view key) const;
  [[noreturn]] void fail(const std::string& reason) const;

  std::unique_ptr<State> state_;
};

}  // namespace npu::llm
