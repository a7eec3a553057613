// SPDX-License-Identifier: MIT
// The simulated chip as a board: register windows, physical memory, reset lines.
#include <fmt/format.h>
#include <sys/mman.h>

#include <cstring>
#include <mutex>

#include "npu-device/mmio.hpp"
#include "npu-device/mmio_ranges.hpp"
#include "npu-sim/core_port.hpp"

namespace npu::device {
namespace {

constexpr std::uint32_t kPage = DmaMemory::kPage;

std::byte* reserve(std::size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    throw Error(ErrorCode::out_of_memory,
                fmt::format("This machine has no address space for {} bytes of simulated memory; "
                            "free memory or raise ulimit -v.",
                            bytes));
  return static_cast<std::byte*>(memory);
}

/// Physical memory.
class Dram {
 public:
  Dram(std::uint64_t base, std::uint64_t bytes)
      : base_(base), bytes_(bytes), memory_(reserve(bytes)), ranges_(base, bytes) {}
  ~Dram() { ::munmap(memory_, bytes_); }
  Dram(const Dram&) = delete;
  Dram& operator=(const Dram&) = delete;

  bool below_4g() const { return base_ + bytes_ <= std::uint64_t{1} << 32; }
  std::byte* at(std::uint64_t address, std::size_t bytes) {
    if (address < base_ || bytes > bytes_ || address - base_ > bytes_ - bytes) return nullptr;
    return memory_ + (address - base_);
  }
  std::optional<std::uint64_t> take(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    return ranges_.take(bytes);
  }
  void give(std::uint64_t address, std::uint64_t bytes) {
    ::madvise(at(address, bytes), bytes, MADV_DONTNEED);  // zero for the next owner
    const std::lock_guard lock(mutex_);
    ranges_.give(address);
  }

 private:
  std::uint64_t base_, bytes_;
  std::byte* memory_;
  std::mutex mutex_;
  PageRanges ranges_;
};

class SimMemory final : public DmaMemory {
 public:
  SimMemory(Dram& dram, std::uint64_t address, std::size_t bytes)
      : dram_(dram), address_(address), bytes_(bytes), host_(reserve(bytes)) {
    for (std::uint64_t page = 0; page < bytes; page += kPage) pages_.push_back(address + page);
  }
  ~SimMemory() override {
    ::munmap(host_, bytes_);
    dram_.give(address_, bytes_);
  }
  std::span<std::byte> host() const override { return {host_, bytes_}; }
  const std::vector<std::uint64_t>& pages() const override { return pages_; }
  void to_device(std::size_t offset, std::size_t bytes) override {
    std::memcpy(dram_.at(address_ + offset, bytes), host_ + offset, bytes);
  }
  void from_device(std::size_t offset, std::size_t bytes) override {
    std::memcpy(host_ + offset, dram_.at(address_ + offset, bytes), bytes);
  }

 private:
  Dram& dram_;
  std::uint64_t address_;
  std::size_t bytes_;
  std::byte* host_;
  std::vector<std::uint64_t> pages_;
};

class SimWindow final : public RegisterWindow {
 public:
  explicit SimWindow(sim::CorePort& port) : port_(port) {}
  std::uint32_t read32(std::uint32_t offset) override { return port_.read(offset); }
  void write32(std::uint32_t offset, std::uint32_t value) override { port_.write(offset, value); }
  std::optional<Diagnosis> diagnosis() override {
    const auto fault = port_.fault();
    if (!fault) return std::nullopt;
    return Diagnosis{
        fault->kind == sim::FaultKind::hang ? ErrorCode::timeout : ErrorCode::device_fault,
        fmt::format("{} at {}: {}", sim::to_string(fault->kind), fault->where, fault->message)};
  }

 private:
  sim::CorePort& port_;
};

/// All that the chip tells but the address spaces of its ports, which are no jobs.
class WithoutPorts final : public sim::ForwardingObserver {
 public:
  using ForwardingObserver::ForwardingObserver;
  void attached(unsigned, bool) override {}
};

sim::ChipOptions without_ports(sim::ChipOptions options) {
  if (options.observer) options.observer = std::make_shared<WithoutPorts>(options.observer);
  return options;
}

class SimBoard final : public MmioPlatform, private DmaAllocator {
 public:
  SimBoard(const sim::ChipOptions& options, std::uint64_t memory_base, std::uint64_t memory_bytes)
      : observer_(options.observer),
        dram_(memory_base, memory_bytes),
        chip_(without_ports(options)) {
    const sim::PhysicalMemory memory{
        [this](std::uint64_t address, void* out, std::size_t bytes) {
          const std::byte* from = dram_.at(address, bytes);
          if (from) std::memcpy(out, from, bytes);
          return from != nullptr;
        },
        [this](std::uint64_t address, const void* in, std::size_t bytes) {
          std::byte* to = dram_.at(address, bytes);
          if (to) std::memcpy(to, in, bytes);
          return to != nullptr;
        }};
    for (unsigned core = 0; core < chip_.cores(); ++core) {
      sim::CorePortOptions port;
      port.core = core;
      port.memory = memory;
      ports_.push_back(std::make_unique<sim::CorePort>(chip_, port));
    }
  }

  std::string path() const override { return "sim"; }
  std::string provenance() const override { return "modelled"; }
  void check_power(unsigned core) override {
    if (core >= ports_.size())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("The simulated chip has no core {}.", core));
  }
  std::unique_ptr<RegisterWindow> window(unsigned core) override {
    return std::make_unique<SimWindow>(*ports_.at(core));
  }
  DmaAllocator& memory() override { return *this; }
  // A write that starts a program returns when it has ended, so what is not done then never will.
  std::chrono::milliseconds job_timeout() const override { return std::chrono::milliseconds(0); }
  bool reset(unsigned core) override {
    ports_.at(core)->reset();
    return true;
  }
  void job(unsigned core, bool begins) override {
    if (observer_) observer_->attached(core, begins);
  }

 private:
  std::unique_ptr<DmaMemory> allocate(std::size_t bytes, bool contiguous) override {
    if (contiguous && !dram_.below_4g())
      throw Error(ErrorCode::out_of_memory,
                  "The simulated memory lies above 4 GiB, where no untranslated address reaches.");
    const std::size_t size = (bytes + kPage - 1) / kPage * kPage;
    const auto address = dram_.take(size);
    if (!address)
      throw Error(
          ErrorCode::out_of_memory,
          fmt::format("The simulated board has no {} bytes of memory left; free buffers.", bytes));
    return std::make_unique<SimMemory>(dram_, *address, size);
  }

  std::shared_ptr<sim::Observer> observer_;
  Dram dram_;
  sim::Chip chip_;
  std::vector<std::unique_ptr<sim::CorePort>> ports_;
};

}  // namespace

std::unique_ptr<MmioPlatform> simulated_board(const sim::ChipOptions& options,
                                              std::uint64_t memory_base,
                                              std::uint64_t memory_bytes) {
  return std::make_unique<SimBoard>(options, memory_base, memory_bytes);
}

}  // namespace npu::device
