// SPDX-License-Identifier: MIT
#include "npu-sim/address_space.hpp"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <string>

#include "regdb/error.hpp"

namespace npu::sim {
void AddressSpace::map(std::uint32_t iova, std::shared_ptr<std::byte[]> memory, std::size_t bytes) {
  if (iova % kPageSize != 0 || bytes == 0 || bytes > kWindow || iova + whole_pages(bytes) > kWindow)
    throw Error(ErrorCode::invalid_argument,
                "cannot map " + std::to_string(bytes) + " bytes at IOVA " + std::to_string(iova) +
                    ": ranges are page aligned, not empty and end below 4 GiB");
  const std::size_t size = whole_pages(bytes);
  const std::unique_lock lock(mutex_);
  const auto next = mappings_.lower_bound(iova);
  const bool hits_next = next != mappings_.end() && next->first < iova + std::uint64_t{size};
  const bool hits_previous =
      next != mappings_.begin() && std::prev(next)->first + std::prev(next)->second.bytes > iova;
  if (hits_next || hits_previous)
    throw Error(ErrorCode::invalid_argument,
                "cannot map IOVA " + std::to_string(iova) + ": the range is in use");
  mappings_.emplace(iova, Mapping{std::move(memory), size});
}

void AddressSpace::unmap(std::uint32_t iova) {
  const std::unique_lock lock(mutex_);
  mappings_.erase(iova);
}

const AddressSpace::Mapping* AddressSpace::find(std::uint64_t iova, std::uint64_t* offset) const {
  if (iova >= kWindow) return nullptr;
  auto it = mappings_.upper_bound(static_cast<std::uint32_t>(iova));
  if (it == mappings_.begin()) return nullptr;
  --it;
  *offset = iova - it->first;
  return *offset < it->second.bytes ? &it->second : nullptr;
}

std::span<std::byte> AddressSpace::resolve_write(std::uint64_t iova, std::size_t bytes) const {
  std::uint64_t offset = 0;
  const Mapping* mapping = find(iova, &offset);
  if (mapping == nullptr || bytes > mapping->bytes - offset) return {};
  return {mapping->memory.get() + offset, bytes};
}

std::span<const std::byte> AddressSpace::resolve(std::uint64_t iova, std::size_t bytes) const {
  return AddressSpace::resolve_write(iova, bytes);
}

namespace {

// Walks [iova, iova + bytes) mapping by mapping; `copy(pointer, done, n)` moves each piece.
template <class Find, class Copy>
bool walk(std::uint64_t iova, std::size_t bytes, std::uint64_t* fault_iova, Find find, Copy copy) {
  std::size_t done = 0;
  while (done < bytes) {
    std::byte* data = nullptr;
    const std::size_t available = find(iova + done, &data);
    if (available == 0) {
      if (fault_iova != nullptr) *fault_iova = iova + done;
      return false;
    }
    const std::size_t piece = std::min(available, bytes - done);
    copy(data, done, piece);
    done += piece;
  }
  return true;
}

}  // namespace

bool AddressSpace::read(std::uint64_t iova, void* out, std::size_t bytes,
                        std::uint64_t* fault_iova) const {
  return walk(
      iova, bytes, fault_iova,
      [this](std::uint64_t at, std::byte** data) -> std::size_t {
        std::uint64_t offset = 0;
        const Mapping* mapping = find(at, &offset);
        if (mapping == nullptr) return 0;
        *data = mapping->memory.get() + offset;
        return mapping->bytes - offset;
      },
      [out](const std::byte* data, std::size_t done, std::size_t n) {
        std::memcpy(static_cast<std::byte*>(out) + done, data, n);
      });
}

bool AddressSpace::write(std::uint64_t iova, const void* in, std::size_t bytes,
                         std::uint64_t* fault_iova) const {
  return walk(
      iova, bytes, fault_iova,
      [this](std::uint64_t at, std::byte** data) -> std::size_t {
        std::uint64_t offset = 0;
        const Mapping* mapping = find(at, &offset);
        if (mapping == nullptr) return 0;
        *data = mapping->memory.get() + offset;
        return mapping->bytes - offset;
      },
      [in](std::byte* data, std::size_t done, std::size_t n) {
        std::memcpy(data, static_cast<const std::byte*>(in) + done, n);
      });
}

}  // namespace npu::sim
