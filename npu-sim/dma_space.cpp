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

// Counts down to the event; true once, when it is due.
bool due(std::atomic<std::uint64_t>& in) { return in != 0 && --in == 0; }

}  // namespace

DmaSpace::DmaSpace(Iommu& iommu, PhysicalMemory memory, bool may_wait)
    : iommu_(iommu), memory_(std::move(memory)), may_wait_(may_wait) {
  static_assert(sizeof(std::size_t) >= 8, "the mirror needs 4 GiB of addresses");
  if (!memory_.read || !memory_.write)
    throw Error(ErrorCode::invalid_argument, "memory behind an IOMMU needs read and write");
  states_ = std::make_unique<std::atomic<std::uint8_t>[]>(kPages);
  void* window = mmap(nullptr, kWindow, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (window == MAP_FAILED)
    throw Error(
        ErrorCode::out_of_memory,
        "cannot reserve 4 GiB of addresses for a core's DMA window: raise ulimit -v, or set "
        "vm.overcommit_memory to 0 or 1");
  window_ = static_cast<std::byte*>(window);
}

DmaSpace::~DmaSpace() { munmap(window_, kWindow); }

void DmaSpace::begin() {
  const std::lock_guard lock(mutex_);
  for (const std::uint32_t page : touched_) states_[page].store(untouched);
  resident_ += touched_.size();
  if (resident_ > kResidentPages) {
    madvise(window_, kWindow, MADV_DONTNEED);
    resident_ = 0;
  }
  touched_.clear();
  originals_.clear();
  failures_.clear();
  cancelled_ = false;
}

Translation DmaSpace::translate(std::uint64_t iova, Access access) const {
  for (;;) {
    const Translation t = iommu_.probe(iova, access);
    if (t.status != TranslationStatus::waiting || !may_wait_ || cancelled_) return t;
    iommu_.wait_for_write(std::chrono::milliseconds(10));
  }
}

// Fetches the page of `iova`; called with mutex_ held and the page untouched.
bool DmaSpace::fetch(std::uint64_t iova) const {
  const auto page = static_cast<std::uint32_t>(iova / kPageSize);
  const std::uint64_t base = iova & ~std::uint64_t{kPageSize - 1};
  if (cancelled_) return false;
  if (touched_.size() >= kMaxPages) {
    failures_.push_back({iova, Access::read, TranslationStatus::bus_error});
    return false;
  }
  touched_.push_back(page);
  const auto refuse = [&](TranslationStatus status) {
    failures_.push_back({base, Access::read, status});
    states_[page].store(failed, std::memory_order_release);
    return false;
  };
  if (due(fail_in_)) return refuse(TranslationStatus::page_fault);
  // A page that may only be written is fetched too: its mirror must hold what stays unwritten.
  Translation t = translate(base, Access::read);
  if (t.status == TranslationStatus::page_fault && t.writable) t = translate(base, Access::write);
  if (t.status != TranslationStatus::ok) return refuse(t.status);
  if (!memory_.read(t.physical, mirror(page), kPageSize)) return refuse(TranslationStatus::ok);
  if (due(corrupt_in_)) {
    std::byte* beat = mirror(page) + iova % kPageSize / kBeat * kBeat;
    for (std::size_t i = 0; i < kBeat; ++i) beat[i] ^= std::byte{1};
  }
  if (observer_) observer_(Access::read, base, kPageSize);
  states_[page].store(fetched, std::memory_order_release);
  return true;
}

bool DmaSpace::touch(std::uint64_t iova, bool keep) const {
  const auto page = static_cast<std::uint32_t>(iova / kPageSize);
  const auto good = [&](std::uint8_t state) {
    return state == kept || (state == fetched && !keep);
  };
  if (good(states_[page].load(std::memory_order_acquire))) return !cancelled_;
  const std::lock_guard lock(mutex_);
  std::uint8_t state = states_[page].load();
  if (state == failed) return false;
  if (state == untouched && !fetch(iova)) return false;
  if (keep && states_[page].load() == fetched) {
    originals_.push_back({page, std::make_unique_for_overwrite<std::byte[]>(kPageSize)});
    std::memcpy(originals_.back().bytes.get(), mirror(page), kPageSize);
    states_[page].store(kept, std::memory_order_release);
  }
  return true;
}

std::span<std::byte> DmaSpace::resolve(std::uint64_t iova, std::size_t bytes) const {
  if (iova >= kWindow || bytes > kWindow - iova) return {};
  for (std::uint64_t at = iova; at < iova + bytes; at = (at | (kPageSize - 1)) + 1)
    if (!touch(at, true)) return {};
  return {window_ + iova, bytes};
}

bool DmaSpace::read(std::uint64_t iova, void* out, std::size_t bytes,
                    std::uint64_t* fault_iova) const {
  for (std::size_t done = 0; done < bytes;) {
    const std::uint64_t at = iova + done;
    if (at >= kWindow || !touch(at, false)) {
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
    if (at >= kWindow || !touch(at, true)) {
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
    const Translation t = translate(base, Access::write);
    if (cancelled_) return std::nullopt;
    if (t.status != TranslationStatus::ok) return Failure{base + at, Access::write, t.status};
    while (at < kPageSize) {
      std::size_t end = at + kBeat;
      while (end < kPageSize && changed(end)) end += kBeat;
      if (!memory_.write(t.physical + at, now + at, end - at))
        return Failure{base + at, Access::write, TranslationStatus::ok};
      if (observer_) observer_(Access::write, base + at, end - at);
      at = end;
      while (at < kPageSize && !changed(at)) at += kBeat;
    }
  }
  return std::nullopt;
}

DmaSpace::Failure DmaSpace::explain(std::uint64_t iova, Access access) {
  const std::lock_guard lock(mutex_);
  const Failure* first = nullptr;
  for (const Failure& failure : failures_)
    if (failure.iova + kPageSize > iova && (first == nullptr || failure.iova < first->iova))
      first = &failure;
  if (first == nullptr) return {iova, access, iommu_.probe(iova, access).status};
  return {std::max(iova, first->iova), access, first->status};
}

}  // namespace npu::sim
