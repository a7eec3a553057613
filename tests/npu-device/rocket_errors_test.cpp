// SPDX-License-Identifier: MIT
// Every errno of the rocket backend has its own message, the right code and a remedy.
#include <gmock/gmock.h>

#include <functional>
#include <set>

#include "fake_kernel.hpp"
#include "npu-device/rocket.hpp"
#include "regdb/error.hpp"

namespace npu::device {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string message_of(ErrorCode code, const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

struct OpenCase {
  int error;
  ErrorCode code;
  const char* remedy;
};

struct RocketOpenErrors : ::testing::TestWithParam<OpenCase> {};

TEST_P(RocketOpenErrors, HasCodeAndRemedy) {
  auto kernel = std::make_shared<FakeKernel>();
  kernel->accel["/dev/accel/accel0"].open_errno = GetParam().error;
  // By path and by search alike.
  for (const char* path : {"/dev/accel/accel0", ""}) {
    const std::string text = message_of(GetParam().code, [&] { open_rocket(path, kernel); });
    EXPECT_THAT(text, AllOf(HasSubstr("/dev/accel/accel0"), HasSubstr(GetParam().remedy)));
  }
  EXPECT_THAT(kernel->files, IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(
    All, RocketOpenErrors,
    ::testing::Values(OpenCase{ENOENT, ErrorCode::no_device, "npu-probe audit"},
                      OpenCase{EACCES, ErrorCode::permission_denied, "usermod -aG render"},
                      OpenCase{EPERM, ErrorCode::permission_denied, "udev rule"},
                      OpenCase{ENODEV, ErrorCode::no_device, "dmesg"},
                      OpenCase{ENXIO, ErrorCode::no_device, "dmesg"},
                      OpenCase{EMFILE, ErrorCode::out_of_memory, "ulimit -n"},
                      OpenCase{ENFILE, ErrorCode::out_of_memory, "ulimit -n"},
                      OpenCase{EBUSY, ErrorCode::no_device, "stop that program"},
                      OpenCase{EIO, ErrorCode::no_device, "npu-probe audit"}));

TEST(RocketOpen, MissingNodeSaysThatDriverOrDeviceTreeIsMissing) {
  auto kernel = std::make_shared<FakeKernel>();
  EXPECT_THAT(message_of(ErrorCode::no_device, [&] { open_rocket("/dev/accel/accel7", kernel); }),
              AllOf(HasSubstr("/dev/accel/accel7"), HasSubstr("modprobe rocket"),
                    HasSubstr("device tree"), HasSubstr("npu-probe audit")));
}

TEST(RocketOpen, NoNodeAtAll) {
  auto kernel = std::make_shared<FakeKernel>();
  kernel->accel.clear();
  EXPECT_THAT(
      message_of(ErrorCode::no_device, [&] { open_rocket("", kernel); }),
      AllOf(HasSubstr("no /dev/accel"), HasSubstr("npu-probe audit"), HasSubstr("--device sim")));
}

TEST(RocketOpen, OnlyOtherDriversAreListed) {
  auto kernel = std::make_shared<FakeKernel>();
  kernel->accel = {{"/dev/accel/accel0", {"ivpu"}}, {"/dev/accel/accel1", {"qaic"}}};
  EXPECT_THAT(message_of(ErrorCode::no_device, [&] { open_rocket("", kernel); }),
              AllOf(HasSubstr("ivpu"), HasSubstr("qaic"), HasSubstr("npu-probe audit")));
  EXPECT_THAT(message_of(ErrorCode::no_device, [&] { open_rocket("/dev/accel/accel1", kernel); }),
              AllOf(HasSubstr("qaic"), HasSubstr("not to rocket")));
  EXPECT_THAT(kernel->files, IsEmpty());
}

TEST(RocketOpen, NodeThatIsNoDrmDevice) {
  auto kernel = std::make_shared<FakeKernel>();
  kernel->accel["/dev/accel/accel0"].version_errno = ENOTTY;
  EXPECT_THAT(message_of(ErrorCode::not_supported, [&] { open_rocket("", kernel); }),
              AllOf(HasSubstr("DRM_IOCTL_VERSION"), HasSubstr("6.18")));
  kernel->accel["/dev/accel/accel0"].version_errno = EIO;
  EXPECT_THAT(message_of(ErrorCode::no_device, [&] { open_rocket("", kernel); }),
              HasSubstr("npu-probe audit"));
  EXPECT_THAT(kernel->files, IsEmpty());
}

struct RocketErrors : ::testing::Test {
  std::shared_ptr<FakeKernel> kernel = std::make_shared<FakeKernel>();
  std::unique_ptr<Device> device = open_rocket("", kernel);
  Buffer buffer = device->create_buffer(4096);

  std::string create(int error, ErrorCode code) {
    kernel->errors[DRM_IOCTL_ROCKET_CREATE_BO] = {error};
    return message_of(code, [&] { device->create_buffer(8192); });
  }
  std::string submit(int error, ErrorCode code) {
    kernel->errors[DRM_IOCTL_ROCKET_SUBMIT] = {error};
    return message_of(code, [&] { device->submit(Job{{{0, 4}}, {}, {buffer.handle()}}); });
  }
  std::string prep(int error, ErrorCode code) {
    kernel->errors[DRM_IOCTL_ROCKET_PREP_BO] = {error};
    return message_of(code, [&] { device->prep(buffer, 10ms); });
  }
  std::string fini(int error, ErrorCode code) {
    kernel->errors[DRM_IOCTL_ROCKET_FINI_BO] = {error};
    return message_of(code, [&] { device->fini(buffer); });
  }
};

TEST_F(RocketErrors, CreateBo) {
  const std::string no_memory = create(ENOMEM, ErrorCode::out_of_memory);
  EXPECT_THAT(no_memory, AllOf(HasSubstr("8192 bytes"), HasSubstr("pinned"), HasSubstr("free")));
  const std::string no_space = create(ENOSPC, ErrorCode::out_of_memory);
  EXPECT_THAT(no_space, AllOf(HasSubstr("4 GiB IOVA window"), HasSubstr("open another")));
  EXPECT_THAT(create(EINVAL, ErrorCode::invalid_argument), HasSubstr("2 GiB - 1"));
  EXPECT_THAT(create(EIO, ErrorCode::device_fault), HasSubstr("dmesg"));
  EXPECT_THAT(create(ENODEV, ErrorCode::no_device), HasSubstr("unbound"));
  EXPECT_THAT(create(ENOTTY, ErrorCode::not_supported), HasSubstr("6.18"));
  EXPECT_THAT(create(EPERM, ErrorCode::permission_denied), HasSubstr("seccomp"));
  EXPECT_NO_THROW(device->create_buffer(8192));
}

TEST_F(RocketErrors, SizesThatTheKernelCannotMapAreNotAskedFor) {
  const auto calls = kernel->calls.size();
  EXPECT_THAT(message_of(ErrorCode::invalid_argument, [&] { device->create_buffer(0); }),
              HasSubstr("at least 1"));
  EXPECT_THAT(
      message_of(ErrorCode::invalid_argument, [&] { device->create_buffer(std::size_t{1} << 31); }),
      HasSubstr("split it"));
  EXPECT_THAT(message_of(ErrorCode::invalid_argument,
                         [&] { device->create_buffer((std::size_t{1} << 32) + 1); }),
              HasSubstr("split it"));
  EXPECT_EQ(kernel->calls.size(), calls);
}

TEST_F(RocketErrors, FailedMmapFreesTheBuffer) {
  const auto expect = [&](int error, ErrorCode code, const char* remedy) {
    kernel->mmap_errno = error;
    EXPECT_THAT(message_of(code, [&] { device->create_buffer(8192); }),
                AllOf(HasSubstr("mmap on buffer"), HasSubstr(remedy)));
    EXPECT_EQ(kernel->buffers.size(), 1u);
  };
  expect(ENOMEM, ErrorCode::out_of_memory, "ulimit -v");
  expect(EACCES, ErrorCode::permission_denied, "reading and writing");
  expect(EINVAL, ErrorCode::device_fault, "update the kernel");
}

TEST_F(RocketErrors, Submit) {
  EXPECT_THAT(submit(EINVAL, ErrorCode::not_supported), HasSubstr("update the kernel"));
  EXPECT_THAT(submit(EFAULT, ErrorCode::invalid_argument), HasSubstr("keep the jobs alive"));
  EXPECT_THAT(submit(ENOMEM, ErrorCode::out_of_memory), HasSubstr("submit fewer jobs"));
  EXPECT_THAT(submit(EIO, ErrorCode::device_fault), HasSubstr("dmesg"));
  EXPECT_THAT(submit(ENODEV, ErrorCode::no_device), HasSubstr("reopen"));
  // Nothing was queued, so freeing has nothing to wait for.
  kernel->calls.clear();
  buffer = Buffer();
  EXPECT_THAT(kernel->calls, ::testing::ElementsAre("munmap", "GEM_CLOSE"));
}

TEST_F(RocketErrors, Prep) {
  EXPECT_THAT(prep(ETIMEDOUT, ErrorCode::timeout),
              AllOf(HasSubstr("buffer 1 (4096 bytes at IOVA 0x0)"), HasSubstr("NPU job timed out"),
                    HasSubstr("wait longer")));
  EXPECT_THAT(prep(EBUSY, ErrorCode::timeout), HasSubstr("deadline in the future"));
  EXPECT_THAT(prep(ENOENT, ErrorCode::invalid_argument), HasSubstr("was freed"));
  EXPECT_THAT(prep(EINVAL, ErrorCode::not_supported), HasSubstr("update the kernel"));
  EXPECT_THAT(prep(ENODEV, ErrorCode::no_device), HasSubstr("reopen"));
  EXPECT_THAT(prep(EIO, ErrorCode::device_fault), HasSubstr("dmesg"));
  EXPECT_NO_THROW(device->prep(buffer, 10ms));
}

TEST_F(RocketErrors, Fini) {
  EXPECT_THAT(fini(ENOENT, ErrorCode::invalid_argument), HasSubstr("was freed"));
  EXPECT_THAT(fini(EINVAL, ErrorCode::not_supported), HasSubstr("update the kernel"));
  EXPECT_NO_THROW(device->fini(buffer));
}

TEST_F(RocketErrors, MessagesOfOneCallDiffer) {
  std::set<std::string> seen;
  for (int error : {ETIMEDOUT, EBUSY, ENOENT, EINVAL, ENODEV, ENOTTY, EPERM, EIO}) {
    kernel->errors[DRM_IOCTL_ROCKET_PREP_BO] = {error};
    try {
      device->prep(buffer, 10ms);
    } catch (const Error& e) {
      seen.insert(e.what());
    }
  }
  EXPECT_EQ(seen.size(), 8u);
}

TEST_F(RocketErrors, BufferOfAnotherFileIsRefused) {
  auto another = device->open_another();
  for (const auto& call : {std::function([&] { another->prep(buffer, 10ms); }),
                           std::function([&] { another->fini(buffer); }),
                           std::function([&] { device->fini(Buffer()); })}) {
    EXPECT_THAT(message_of(ErrorCode::invalid_argument, call), HasSubstr("another device"));
  }
}

TEST_F(RocketErrors, JobsThatTheKernelWouldDropSilentlyAreNotSubmitted) {
  const auto refuse = [&](const Job& job, const char* text) {
    const std::vector<Job> jobs{Job{{{0, 4}}, {}, {}}, job};
    EXPECT_THAT(message_of(ErrorCode::invalid_argument, [&] { device->submit(jobs); }),
                AllOf(HasSubstr("jobs[1]"), HasSubstr(text)));
  };
  refuse({{}, {}, {}}, "no tasks");
  refuse({{{0, 4}, {0, 0}}, {}, {}}, "tasks[1].regcmd_count is 0");
  refuse({{{0, kMaxRegcmdCount + 1}}, {}, {}}, "131072");
  refuse({{{8, 4}}, {}, {}}, "16 bytes");
  refuse({{{0, 4}}, {77}, {}}, "handle 77");
  refuse({{{0, 4}}, {0}, {}}, "handle 0");
  refuse({{{0, 4}}, {1, 1}, {}}, "twice");
  refuse({{{0, 4}}, {}, {1, 1}}, "twice");
  refuse({{{0, 4}}, {1}, {1}}, "twice");
  EXPECT_THAT(kernel->submits, IsEmpty());
}

}  // namespace
}  // namespace npu::device
