// SPDX-License-Identifier: MIT
#include "npu-device/mmio_power.hpp"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <sstream>
#include <thread>

#include "npu-device/mmio_board.hpp"
#include "regdb/error.hpp"

namespace npu::device {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDomain[] = {"nputop", "npu1", "npu2"};  // [pm-domains.c]
constexpr std::size_t kPmuBytes = 0x400, kCruBytes = 0x1000;

/// "/sys/bus/platform/devices/fdab0000.npu"; empty if there is none.
std::string find_device(const std::string& root, std::uint64_t address) {
  const std::string prefix = fmt::format("{:08x}.", address);
  std::error_code error;
  for (fs::directory_iterator it(root + "/sys/bus/platform/devices", error), end;
       !error && it != end; it.increment(error))
    if (it->path().filename().string().starts_with(prefix)) return it->path().string();
  return {};
}

std::string driver_of(const std::string& device) {
  std::error_code error;
  const fs::path link = fs::read_symlink(device + "/driver", error);
  return error ? std::string() : link.filename().string();
}

/// "on", "off-0" or empty: the second column of the domain's line.
std::string genpd_state(const std::string& root, const std::string& domain) {
  const std::string debug = root + "/sys/kernel/debug/pm_genpd/";
  if (const std::string state = read_text(debug + domain + "/current_state"); !state.empty())
    return state;
  std::istringstream lines(read_text(debug + "pm_genpd_summary"));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name, state;
    if (words >> name >> state && name == domain) return state;
  }
  return {};
}

}  // namespace

CorePower::CorePower(unsigned core, const std::string& root, const DevMem* memory)
    : core_(core), root_(root), device_(find_device(root, rk3588::core_base(core))) {
  if (!device_.empty()) driver_ = driver_of(device_);
  // The vendor's tree has one node for the three cores.
  if (driver_.empty() && core != 0) {
    const std::string first = find_device(root, rk3588::core_base(0));
    if (const std::string driver = driver_of(first); driver == "RKNPU") {
      device_ = first;
      driver_ = driver;
    }
  }
  if (memory) {
    pmu_ = memory->map(rk3588::kPmu, kPmuBytes);
    cru_ = memory->map(rk3588::kCru, kCruBytes);
  }
}

void CorePower::refuse(const std::string& what) const {
  const std::string device = device_.empty() ? fmt::format("/sys/bus/platform/devices/{:08x}.npu",
                                                           rk3588::core_base(core_))
                                             : device_.substr(root_.size());
  throw Error(ErrorCode::no_device,
              fmt::format("Core {} is left alone: {}. An access now could hang the board. With the "
                          "rocket driver bound `echo on > {}/power/control` keeps power and clocks "
                          "on (docs/mmio.md).",
                          core_, what, device));
}

void CorePower::check_registers() const {
  using namespace rk3588;
  if ((pmu_->read32(kPmuStatus) & kNpuOff) != 0) refuse("the PMU says that the domain NPU is off");
  if ((pmu_->read32(kPmuRepair) & repair_bit(core_)) == 0)
    refuse(fmt::format("the PMU says that its power domain {} is off", kDomain[core_]));
  if ((pmu_->read32(kPmuIdle) & idle_bit(core_)) != 0)
    refuse(fmt::format("the PMU holds the bus of {} idle", kDomain[core_]));
  const CoreLines line = lines(core_);
  if ((cru_->read32(gate(kRootCon)) & kRootGates) != 0)
    refuse("the CRU has stopped a root clock of the NPU");
  if ((cru_->read32(gate(line.con)) & (line.bus | line.registers)) != 0)
    refuse(fmt::format("the CRU has stopped aclk_npu{} or hclk_npu{}", core_, core_));
  if ((cru_->read32(softrst(line.con)) & (line.bus | line.registers)) != 0)
    refuse("the CRU holds it in reset");
}

void CorePower::check_kernel() const {
  const std::string status = device_.empty() ? "" : read_text(device_ + "/power/runtime_status");
  const std::string control = device_.empty() ? "" : read_text(device_ + "/power/control");
  if (!driver_.empty() && !status.empty()) {
    if (status != "active")
      refuse(fmt::format("the kernel has put it to sleep (runtime_status {})", status));
    // It would be put to sleep again 50 ms after the driver's last job.
    if (control == "auto") refuse("the kernel will put it to sleep (power/control is auto)");
  }
  if (pmu_) return;
  const std::string domain = genpd_state(root_, kDomain[core_]);
  if (!domain.empty() && !domain.starts_with("on"))
    refuse(fmt::format("its power domain {} is {}", kDomain[core_], domain));
  const bool bound = !driver_.empty() && status == "active";
  if (!bound && domain.empty())
    refuse("neither /dev/mem nor /sys/kernel/debug/pm_genpd tells whether it has power");
  for (const char* clock : {"aclk_npu", "hclk_npu"}) {
    const std::string name = fmt::format("{}{}", clock, core_);
    const std::string count =
        read_text(root_ + "/sys/kernel/debug/clk/" + name + "/clk_enable_count");
    if (count == "0" || (count.empty() && !bound))
      refuse(fmt::format("its clock {} is {}", name, count.empty() ? "not to be seen" : "off"));
  }
}

void CorePower::check() const {
  check_kernel();
  if (pmu_) check_registers();
}

bool CorePower::reset() const {
  if (!cru_) return false;
  const rk3588::CoreLines line = rk3588::lines(core_);
  const std::uint32_t both = line.bus | line.registers;
  const std::uint32_t at = rk3588::softrst(line.con);
  // Both lines together [TRM 36]; the driver holds them for 10 us [rocket_core.c].
  cru_->write32(at, both << 16 | both);
  std::this_thread::sleep_for(std::chrono::microseconds(10));
  cru_->write32(at, both << 16);
  return true;
}

}  // namespace npu::device
