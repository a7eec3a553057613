// SPDX-License-Identifier: MIT
#include "llm-runtime/gguf_writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "llm-runtime/gguf_parse.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

void append(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
  const std::size_t at = out.size();
  out.resize(at + bytes.size());
  std::ranges::copy(bytes, out.begin() + static_cast<std::ptrdiff_t>(at));
}

template <class T>
void append_number(std::vector<std::byte>& out, T value) {
  append(out, std::as_bytes(std::span(&value, 1)));
}

void append_text(std::vector<std::byte>& out, std::string_view text) {
  append_number<std::uint64_t>(out, text.size());
  append(out, std::as_bytes(std::span(text.data(), text.size())));
}

std::uint64_t padding(std::uint64_t size, std::uint32_t alignment) {
  return (alignment - size % alignment) % alignment;
}

/// Feeds every tensor of `writer` to `out`, padded, and checks the size of each.
void write_data(const GgufWriter& writer, const TensorSource& source, const TensorSink& out) {
  for (const GgufWriter::Tensor& tensor : writer.tensors()) {
    std::uint64_t written = 0;
    source(tensor, [&](std::span<const std::byte> bytes) {
      written += bytes.size();
      out(bytes);
    });
    if (written != tensor.bytes) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("tensor '{}': {} bytes given, {} expected", tensor.name, written,
                              tensor.bytes));
    }
    const std::vector<std::byte> zeros(padding(written, writer.alignment()));
    if (!zeros.empty()) out(zeros);
  }
}

}  // namespace

void GgufWriter::begin_entry(std::string_view key, MetaType type) {
  append_text(metadata_, key);
  append_number(metadata_, static_cast<std::uint32_t>(type));
  ++entries_;
}

void GgufWriter::begin_array(std::string_view key, MetaType element, std::uint64_t count) {
  begin_entry(key, MetaType::array);
  append_number(metadata_, static_cast<std::uint32_t>(element));
  append_number(metadata_, count);
}

void GgufWriter::put_string(std::string_view key, std::string_view value) {
  begin_entry(key, MetaType::string);
  append_text(metadata_, value);
}

void GgufWriter::put_u32(std::string_view key, std::uint32_t value) {
  begin_entry(key, MetaType::u32);
  append_number(metadata_, value);
}

void GgufWriter::put_f32(std::string_view key, float value) {
  begin_entry(key, MetaType::f32);
  append_number(metadata_, value);
}

void GgufWriter::put_bool(std::string_view key, bool value) {
  begin_entry(key, MetaType::boolean);
  append_number<std::uint8_t>(metadata_, value ? 1 : 0);
}

void GgufWriter::put_strings(std::string_view key, std::span<const std::string_view> values) {
  begin_array(key, MetaType::string, values.size());
  for (const std::string_view value : values) append_text(metadata_, value);
}

void GgufWriter::put_ints(std::string_view key, std::span<const std::int32_t> values) {
  begin_array(key, MetaType::i32, values.size());
  append(metadata_, std::as_bytes(values));
}

void GgufWriter::put_floats(std::string_view key, std::span<const float> values) {
  begin_array(key, MetaType::f32, values.size());
  append(metadata_, std::as_bytes(values));
}

void GgufWriter::put_value(std::string_view key, const MetaValue& value) {
  if (value.type == MetaType::array) {
    begin_array(key, value.element_type, value.count);
  } else {
    begin_entry(key, value.type);
    if (value.type == MetaType::string)
      append_number<std::uint64_t>(metadata_, value.payload.size());
  }
  append(metadata_, value.payload);
}

void GgufWriter::add_tensor(std::string_view name, std::span<const std::uint64_t> dims,
                            TensorType type) {
  const BlockShape block = block_shape(type);
  if (dims.empty() || dims.size() > 4 || dims[0] % block.values != 0) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("tensor '{}': rows must be a multiple of {} values for {}", name,
                            block.values, to_string(type)));
  }
  std::uint64_t rows = 1;
  for (std::size_t axis = 1; axis < dims.size(); ++axis) rows *= dims[axis];
  const std::uint64_t bytes = rows * row_bytes(type, dims[0]);
  tensors_.push_back({std::string(name), {dims.begin(), dims.end()}, type, data_bytes_, bytes});
  data_bytes_ += bytes + padding(bytes, alignment_);
}

void GgufWriter::add_matrix(std::string_view name, std::uint32_t rows, std::uint32_t columns,
                            TensorType type) {
  add_tensor(name, std::array<std::uint64_t, 2>{columns, rows}, type);
}

void GgufWriter::add_vector(std::string_view name, std::uint32_t values, TensorType type) {
  add_tensor(name, std::array<std::uint64_t, 1>{values}, type);
}

std::vector<std::byte> GgufWriter::header() const {
  std::vector<std::byte> out;
  out.reserve(metadata_.size() + 128 * tensors_.size() + 4096);
  append_number<std::uint32_t>(out, 0x46554747);  // "GGUF"
  append_number<std::uint32_t>(out, 3);
  append_number<std::uint64_t>(out, tensors_.size());
  const bool aligned = alignment_ != 32;
  append_number<std::uint64_t>(out, entries_ + (aligned ? 1 : 0));
  if (aligned) {
    append_text(out, "general.alignment");
    append_number(out, static_cast<std::uint32_t>(MetaType::u32));
    append_number(out, alignment_);
  }
  append(out, metadata_);
  for (const Tensor& tensor : tensors_) {
    append_text(out, tensor.name);
    append_number(out, static_cast<std::uint32_t>(tensor.dims.size()));
    for (const std::uint64_t size : tensor.dims) append_number(out, size);
    append_number(out, static_cast<std::uint32_t>(tensor.type));
    append_number(out, tensor.offset);
  }
  out.resize(out.size() + padding(out.size(), alignment_));
  return out;
}

void write_gguf(const std::string& path, const GgufWriter& writer, const TensorSource& source) {
  const std::string part = path + ".part";
  const auto refuse = [&] {
    const int error = errno;
    throw Error(ErrorCode::permission_denied,
                fmt::format("{}: cannot be written: {}", path, std::strerror(error)));
  };
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file(std::fopen(part.c_str(), "wb"));
  if (!file) refuse();
  try {
    const auto write = [&](std::span<const std::byte> bytes) {
      if (std::fwrite(bytes.data(), 1, bytes.size(), file.get()) != bytes.size()) refuse();
    };
    write(writer.header());
    write_data(writer, source, write);
    if (std::fclose(file.release()) != 0) refuse();
    if (std::rename(part.c_str(), path.c_str()) != 0) refuse();
  } catch (...) {
    std::remove(part.c_str());
    throw;
  }
}

std::vector<std::byte> gguf_bytes(const GgufWriter& writer, const TensorSource& source) {
  std::vector<std::byte> out = writer.header();
  out.reserve(out.size() + writer.data_bytes());
  write_data(writer, source, [&](std::span<const std::byte> bytes) { append(out, bytes); });
  return out;
}

}  // namespace npu::llm
