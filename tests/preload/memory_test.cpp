// SPDX-License-Identifier: MIT
// What programs do with the mappings of buffers.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "npu-device/rocket_uapi.h"

namespace {

constexpr std::size_t kPage = 4096;

class Memory : public testing::Test {
 protected:
  void SetUp() override {
    fd_ = open("/dev/accel/accel0", O_RDWR);
    ASSERT_GE(fd_, 0);
  }
  void TearDown() override { close(fd_); }

  drm_rocket_create_bo create(std::uint32_t size) {
    drm_rocket_create_bo bo{};
    bo.size = size;
    EXPECT_EQ(ioctl(fd_, DRM_IOCTL_ROCKET_CREATE_BO, &bo), 0);
    return bo;
  }
  char* map(const drm_rocket_create_bo& bo, std::size_t bytes, int flags = MAP_SHARED,
            void* at = nullptr) {
    void* memory =
        mmap(at, bytes, PROT_READ | PROT_WRITE, flags, fd_, static_cast<off_t>(bo.offset));
    EXPECT_NE(memory, MAP_FAILED);
    return static_cast<char*>(memory);
  }
  void gem_close(const drm_rocket_create_bo& bo) {
    rocket_gem_close close{};
    close.handle = bo.handle;
    EXPECT_EQ(ioctl(fd_, ROCKET_IOCTL_GEM_CLOSE, &close), 0);
  }
  // Bytes of the file that have memory behind them: what is left of closed buffers shows here.
  std::size_t allocated() const {
    std::size_t bytes = 0;
    off_t at = 0;
    while ((at = syscall(SYS_lseek, fd_, at, SEEK_DATA)) >= 0) {
      const off_t end = syscall(SYS_lseek, fd_, at, SEEK_HOLE);
      bytes += static_cast<std::size_t>(end - at);
      at = end;
    }
    return bytes;
  }
  int fd_ = -1;
};

TEST_F(Memory, OfAClosedBufferStaysUntilTheLastPieceIsUnmapped) {
  const std::size_t before = allocated();
  const auto bo = create(4 * kPage);
  char* memory = map(bo, 4 * kPage);
  for (std::size_t page = 0; page < 4; ++page) memory[page * kPage] = static_cast<char>(page + 1);
  gem_close(bo);
  EXPECT_EQ(munmap(memory + kPage, kPage), 0);  // out of the middle
  EXPECT_EQ(memory[0], 1);
  EXPECT_EQ(memory[2 * kPage], 3);
  EXPECT_EQ(memory[3 * kPage], 4);
  EXPECT_EQ(munmap(memory, kPage), 0);
  EXPECT_EQ(memory[3 * kPage], 4);
  EXPECT_EQ(munmap(memory + 3 * kPage, kPage), 0);
  EXPECT_EQ(memory[2 * kPage], 3);
  EXPECT_EQ(munmap(memory + 2 * kPage, kPage), 0);
  EXPECT_EQ(allocated(), before);
}

TEST_F(Memory, OneUnmappingOfSeveral) {
  const std::size_t before = allocated();
  char* area =
      static_cast<char*>(mmap(nullptr, 4 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  const auto a = create(kPage), b = create(2 * kPage);
  ASSERT_EQ(map(a, kPage, MAP_SHARED | MAP_FIXED, area), area);
  ASSERT_EQ(map(b, 2 * kPage, MAP_SHARED | MAP_FIXED, area + kPage), area + kPage);
  area[0] = area[kPage] = 7;
  gem_close(a);
  gem_close(b);
  EXPECT_EQ(area[kPage], 7);
  EXPECT_EQ(munmap(area, 4 * kPage), 0);
  EXPECT_EQ(allocated(), before);
}

TEST_F(Memory, OtherMemoryPutInItsPlaceEndsAMapping) {
  const std::size_t before = allocated();
  const auto bo = create(kPage);
  char* memory = map(bo, kPage);
  memory[0] = 1;
  gem_close(bo);
  ASSERT_EQ(mmap(memory, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), memory);
  EXPECT_EQ(memory[0], 0);
  EXPECT_EQ(allocated(), before);
  munmap(memory, kPage);
}

TEST_F(Memory, IsMovedAndShortenedButNeverLengthened) {
  const std::size_t before = allocated();
  const auto bo = create(2 * kPage);
  char* memory = map(bo, 2 * kPage);
  memory[0] = 5;
  EXPECT_EQ(mremap(memory, 2 * kPage, 3 * kPage, MREMAP_MAYMOVE), MAP_FAILED);
  EXPECT_EQ(errno, EFAULT);
  ASSERT_EQ(mremap(memory, 2 * kPage, kPage, 0), memory);
  char* room =
      static_cast<char*>(mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_EQ(mremap(memory, kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, room), room);
  EXPECT_EQ(room[0], 5);
  gem_close(bo);
  EXPECT_EQ(room[0], 5);
  EXPECT_EQ(munmap(room, kPage), 0);
  EXPECT_EQ(allocated(), before);
}

TEST_F(Memory, TakesTheCallsThatMemoryTakes) {
  const auto bo = create(2 * kPage);
  char* memory = map(bo, 2 * kPage);
  EXPECT_EQ(mprotect(memory, kPage, PROT_READ), 0);
  EXPECT_EQ(mprotect(memory, kPage, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(madvise(memory, 2 * kPage, MADV_WILLNEED), 0);
  EXPECT_EQ(msync(memory, 2 * kPage, MS_SYNC), 0);
  EXPECT_EQ(munmap(memory, 2 * kPage), 0);
}

}  // namespace
