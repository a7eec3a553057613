// SPDX-License-Identifier: MIT
// Device specs.
#include <gmock/gmock.h>
#include <stdlib.h>

#include "npu-device/device.hpp"
#include "npu-device/rocket.hpp"
#include "npu-device/sim_device.hpp"
#include "regdb/error.hpp"

namespace npu::device {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

struct OpenDevice : ::testing::Test {
  void SetUp() override { ::unsetenv("NPU_DEVICE"); }
  void TearDown() override { ::unsetenv("NPU_DEVICE"); }

  static std::string message_of(ErrorCode code, std::string_view spec) {
    try {
      open_device(spec);
    } catch (const Error& error) {
      EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "\"" << spec << "\" opened";
    return "";
  }
};

TEST_F(OpenDevice, SimIsTheDefault) {
  EXPECT_EQ(open_device()->info().backend, "sim");
  EXPECT_EQ(open_device("sim")->info().cores, 3u);
}

TEST_F(OpenDevice, SimTakesACoreCount) {
  EXPECT_EQ(open_device("sim:cores=1")->info().cores, 1u);
  EXPECT_EQ(open_device("sim:cores=2")->info().cores, 2u);
}

TEST_F(OpenDevice, EnvironmentIsUsedForAnEmptySpecOnly) {
  ::setenv("NPU_DEVICE", "sim:cores=2", 1);
  EXPECT_EQ(open_device()->info().cores, 2u);
  EXPECT_EQ(open_device("sim:cores=1")->info().cores, 1u);
  ::setenv("NPU_DEVICE", "", 1);
  EXPECT_EQ(open_device()->info().cores, 3u);
  ::setenv("NPU_DEVICE", "gpu", 1);
  EXPECT_THAT(message_of(ErrorCode::invalid_argument, ""),
              AllOf(HasSubstr("gpu"), HasSubstr("NPU_DEVICE")));
}

TEST_F(OpenDevice, UnknownSpecsListTheValidOnes) {
  for (const char* spec :
       {"gpu", "sim:", "sim:cores=", "sim:cores=0", "sim:cores=4", "sim:cores=2x", "sim:cores=-1",
        "sim:cores=99999999999", "sim:threads=1", "rocket:", "Sim", " sim", ":"}) {
    EXPECT_THAT(message_of(ErrorCode::invalid_argument, spec),
                AllOf(HasSubstr(spec), HasSubstr("sim:cores=N"), HasSubstr("rocket")));
  }
}

TEST_F(OpenDevice, MmioOverTheSimulatorNeedsNoBoard) {
  EXPECT_EQ(open_device("mmio:sim")->info().path, "mmio:0,sim");
  EXPECT_EQ(open_device("mmio:2,1,sim")->info().cores, 2u);
  for (const char* spec : {"mmio:", "mmio:3", "mmio:sim,sim=1", "mmio:sim,force"})
    message_of(ErrorCode::invalid_argument, spec);
}

TEST_F(OpenDevice, MissingRocketNodeSaysWhatToDo) {
  EXPECT_THAT(message_of(ErrorCode::no_device, "rocket:/nonexistent/accel0"),
              AllOf(HasSubstr("/nonexistent/accel0"), HasSubstr("npu-probe audit")));
}

TEST_F(OpenDevice, FileThatIsNoDrmNodeIsRefusedThroughTheRealSystemCalls) {
  message_of(ErrorCode::not_supported, "rocket:/dev/null");
}

TEST_F(OpenDevice, SimOnlyCallsRefuseAnotherBackend) {
  struct Other final : Device {
    DeviceInfo mine{.backend = "other", .path = "elsewhere"};
    const DeviceInfo& info() const override { return mine; }
    Buffer create_buffer(std::size_t) override { return {}; }
    void prep(const Buffer&, Clock::time_point) override {}
    void fini(const Buffer&) override {}
    void submit(std::span<const Job>) override {}
    std::unique_ptr<Device> open_another() const override { return nullptr; }
    void destroy_buffer(std::uint32_t, std::span<std::byte>) noexcept override {}
  } other;
  EXPECT_THROW(sim_stats(other), Error);
  EXPECT_THROW(take_sim_notes(other), Error);
}

}  // namespace
}  // namespace npu::device
