// SPDX-License-Identifier: MIT
// The node as system calls see it: numbers, errors, mappings [control-and-uapi.md C].
#include <dirent.h>
#include <drm.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "npu-device/rocket_uapi.h"

namespace {

constexpr const char* kNode = "/dev/accel/accel0";

struct Fd {
  explicit Fd(int value) : fd(value) {}
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
  operator int() const { return fd; }
  int fd;
};

// 0 or an errno.
template <class T>
int call(int fd, unsigned long request, T& argument) {
  return ioctl(fd, request, &argument) == 0 ? 0 : errno;
}

drm_rocket_create_bo create(int fd, std::uint32_t size) {
  drm_rocket_create_bo bo{};
  bo.size = size;
  EXPECT_EQ(call(fd, DRM_IOCTL_ROCKET_CREATE_BO, bo), 0);
  return bo;
}

TEST(Node, IsACharacterDeviceOfTheAccelClass) {
  struct stat st {};
  ASSERT_EQ(stat(kNode, &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  EXPECT_EQ(st.st_rdev, makedev(261, 0));
  const Fd fd(open(kNode, O_RDWR | O_CLOEXEC));
  ASSERT_GE(fd, 0);
  ASSERT_EQ(fstat(fd, &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  EXPECT_EQ(st.st_rdev, makedev(261, 0));
  EXPECT_EQ(access(kNode, R_OK | W_OK), 0);
  EXPECT_EQ(open("/dev/accel/accel1", O_RDWR), -1);
  EXPECT_EQ(errno, ENOENT);
}

std::string names_in(const char* path) {
  DIR* dir = opendir(path);
  if (dir == nullptr) return "no such directory";
  std::string names;
  while (const dirent* entry = readdir(dir)) names += std::string(entry->d_name) + " ";
  closedir(dir);
  return names;
}

std::string text_of(const std::string& path) {
  FILE* file = fopen(path.c_str(), "r");
  if (file == nullptr) return "no such file";
  char text[256];
  const std::size_t bytes = fread(text, 1, sizeof text, file);
  fclose(file);
  return {text, bytes};
}

TEST(Node, DirectoriesAndLinksLeadToIt) {
  EXPECT_EQ(names_in("/sys/class/accel"), ". .. accel0 ");
  EXPECT_EQ(text_of("/sys/dev/char/261:0/dev"), "261:0\n");
  // A device of the driver's own making, with no driver bound to it [rocket_drv.c].
  char path[PATH_MAX];
  ASSERT_NE(realpath("/sys/class/accel/accel0/device", path), nullptr);
  EXPECT_STREQ(path, "/sys/devices/platform/rknn");
  EXPECT_EQ(text_of("/sys/class/accel/accel0/device/uevent"), "MODALIAS=platform:rknn\n");
  struct stat st {};
  EXPECT_EQ(stat("/sys/class/accel/accel0/device/driver", &st), -1);
}

// What rocket-userspace counts its cores by, and reads the chip from [rocket_sysfs, HW].
TEST(Node, EachCoreIsAPlatformDeviceOfTheDriver) {
  EXPECT_EQ(names_in("/sys/bus/platform/drivers/rocket"),
            ". .. fdab0000.npu fdac0000.npu fdad0000.npu ");
  for (const std::string address : {"fdab0000", "fdac0000", "fdad0000"}) {
    const std::string core = "/sys/bus/platform/drivers/rocket/" + address + ".npu";
    struct stat st {};
    ASSERT_EQ(stat((core + "/power").c_str(), &st), 0) << address;
    EXPECT_TRUE(S_ISDIR(st.st_mode));
    EXPECT_EQ(text_of(core + "/of_node/compatible"),
              std::string("rockchip,rk3588-rknn-core", 26));  // a list: each string with its NUL
    EXPECT_NE(text_of(core + "/uevent").find("OF_FULLNAME=/npu@" + address), std::string::npos);
    char path[PATH_MAX];
    ASSERT_NE(realpath((core + "/driver").c_str(), path), nullptr);
    EXPECT_STREQ(path, "/sys/bus/platform/drivers/rocket");
  }
}

TEST(Ioctl, VersionTellsNamesAndLengthsAsDrmDoes) {
  const Fd fd(open(kNode, O_RDWR));
  drm_version v{};
  ASSERT_EQ(call(fd, DRM_IOCTL_VERSION, v), 0);
  EXPECT_EQ(v.name_len, 6u);
  char name[4] = {};
  v = {};
  v.name = name;
  v.name_len = 3;
  ASSERT_EQ(call(fd, DRM_IOCTL_VERSION, v), 0);
  EXPECT_STREQ(name, "roc");
  EXPECT_EQ(v.name_len, 6u);
  EXPECT_EQ(v.version_major, 0);
  v = {};
  v.name = reinterpret_cast<char*>(8);
  v.name_len = 6;
  EXPECT_EQ(call(fd, DRM_IOCTL_VERSION, v), EFAULT);
}

TEST(Ioctl, ErrorsAreThoseOfTheKernel) {
  const Fd fd(open(kNode, O_RDWR));
  drm_rocket_create_bo bo{};
  EXPECT_EQ(call(fd, DRM_IOCTL_ROCKET_CREATE_BO, bo), ENOSPC);
  EXPECT_EQ(ioctl(fd, DRM_IOCTL_ROCKET_CREATE_BO, nullptr), -1);
  EXPECT_EQ(errno, EFAULT);
  drm_rocket_prep_bo prep{};
  prep.handle = 77;
  EXPECT_EQ(call(fd, DRM_IOCTL_ROCKET_PREP_BO, prep), ENOENT);
  prep.reserved = 1;
  EXPECT_EQ(call(fd, DRM_IOCTL_ROCKET_PREP_BO, prep), EINVAL);
  drm_rocket_fini_bo fini{};
  fini.handle = 77;
  EXPECT_EQ(call(fd, DRM_IOCTL_ROCKET_FINI_BO, fini), ENOENT);
  rocket_gem_close close{};
  close.handle = 77;
  EXPECT_EQ(call(fd, ROCKET_IOCTL_GEM_CLOSE, close), EINVAL);
  drm_rocket_submit submit{};
  EXPECT_EQ(call(fd, DRM_IOCTL_ROCKET_SUBMIT, submit), 0);  // no jobs
  submit.job_count = 1;
  submit.job_struct_size = 39;
  EXPECT_EQ(call(fd, DRM_IOCTL_ROCKET_SUBMIT, submit), EINVAL);
  submit.job_struct_size = 40;
  submit.jobs = 16;
  EXPECT_EQ(call(fd, DRM_IOCTL_ROCKET_SUBMIT, submit), EFAULT);
  // A job that makes no sense is dropped, and nobody is told.
  drm_rocket_job job{};
  submit.jobs = reinterpret_cast<std::uintptr_t>(&job);
  EXPECT_EQ(call(fd, DRM_IOCTL_ROCKET_SUBMIT, submit), 0);
  EXPECT_EQ(ioctl(fd, _IOWR('d', 0x77, int), &job), -1);
  EXPECT_EQ(ioctl(fd, _IOWR('x', 0x40, int), &job), -1);
  EXPECT_EQ(errno, ENOTTY);
}

TEST(Ioctl, OfTheCoreThatADriverWithoutDisplaysHas) {
  const Fd fd(open(kNode, O_RDWR));
  drm_prime_handle prime{};
  prime.handle = 77;
  EXPECT_EQ(call(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, prime), ENOENT);
  prime.flags = 1;
  EXPECT_EQ(call(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, prime), EINVAL);
  prime.fd = STDERR_FILENO;  // no dma-buf
  EXPECT_EQ(call(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, prime), EINVAL);
  prime.fd = 12345;
  EXPECT_EQ(call(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, prime), EBADF);
  drm_set_client_cap cap{};
  EXPECT_EQ(call(fd, DRM_IOCTL_SET_CLIENT_CAP, cap), EOPNOTSUPP);
  drm_syncobj_create syncobj{};
  EXPECT_EQ(call(fd, DRM_IOCTL_SYNCOBJ_CREATE, syncobj), EOPNOTSUPP);
  drm_mode_card_res resources{};
  EXPECT_EQ(call(fd, DRM_IOCTL_MODE_GETRESOURCES, resources), EOPNOTSUPP);
  drm_set_version version{};
  EXPECT_EQ(call(fd, DRM_IOCTL_SET_VERSION, version), EACCES);
  drm_client client{};
  EXPECT_EQ(call(fd, DRM_IOCTL_GET_CLIENT, client), 0);
  EXPECT_EQ(client.pid, static_cast<unsigned long>(getpid()));
  client.idx = 1;
  EXPECT_EQ(call(fd, DRM_IOCTL_GET_CLIENT, client), EINVAL);
  // Beyond the driver's last one, and beyond the core's.
  int none = 0;
  EXPECT_EQ(call(fd, _IOWR('d', 0x44, int), none), EINVAL);
  EXPECT_EQ(call(fd, _IOWR('d', 0xF0, int), none), EINVAL);
  EXPECT_EQ(isatty(fd), 0);
  EXPECT_EQ(errno, ENOTTY);
}

TEST(Mapping, OnlyWhatABufferCoversSharedAndFromItsCookie) {
  const Fd fd(open(kNode, O_RDWR));
  const auto bo = create(fd, 5000);
  EXPECT_EQ(bo.dma_address, 0u);
  EXPECT_EQ(create(fd, 1).dma_address, 8192u);
  const auto map = [&](std::size_t bytes, int flags, std::uint64_t offset) {
    return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, static_cast<off_t>(offset));
  };
  EXPECT_EQ(map(8193, MAP_SHARED, bo.offset), MAP_FAILED);
  EXPECT_EQ(map(4096, MAP_SHARED, bo.offset + (1 << 24)), MAP_FAILED);
  EXPECT_EQ(map(4096, MAP_PRIVATE, bo.offset), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
  auto* first = static_cast<char*>(map(5000, MAP_SHARED, bo.offset));
  auto* second = static_cast<char*>(map(5000, MAP_SHARED, bo.offset));
  ASSERT_NE(first, MAP_FAILED);
  ASSERT_NE(second, MAP_FAILED);
  EXPECT_EQ(first[4999], 0);
  first[4999] = 42;
  EXPECT_EQ(second[4999], 42);
  // The memory stays while it is mapped, whatever happens to the handle.
  rocket_gem_close close{};
  close.handle = bo.handle;
  EXPECT_EQ(call(fd, ROCKET_IOCTL_GEM_CLOSE, close), 0);
  EXPECT_EQ(second[4999], 42);
  EXPECT_EQ(munmap(first, 5000), 0);
  EXPECT_EQ(second[4999], 42);
  EXPECT_EQ(munmap(second, 5000), 0);
  EXPECT_EQ(create(fd, 4096).dma_address, 0u);
}

TEST(Descriptors, DuplicatesAreTheSameFileAndTheLastOneEndsIt) {
  const int fd = open(kNode, O_RDWR);
  const auto bo = create(fd, 4096);
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  const int third = dup(copy);
  close(fd);
  drm_rocket_fini_bo fini{};
  fini.handle = bo.handle;
  EXPECT_EQ(call(copy, DRM_IOCTL_ROCKET_FINI_BO, fini), 0);
  EXPECT_EQ(dup2(STDERR_FILENO, copy), copy);
  EXPECT_EQ(call(third, DRM_IOCTL_ROCKET_FINI_BO, fini), 0);
  close(third);
  close(copy);
  // A new file begins with an empty window, at the same number perhaps.
  const Fd fresh(open(kNode, O_RDWR));
  EXPECT_EQ(call(fresh, DRM_IOCTL_ROCKET_FINI_BO, fini), ENOENT);
  EXPECT_EQ(create(fresh, 4096).dma_address, 0u);
}

}  // namespace
