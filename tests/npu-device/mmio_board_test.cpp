// SPDX-License-Identifier: MIT
// The mmio device on a board made of files: /dev/mem is a sparse file, sysfs a folder. Whatever
// must not be touched lies behind the file's end, where an access kills the test.
#include "npu-device/mmio_board.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "npu-device/mmio.hpp"
#include "npu-device/mmio_devmem.hpp"
#include "npu-device/mmio_power.hpp"
#include "npu-device/register_access.hpp"
#include "npu-sim/core_port.hpp"
#include "regdb/error.hpp"
#include "regdb/registers.hpp"
#include "small_gemm.hpp"

namespace npu::device {
namespace {

namespace fs = std::filesystem;
namespace pc = regdb::pc;
using test::SmallGemm;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::chrono::seconds kWait{60};
constexpr std::uint64_t kRegion = 0x10000000, kRegionBytes = 1 << 20;
constexpr const char* kMem = "mem=0x10000000+1M";

class FakeBoard {
 public:
  FakeBoard() {
    std::string pattern = (fs::temp_directory_path() / "npu-mmio-XXXXXX").string();
    root = ::mkdtemp(pattern.data());
    text("/proc/device-tree/compatible", std::string("radxa,rock-5b\0rockchip,rk3588\0", 30));
    devmem_bytes(rk3588::core_base(2) + rk3588::kCoreBytes);
    for (unsigned core = 0; core < 3; ++core) {
      fs::create_directories(device(core) + "/power");
      poke(rk3588::core_base(core) + pc::VERSION::offset, 0x46495245);
    }
    poke(rk3588::kPmu + rk3588::kPmuRepair, 0x1C);
  }
  ~FakeBoard() { fs::remove_all(root); }
  FakeBoard(const FakeBoard&) = delete;
  FakeBoard& operator=(const FakeBoard&) = delete;

  std::string device(unsigned core) const {
    return root + "/sys/bus/platform/devices/" +
           (core == 0   ? "fdab0000.npu"
            : core == 1 ? "fdac0000.npu"
                        : "fdad0000.npu");
  }
  void text(const std::string& path, const std::string& content) const {
    fs::create_directories(fs::path(root + path).parent_path());
    std::ofstream(root + path, std::ios::binary) << content;
  }
  void bind(unsigned core, const std::string& driver, const std::string& status,
            const std::string& control) const {
    fs::create_directories(root + "/sys/bus/platform/drivers/" + driver);
    fs::create_symlink("../../../../bus/platform/drivers/" + driver, device(core) + "/driver");
    std::ofstream(device(core) + "/power/runtime_status") << status << '\n';
    std::ofstream(device(core) + "/power/control") << control << '\n';
  }
  void devmem_bytes(std::uint64_t bytes) const {
    fs::create_directories(root + "/dev");
    const int fd = ::open((root + "/dev/mem").c_str(), O_RDWR | O_CREAT, 0600);
    EXPECT_EQ(::ftruncate(fd, static_cast<off_t>(bytes)), 0);
    ::close(fd);
  }
  void poke(std::uint64_t address, std::uint32_t value) const {
    const int fd = ::open((root + "/dev/mem").c_str(), O_RDWR);
    EXPECT_EQ(::pwrite(fd, &value, 4, static_cast<off_t>(address)), 4);
    ::close(fd);
  }
  std::uint32_t peek(std::uint64_t address) const {
    std::uint32_t value = 0;
    const int fd = ::open((root + "/dev/mem").c_str(), O_RDWR);
    EXPECT_EQ(::pread(fd, &value, 4, static_cast<off_t>(address)), 4);
    ::close(fd);
    return value;
  }
  std::unique_ptr<Device> open(const std::string& items) const {
    const MmioSpec spec = parse_mmio_spec(items);
    return open_mmio(spec, this_board(spec, root));
  }
  std::string refusal(ErrorCode code, const std::string& items) const {
    try {
      open(items);
    } catch (const Error& error) {
      EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "mmio:" << items << " opened";
    return "";
  }

  std::string root;
};

struct Board : ::testing::Test {
  FakeBoard board;
};

TEST_F(Board, ReadsRegistersThroughDevMem) {
  board.poke(rk3588::core_base(1) + pc::TASK_STATUS::offset, 0x5000);
  auto device = board.open(std::string("1,") + kMem);
  EXPECT_EQ(device->info().provenance, "measured");
  EXPECT_EQ(device->registers()->read(1, pc::TASK_STATUS::offset), 0x5000u);
  device->registers()->write(1, pc::REGISTER_AMOUNTS::offset, 7);
  EXPECT_EQ(board.peek(rk3588::core_base(1) + pc::REGISTER_AMOUNTS::offset), 7u);
}

TEST_F(Board, AnotherComputerIsNotTouched) {
  board.devmem_bytes(0);  // any access would be a SIGBUS
  board.text("/proc/device-tree/compatible", "raspberrypi,5-model-b");
  EXPECT_THAT(board.refusal(ErrorCode::no_device, kMem), HasSubstr("mmio:sim"));
  fs::remove(board.root + "/proc/device-tree/compatible");
  board.refusal(ErrorCode::no_device, "");
}

TEST_F(Board, WithoutDevMemThereIsARemedy) {
  fs::remove(board.root + "/dev/mem");
  EXPECT_THAT(board.refusal(ErrorCode::no_device, kMem), HasSubstr("CONFIG_DEVMEM"));
  fs::create_directory(board.root + "/dev/mem");
  EXPECT_THAT(board.refusal(ErrorCode::no_device, kMem), HasSubstr("/dev/mem"));
}

TEST_F(Board, PermissionHasItsOwnCode) {
  for (const int error : {EACCES, EPERM}) {
    try {
      throw_open_error("/dev/mem", error, "run as root.");
    } catch (const Error& refused) {
      EXPECT_EQ(refused.code(), ErrorCode::permission_denied);
      EXPECT_EQ(exit_code(refused.code()), 3);
      EXPECT_THAT(refused.what(), HasSubstr("run as root"));
    }
  }
  if (::geteuid() == 0) return;  // root opens everything
  fs::permissions(board.root + "/dev/mem", fs::perms::none);
  EXPECT_THAT(board.refusal(ErrorCode::permission_denied, kMem), HasSubstr("run as root"));
}

TEST_F(Board, BoundDriverIsARefusalWithoutForce) {
  for (const char* driver : {"rocket", "RKNPU"}) {
    FakeBoard bound;
    bound.devmem_bytes(rk3588::kPmu + 0x1000);  // the NPU lies behind
    bound.bind(0, driver, "active", "on");
    EXPECT_THAT(bound.refusal(ErrorCode::no_device, kMem),
                AllOf(HasSubstr(driver), HasSubstr("unbind"), HasSubstr("mmio:0,force")));
  }
}

TEST_F(Board, VendorDriverOwnsAllCores) {
  board.bind(0, "RKNPU", "active", "on");
  EXPECT_THAT(board.refusal(ErrorCode::no_device, std::string("2,") + kMem), HasSubstr("RKNPU"));
}

TEST_F(Board, BoundDriverWithForceMustHoldThePowerOn) {
  const std::string forced = std::string("0,force,") + kMem;
  board.bind(0, "rocket", "active", "on");
  EXPECT_EQ(board.open(forced)->registers()->read(0, 0), 0x46495245u);
  board.devmem_bytes(rk3588::kPmu + 0x1000);
  std::ofstream(board.device(0) + "/power/control") << "auto\n";
  EXPECT_THAT(board.refusal(ErrorCode::no_device, forced),
              AllOf(HasSubstr("power/control is auto"), HasSubstr("echo on >")));
  std::ofstream(board.device(0) + "/power/control") << "on\n";
  std::ofstream(board.device(0) + "/power/runtime_status") << "suspended\n";
  EXPECT_THAT(board.refusal(ErrorCode::no_device, forced), HasSubstr("suspended"));
}

TEST_F(Board, WithoutPowerClockOrResetReleaseTheCoreIsNotTouched) {
  using namespace rk3588;
  const struct {
    std::uint64_t address;
    std::uint32_t value;
    const char* says;
  } cases[] = {
      {kPmu + kPmuRepair, 0x18, "nputop is off"}, {kPmu + kPmuStatus, kNpuOff, "NPU is off"},
      {kPmu + kPmuIdle, 1u << 1, "idle"},         {kCru + gate(30), 1u << 6, "aclk_npu0"},
      {kCru + gate(30), 1u << 8, "hclk_npu0"},    {kCru + gate(29), 1u << 1, "root clock"},
      {kCru + softrst(30), 1u << 8, "reset"},
  };
  board.devmem_bytes(kPmu + 0x1000);
  for (const auto& c : cases) {
    const std::uint32_t before = board.peek(c.address);
    board.poke(c.address, c.value);
    EXPECT_THAT(board.refusal(ErrorCode::no_device, kMem), HasSubstr(c.says));
    board.poke(c.address, before);
  }
}

TEST_F(Board, EachCoreHasLinesOfItsOwn) {
  using namespace rk3588;
  board.poke(kPmu + kPmuRepair, 1u << 3);  // npu1 alone
  board.poke(kCru + gate(28), 0xFFFF);     // of core 2
  board.poke(kCru + softrst(30), 0xFFFF);  // of core 0
  board.poke(kPmu + kPmuIdle, 1u << 1 | 1u << 3);
  EXPECT_NO_THROW(board.open(std::string("1,") + kMem));
  EXPECT_THAT(board.refusal(ErrorCode::no_device, std::string("2,") + kMem), HasSubstr("npu2"));
  EXPECT_THAT(board.refusal(ErrorCode::no_device, std::string("0,1,") + kMem), HasSubstr("nputop"));
}

TEST_F(Board, PowerThatGoesLaterIsSeenBeforeEachAccess) {
  auto device = board.open(kMem);
  board.poke(rk3588::kPmu + rk3588::kPmuRepair, 0);
  EXPECT_THROW(device->registers()->read(0, 0), Error);
}

TEST_F(Board, AChipThatIsNoNpuIsRefused) {
  board.poke(rk3588::core_base(0), 0);
  EXPECT_THAT(board.refusal(ErrorCode::no_device, kMem), HasSubstr("VERSION"));
}

TEST_F(Board, MemoryRegionIsHandedOutZeroedAndTakenBack) {
  for (std::uint64_t at = 0; at < kRegionBytes; at += 4096) board.poke(kRegion + at, 0xDEADBEEF);
  auto device = board.open(std::string("iommu=bypass,") + kMem);
  for (int round = 0; round < 2; ++round) {
    Buffer buffer = device->create_buffer(5000);
    EXPECT_EQ(buffer.iova(), kRegion);
    EXPECT_EQ(board.peek(kRegion + 4096), 0u);
    buffer.host()[4097] = std::byte{0x77};
    EXPECT_EQ(board.peek(kRegion + 4096), 0u);
    device->fini(buffer);
    EXPECT_EQ(board.peek(kRegion + 4096), 0x7700u);
    board.poke(kRegion, 0x1234);
    device->prep(buffer, kWait);
    EXPECT_EQ(buffer.as<std::uint32_t>()[0], 0x1234u);
  }
  EXPECT_THROW(device->create_buffer(kRegionBytes + 1), Error);
}

TEST_F(Board, SilentCoreTimesOutAfterHalfASecondAndIsReset) {
  auto device = board.open(std::string("2,iommu=bypass,") + kMem);
  SmallGemm gemm(*device);
  const auto start = Device::Clock::now();
  device->submit(gemm.job());
  try {
    device->prep(gemm.c, kWait);
    ADD_FAILURE() << "no timeout";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::timeout) << error.what();
  }
  EXPECT_GE(Device::Clock::now() - start, std::chrono::milliseconds(500));
  // Asserted and released: the mask of both lines stays in the upper half.
  EXPECT_EQ(board.peek(rk3588::kCru + rk3588::softrst(28)), 5u << 16);
  EXPECT_EQ(board.peek(rk3588::core_base(2) + pc::BASE_ADDRESS::offset), gemm.program.iova());
}

/// A chip that looks at the registers in the file, as far as a job in bypass needs it.
class FileChip {
 public:
  explicit FileChip(const FakeBoard& board, unsigned core)
      : memory_(board.root + "/dev/mem"),
        registers_(memory_.map(rk3588::core_base(core), rk3588::kCoreBytes)),
        dram_(memory_.map(kRegion, kRegionBytes)) {
    sim::CorePortOptions options;
    options.core = core;
    options.memory = sim::PhysicalMemory{
        [this](std::uint64_t at, void* out, std::size_t bytes) {
          return inside(at, bytes) && std::memcpy(out, dram_->data() + (at - kRegion), bytes);
        },
        [this](std::uint64_t at, const void* in, std::size_t bytes) {
          return inside(at, bytes) && std::memcpy(dram_->data() + (at - kRegion), in, bytes);
        }};
    port_ = std::make_unique<sim::CorePort>(chip_, options);
    thread_ = std::thread([this] {
      while (!stop_) step();
    });
  }
  ~FileChip() {
    stop_ = true;
    thread_.join();
  }

 private:
  static bool inside(std::uint64_t at, std::size_t bytes) {
    return at >= kRegion && at - kRegion <= kRegionBytes - bytes;
  }
  void step() {
    std::this_thread::sleep_for(std::chrono::microseconds(100));
    const bool on = (registers_->read32(pc::OPERATION_ENABLE::offset) & 1) != 0;
    if (!on) registers_->write32(pc::INTERRUPT_RAW_STATUS::offset, 0);
    if (!on || (registers_->read32(pc::INTERRUPT_RAW_STATUS::offset) & 0x300) != 0) return;
    for (const std::uint32_t offset :
         {regdb::cna::S_POINTER::offset, regdb::core::S_POINTER::offset, pc::BASE_ADDRESS::offset,
          pc::REGISTER_AMOUNTS::offset, pc::TASK_CON::offset, pc::TASK_DMA_BASE_ADDR::offset})
      port_->write(offset, registers_->read32(offset));
    port_->write(pc::INTERRUPT_CLEAR::offset, 0x1FFFF);
    port_->write(pc::OPERATION_ENABLE::offset, 1);
    registers_->write32(pc::INTERRUPT_RAW_STATUS::offset,
                        port_->read(pc::INTERRUPT_RAW_STATUS::offset));
  }

  DevMem memory_;
  std::unique_ptr<Mapping> registers_, dram_;
  sim::Chip chip_{{.threads = 1}};
  std::unique_ptr<sim::CorePort> port_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

TEST_F(Board, JobsRunThroughDevMemAndAReservedRegion) {
  for (const unsigned core : {0u, 2u}) {
    const FileChip chip(board, core);
    auto device = board.open(std::to_string(core) + ",iommu=bypass," + kMem);
    for (std::uint32_t seed = 0; seed < 3; ++seed) {
      SmallGemm gemm(*device, seed);
      device->submit(gemm.job());
      device->prep(gemm.c, kWait);
      EXPECT_EQ(gemm.result(), gemm.expected()) << "core " << core << " seed " << seed;
      while (board.peek(rk3588::core_base(core) + pc::INTERRUPT_RAW_STATUS::offset) != 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    device.reset();
    EXPECT_EQ(board.peek(rk3588::core_base(core) + pc::BASE_ADDRESS::offset), 0u);
  }
}

// --- UIO
struct Uio : Board {
  void map(unsigned n, std::uint64_t address, std::uint64_t bytes) {
    const std::string at = "/sys/class/uio/uio0/maps/map" + std::to_string(n);
    char text[32];
    std::snprintf(text, sizeof(text), "0x%016llx\n", static_cast<unsigned long long>(address));
    board.text(at + "/addr", text);
    std::snprintf(text, sizeof(text), "0x%016llx\n", static_cast<unsigned long long>(bytes));
    board.text(at + "/size", text);
    board.text(at + "/offset", "0x0\n");
  }
  Uio() {
    std::string registers(0x20000, '\0');
    registers[0] = 'E', registers[1] = 'R', registers[2] = 'I', registers[3] = 'F';
    board.text("/dev/uio0", registers);
    fs::remove(board.root + "/dev/mem");
  }
  void kernel_says_on(unsigned core) {
    board.text("/sys/kernel/debug/pm_genpd/pm_genpd_summary",
               "domain                          status          children\n"
               "nputop                          on                                 0\n"
               "npu1                            off-0                              0\n");
    for (const char* clock : {"aclk_npu", "hclk_npu"})
      board.text("/sys/kernel/debug/clk/" + (clock + std::to_string(core)) + "/clk_enable_count",
                 "1\n");
  }
};

TEST_F(Uio, ReadsItsMaps) {
  kernel_says_on(0);
  map(0, rk3588::core_base(0), 0x10000);
  auto device = board.open("uio=/dev/uio0");
  EXPECT_EQ(device->registers()->read(0, 0), 0x46495245u);
  device->registers()->write(0, 0xA01C, 3);
  EXPECT_EQ(device->registers()->read(0, 0xA01C), 3u);
}

TEST_F(Uio, SaysWhatItsMapsLeaveOut) {
  kernel_says_on(0);
  map(0, rk3588::core_base(0), 0x1000);
  map(1, rk3588::core_base(0) + 0x1000, 0x1000);
  auto device = board.open("uio=/dev/uio0");
  EXPECT_EQ(device->registers()->read(0, 0x1004), 0u);
  try {
    device->registers()->read(0, 0xA000);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("IOMMU included"));
  }
}

TEST_F(Uio, OfAnotherCoreIsRefused) {
  kernel_says_on(0);
  map(0, rk3588::core_base(1), 0x10000);
  EXPECT_THAT(board.refusal(ErrorCode::no_device, "0,uio=/dev/uio0"), HasSubstr("core 0"));
  EXPECT_THAT(board.refusal(ErrorCode::no_device, "0,uio=/dev/uio7"), HasSubstr("/dev/uio7"));
}

TEST_F(Uio, WithoutDevMemTheKernelMustTellThatThereIsPower) {
  map(0, rk3588::core_base(0), 0x10000);
  EXPECT_THAT(board.refusal(ErrorCode::no_device, "uio=/dev/uio0"), HasSubstr("neither"));
  kernel_says_on(1);
  EXPECT_THAT(board.refusal(ErrorCode::no_device, "uio=/dev/uio0"), HasSubstr("not to be seen"));
  EXPECT_THAT(board.refusal(ErrorCode::no_device, "1,uio=/dev/uio0"), HasSubstr("off-0"));
  kernel_says_on(0);
  board.text("/sys/kernel/debug/clk/hclk_npu0/clk_enable_count", "0\n");
  EXPECT_THAT(board.refusal(ErrorCode::no_device, "uio=/dev/uio0"), HasSubstr("hclk_npu0 is off"));
}

TEST_F(Uio, BoundToItsOwnDriverNeedsNoForce) {
  board.bind(0, "uio_pdrv_genirq", "active", "on");
  map(0, rk3588::core_base(0), 0x10000);
  EXPECT_NO_THROW(board.open("uio=/dev/uio0"));
}

}  // namespace
}  // namespace npu::device
