// SPDX-License-Identifier: MIT
#include "npu-device/mmio_memory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/dma-heap.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "npu-device/mmio_ranges.hpp"

namespace npu::device {
namespace {

constexpr std::uint32_t kPage = DmaMemory::kPage;
constexpr std::size_t kHuge = std::size_t{2} << 20;
constexpr std::uint64_t kLimit = std::uint64_t{1} << 32;

std::size_t whole_pages(std::size_t bytes, std::size_t page = kPage) {
  return (bytes + page - 1) / page * page;
}

// The NPU does not snoop the CPU's caches. Linux lets user space clean and invalidate lines by
// address (SCTLR_EL1.UCI); elsewhere than on arm64 there is no such NPU.
void clean_and_invalidate([[maybe_unused]] const std::byte* from,
                          [[maybe_unused]] std::size_t bytes) {
#if defined(__aarch64__)
  std::uint64_t ctr = 0;
  asm volatile("mrs %0, ctr_el0" : "=r"(ctr));
  const std::uintptr_t line = std::uintptr_t{4} << (ctr >> 16 & 0xF);
  const auto end = reinterpret_cast<std::uintptr_t>(from) + bytes;
  for (auto at = reinterpret_cast<std::uintptr_t>(from) & ~(line - 1); at < end; at += line)
    asm volatile("dc civac, %0" ::"r"(at) : "memory");
  asm volatile("dsb sy" ::: "memory");
#endif
}

// Device memory: aligned words, nothing else.
void copy_words(volatile std::uint64_t* to, const volatile std::uint64_t* from, std::size_t words) {
  for (std::size_t i = 0; i < words; ++i) to[i] = from[i];
#if defined(__aarch64__)
  asm volatile("dsb sy" ::: "memory");
#endif
}

struct Region {
  Region(std::unique_ptr<Mapping> mapped, std::uint64_t start, std::uint64_t bytes)
      : mapping(std::move(mapped)), base(start), ranges(start, bytes) {}
  std::unique_ptr<Mapping> mapping;
  std::uint64_t base;
  std::mutex mutex;
  PageRanges ranges;
};

class ReservedMemory final : public DmaMemory {
 public:
  ReservedMemory(std::shared_ptr<Region> region, std::uint64_t address, std::size_t bytes)
      : region_(std::move(region)), address_(address), bytes_(bytes) {
    void* copy = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) {
      give();
      throw Error(ErrorCode::out_of_memory,
                  fmt::format("No memory for the CPU's copy of a buffer of {} bytes; free buffers.",
                              bytes));
    }
    host_ = static_cast<std::byte*>(copy);
    for (std::uint64_t page = 0; page < bytes; page += kPage) pages_.push_back(address + page);
    copy_all(0, bytes, true);  // zeros
  }
  ~ReservedMemory() override {
    ::munmap(host_, bytes_);
    give();
  }
  std::span<std::byte> host() const override { return {host_, bytes_}; }
  const std::vector<std::uint64_t>& pages() const override { return pages_; }
  void to_device(std::size_t offset, std::size_t bytes) override { copy_all(offset, bytes, true); }
  void from_device(std::size_t offset, std::size_t bytes) override {
    copy_all(offset, bytes, false);
  }

 private:
  void give() {
    const std::lock_guard lock(region_->mutex);
    region_->ranges.give(address_);
  }
  void copy_all(std::size_t offset, std::size_t bytes, bool out) {
    const std::size_t first = offset / 8, last = (offset + bytes + 7) / 8;
    auto* mine = reinterpret_cast<std::uint64_t*>(host_) + first;
    auto* theirs =
        reinterpret_cast<std::uint64_t*>(region_->mapping->data() + (address_ - region_->base)) +
        first;
    copy_words(out ? theirs : mine, out ? mine : theirs, last - first);
  }

  std::shared_ptr<Region> region_;
  std::uint64_t address_;
  std::size_t bytes_;
  std::byte* host_ = nullptr;
  std::vector<std::uint64_t> pages_;
};

class ReservedAllocator final : public DmaAllocator {
 public:
  explicit ReservedAllocator(std::shared_ptr<Region> region) : region_(std::move(region)) {}
  std::unique_ptr<DmaMemory> allocate(std::size_t bytes, bool contiguous) override {
    const std::size_t size = whole_pages(bytes);
    std::unique_lock lock(region_->mutex);
    const auto address = region_->ranges.take(size);
    if (!address)
      throw Error(ErrorCode::out_of_memory,
                  fmt::format("The reserved region has no {} bytes left; free buffers, or name a "
                              "larger one (mem=ADDRESS+SIZE).",
                              bytes));
    if (contiguous && *address + size > kLimit) {
      region_->ranges.give(*address);
      throw Error(ErrorCode::out_of_memory,
                  "The reserved region lies above 4 GiB, where no untranslated address reaches; "
                  "use iommu=own.");
    }
    lock.unlock();
    return std::make_unique<ReservedMemory>(region_, *address, size);
  }

 private:
  std::shared_ptr<Region> region_;
};

/// Physical addresses of mapped, present pages. Throws permission_denied, not_supported.
std::vector<std::uint64_t> physical_pages(const std::string& root, const std::byte* from,
                                          std::size_t bytes, const std::string& what) {
  const std::string path = root + "/proc/self/pagemap";
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) throw_open_error(path, errno, "run as root.");
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::vector<std::uint64_t> pages;
  for (std::size_t at = 0; at < bytes; at += kPage) {
    const auto address = reinterpret_cast<std::uintptr_t>(from + at);
    std::uint64_t entry = 0;
    const auto got =
        ::pread(fd.get(), &entry, sizeof(entry), static_cast<off_t>(address / page * 8));
    constexpr std::uint64_t kPresent = std::uint64_t{1} << 63,
                            kFrame = (std::uint64_t{1} << 55) - 1;
    if (got != sizeof(entry) || (entry & kPresent) == 0)
      throw Error(ErrorCode::not_supported,
                  fmt::format("{} does not tell where {} lies (the kernel hides mappings of this "
                              "kind); use huge pages (the default) or mem=ADDRESS+SIZE.",
                              path, what));
    if ((entry & kFrame) == 0)
      throw Error(ErrorCode::permission_denied,
                  fmt::format("{} hides physical addresses; run as root (CAP_SYS_ADMIN).", path));
    pages.push_back((entry & kFrame) * page + address % page);
  }
  return pages;
}

bool fits_untranslated(const std::vector<std::uint64_t>& pages) {
  for (std::size_t i = 0; i < pages.size(); ++i)
    if (pages[i] + kPage > kLimit || pages[i] != pages[0] + i * kPage) return false;
  return true;
}

/// Cached memory of this process. User space cannot invalidate a line without cleaning it, so what
/// the CPU writes between fini() and prep() would overwrite the NPU's result: neither call allows
/// it.
class CachedMemory final : public DmaMemory {
 public:
  CachedMemory(std::byte* host, std::size_t bytes, std::vector<std::uint64_t> pages,
               std::shared_ptr<void> owner)
      : host_(host), bytes_(bytes), pages_(std::move(pages)), owner_(std::move(owner)) {
    std::memset(host_, 0, bytes_);
    clean_and_invalidate(host_, bytes_);
  }
  std::span<std::byte> host() const override { return {host_, bytes_}; }
  const std::vector<std::uint64_t>& pages() const override { return pages_; }
  void to_device(std::size_t offset, std::size_t bytes) override {
    clean_and_invalidate(host_ + offset, bytes);
  }
  void from_device(std::size_t offset, std::size_t bytes) override {
    clean_and_invalidate(host_ + offset, bytes);
  }

 private:
  std::byte* host_;
  std::size_t bytes_;
  std::vector<std::uint64_t> pages_;
  std::shared_ptr<void> owner_;  // frees the memory
};

[[noreturn]] void no_low_memory() {
  throw Error(
      ErrorCode::out_of_memory,
      "No memory in one piece below 4 GiB, which untranslated addresses need; use iommu=own "
      "or mem=ADDRESS+SIZE.");
}

class HugePages final : public DmaAllocator {
 public:
  explicit HugePages(std::string root) : root_(std::move(root)) {}

  std::unique_ptr<DmaMemory> allocate(std::size_t bytes, bool contiguous) override {
    const std::size_t size = whole_pages(bytes);
    if (size > kHuge) {
      std::shared_ptr<Chunk> chunk = make_chunk(whole_pages(size, kHuge));
      std::vector<std::uint64_t> pages(
          chunk->pages.begin(), chunk->pages.begin() + static_cast<std::ptrdiff_t>(size / kPage));
      if (contiguous && !fits_untranslated(pages)) no_low_memory();
      return std::make_unique<CachedMemory>(chunk->data, size, std::move(pages), chunk);
    }
    for (const auto& chunk : chunks_)
      if (auto memory = part(chunk, size, contiguous)) return memory;
    chunks_.push_back(make_chunk(kHuge));
    if (auto memory = part(chunks_.back(), size, contiguous)) return memory;
    no_low_memory();
  }

 private:
  struct Chunk {
    std::byte* data;
    std::size_t bytes;
    std::vector<std::uint64_t> pages;
    std::mutex mutex;
    PageRanges ranges;
    Chunk(std::byte* memory, std::size_t size) : data(memory), bytes(size), ranges(0, size) {}
    ~Chunk() { ::munmap(data, bytes); }
    Chunk(const Chunk&) = delete;
    Chunk& operator=(const Chunk&) = delete;
  };

  std::shared_ptr<Chunk> make_chunk(std::size_t bytes) const {
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE |
                              (21 << MAP_HUGE_SHIFT),  // of 2 MiB
                          -1, 0);
    if (memory == MAP_FAILED)
      throw Error(ErrorCode::out_of_memory,
                  fmt::format("No huge pages left for {} MiB; reserve some (echo 256 > "
                              "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages) or name a "
                              "region (mem=ADDRESS+SIZE).",
                              bytes >> 20));
    auto chunk = std::make_shared<Chunk>(static_cast<std::byte*>(memory), bytes);
    chunk->pages = physical_pages(root_, chunk->data, bytes, "a huge page");
    return chunk;
  }

  static std::unique_ptr<DmaMemory> part(const std::shared_ptr<Chunk>& chunk, std::size_t bytes,
                                         bool contiguous) {
    const auto give = [chunk](const std::uint64_t* at) {
      const std::lock_guard lock(chunk->mutex);
      chunk->ranges.give(*at);
      delete at;
    };
    std::unique_lock lock(chunk->mutex);
    const auto at = chunk->ranges.take(bytes);
    if (!at) return nullptr;
    lock.unlock();
    const std::shared_ptr<void> owner(new std::uint64_t(*at),
                                      [give](void* p) { give(static_cast<std::uint64_t*>(p)); });
    const auto first = chunk->pages.begin() + static_cast<std::ptrdiff_t>(*at / kPage);
    std::vector<std::uint64_t> pages(first, first + static_cast<std::ptrdiff_t>(bytes / kPage));
    if (contiguous && !fits_untranslated(pages)) return nullptr;
    return std::make_unique<CachedMemory>(chunk->data + *at, bytes, std::move(pages), owner);
  }

  std::string root_;
  std::vector<std::shared_ptr<Chunk>> chunks_;
};

class DmaHeap final : public DmaAllocator {
 public:
  DmaHeap(std::string root, const std::string& name)
      : root_(std::move(root)),
        path_(root_ + "/dev/dma_heap/" + name),
        heap_(::open(path_.c_str(), O_RDWR | O_CLOEXEC)) {
    if (heap_.get() < 0)
      throw_open_error(path_, errno, "the heaps of this kernel are in /dev/dma_heap.");
  }

  std::unique_ptr<DmaMemory> allocate(std::size_t bytes, bool contiguous) override {
    const std::size_t size = whole_pages(bytes);
    dma_heap_allocation_data request{};
    request.len = size;
    request.fd_flags = O_RDWR | O_CLOEXEC;
    if (::ioctl(heap_.get(), DMA_HEAP_IOCTL_ALLOC, &request) != 0)
      throw Error(ErrorCode::out_of_memory, fmt::format("{}: {} for {} bytes; free buffers.", path_,
                                                        std::strerror(errno), bytes));
    const FileDescriptor fd(static_cast<int>(request.fd));
    // The mapping holds the buffer.
    void* memory =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd.get(), 0);
    if (memory == MAP_FAILED)
      throw Error(ErrorCode::out_of_memory,
                  fmt::format("{}: mmap: {}; free buffers.", path_, std::strerror(errno)));
    const auto owner = std::make_shared<Mapping>(memory, size, 0);
    std::memset(memory, 0, size);  // every page present
    std::vector<std::uint64_t> pages = physical_pages(root_, owner->data(), size, path_);
    if (contiguous && !fits_untranslated(pages)) no_low_memory();
    return std::make_unique<CachedMemory>(owner->data(), size, std::move(pages), owner);
  }

 private:
  std::string root_, path_;
  FileDescriptor heap_;
};

}  // namespace

std::unique_ptr<DmaAllocator> reserved_memory(const DevMem& memory, std::uint64_t address,
                                              std::uint64_t bytes) {
  return std::make_unique<ReservedAllocator>(
      std::make_shared<Region>(memory.map(address, bytes), address, bytes));
}

std::unique_ptr<DmaAllocator> huge_page_memory(const std::string& root) {
  return std::make_unique<HugePages>(root);
}

std::unique_ptr<DmaAllocator> dma_heap_memory(const std::string& root, const std::string& name) {
  return std::make_unique<DmaHeap>(root, name);
}

}  // namespace npu::device
