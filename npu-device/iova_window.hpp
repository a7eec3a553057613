// SPDX-License-Identifier: MIT
// Which IOVAs the kernel gives to a file's buffers: drm_mm as the rocket driver uses it
// (drm_mm_insert_node_generic with alignment of a page and mode 0) [rocket_gem.c, drm_mm.c].
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>

namespace npu::device {

/// Thread safe. A buffer occupies exactly the bytes that were asked for, not whole pages, so a hole
/// begins where the buffer before it ends, in the middle of a page perhaps.
class IovaWindow {
 public:
  IovaWindow();
  IovaWindow(const IovaWindow&) = delete;
  IovaWindow& operator=(const IovaWindow&) = delete;

  /// The smallest hole that is large enough, of several the one that came to be last; in it the
  /// lowest page boundary. If the boundary leaves too little room, the next larger hole.
  /// nullopt: there is none, or `bytes` is 0 (ENOSPC).
  std::optional<std::uint32_t> insert(std::uint64_t bytes);
  /// False if the range is not free.
  bool reserve(std::uint32_t iova, std::uint64_t bytes);
  /// A range that insert() or reserve() gave.
  void remove(std::uint32_t iova);

 private:
  // Largest first; a hole goes behind those of its own size [insert_hole_size()].
  using BySize = std::multimap<std::uint64_t, std::uint64_t, std::greater<>>;
  using Holes = std::map<std::uint64_t, BySize::iterator>;

  void add_hole(std::uint64_t begin, std::uint64_t end);
  void remove_hole(Holes::iterator hole);
  void place(Holes::iterator hole, std::uint64_t begin, std::uint64_t bytes);

  std::mutex mutex_;
  BySize by_size_;                                  // size to begin
  Holes holes_;                                     // by begin
  std::map<std::uint64_t, std::uint64_t> buffers_;  // begin to end
};

}  // namespace npu::device
