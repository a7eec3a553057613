// SPDX-License-Identifier: MIT
// Where two states of a buffer differ: by byte, and by element where the layout is known.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "npu-probe/explain_tensor.hpp"

namespace npu::probe {

/// An element of a tensor, or the two int4 that share a byte.
struct Place {
  std::string tensor;  ///< which one, where there are several: "task 2"
  NpuTensor layout;
  Coordinate at;
  std::uint64_t iova = 0;  ///< of its first byte
};
/// The element that a byte of a file's window belongs to; nullopt for padding and unknown layouts.
using Locate = std::function<std::optional<Place>(std::uint64_t iova)>;

struct DifferentElement {
  std::uint64_t offset = 0;    ///< of its first byte in the buffer
  std::optional<Place> place;  ///< empty: a byte of an unknown layout
  double a = 0, b = 0;
};

struct BufferDifference {
  std::uint32_t handle = 0;
  std::uint64_t compared = 0;  ///< bytes
  std::uint64_t bytes = 0;     ///< that differ
  std::uint64_t elements = 0;  ///< that differ; a byte of unknown layout counts as one
  double max_abs_diff = 0;     ///< infinite if NaN stands against a number
  std::uint64_t size_a = 0, size_b = 0;
  std::vector<DifferentElement> first;
};

/// nullopt if both hold the same. `iova`: where the buffer begins for `locate`, which may be null.
/// Buffers of different sizes differ; the shorter one's bytes are compared.
std::optional<BufferDifference> find_difference(std::uint32_t handle, std::uint64_t iova,
                                                std::span<const std::byte> a,
                                                std::span<const std::byte> b, const Locate& locate,
                                                std::size_t keep = 4);

/// "buffer 7: 3 of 25088 bytes (3 elements), max abs diff 12"
std::string headline(const BufferDifference& difference);
/// "+0x40  (h 0, w 4, c 0) int8: recorded 18, sim 19"
std::string describe(const DifferentElement& element, std::string_view a, std::string_view b);
nlohmann::json to_json(const BufferDifference& difference);

}  // namespace npu::probe
