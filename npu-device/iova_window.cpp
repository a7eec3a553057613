// SPDX-License-Identifier: MIT
#include "npu-device/iova_window.hpp"

#include <iterator>

#include "npu-sim/address_space.hpp"

namespace npu::device {
namespace {
constexpr std::uint64_t kWindow = sim::AddressSpace::kWindow;
}

IovaWindow::IovaWindow() { add_hole(0, kWindow); }

void IovaWindow::add_hole(std::uint64_t begin, std::uint64_t end) {
  holes_.emplace(begin, by_size_.emplace(end - begin, begin));
}

void IovaWindow::remove_hole(Holes::iterator hole) {
  by_size_.erase(hole->second);
  holes_.erase(hole);
}

void IovaWindow::place(Holes::iterator hole, std::uint64_t begin, std::uint64_t bytes) {
  const std::uint64_t hole_begin = hole->first, hole_end = hole_begin + hole->second->first;
  remove_hole(hole);
  if (begin > hole_begin) add_hole(hole_begin, begin);
  if (begin + bytes < hole_end) add_hole(begin + bytes, hole_end);
  buffers_.emplace(begin, begin + bytes);
}

std::optional<std::uint32_t> IovaWindow::insert(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (bytes == 0) return std::nullopt;
  for (auto it = by_size_.upper_bound(bytes); it != by_size_.begin();) {
    --it;
    const auto [size, hole_begin] = *it;
    const std::uint64_t begin = sim::AddressSpace::whole_pages(hole_begin);
    if (begin + bytes > hole_begin + size) continue;
    place(holes_.find(hole_begin), begin, bytes);
    return static_cast<std::uint32_t>(begin);
  }
  return std::nullopt;
}

bool IovaWindow::reserve(std::uint32_t iova, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  auto hole = holes_.upper_bound(iova);
  if (bytes == 0 || hole == holes_.begin()) return false;
  --hole;
  if (iova + bytes > hole->first + hole->second->first) return false;
  place(hole, iova, bytes);
  return true;
}

void IovaWindow::remove(std::uint32_t iova) {
  const std::lock_guard lock(mutex_);
  const auto buffer = buffers_.find(iova);
  if (buffer == buffers_.end()) return;
  std::uint64_t begin = buffer->first, end = buffer->second;
  if (const auto after = holes_.find(end); after != holes_.end()) {
    end += after->second->first;
    remove_hole(after);
  }
  if (auto before = holes_.lower_bound(begin); before != holes_.begin()) {
    --before;
    if (before->first + before->second->first == begin) {
      begin = before->first;
      remove_hole(before);
    }
  }
  buffers_.erase(buffer);
  add_hole(begin, end);
}

}  // namespace npu::device
