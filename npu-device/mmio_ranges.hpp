// SPDX-License-Identifier: MIT
// Ranges of physical pages, handed out lowest hole first.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace npu::device {

/// Addresses [base, base + bytes), whole pages.
class PageRanges {
 public:
  PageRanges(std::uint64_t base, std::uint64_t bytes) : base_(base), end_(base + bytes) {}

  /// Lowest range of `bytes` (whole pages) that nobody holds; nullopt if there is none.
  std::optional<std::uint64_t> take(std::uint64_t bytes) {
    std::uint64_t at = base_;
    for (const auto& [start, size] : taken_) {
      if (start - at >= bytes) break;
      at = start + size;
    }
    if (end_ - at < bytes) return std::nullopt;
    taken_.emplace(at, bytes);
    return at;
  }
  void give(std::uint64_t address) { taken_.erase(address); }

 private:
  std::uint64_t base_, end_;
  std::map<std::uint64_t, std::uint64_t> taken_;
};

}  // namespace npu::device
