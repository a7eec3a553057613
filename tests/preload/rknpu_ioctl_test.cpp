// SPDX-License-Identifier: MIT
// The vendor's nodes as system calls see them: numbers, errors, mappings, sharing
// [control-and-uapi.md E; the driver's public sources].
#include <dirent.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <xf86drm.h>

#include <string>

#include "rknpu_client.hpp"

namespace {

using namespace rknpu_client;

TEST(RknpuNode, ThereAreACardARenderNodeAndTheOneWithoutDrm) {
  const struct {
    const char* path;
    dev_t number;
  } nodes[] = {
      {kCard, makedev(226, 1)}, {kRender, makedev(226, 129)}, {"/dev/rknpu", makedev(10, 125)}};
  for (const auto& node : nodes) {
    struct stat st {};
    ASSERT_EQ(stat(node.path, &st), 0) << node.path;
    EXPECT_TRUE(S_ISCHR(st.st_mode));
    EXPECT_EQ(st.st_rdev, node.number);
    const Fd fd(open(node.path, O_RDWR));
    ASSERT_GE(fd, 0);
    ASSERT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(st.st_rdev, node.number);
  }
  // A kernel has one driver for the NPU.
  EXPECT_EQ(open("/dev/accel/accel0", O_RDWR), -1);
  EXPECT_EQ(errno, ENOENT);
}

TEST(RknpuNode, LibdrmFindsTheDriverByItsName) {
  DIR* dir = opendir("/dev/dri");
  ASSERT_NE(dir, nullptr);
  std::string names;
  while (const dirent* entry = readdir(dir)) names += std::string(entry->d_name) + " ";
  closedir(dir);
  EXPECT_EQ(names, ". .. card1 renderD129 by-path ");
  char path[PATH_MAX];
  ASSERT_NE(realpath("/sys/dev/char/226:1/device/driver", path), nullptr);
  EXPECT_STREQ(path, "/sys/bus/platform/drivers/RKNPU");
  const Fd fd(open(kRender, O_RDWR));
  drmVersionPtr v = drmGetVersion(fd);
  ASSERT_NE(v, nullptr);
  EXPECT_STREQ(v->name, "rknpu");
  EXPECT_EQ(v->version_major * 10000 + v->version_minor * 100 + v->version_patchlevel, 908);
  drmFreeVersion(v);
  const int by_name = drmOpen("rknpu", nullptr);
  EXPECT_GE(by_name, 0);
  drmClose(by_name);
  EXPECT_EQ(drmGetNodeTypeFromFd(fd), DRM_NODE_RENDER);
  drmDevicePtr devices[4];
  const int count = drmGetDevices2(0, devices, 4);
  ASSERT_EQ(count, 1);
  EXPECT_STREQ(devices[0]->nodes[DRM_NODE_PRIMARY], kCard);
  EXPECT_STREQ(devices[0]->nodes[DRM_NODE_RENDER], kRender);
  EXPECT_EQ(devices[0]->bustype, DRM_BUS_PLATFORM);
  EXPECT_STREQ(devices[0]->deviceinfo.platform->compatible[0], "rockchip,rk3588-rknpu");
  drmFreeDevices(devices, count);
}

TEST(RknpuAction, AnswersThoseOfTheDriverAndRefusesTheOthers) {
  const Fd fd(open(kCard, O_RDWR));
  const auto ask = [&](std::uint32_t what, std::uint32_t value = 0xAAAA) {
    rknpu_action a{what, value};
    const int error = call(fd, DRM_IOCTL_RKNPU_ACTION, a);
    return std::pair(error, a.value);
  };
  using Answer = std::pair<int, std::uint32_t>;
  EXPECT_EQ(ask(RKNPU_GET_HW_VERSION), Answer(0, 0x46495245));
  EXPECT_EQ(ask(RKNPU_GET_DRV_VERSION), Answer(0, 908));
  EXPECT_EQ(ask(RKNPU_GET_FREQ), Answer(0, 1'000'000'000));
  EXPECT_EQ(ask(RKNPU_GET_VOLT), Answer(0, 850'000));
  EXPECT_EQ(ask(RKNPU_GET_IOMMU_EN), Answer(0, 1));
  EXPECT_EQ(ask(RKNPU_GET_TOTAL_SRAM_SIZE), Answer(0, 0));
  EXPECT_EQ(ask(RKNPU_GET_FREE_SRAM_SIZE), Answer(0, 0));
  EXPECT_EQ(ask(RKNPU_GET_IOMMU_DOMAIN_ID), Answer(0, 0));
  EXPECT_EQ(ask(RKNPU_SET_IOMMU_DOMAIN_ID, 15).first, 0);
  EXPECT_EQ(ask(RKNPU_SET_IOMMU_DOMAIN_ID, 16).first, EINVAL);
  // The chip has no traffic counters: success, and the value is left alone.
  for (const std::uint32_t what : {RKNPU_GET_DT_WR_AMOUNT, RKNPU_GET_DT_RD_AMOUNT,
                                   RKNPU_GET_WT_RD_AMOUNT, RKNPU_GET_TOTAL_RW_AMOUNT})
    EXPECT_EQ(ask(what), Answer(0, 0xAAAA)) << what;
  for (const std::uint32_t what :
       {RKNPU_ACT_RESET, RKNPU_ACT_CLR_TOTAL_RW_AMOUNT, RKNPU_POWER_ON, RKNPU_POWER_OFF})
    EXPECT_EQ(ask(what).first, 0) << what;
  EXPECT_EQ(ask(RKNPU_SET_PROC_NICE, 0).first, 0);
  for (const std::uint32_t what :
       {RKNPU_SET_FREQ, RKNPU_SET_VOLT, RKNPU_GET_BW_PRIORITY, RKNPU_SET_BW_PRIORITY,
        RKNPU_GET_BW_EXPECT, RKNPU_SET_BW_EXPECT, RKNPU_GET_BW_TW, RKNPU_SET_BW_TW})
    EXPECT_EQ(ask(what).first, EINVAL) << what;
  EXPECT_EQ(ask(26).first, EINVAL);
  EXPECT_EQ(ask(0xFFFFFFFF).first, EINVAL);
}

TEST(RknpuIoctl, BadRequestsAndPointersAreTold) {
  const Fd fd(open(kCard, O_RDWR));
  EXPECT_EQ(ioctl(fd, DRM_IOCTL_RKNPU_ACTION, nullptr), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(ioctl(fd, DRM_IOCTL_RKNPU_SUBMIT, 16), -1);
  EXPECT_EQ(errno, EFAULT);
  rknpu_action a{};
  EXPECT_EQ(call(fd, _IOWR('d', 0x46, rknpu_action), a), EINVAL);
  EXPECT_EQ(call(fd, _IOWR('d', 0x05, rknpu_action), a), EINVAL);
  EXPECT_EQ(call(fd, IOCTL_RKNPU_ACTION, a), ENOTTY);  // type 'r' is the other build's
  drm_unique u{};
  EXPECT_EQ(call(fd, DRM_IOCTL_GET_UNIQUE, u), 0);
  EXPECT_EQ(u.unique_len, 0u);
  const Fd render(open(kRender, O_RDWR));
  EXPECT_EQ(call(render, DRM_IOCTL_GET_UNIQUE, u), EACCES);
}

TEST(RknpuMemory, PlacesBuffersFromTheTopAlignedToTheirSize) {
  const Fd fd(open(kCard, O_RDWR));
  const auto a = create(fd, 4096), b = create(fd, 5000), c = create(fd, 4096);
  EXPECT_EQ(a.dma_addr, 0xFFFFF000u);
  EXPECT_EQ(b.size, 8192u);
  EXPECT_EQ(b.dma_addr, 0xFFFFC000u);  // below a, at a multiple of 8192
  EXPECT_EQ(c.dma_addr, 0xFFFFE000u);  // the hole between them
  EXPECT_EQ(a.handle, 1u);
  EXPECT_EQ(b.handle, 2u);
  EXPECT_EQ(a.sram_size, 0u);
  EXPECT_NE(a.obj_addr, b.obj_addr);
  // A handle in use: the object is told again.
  rknpu_mem_create again{};
  again.handle = b.handle;
  again.size = 1;
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_MEM_CREATE, again), 0);
  EXPECT_EQ(again.obj_addr, b.obj_addr);
  EXPECT_EQ(again.size, 8192u);
  // One window for all files of the device.
  const Fd other(open(kRender, O_RDWR));
  EXPECT_EQ(create(other, 4096).dma_addr, 0xFFFFB000u);
  rknpu_mem_create bad{};
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_MEM_CREATE, bad), EINVAL);
  bad.size = 4096;
  bad.iommu_domain_id = 16;
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_MEM_CREATE, bad), EINVAL);
  bad.iommu_domain_id = 3;
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_MEM_CREATE, bad), 0);
  EXPECT_EQ(bad.dma_addr, 0xFFFFF000u);  // a domain is a window of its own
  rknpu_mem_create huge{};
  huge.size = std::uint64_t{1} << 33;
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_MEM_CREATE, huge), ENOMEM);
}

TEST(RknpuMemory, TheOldFormOf40BytesIsKnown) {
  const Fd fd(open(kCard, O_RDWR));
  struct {
    rknpu_mem_create bo;
    std::uint8_t behind[8];
  } a;
  std::memset(&a, 0xAB, sizeof a);
  a.bo = {};
  std::memset(reinterpret_cast<char*>(&a.bo) + RKNPU_MEM_CREATE_OLD_SIZE, 0xAB, 8);
  a.bo.size = 4096;
  EXPECT_EQ(call(fd, 0xC0286442, a), 0);
  EXPECT_NE(a.bo.handle, 0u);
  EXPECT_EQ(a.bo.core_mask, 0xABABABABu);  // not touched
}

TEST(RknpuMemory, MappingsShareMemoryAndOutliveTheHandle) {
  const Fd fd(open(kCard, O_RDWR));
  const auto bo = create(fd, 5000);
  rknpu_mem_map m{};
  m.handle = 99;
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_MEM_MAP, m), ENOENT);
  m.handle = bo.handle;
  ASSERT_EQ(call(fd, DRM_IOCTL_RKNPU_MEM_MAP, m), 0);
  EXPECT_GE(m.offset, std::uint64_t{1} << 32);  // as the kernel's: no program may assume 32 bits
  auto* first = static_cast<char*>(map(fd, bo));
  auto* second = static_cast<char*>(map(fd, bo));
  ASSERT_NE(first, MAP_FAILED);
  ASSERT_NE(second, MAP_FAILED);
  first[8191] = 42;
  EXPECT_EQ(second[8191], 42);
  const auto fails = [&](int file, std::size_t bytes, std::uint64_t offset) {
    return mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file, static_cast<off_t>(offset)) ==
                   MAP_FAILED
               ? errno
               : 0;
  };
  EXPECT_EQ(fails(fd, 8193, m.offset), EINVAL);
  EXPECT_EQ(fails(fd, 4096, m.offset + 4096), EINVAL);
  EXPECT_EQ(fails(fd, 4096, 0), EINVAL);
  const Fd stranger(open(kCard, O_RDWR));
  EXPECT_EQ(fails(stranger, 4096, m.offset), EACCES);
  rknpu_mem_destroy d{};
  d.handle = bo.handle;
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_MEM_DESTROY, d), 0);
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_MEM_DESTROY, d), EINVAL);
  EXPECT_EQ(second[8191], 42);
  EXPECT_EQ(munmap(first, 8192), 0);
  EXPECT_NE(create(fd, 8192).dma_addr, bo.dma_addr);  // still mapped, so still there
  EXPECT_EQ(munmap(second, 8192), 0);
  EXPECT_EQ(create(fd, 8192).dma_addr, bo.dma_addr);
}

TEST(RknpuMemory, SyncIsForCachedMemory) {
  const Fd fd(open(kCard, O_RDWR));
  rknpu_mem_sync s{};
  s.flags = RKNPU_MEM_SYNC_TO_DEVICE | RKNPU_MEM_SYNC_FROM_DEVICE;
  s.size = 4096;
  s.obj_addr = create(fd, 4096, RKNPU_MEM_CACHEABLE).obj_addr;
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_MEM_SYNC, s), 0);
  s.obj_addr = create(fd, 4096).obj_addr;
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_MEM_SYNC, s), EINVAL);
  s.obj_addr = 0;
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_MEM_SYNC, s), EINVAL);
  s.obj_addr = 0x1234;
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_MEM_SYNC, s), EFAULT);
}

TEST(RknpuMemory, DmaBufsCarryBuffersBetweenFiles) {
  const Fd fd(open(kCard, O_RDWR)), other(open(kRender, O_RDWR));
  const auto bo = create(fd, 4096);
  static_cast<char*>(map(fd, bo))[7] = 7;
  int shared = -1;
  EXPECT_EQ(drmPrimeHandleToFD(fd, 99, DRM_CLOEXEC, &shared), -1);
  EXPECT_EQ(errno, ENOENT);
  ASSERT_EQ(drmPrimeHandleToFD(fd, bo.handle, DRM_CLOEXEC | DRM_RDWR, &shared), 0);
  std::uint32_t handle = 0, same = 0;
  ASSERT_EQ(drmPrimeFDToHandle(other, shared, &handle), 0);
  ASSERT_EQ(drmPrimeFDToHandle(fd, shared, &same), 0);
  EXPECT_EQ(same, bo.handle);
  rknpu_mem_create imported{};
  imported.handle = handle;
  ASSERT_EQ(call(other, DRM_IOCTL_RKNPU_MEM_CREATE, imported), 0);
  EXPECT_EQ(imported.dma_addr, bo.dma_addr);
  EXPECT_EQ(static_cast<char*>(map(other, imported))[7], 7);
  EXPECT_EQ(static_cast<char*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, shared, 0))[7], 7);
  EXPECT_EQ(lseek(shared, 0, SEEK_END), 4096);
  close(shared);
  EXPECT_EQ(drmPrimeFDToHandle(fd, STDERR_FILENO, &same), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST(RknpuMemory, ClosingTheFileFreesWhatNobodyHasMapped) {
  std::uint64_t place = 0;
  for (int i = 0; i < 500; ++i) {
    const Fd fd(open(kCard, O_RDWR));
    ASSERT_GE(fd, 0);
    const std::uint64_t at = create(fd, 1 << 24).dma_addr;
    EXPECT_EQ(at, i == 0 ? at : place);
    place = at;
  }
}

TEST(RknpuMemory, ManyBuffersDoNotUseUpTheProgramsDescriptors) {
  const Fd fd(open(kCard, O_RDWR));
  for (int i = 0; i < 2'000; ++i) ASSERT_NE(create(fd, 4096).handle, 0u) << i;
  const int next = dup(fd);
  EXPECT_LT(next, 64);
  close(next);
}

TEST(RknpuMisc, TheBuildWithoutDrmGivesDmaBufs) {
  const Fd fd(open("/dev/rknpu", O_RDWR));
  rknpu_action a{};
  ASSERT_EQ(call(fd, IOCTL_RKNPU_ACTION, a), 0);
  EXPECT_EQ(a.value, 0x46495245u);
  rknpu_mem_create bo{};
  bo.size = 5000;
  bo.flags = RKNPU_MEM_NON_CONTIGUOUS;
  EXPECT_EQ(call(fd, IOCTL_RKNPU_MEM_CREATE, bo), EINVAL);
  bo.flags = 0;
  ASSERT_EQ(call(fd, IOCTL_RKNPU_MEM_CREATE, bo), 0);
  auto* bytes = static_cast<char*>(
      mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, static_cast<int>(bo.handle), 0));
  ASSERT_NE(bytes, MAP_FAILED);
  bytes[0] = 1;
  // The same dma-buf once more: another object and address over the same memory.
  rknpu_mem_create twin{};
  twin.handle = bo.handle;
  ASSERT_EQ(call(fd, IOCTL_RKNPU_MEM_CREATE, twin), 0);
  EXPECT_NE(twin.dma_addr, bo.dma_addr);
  twin.handle = STDERR_FILENO;
  EXPECT_EQ(call(fd, IOCTL_RKNPU_MEM_CREATE, twin), EINVAL);
  twin.handle = 900;
  EXPECT_EQ(call(fd, IOCTL_RKNPU_MEM_CREATE, twin), EBADF);
  rknpu_mem_map m{};
  EXPECT_EQ(call(fd, IOCTL_RKNPU_MEM_MAP, m), EINVAL);
  rknpu_mem_sync s{};
  s.obj_addr = bo.obj_addr;
  EXPECT_EQ(call(fd, IOCTL_RKNPU_MEM_SYNC, s), 0);
  rknpu_mem_destroy d{};
  d.obj_addr = bo.obj_addr;
  EXPECT_EQ(call(fd, IOCTL_RKNPU_MEM_DESTROY, d), 0);
  EXPECT_EQ(call(fd, IOCTL_RKNPU_MEM_DESTROY, d), EINVAL);
  EXPECT_EQ(bytes[0], 1);
  close(static_cast<int>(bo.handle));
}

}  // namespace
