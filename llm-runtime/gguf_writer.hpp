// SPDX-License-Identifier: MIT
// Writes GGUF version 3: metadata and the list of tensors first, then their data in that order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "llm-runtime/gguf.hpp"

namespace npu::llm {

/// The header of a file; keys and tensor names must differ, which the reader checks.
class GgufWriter {
 public:
  explicit GgufWriter(std::uint32_t alignment = 32) : alignment_(alignment) {}

  void put_string(std::string_view key, std::string_view value);
  void put_u32(std::string_view key, std::uint32_t value);
  void put_f32(std::string_view key, float value);
  void put_bool(std::string_view key, bool value);
  void put_strings(std::string_view key, std::span<const std::string_view> values);
  void put_ints(std::string_view key, std::span<const std::int32_t> values);
  void put_floats(std::string_view key, std::span<const float> values);
  /// As it was read from another file.
  void put_value(std::string_view key, const MetaValue& value);

  /// dims[0] is the contiguous axis and a multiple of the type's block; at most four.
  void add_tensor(std::string_view name, std::span<const std::uint64_t> dims, TensorType type);
  void add_matrix(std::string_view name, std::uint32_t rows, std::uint32_t columns,
                  TensorType type);
  void add_vector(std::string_view name, std::uint32_t values, TensorType type);

  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> dims;
    TensorType type;
    std::uint64_t offset, bytes;
  };
  // The tensors live as long as the writer does: not to be asked of a temporary.
  std::span<const Tensor> tensors() const& { return tensors_; }
  std::span<const Tensor> tensors() const&& = delete;
  std::uint32_t alignment() const { return alignment_; }
  std::uint64_t data_bytes() const { return data_bytes_; }  ///< padding included

  /// All that comes before the data, padded to the alignment.
  std::vector<std::byte> header() const;

 private:
  void begin_entry(std::string_view key, MetaType type);
  void begin_array(std::string_view key, MetaType element, std::uint64_t count);

  std::uint32_t alignment_;
  std::uint64_t entries_ = 0;
  std::vector<std::byte> metadata_;
  std::vector<Tensor> tensors_;
  std::uint64_t data_bytes_ = 0;
};

/// Takes the bytes of a tensor, in any number of pieces.
using TensorSink = std::function<void(std::span<const std::byte>)>;
/// Called once for each tensor, in order; must give exactly tensor.bytes bytes.
using TensorSource = std::function<void(const GgufWriter::Tensor& tensor, const TensorSink& sink)>;

/// Writes `path` by way of `path`.part, so that an unfinished file never bears the name.
/// Throws Error(permission_denied) with the system's reason, e.g. that the disk is full.
void write_gguf(const std::string& path, const GgufWriter& writer, const TensorSource& source);

/// The same in memory.
std::vector<std::byte> gguf_bytes(const GgufWriter& writer, const TensorSource& source);

}  // namespace npu::llm
