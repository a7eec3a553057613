// SPDX-License-Identifier: MIT
// Memory behind an IOMMU, page by page, as the AddressSpace that a core works on.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "npu-sim/address_space.hpp"
#include "npu-sim/iommu.hpp"

namespace npu::sim {

/// The IOVA window of a core whose pages lie scattered in physical memory that only callbacks
/// reach. A core works on spans, so the window is mirrored: a page is fetched when a start touches
/// it first, spans point into the mirror, and commit() brings back what the start has changed.
///
/// Changed means 16 bytes at a time, the unit of the DPU's write DMA: bytes that a start did not
/// write are never written back, so that the CPU and other cores may use the rest of a page.
///
/// Thread safety: read(), write() and resolve() from any thread of one start; begin() and commit()
/// around it; cancel() at any time.
class DmaSpace : public AddressSpace {
 public:
  /// Where and how a start left mapped memory.
  struct Failure {
    std::uint64_t iova = 0;
    Access access = Access::read;
    TranslationStatus status = TranslationStatus::page_fault;  ///< ok: the memory did not answer
  };

  /// What an access does that the IOMMU does not let through.
  enum class OnFault {
    fail,  ///< it fails; nothing is latched in the IOMMU
    /// The page fault is latched, and the access waits as the port does: for a stall to end, for
    /// PAGE_FAULT_DONE, after which it is tried again, or for cancel() [rockchip-iommu.c]. Only for
    /// starts that run beside the thread that writes the IOMMU's registers.
    wait,
  };

  /// Pages that one start may touch: 1 GiB of the 4 GiB window. A hostile program must not take
  /// all memory of the host; more than this reads as a bus error.
  static constexpr std::size_t kMaxPages = std::size_t{1} << 18;

  /// `fault_latched` is called, from the thread of the access, each time that a page fault was
  /// latched and the access begins to wait.
  /// Throws npu::Error(out_of_memory) if 4 GiB of addresses cannot be reserved.
  DmaSpace(Iommu& iommu, PhysicalMemory memory, OnFault on_fault,
           std::function<void(const Failure&)> fault_latched = {});
  ~DmaSpace() override;
  DmaSpace(const DmaSpace&) = delete;
  DmaSpace& operator=(const DmaSpace&) = delete;

  /// Forgets the pages of the last start. To be called before each one.
  void begin();

  /// Writes changed data back, lowest address first, and stops at the first page that refuses.
  std::optional<Failure> commit();

  /// Accesses fail from now on and nothing more is written back, until the next begin().
  void cancel() { cancelled_ = true; }
  bool cancelled() const { return cancelled_; }

  /// How the access at `iova` failed in this start: the first bad address from `iova` on, since a
  /// core names the start of a transfer. nullopt if no access from there on has failed.
  std::optional<Failure> explain(std::uint64_t iova) const;

  std::span<const std::byte> resolve(std::uint64_t iova, std::size_t bytes) const override;
  std::span<std::byte> resolve_write(std::uint64_t iova, std::size_t bytes) const override;
  bool read(std::uint64_t iova, void* out, std::size_t bytes,
            std::uint64_t* fault_iova) const override;
  bool write(std::uint64_t iova, const void* in, std::size_t bytes,
             std::uint64_t* fault_iova) const override;

 private:
  struct Original {
    std::uint32_t page;
    std::unique_ptr<std::byte[]> bytes;
  };

  std::byte* mirror(std::uint32_t page) const { return window_ + std::uint64_t{page} * kPageSize; }
  bool touch(std::uint64_t iova, Access access) const;
  bool touch_all(std::uint64_t iova, std::size_t bytes, Access access) const;
  std::uint8_t admit(std::uint64_t iova, Access access, std::uint8_t state) const;
  Translation translate(std::uint64_t iova, Access access) const;

  Iommu& iommu_;
  PhysicalMemory memory_;
  OnFault on_fault_;
  std::function<void(const Failure&)> fault_latched_;
  std::byte* window_ = nullptr;
  std::unique_ptr<std::atomic<std::uint8_t>[]> states_;  // of each page
  std::atomic<bool> cancelled_{false};
  bool paging_ = false;  // when the start began

  mutable std::mutex mutex_;  // guards what follows, and changes of states_
  mutable std::vector<std::uint32_t> touched_;
  mutable std::vector<Original> originals_;
  mutable std::vector<Failure> failures_;
  mutable std::size_t resident_ = 0;  // pages of window_ that hold memory of the host
};

}  // namespace npu::sim
