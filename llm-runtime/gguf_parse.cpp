// SPDX-License-Identifier: MIT
#include "llm-runtime/gguf_parse.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "regdb/error.hpp"

namespace npu::llm {
namespace {

constexpr std::uint64_t kSmallestEntry = 8 + 4 + 1;       // empty key, type, a byte
constexpr std::uint64_t kSmallestTensor = 8 + 4 + 4 + 8;  // empty name, no axis, type, offset
constexpr int kDeepestArray = 8;  // recursion stays bounded; ggml reads no nested array at all

bool fits(std::uint64_t a, std::uint64_t b, std::uint64_t limit) {
  return b == 0 || a <= limit / b;
}

/// Takes bytes from the front and knows where it is for the error.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  std::uint64_t position() const { return position_; }
  std::uint64_t left() const { return bytes_.size() - position_; }

  std::span<const std::byte> take(std::uint64_t count, std::string_view what) {
    if (count > left()) {
      fail(fmt::format("{} needs {} bytes at offset {}, but the file ends after {}", what, count,
                       position_, bytes_.size()));
    }
    const auto taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }

  template <class T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }

  std::string_view text(std::string_view what) {
    const auto length = number<std::uint64_t>(what);
    const auto bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::span<const std::byte> since(std::uint64_t start) const {
    return bytes_.subspan(start, position_ - start);
  }

  [[noreturn]] void fail(const std::string& reason) const {
    throw Error(
        ErrorCode::bad_file,
        fmt::format("{}: {}; the file is damaged or incomplete, fetch it again", name_, reason));
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& name_;
  std::uint64_t position_ = 0;
};

MetaType read_type(Cursor& in, std::string_view what) {
  const auto number = in.number<std::uint32_t>(what);
  if (number > static_cast<std::uint32_t>(MetaType::f64))
    in.fail(fmt::format("{} has type {}, which GGUF does not know", what, number));
  return static_cast<MetaType>(number);
}

MetaValue read_value(Cursor& in, MetaType type, std::string_view what, int depth) {
  MetaValue value{.type = type};
  if (type == MetaType::array) {
    if (depth >= kDeepestArray) in.fail(fmt::format("{} nests arrays too deep", what));
    value.element_type = read_type(in, what);
    value.count = in.number<std::uint64_t>(what);
    const std::uint64_t start = in.position();
    if (const std::uint32_t size = fixed_size(value.element_type); size != 0) {
      if (!fits(value.count, size, in.left()))
        in.fail(fmt::format("{} says that it has {} elements, more than fit", what, value.count));
      in.take(value.count * size, what);
    } else {
      // An element takes at least its length of eight bytes, so the walk is bounded by the file.
      if (!fits(value.count, 8, in.left()))
        in.fail(fmt::format("{} says that it has {} elements, more than fit", what, value.count));
      for (std::uint64_t i = 0; i < value.count; ++i)
        read_value(in, value.element_type, what, depth + 1);
    }
    value.payload = in.since(start);
  } else if (type == MetaType::string) {
    const std::string_view text = in.text(what);
    value.payload = std::as_bytes(std::span(text.data(), text.size()));
  } else {
    value.payload = in.take(fixed_size(type), what);
  }
  return value;
}

void read_metadata(Cursor& in, std::uint64_t count, GgufContents& contents) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string_view key = in.text(fmt::format("metadata entry {}", i));
    const std::string what = fmt::format("metadata '{}'", shown(key));
    const MetaType type = read_type(in, what);
    if (!contents.values.emplace(key, read_value(in, type, what, 0)).second)
      in.fail(fmt::format("{} is there twice", what));
    contents.keys.push_back(key);
  }
}

void read_alignment(const Cursor& in, GgufContents& contents) {
  const auto found = contents.values.find("general.alignment");
  if (found == contents.values.end()) return;
  std::uint32_t alignment = 0;
  if (found->second.type == MetaType::u32)
    std::memcpy(&alignment, found->second.payload.data(), sizeof alignment);
  if (!std::has_single_bit(alignment))
    in.fail("metadata 'general.alignment' is not a power of two of type u32");
  contents.alignment = alignment;
}

struct Offsets {
  std::uint64_t begin, end;
  std::size_t tensor;
};

TensorInfo read_tensor_info(Cursor& in, std::uint64_t number, std::uint64_t& offset) {
  TensorInfo tensor;
  tensor.name = in.text(fmt::format("tensor {}", number));
  const std::string what = fmt::format("tensor '{}'", shown(tensor.name));
  tensor.n_dims = in.number<std::uint32_t>(what);
  if (tensor.n_dims > tensor.dims.size())
    in.fail(fmt::format("{} has {} axes, at most 4 are possible", what, tensor.n_dims));
  std::uint64_t values = 1;
  for (std::uint32_t axis = 0; axis < tensor.n_dims; ++axis) {
    const auto size = tensor.dims[axis] = in.number<std::uint64_t>(what);
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (size > kMost || !fits(values, size, kMost))
      in.fail(fmt::format("{} has more values than can be counted", what));
    values *= size;
  }
  tensor.type_number = in.number<std::uint32_t>(what);
  offset = in.number<std::uint64_t>(what);
  if (const auto type = tensor_type(tensor.type_number)) {
    const BlockShape block = block_shape(*type);
    if (tensor.dims[0] % block.values != 0) {
      in.fail(fmt::format("{} has rows of {} values, no multiple of the {} of a {} block", what,
                          tensor.dims[0], block.values, to_string(*type)));
    }
    if (!fits(values / block.values, block.bytes, std::numeric_limits<std::int64_t>::max()))
      in.fail(fmt::format("{} has more bytes than can be counted", what));
    tensor.bytes = values / block.values * block.bytes;
  }
  return tensor;
}

void refuse_overlaps(const Cursor& in, std::vector<Offsets>& places, const GgufContents& contents) {
  std::sort(places.begin(), places.end(), [](const Offsets& a, const Offsets& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  for (std::size_t i = 1; i < places.size(); ++i) {
    if (places[i].begin < places[i - 1].end) {
      in.fail(fmt::format("tensors '{}' and '{}' overlap",
                          shown(contents.tensors[places[i - 1].tensor].name),
                          shown(contents.tensors[places[i].tensor].name)));
    }
  }
}

void read_tensors(Cursor& in, std::span<const std::byte> bytes, std::uint64_t count,
                  GgufContents& contents) {
  std::vector<Offsets> places;
  for (std::uint64_t i = 0; i < count; ++i) {
    std::uint64_t offset = 0;
    const TensorInfo tensor = read_tensor_info(in, i, offset);
    const std::string what = fmt::format("tensor '{}'", shown(tensor.name));
    if (!contents.index.emplace(tensor.name, contents.tensors.size()).second)
      in.fail(fmt::format("{} is there twice", what));
    if (offset % contents.alignment != 0) {
      in.fail(fmt::format("{} starts at {}, which is not aligned to {}", what, offset,
                          contents.alignment));
    }
    places.push_back({offset, tensor.bytes, contents.tensors.size()});
    contents.tensors.push_back(tensor);
  }
  const std::uint64_t padding = (0 - in.position()) & (contents.alignment - 1);
  const bool no_data = padding > in.left();
  const auto data = no_data ? bytes.subspan(bytes.size()) : bytes.subspan(in.position() + padding);
  for (Offsets& place : places) {
    TensorInfo& tensor = contents.tensors[place.tensor];
    const std::uint64_t size = place.end;
    if (no_data || place.begin > data.size() || size > data.size() - place.begin) {
      in.fail(
          fmt::format("tensor '{}' ({} bytes at {} of the data) reaches beyond the end of the "
                      "file, which has {} bytes of data",
                      shown(tensor.name), size, place.begin, data.size()));
    }
    tensor.data = data.data() + place.begin;
    place.end = place.begin + size;
  }
  std::erase_if(places, [](const Offsets& place) { return place.begin == place.end; });
  refuse_overlaps(in, places, contents);
}

}  // namespace

std::string shown(std::string_view name) {
  constexpr std::size_t kLongest = 80;
  std::string text(name.substr(0, kLongest));
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) c = '?';
  }
  if (name.size() > kLongest) text += "...";
  return text;
}

std::uint32_t fixed_size(MetaType type) {
  switch (type) {
    case MetaType::u8:
    case MetaType::i8:
    case MetaType::boolean: return 1;
    case MetaType::u16:
    case MetaType::i16: return 2;
    case MetaType::u32:
    case MetaType::i32:
    case MetaType::f32: return 4;
    case MetaType::u64:
    case MetaType::i64:
    case MetaType::f64: return 8;
    case MetaType::string:
    case MetaType::array: return 0;
  }
  return 0;
}

GgufContents parse_gguf(std::span<const std::byte> bytes, const std::string& name) {
  Cursor in(bytes, name);
  if (bytes.size() < 4 || std::memcmp(bytes.data(), "GGUF", 4) != 0) {
    throw Error(ErrorCode::bad_file,
                name +
                    ": not a GGUF file (it does not begin with \"GGUF\"); convert the model "
                    "with llama.cpp's convert_hf_to_gguf.py");
  }
  in.take(4, "magic");
  GgufContents contents;
  contents.version = in.number<std::uint32_t>("version");
  if (contents.version == 0x02000000 || contents.version == 0x03000000) {
    throw Error(ErrorCode::bad_file,
                name +
                    ": a big-endian GGUF file; convert it to little-endian with "
                    "gguf_convert_endian.py");
  }
  if (contents.version != 2 && contents.version != 3) {
    throw Error(
        ErrorCode::bad_file,
        fmt::format("{}: GGUF version {}, but only 2 and 3 can be read", name, contents.version));
  }
  const auto tensors = in.number<std::uint64_t>("tensor count");
  const auto entries = in.number<std::uint64_t>("metadata count");
  if (!fits(entries, kSmallestEntry, in.left()))
    in.fail(fmt::format("{} metadata entries do not fit into {} bytes", entries, bytes.size()));
  read_metadata(in, entries, contents);
  if (!fits(tensors, kSmallestTensor, in.left()))
    in.fail(fmt::format("{} tensors do not fit into {} bytes", tensors, bytes.size()));
  read_alignment(in, contents);
  read_tensors(in, bytes, tensors, contents);
  return contents;
}

std::vector<MetaValue> elements(const MetaValue& array) {
  std::vector<MetaValue> result;
  if (array.type != MetaType::array) return result;
  static const std::string name = "array";
  Cursor in(array.payload, name);
  result.reserve(array.count);
  for (std::uint64_t i = 0; i < array.count; ++i)
    result.push_back(read_value(in, array.element_type, name, 0));
  return result;
}

}  // namespace npu::llm
