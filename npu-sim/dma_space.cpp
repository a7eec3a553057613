// SPDX-License-Identifier: MIT
#include "npu-sim/dma_space.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "regdb/error.hpp"

namespace npu::sim {
namespace {

constexpr std::size_t kPages = AddressSpace::kWindow / AddressSpace::kPageSize;
constexpr std::size_t kBeat = 16;
// More than this is given back to the host after a start.
constexpr std::size_t kResidentPages = 64u << 20 >> 12;

// State of a page in this start; 0: untouched.
constexpr std::uint8_t kLoaded = 1, kMayRead = 2, kMayWrite = 4, kReadRefused = 8,
                       kWriteRefused = 16;

}  // namespace

DmaSpace::DmaSpace(Iommu& iommu, PhysicalMemory memory, OnFault on_fault,
                   std::function<void(const Failure&)> fault_latched)
    : iommu_(iommu),
      memory_(std::move(memory)),
      on_fault_(on_fault),
      fault_latched_(std::move(fault_latched)) {
  static_assert(sizeof(std::size_t) >= 8, "the mirror needs 4 GiB of addresses");
  if (!memory_.read || !memory_.write)
    throw Error(ErrorCode::invalid_argument, "memory behind an IOMMU needs read and write");
  states_ = std::make_unique<std::atomic<std::uint8_t>[]>(kPages);
  void* window = mmap(nullptr, kWindow, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (window == MAP_FAILED)
    throw Error(ErrorCode::out_of_memory,
                "cannot reserve 4 GiB of addresses for a core's DMA window: raise ulimit -v, or "
                "set vm.overcommit_memory to 0 or 1");
  window_ = static_cast<std::byte*>(window);
}

DmaSpace::~DmaSpace() { munmap(window_, kWindow); }

void DmaSpace::begin() {
  const std::lock_guard lock(mutex_);
  for (const std::uint32_t page : touched_) states_[page].store(0);
  resident_ += touched_.size();
  if (resident_ > kResidentPages) {
    madvise(window_, kWindow, MADV_DONTNEED);
    resident_ = 0;
  }
  touched_.clear();
  originals_.clear();
  failures_.clear();
  paging_ = iommu_.paging();
  cancelled_ = false;
}

// Called with mutex_ held: while one access waits, all others of the core wait behind it.
Translation DmaSpace::translate(std::uint64_t iova, Access access) const {
  for (;;) {
    const std::uint64_t writes = iommu_.writes();
    Translation t = iommu_.probe(iova, access);
    if (cancelled_) return {TranslationStatus::waiting};
    const bool open =
        t.status == TranslationStatus::waiting || t.status == TranslationStatus::windows_disagree;
    // A start that began behind the tables never goes on without them: drivers detach the domain of
    // a hung job before they reset the core [rocket_job.c].
    if (!open && t.paged != paging_) t.status = TranslationStatus::windows_disagree;
    const bool settled =
        t.status == TranslationStatus::ok || t.status == TranslationStatus::bus_error;
    if (settled || on_fault_ == OnFault::fail) return t;
    if (t.status == TranslationStatus::page_fault) {
      iommu_.report_page_fault(iova, access);
      if (fault_latched_) fault_latched_({iova, access, t.status});
    }
    iommu_.wait_for_write(writes, std::chrono::milliseconds(10));
  }
}

// The new state of the page of `iova`. Called with mutex_ held.
std::uint8_t DmaSpace::admit(std::uint64_t iova, Access access, std::uint8_t state) const {
  const auto page = static_cast<std::uint32_t>(iova / kPageSize);
  const auto refuse = [&](TranslationStatus status) {
    failures_.push_back({iova, access, status});
    return static_cast<std::uint8_t>(state |
                                     (access == Access::read ? kReadRefused : kWriteRefused));
  };
  if (state == 0) {
    touched_.push_back(page);
    if (touched_.size() > kMaxPages) return refuse(TranslationStatus::bus_error);
  }
  const Translation t = translate(iova, access);
  if (t.status != TranslationStatus::ok) return refuse(t.status);
  if ((state & kLoaded) == 0) {
    // A page that will only be written is fetched too: its mirror holds what stays unwritten.
    if (!memory_.read(t.physical & ~std::uint64_t{kPageSize - 1}, mirror(page), kPageSize))
      return refuse(TranslationStatus::ok);
    state |= kLoaded;
  }
  if (access == Access::write) {
    originals_.push_back({page, std::make_unique_for_overwrite<std::byte[]>(kPageSize)});
    std::memcpy(originals_.back().bytes.get(), mirror(page), kPageSize);
  }
  return static_cast<std::uint8_t>(state | (access == Access::read ? kMayRead : kMayWrite));
}

bool DmaSpace::touch(std::uint64_t iova, Access access) const {
  std::atomic<std::uint8_t>& state = states_[iova / kPageSize];
  const std::uint8_t may = access == Access::read ? kMayRead : kMayWrite;
  const std::uint8_t refused = access == Access::read ? kReadRefused : kWriteRefused;
  if ((state.load(std::memory_order_acquire) & may) != 0) return !cancelled_;
  const std::lock_guard lock(mutex_);
  if (cancelled_) return false;
  std::uint8_t now = state.load();
  if ((now & (may | refused)) == 0) {
    now = admit(iova, access, now);
    state.store(now, std::memory_order_release);
  }
  return (now & may) != 0;
}

bool DmaSpace::touch_all(std::uint64_t iova, std::size_t bytes, Access access) const {
  if (iova >= kWindow || bytes > kWindow - iova) return false;
  for (std::uint64_t at = iova; at < iova + bytes; at = (at | (kPageSize - 1)) + 1)
    if (!touch(at, access)) return false;
  return true;
}

std::span<const std::byte> DmaSpace::resolve(std::uint64_t iova, std::size_t bytes) const {
  if (!touch_all(iova, bytes, Access::read)) return {};
  return {window_ + iova, bytes};
}

std::span<std::byte> DmaSpace::resolve_write(std::uint64_t iova, std::size_t bytes) const {
  if (!touch_all(iova, bytes, Access::write)) return {};
  return {window_ + iova, bytes};
}

bool DmaSpace::read(std::uint64_t iova, void* out, std::size_t bytes,
                    std::uint64_t* fault_iova) const {
  for (std::size_t done = 0; done < bytes;) {
    const std::uint64_t at = iova + done;
    if (at >= kWindow || !touch(at, Access::read)) {
      if (fault_iova != nullptr) *fault_iova = at;
      return false;
    }
    const std::size_t piece = std::min<std::size_t>(kPageSize - at % kPageSize, bytes - done);
    std::memcpy(static_cast<std::byte*>(out) + done, window_ + at, piece);
    done += piece;
  }
  return true;
}

bool DmaSpace::write(std::uint64_t iova, const void* in, std::size_t bytes,
                     std::uint64_t* fault_iova) const {
  for (std::size_t done = 0; done < bytes;) {
    const std::uint64_t at = iova + done;
    if (at >= kWindow || !touch(at, Access::write)) {
      if (fault_iova != nullptr) *fault_iova = at;
      return false;
    }
    const std::size_t piece = std::min<std::size_t>(kPageSize - at % kPageSize, bytes - done);
    std::memcpy(window_ + at, static_cast<const std::byte*>(in) + done, piece);
    done += piece;
  }
  return true;
}

std::optional<DmaSpace::Failure> DmaSpace::commit() {
  const std::lock_guard lock(mutex_);
  std::sort(originals_.begin(), originals_.end(),
            [](const Original& a, const Original& b) { return a.page < b.page; });
  for (const Original& original : originals_) {
    const std::uint64_t base = std::uint64_t{original.page} * kPageSize;
    const std::byte* now = mirror(original.page);
    const std::byte* before = original.bytes.get();
    const auto changed = [&](std::size_t at) {
      return std::memcmp(now + at, before + at, kBeat) != 0;
    };
    if (std::memcmp(now, before, kPageSize) == 0) continue;
    std::size_t at = 0;
    while (at < kPageSize && !changed(at)) at += kBeat;
    const Translation t = translate(base + at, Access::write);
    if (cancelled_) return std::nullopt;
    if (t.status != TranslationStatus::ok) return Failure{base + at, Access::write, t.status};
    while (at < kPageSize) {
      std::size_t end = at + kBeat;
      while (end < kPageSize && changed(end)) end += kBeat;
      if (!memory_.write((t.physical & ~std::uint64_t{kPageSize - 1}) + at, now + at, end - at))
        return Failure{base + at, Access::write, TranslationStatus::ok};
      at = end;
      while (at < kPageSize && !changed(at)) at += kBeat;
    }
  }
  return std::nullopt;
}

std::optional<DmaSpace::Failure> DmaSpace::explain(std::uint64_t iova) const {
  const std::lock_guard lock(mutex_);
  const Failure* first = nullptr;
  for (const Failure& failure : failures_)
    if (failure.iova / kPageSize >= iova / kPageSize &&
        (first == nullptr || failure.iova < first->iova))
      first = &failure;
  if (first == nullptr) return std::nullopt;
  return Failure{std::max(iova, first->iova), first->access, first->status};
}

}  // namespace npu::sim
