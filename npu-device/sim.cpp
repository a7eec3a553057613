// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <numeric>
#include <utility>

#include "npu-device/register_access.hpp"
#include "npu-device/sim_device.hpp"
#include "npu-device/sim_machine.hpp"

namespace npu::device {
namespace {

class SimRegisters final : public RegisterAccess {
 public:
  explicit SimRegisters(const SimFile& file) : file_(file) {}

  std::vector<unsigned> cores() const override {
    std::vector<unsigned> all(file_.machine()->cores());
    std::iota(all.begin(), all.end(), 0u);
    return all;
  }
  std::uint32_t read(unsigned core, std::uint32_t offset) override {
    check(core, offset, true);
    return file_.machine()->read_register(core, offset);
  }
  void write(unsigned core, std::uint32_t offset, std::uint32_t value) override {
    check(core, offset, false);
    file_.machine()->write_register(core, offset, value);
  }
  // Buffers are attached to the cores without one (npu-sim's AddressSpace).
  bool has_iommu() const override { return false; }
  std::optional<unsigned> last_core() const override { return file_.last_core(); }

 private:
  void check(unsigned core, std::uint32_t offset, bool for_read) const {
    if (core >= file_.machine()->cores())
      throw Error(ErrorCode::invalid_argument, fmt::format("core {}: this device has cores 0 to {}",
                                                           core, file_.machine()->cores() - 1));
    check_register_offset(offset, for_read);
  }
  const SimFile& file_;
};

class SimDevice final : public Device {
 public:
  explicit SimDevice(std::shared_ptr<SimMachine> machine) : file_(std::move(machine)) {
    info_.backend = "sim";
    info_.path = "sim";
    info_.driver = "rocket";
    info_.version = "0.0.0";
    info_.cores = file_.machine()->cores();
    info_.provenance = "modelled";
    const SimOptions& options = file_.machine()->options();
    info_.time_base = TimeBase::model;
    info_.npu_mhz = options.timing.npu_hz / 1e6;
    info_.calibration = options.timing.calibration_name;
    info_.chains = options.chains;
    info_.computes = options.computes;
  }

  SimFile& file() { return file_; }
  const SimFile& file() const { return file_; }
  const DeviceInfo& info() const override { return info_; }

  Buffer create_buffer(std::size_t bytes) override {
    const std::uint32_t handle = file_.create_bo(bytes);
    const auto buffer = file_.find(handle);
    return make_buffer(handle, buffer->iova, {buffer->memory.get(), bytes});
  }

  void prep(const Buffer& buffer, Clock::time_point deadline) override {
    check_own(buffer);
    file_.prep_bo(buffer.handle(), deadline);
  }

  // The model reads host memory itself, so there is no cache to write back.
  void fini(const Buffer& buffer) override {
    check_own(buffer);
    file_.machine()->synchronise(*file_.find(buffer.handle()));
  }

  void submit(std::span<const Job> jobs) override { file_.submit(jobs); }

  RegisterAccess* registers() override { return &registers_; }

  std::chrono::nanoseconds now() override { return file_.machine()->now(); }

  std::unique_ptr<Device> open_another() const override {
    return std::make_unique<SimDevice>(file_.machine());
  }

 private:
  void check_own(const Buffer& buffer) const {
    if (!owns(buffer)) {
      throw Error(ErrorCode::invalid_argument,
                  "The buffer is empty or belongs to another device; use the device that created "
                  "it.");
    }
  }

  void destroy_buffer(std::uint32_t handle, std::span<std::byte>) noexcept override {
    file_.close_bo(handle);
  }

  SimFile file_;
  SimRegisters registers_{file_};
  DeviceInfo info_;
};

template <class Wanted, class Given>
Wanted& as_sim(Given& device) {
  if (auto* sim = dynamic_cast<Wanted*>(&device)) return *sim;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("The device \"{}\" is not simulated; open \"sim\".", device.info().path));
}

}  // namespace

std::unique_ptr<Device> open_sim(const SimOptions& options) {
  return std::make_unique<SimDevice>(std::make_shared<SimMachine>(options));
}

std::unique_ptr<Device> open_sim(const sim::ChipOptions& options) {
  return open_sim(SimOptions{.chip = options});
}

const SimTiming& sim_timing(const Device& device) {
  return as_sim<const SimDevice>(device).file().machine()->options().timing;
}

SimStats sim_stats(const Device& device) {
  return as_sim<const SimDevice>(device).file().machine()->stats();
}

std::vector<std::string> take_sim_notes(Device& device) {
  return as_sim<SimDevice>(device).file().take_notes();
}

}  // namespace npu::device
