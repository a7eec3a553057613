// SPDX-License-Identifier: MIT
#include "npu-probe/data_difference.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "npu-sim/float_types.hpp"

namespace npu::probe {
namespace {

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

double value_of(const std::optional<Place>& place, const std::byte* from) {
  if (!place) return load<std::uint8_t>(from);
  switch (place->layout.type) {
    case ElementType::int4: {
      // The second of two has an odd channel; the low nibble comes first.
      const unsigned nibble = load<std::uint8_t>(from) >> (place->at.c % 2 * 4) & 0xF;
      return static_cast<int>(nibble ^ 8) - 8;
    }
    case ElementType::uint8: return load<std::uint8_t>(from);
    case ElementType::int8: return load<std::int8_t>(from);
    case ElementType::int16: return load<std::int16_t>(from);
    case ElementType::int32: return load<std::int32_t>(from);
    case ElementType::fp16:
      return static_cast<double>(sim::fp16_to_float(load<std::uint16_t>(from)));
    case ElementType::bf16:
      return static_cast<double>(sim::bf16_to_float(load<std::uint16_t>(from)));
    case ElementType::fp32:
    case ElementType::tf32: break;
  }
  return static_cast<double>(load<float>(from));
}

double distance(double a, double b) {
  if (std::isnan(a) && std::isnan(b)) return 0;
  const double d = std::abs(a - b);
  return std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
}

std::string number(const DifferentElement& e, double value) {
  if (!e.place) return fmt::format("{:#04x}", static_cast<unsigned>(value));
  return fmt::format("{}", value);
}

// JSON has no infinities and no NaN.
nlohmann::json json_number(double value) {
  if (std::isfinite(value)) return value;
  return fmt::format("{}", value);
}

}  // namespace

std::optional<BufferDifference> find_difference(std::uint32_t handle, std::uint64_t iova,
                                                std::span<const std::byte> a,
                                                std::span<const std::byte> b, const Locate& locate,
                                                std::size_t keep) {
  BufferDifference d;
  d.handle = handle;
  d.size_a = a.size();
  d.size_b = b.size();
  const std::size_t size = std::min(a.size(), b.size());
  d.compared = size;
  constexpr std::size_t kBlock = 4096;
  std::size_t counted = 0;  // bytes before it belong to elements that are told already
  for (std::size_t block = 0; block < size; block += kBlock) {
    const std::size_t end = std::min(size, block + kBlock);
    if (std::memcmp(a.data() + block, b.data() + block, end - block) == 0) continue;
    for (std::size_t i = block; i < end; ++i) {
      if (a[i] == b[i]) continue;
      ++d.bytes;
      if (i < counted) continue;
      ++d.elements;
      DifferentElement e;
      e.offset = i;
      if (locate) e.place = locate(iova + i);
      if (e.place) {
        const std::size_t width = std::max(bits_of(e.place->layout.type) / 8, 1u);
        if (e.place->iova < iova || e.place->iova - iova + width > size) {
          e.place.reset();  // the tensor reaches beyond the buffer
        } else {
          e.offset = e.place->iova - iova;
          counted = e.offset + width;
          // The first of two int4, if that is not the one that differs.
          if (e.place->layout.type == ElementType::int4 &&
              ((a[i] ^ b[i]) & std::byte{0xF}) == std::byte{0})
            ++e.place->at.c;
        }
      }
      e.a = value_of(e.place, a.data() + e.offset);
      e.b = value_of(e.place, b.data() + e.offset);
      d.max_abs_diff = std::max(d.max_abs_diff, distance(e.a, e.b));
      if (d.first.size() < keep) d.first.push_back(std::move(e));
    }
  }
  if (d.bytes == 0 && a.size() == b.size()) return std::nullopt;
  return d;
}

std::string headline(const BufferDifference& d) {
  std::string text = fmt::format("buffer {}: ", d.handle);
  if (d.size_a != d.size_b) text += fmt::format("{} and {} bytes; ", d.size_a, d.size_b);
  text += fmt::format("{} of {} bytes", d.bytes, d.compared);
  if (d.elements != d.bytes) text += fmt::format(" ({} elements)", d.elements);
  if (d.bytes != 0) text += fmt::format(", max abs diff {}", d.max_abs_diff);
  return text;
}

std::string describe(const DifferentElement& e, std::string_view a, std::string_view b) {
  std::string text = fmt::format("+{:#x}", e.offset);
  if (e.place)
    text += fmt::format("  {}{}{} {}", e.place->tensor, e.place->tensor.empty() ? "" : " ",
                        to_string(e.place->layout, e.place->at), to_string(e.place->layout.type));
  return text + fmt::format(": {} {}, {} {}", a, number(e, e.a), b, number(e, e.b));
}

nlohmann::json to_json(const BufferDifference& d) {
  nlohmann::json first = nlohmann::json::array();
  for (const DifferentElement& e : d.first) {
    nlohmann::json element = {{"offset", e.offset},
                              {"type", e.place ? to_string(e.place->layout.type) : "byte"},
                              {"a", json_number(e.a)},
                              {"b", json_number(e.b)}};
    if (e.place) {
      const Coordinate& at = e.place->at;
      element["nhwc"] = {at.n, at.h, at.w, at.c};
      element["tensor"] = e.place->tensor;
    }
    first.push_back(std::move(element));
  }
  return {{"buffer", d.handle},
          {"compared_bytes", d.compared},
          {"bytes", d.bytes},
          {"elements", d.elements},
          {"max_abs_diff", json_number(d.max_abs_diff)},
          {"size_a", d.size_a},
          {"size_b", d.size_b},
          {"first", std::move(first)}};
}

}  // namespace npu::probe
