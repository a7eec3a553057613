// SPDX-License-Identifier: MIT
// What a core sees of memory: buffers mapped at IOVAs, nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <shared_mutex>
#include <span>

namespace npu::sim {

/// The IOVA window of one open file (4 GiB, 4 KiB pages) as the IOMMU presents it to a core.
///
/// Thread safety: map/unmap may be called while a core runs; unmap waits until no task that
/// uses this space is running (Lock), so a span stays valid for the length of a task.
///
/// DmaSpace answers resolve(), resolve_write(), read() and write() through an IOMMU instead.
class AddressSpace {
 public:
  virtual ~AddressSpace() = default;

  static constexpr std::uint64_t kWindow = std::uint64_t{1} << 32;
  static constexpr std::uint32_t kPageSize = 4096;
  static constexpr std::uint64_t whole_pages(std::uint64_t bytes) {
    return (bytes + kPageSize - 1) / kPageSize * kPageSize;
  }

  /// Maps `bytes` at `iova` (page aligned). The mapping covers whole pages; the tail of the last
  /// page reads as the storage does, so `memory` must be backed up to the page boundary.
  /// Throws npu::Error(invalid_argument) on a misaligned, overlapping or too large range.
  void map(std::uint32_t iova, std::shared_ptr<std::byte[]> memory, std::size_t bytes);

  /// Removes the mapping that starts at `iova`; does nothing if there is none.
  void unmap(std::uint32_t iova);

  /// The `bytes` at `iova` if they lie in one mapping, else an empty span. What will be written is
  /// to be had by resolve_write() only: behind an IOMMU nothing else comes home.
  virtual std::span<const std::byte> resolve(std::uint64_t iova, std::size_t bytes) const;
  virtual std::span<std::byte> resolve_write(std::uint64_t iova, std::size_t bytes) const;

  /// Copies across adjacent mappings. False, with `*fault_iova` set to the first address that is
  /// not mapped, if any byte is missing.
  virtual bool read(std::uint64_t iova, void* out, std::size_t bytes,
                    std::uint64_t* fault_iova) const;
  virtual bool write(std::uint64_t iova, const void* in, std::size_t bytes,
                     std::uint64_t* fault_iova) const;

  /// Held for the length of a task.
  std::shared_lock<std::shared_mutex> lock() const { return std::shared_lock(mutex_); }

 private:
  struct Mapping {
    std::shared_ptr<std::byte[]> memory;
    std::size_t bytes;  // rounded up to pages
  };
  const Mapping* find(std::uint64_t iova, std::uint64_t* offset) const;

  mutable std::shared_mutex mutex_;
  std::map<std::uint32_t, Mapping> mappings_;
};

}  // namespace npu::sim
