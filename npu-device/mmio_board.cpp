// SPDX-License-Identifier: MIT
#include "npu-device/mmio_board.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>

#include "npu-device/mmio_memory.hpp"
#include "npu-device/mmio_power.hpp"

namespace npu::device {
namespace {

namespace fs = std::filesystem;

class DevMemWindow final : public RegisterWindow {
 public:
  explicit DevMemWindow(std::unique_ptr<Mapping> registers) : registers_(std::move(registers)) {}
  std::uint32_t read32(std::uint32_t offset) override { return registers_->read32(offset); }
  void write32(std::uint32_t offset, std::uint32_t value) override {
    registers_->write32(offset, value);
  }

 private:
  std::unique_ptr<Mapping> registers_;
};

/// /dev/uioN: as many maps as its device has registers, and its interrupt.
class UioWindow final : public RegisterWindow {
 public:
  UioWindow(const std::string& root, const std::string& path, unsigned core)
      : path_(path), fd_(::open((root + path).c_str(), O_RDWR | O_CLOEXEC)) {
    if (fd_.get() < 0)
      throw_open_error(path, errno, "bind the core to uio_pdrv_genirq first (docs/mmio.md).");
    const std::string maps =
        fmt::format("{}/sys/class/uio/{}/maps", root, fs::path(path).filename().string());
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    for (unsigned n = 0; n < 5; ++n) {  // MAX_UIO_MAPS [linux/uio_driver.h]
      const auto value = [&](const char* name) {
        const std::string text = read_text(fmt::format("{}/map{}/{}", maps, n, name));
        return std::strtoull(text.c_str(), nullptr, 0);
      };
      const std::uint64_t address = value("addr"), bytes = value("size"), offset = value("offset");
      const std::uint64_t base = rk3588::core_base(core);
      if (bytes == 0 || address < base || address + bytes > base + rk3588::kCoreBytes) continue;
      const std::size_t size = static_cast<std::size_t>((offset + bytes + page - 1) / page * page);
      void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(),
                            static_cast<off_t>(n * page));
      if (memory == MAP_FAILED)
        throw_open_error(fmt::format("{} (mmap of map{})", path, n), errno, "run as root.");
      pieces_.emplace(static_cast<std::uint32_t>(address - base),
                      Piece{std::make_unique<Mapping>(memory, size, offset), bytes});
    }
    if (pieces_.empty())
      throw Error(
          ErrorCode::no_device,
          fmt::format("{} has no registers of core {} ({:#x}); name another device or core.", path,
                      core, rk3588::core_base(core)));
    struct stat status {};
    interrupt_ = ::fstat(fd_.get(), &status) == 0 && S_ISCHR(status.st_mode) && arm();
  }

  std::uint32_t read32(std::uint32_t offset) override {
    const auto [piece, at] = find(offset);
    return piece.read32(at);
  }
  void write32(std::uint32_t offset, std::uint32_t value) override {
    const auto [piece, at] = find(offset);
    piece.write32(at, value);
  }
  bool has_interrupt() const override { return interrupt_; }
  void arm_interrupt() override { arm(); }
  void wait_interrupt(std::chrono::steady_clock::time_point deadline) override {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    pollfd wanted{fd_.get(), POLLIN, 0};
    if (::poll(&wanted, 1, static_cast<int>(std::max<std::int64_t>(left.count() + 1, 0))) <= 0)
      return;
    std::uint32_t count = 0;
    // The kernel turned the line off when it told us; another device may share it.
    if (::read(fd_.get(), &count, sizeof(count)) == sizeof(count)) arm();
  }

 private:
  struct Piece {
    std::unique_ptr<Mapping> registers;
    std::uint64_t bytes;
  };
  bool arm() {
    const std::uint32_t on = 1;
    return ::write(fd_.get(), &on, sizeof(on)) == sizeof(on);
  }
  std::pair<const Mapping&, std::size_t> find(std::uint32_t offset) const {
    auto it = pieces_.upper_bound(offset);
    if (it == pieces_.begin() || offset - std::prev(it)->first >= std::prev(it)->second.bytes)
      throw Error(ErrorCode::not_supported,
                  fmt::format("{} does not map offset {:#06x} of the core; give its node a reg of "
                              "the whole window (64 KiB, IOMMU included), or use /dev/mem.",
                              path_, offset));
    --it;
    return {*it->second.registers, offset - it->first};
  }

  std::string path_;
  FileDescriptor fd_;
  std::map<std::uint32_t, Piece> pieces_;
  bool interrupt_ = false;
};

class Board final : public MmioPlatform {
 public:
  Board(const MmioSpec& spec, const std::string& root) : spec_(spec), root_(root) {
    const std::string compatible = read_text(root + "/proc/device-tree/compatible");
    // "rockchip,rk3588" and "rockchip,rk3588s", among others, each with a NUL behind.
    if (compatible.find("rockchip,rk3588") == compatible.npos)
      throw Error(ErrorCode::no_device,
                  "This computer is no RK3588 (/proc/device-tree/compatible does not name one), so "
                  "no address is touched; `--device mmio:sim` has the registers of a simulated "
                  "one.");
    open_devmem();
    for (const unsigned core : spec.cores) {
      power_.emplace(core, std::make_unique<CorePower>(core, root, devmem_.get()));
      check_driver(*power_.at(core), core);
    }
    memory_ = spec.mem_bytes != 0  ? reserved_memory(*devmem_, spec.mem_address, spec.mem_bytes)
              : !spec.heap.empty() ? dma_heap_memory(root, spec.heap)
                                   : huge_page_memory(root);
  }

  std::string path() const override { return spec_.uio.empty() ? "/dev/mem" : spec_.uio; }
  std::string provenance() const override { return "measured"; }
  void check_power(unsigned core) override { power_.at(core)->check(); }
  std::unique_ptr<RegisterWindow> window(unsigned core) override {
    if (!spec_.uio.empty()) return std::make_unique<UioWindow>(root_, spec_.uio, core);
    return std::make_unique<DevMemWindow>(
        devmem_->map(rk3588::core_base(core), rk3588::kCoreBytes));
  }
  DmaAllocator& memory() override { return *memory_; }
  bool reset(unsigned core) override { return power_.at(core)->reset(); }
  bool kernel_driver_bound(unsigned core) const override {
    return owns_core(power_.at(core)->driver());
  }

 private:
  static bool owns_core(const std::string& driver) {
    return !driver.empty() && driver != "uio_pdrv_genirq";
  }

  void open_devmem() {
    try {
      devmem_ = std::make_unique<DevMem>(root_ + "/dev/mem");
    } catch (const Error&) {
      // With UIO it only adds the PMU's word and the reset lines.
      if (spec_.uio.empty() || spec_.mem_bytes != 0) throw;
    }
  }

  void check_driver(const CorePower& power, unsigned core) const {
    if (!owns_core(power.driver()) || spec_.force) return;
    throw Error(
        ErrorCode::no_device,
        fmt::format(
            "The kernel's driver {} is bound to core {}, and two drivers on one core corrupt each "
            "other's jobs: use --device rocket; or unbind it (echo {:08x}.npu > "
            "/sys/bus/platform/drivers/{}/unbind), which also takes the power away; or, if no "
            "program uses /dev/accel meanwhile, say so with mmio:{},force.",
            power.driver(), core, rk3588::core_base(core), power.driver(), core));
  }

  MmioSpec spec_;
  std::string root_;
  std::unique_ptr<DevMem> devmem_;
  std::map<unsigned, std::unique_ptr<CorePower>> power_;
  std::unique_ptr<DmaAllocator> memory_;
};

}  // namespace

std::unique_ptr<MmioPlatform> this_board(const MmioSpec& spec, const std::string& root) {
  return std::make_unique<Board>(spec, root);
}

}  // namespace npu::device
