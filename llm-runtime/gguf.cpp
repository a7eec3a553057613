// SPDX-License-Identifier: MIT
#include "llm-runtime/gguf.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "llm-runtime/gguf_parse.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

/// Calls `use` with each number of `payload`, in its own type; false if `type` is no number.
template <class Use>
bool each_number(MetaType type, std::span<const std::byte> payload, Use&& use) {
  const auto walk = [&]<class T>(std::type_identity<T>) {
    for (std::size_t i = 0; i + sizeof(T) <= payload.size(); i += sizeof(T))
      use(load<T>(payload.data() + i));
    return true;
  };
  switch (type) {
    case MetaType::u8: return walk(std::type_identity<std::uint8_t>{});
    case MetaType::i8: return walk(std::type_identity<std::int8_t>{});
    case MetaType::u16: return walk(std::type_identity<std::uint16_t>{});
    case MetaType::i16: return walk(std::type_identity<std::int16_t>{});
    case MetaType::u32: return walk(std::type_identity<std::uint32_t>{});
    case MetaType::i32: return walk(std::type_identity<std::int32_t>{});
    case MetaType::u64: return walk(std::type_identity<std::uint64_t>{});
    case MetaType::i64: return walk(std::type_identity<std::int64_t>{});
    case MetaType::f32: return walk(std::type_identity<float>{});
    case MetaType::f64: return walk(std::type_identity<double>{});
    case MetaType::boolean:
    case MetaType::string:
    case MetaType::array: return false;
  }
  return false;
}

bool is_float(MetaType type) { return type == MetaType::f32 || type == MetaType::f64; }

bool is_integer(MetaType type) {
  return !is_float(type) && type != MetaType::boolean && type != MetaType::string &&
         type != MetaType::array;
}

std::string describe(const MetaValue& value) {
  if (value.type != MetaType::array) return std::string(to_string(value.type));
  return fmt::format("array of {}", to_string(value.element_type));
}

std::string_view as_text(const MetaValue& value) {
  return {reinterpret_cast<const char*>(value.payload.data()), value.payload.size()};
}

}  // namespace

struct GgufFile::State {
  std::string path;
  std::span<const std::byte> bytes;
  void* mapping = nullptr;
  GgufContents contents;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (mapping != nullptr) ::munmap(mapping, bytes.size());
  }
};

GgufFile::GgufFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
GgufFile::GgufFile(GgufFile&&) noexcept = default;
GgufFile& GgufFile::operator=(GgufFile&&) noexcept = default;
GgufFile::~GgufFile() = default;

GgufFile GgufFile::open(const std::string& path) {
  const auto refuse = [&](const char* what) {
    throw Error(ErrorCode::bad_file, fmt::format("{}: {}", path, what));
  };
  auto state = std::make_unique<State>();
  state->path = path;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) refuse(std::strerror(errno));
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd);
    refuse("not a regular file; give the path of a .gguf file");
  }
  if (status.st_size == 0) {
    ::close(fd);
    refuse("the file is empty");
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  const int error = errno;
  ::close(fd);
  if (mapping == MAP_FAILED) refuse(std::strerror(error));
  state->mapping = mapping;
  state->bytes = {static_cast<const std::byte*>(mapping), size};
  state->contents = parse_gguf(state->bytes, path);
  return GgufFile(std::move(state));
}

GgufFile GgufFile::parse(std::span<const std::byte> bytes, std::string name) {
  auto state = std::make_unique<State>();
  state->path = std::move(name);
  state->bytes = bytes;
  state->contents = parse_gguf(bytes, state->path);
  return GgufFile(std::move(state));
}

const std::string& GgufFile::path() const { return state_->path; }
std::uint64_t GgufFile::size() const { return state_->bytes.size(); }
std::uint32_t GgufFile::version() const { return state_->contents.version; }
std::uint32_t GgufFile::alignment() const { return state_->contents.alignment; }
std::span<const std::string_view> GgufFile::keys() const { return state_->contents.keys; }
std::span<const TensorInfo> GgufFile::tensors() const { return state_->contents.tensors; }

void GgufFile::fail(const std::string& reason) const {
  throw Error(ErrorCode::bad_file, fmt::format("{}: {}", path(), reason));
}

const MetaValue* GgufFile::value(std::string_view key) const {
  const auto found = state_->contents.values.find(key);
  return found == state_->contents.values.end() ? nullptr : &found->second;
}

const MetaValue& GgufFile::required(std::string_view key) const {
  const MetaValue* found = value(key);
  if (found == nullptr) fail(fmt::format("no metadata '{}'", shown(key)));
  return *found;
}

std::string_view GgufFile::get_string(std::string_view key) const {
  const MetaValue& found = required(key);
  if (found.type != MetaType::string)
    fail(fmt::format("metadata '{}' is {}, expected a string", shown(key), describe(found)));
  return as_text(found);
}

std::uint32_t GgufFile::get_u32(std::string_view key) const {
  const MetaValue& found = required(key);
  if (!is_integer(found.type))
    fail(fmt::format("metadata '{}' is {}, expected an integer", shown(key), describe(found)));
  std::uint32_t result = 0;
  each_number(found.type, found.payload, [&](auto number) {
    if constexpr (std::is_integral_v<decltype(number)>) {
      if (!std::in_range<std::uint32_t>(number))
        fail(fmt::format("metadata '{}' is {}, out of range", shown(key), number));
      result = static_cast<std::uint32_t>(number);
    }
  });
  return result;
}

float GgufFile::get_f32(std::string_view key) const {
  const MetaValue& found = required(key);
  if (!is_float(found.type))
    fail(fmt::format("metadata '{}' is {}, expected a float", shown(key), describe(found)));
  float result = 0;
  each_number(found.type, found.payload, [&](auto number) { result = static_cast<float>(number); });
  return result;
}

bool GgufFile::get_bool(std::string_view key) const {
  const MetaValue& found = required(key);
  if (found.type != MetaType::boolean)
    fail(fmt::format("metadata '{}' is {}, expected a bool", shown(key), describe(found)));
  return found.payload[0] != std::byte{0};
}

std::vector<std::string_view> GgufFile::get_strings(std::string_view key) const {
  const MetaValue& found = required(key);
  if (found.type != MetaType::array || found.element_type != MetaType::string) {
    fail(fmt::format("metadata '{}' is {}, expected an array of strings", shown(key),
                     describe(found)));
  }
  std::vector<std::string_view> result;
  result.reserve(found.count);
  for (const MetaValue& element : elements(found)) result.push_back(as_text(element));
  return result;
}

std::vector<std::int64_t> GgufFile::get_ints(std::string_view key) const {
  const MetaValue& found = required(key);
  if (found.type != MetaType::array || !is_integer(found.element_type)) {
    fail(fmt::format("metadata '{}' is {}, expected an array of integers", shown(key),
                     describe(found)));
  }
  std::vector<std::int64_t> result;
  result.reserve(found.count);
  each_number(found.element_type, found.payload, [&](auto number) {
    if constexpr (std::is_integral_v<decltype(number)>) {
      if (!std::in_range<std::int64_t>(number))
        fail(fmt::format("metadata '{}' holds {}, out of range", shown(key), number));
      result.push_back(static_cast<std::int64_t>(number));
    }
  });
  return result;
}

std::vector<float> GgufFile::get_floats(std::string_view key) const {
  const MetaValue& found = required(key);
  if (found.type != MetaType::array || !is_float(found.element_type)) {
    fail(fmt::format("metadata '{}' is {}, expected an array of floats", shown(key),
                     describe(found)));
  }
  std::vector<float> result;
  result.reserve(found.count);
  each_number(found.element_type, found.payload,
              [&](auto number) { result.push_back(static_cast<float>(number)); });
  return result;
}

std::string_view GgufFile::get_string(std::string_view key, std::string_view fallback) const {
  return has(key) ? get_string(key) : fallback;
}
std::uint32_t GgufFile::get_u32(std::string_view key, std::uint32_t fallback) const {
  return has(key) ? get_u32(key) : fallback;
}
float GgufFile::get_f32(std::string_view key, float fallback) const {
  return has(key) ? get_f32(key) : fallback;
}
bool GgufFile::get_bool(std::string_view key, bool fallback) const {
  return has(key) ? get_bool(key) : fallback;
}

const TensorInfo* GgufFile::find(std::string_view name) const {
  const auto found = state_->contents.index.find(name);
  return found == state_->contents.index.end() ? nullptr : &tensors()[found->second];
}

WeightView GgufFile::weight_view(std::string_view name) const {
  const TensorInfo* tensor = find(name);
  if (tensor == nullptr) {
    const MetaValue* parts = value("split.count");
    const bool split = parts != nullptr && is_integer(parts->type) && get_u32("split.count") > 1;
    fail(fmt::format("no tensor '{}'{}", shown(name),
                     split ? "; this is one part of a split model, join the parts with "
                             "llama-gguf-split --merge"
                           : ""));
  }
  const auto type = tensor_type(tensor->type_number);
  if (!type) {
    fail(
        fmt::format("tensor '{}' is {}, which is not supported; use a Q4_K_M, Q5_K_M, Q6_K, "
                    "Q8_0, Q4_0, Q5_0, F16, BF16 or F32 file",
                    shown(name), describe_type(tensor->type_number)));
  }
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
  const auto& dims = tensor->dims;
  if (dims[2] != 1 || dims[3] != 1 || dims[0] == 0 || dims[1] == 0 || dims[0] > kMost ||
      dims[1] > kMost) {
    fail(fmt::format("tensor '{}' is {} x {} x {} x {}, expected a vector or a matrix", shown(name),
                     dims[0], dims[1], dims[2], dims[3]));
  }
  // A file may align its data to less than a number takes; blocks begin with or hold halves.
  const std::size_t needed = *type == TensorType::f32 ? 4 : 2;
  if (reinterpret_cast<std::uintptr_t>(tensor->data) % needed != 0) {
    fail(
        fmt::format("tensor '{}' is not aligned to {} bytes; write the file again with "
                    "general.alignment 32",
                    shown(name), needed));
  }
  return {*type, static_cast<std::uint32_t>(dims[1]), static_cast<std::uint32_t>(dims[0]),
          tensor->data};
}

WeightView GgufFile::weight_view(std::string_view name, std::uint32_t rows,
                                 std::uint32_t columns) const {
  const WeightView view = weight_view(name);
  if (view.rows != rows || view.columns != columns) {
    fail(fmt::format("tensor '{}' has {} rows of {} values, expected {} rows of {}", shown(name),
                     view.rows, view.columns, rows, columns));
  }
  return view;
}

void GgufFile::advise(Advice advice) const {
  if (state_->mapping == nullptr) return;
  advise(advice, {.data = state_->bytes.data(), .bytes = state_->bytes.size()});
}

void GgufFile::advise(Advice advice, const TensorInfo& tensor) const {
  if (state_->mapping == nullptr || tensor.data == nullptr || tensor.bytes == 0) return;
  int hint = MADV_NORMAL;
  switch (advice) {
    case Advice::sequential: hint = MADV_SEQUENTIAL; break;
    case Advice::random: hint = MADV_RANDOM; break;
    case Advice::will_need: hint = MADV_WILLNEED; break;
    case Advice::dont_need: hint = MADV_DONTNEED; break;
  }
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.data);
  const std::uintptr_t begin = address & ~(page - 1);
  ::madvise(reinterpret_cast<void*>(begin), address + tensor.bytes - begin, hint);
}

std::string_view to_string(MetaType type) {
  static constexpr std::string_view kNames[] = {"u8",  "i8",  "u16",  "i16",    "u32",
                                                "i32", "f32", "bool", "string", "array",
                                                "u64", "i64", "f64"};
  return kNames[static_cast<std::uint32_t>(type)];
}

std::string describe_type(std::uint32_t type_number) {
  // Numbers that ggml has given away [ggml.h, enum ggml_type]; "" was removed.
  static constexpr std::string_view kNames[] = {
      "F32",     "F16",    "Q4_0",    "Q4_1",  "",       "",      "Q5_0",  "Q5_1",
      "Q8_0",    "Q8_1",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "Q8_K",
      "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
      "I8",      "I16",    "I32",     "I64",   "F64",    "IQ1_M", "BF16",  "",
      "",        "",       "TQ1_0",   "TQ2_0", "",       "",      "",      "MXFP4"};
  if (type_number < std::size(kNames) && !kNames[type_number].empty())
    return fmt::format("{} (type {})", kNames[type_number], type_number);
  return fmt::format("of type {}, unknown here", type_number);
}

}  // namespace npu::llm
