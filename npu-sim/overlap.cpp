// SPDX-License-Identifier: MIT
#include "npu-sim/overlap.hpp"

#include <algorithm>

namespace npu::sim {
namespace {

constexpr std::size_t kPairs = 1024;  // surfaces that are compared one with another

template <class Pointer>
std::vector<std::uintptr_t> sorted(const std::vector<Pointer>& surfaces) {
  std::vector<std::uintptr_t> at;
  for (const auto* surface : surfaces)
    if (surface != nullptr) at.push_back(reinterpret_cast<std::uintptr_t>(surface));
  std::sort(at.begin(), at.end());
  return at;
}

}  // namespace

bool share_bytes(const std::vector<std::uint8_t*>& surfaces, std::size_t rows, std::size_t line,
                 std::size_t row_bytes) {
  const std::vector<std::uintptr_t> at = sorted(surfaces);
  if (at.size() < 2) return false;
  const std::size_t bytes = (rows - 1) * line + row_bytes;
  bool stacked = true;
  for (std::size_t i = 1; i < at.size(); ++i) stacked = stacked && at[i] - at[i - 1] >= bytes;
  if (stacked) return false;

  // Side by side in each line, as in a row-major matrix.
  std::vector<std::uintptr_t> column(at.size());
  std::transform(at.begin(), at.end(), column.begin(), [&](auto a) { return a % line; });
  std::sort(column.begin(), column.end());
  bool apart = column.front() + line - column.back() >= row_bytes;
  for (std::size_t i = 1; i < column.size(); ++i)
    apart = apart && column[i] - column[i - 1] >= row_bytes;
  if (apart) return false;

  if (at.size() > kPairs) return true;
  for (std::size_t i = 0; i < at.size(); ++i)
    for (std::size_t j = i + 1; j < at.size() && at[j] - at[i] < bytes; ++j) {
      const std::size_t lines = (at[j] - at[i]) / line, rest = (at[j] - at[i]) % line;
      if (rest < row_bytes || (lines + 1 < rows && line - rest < row_bytes)) return true;
    }
  return false;
}

bool touch(const std::vector<const std::uint8_t*>& reads, std::size_t read_bytes,
           const std::vector<std::uint8_t*>& writes, std::size_t write_bytes) {
  const std::vector<std::uintptr_t> in = sorted(reads), out = sorted(writes);
  auto w = out.begin();
  for (const std::uintptr_t read : in) {
    while (w != out.end() && *w + write_bytes <= read) ++w;
    if (w != out.end() && *w < read + read_bytes) return true;
  }
  return false;
}

}  // namespace npu::sim
