// SPDX-License-Identifier: MIT
// A client of the vendor's driver as the open ones are written: raw ioctls, buffers by obj_addr.
#pragma once

#include <drm.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <vector>

#include "npu-device/device.hpp"
#include "preload/rknpu_uapi.h"
#include "regdb/error.hpp"
#include "regdb/regcmd.hpp"
#include "regdb/registers.hpp"

namespace rknpu_client {

inline constexpr const char* kCard = "/dev/dri/card1";
inline constexpr const char* kRender = "/dev/dri/renderD129";

struct Fd {
  explicit Fd(int value) : fd(value) {}
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
  Fd(const Fd&) = delete;
  operator int() const { return fd; }
  int fd;
};

// 0 or an errno.
template <class T>
int call(int fd, unsigned long request, T& argument) {
  return ioctl(fd, request, &argument) == 0 ? 0 : errno;
}

inline rknpu_mem_create create(int fd, std::uint64_t size, std::uint32_t flags = 0) {
  rknpu_mem_create bo{};
  bo.size = size;
  bo.flags = flags;
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_MEM_CREATE, bo), 0);
  return bo;
}

inline void* map(int fd, const rknpu_mem_create& bo) {
  rknpu_mem_map m{};
  m.handle = bo.handle;
  EXPECT_EQ(call(fd, DRM_IOCTL_RKNPU_MEM_MAP, m), 0);
  return mmap(nullptr, bo.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
              static_cast<off_t>(m.offset));
}

/// One core's share of the tasks as SUBMIT wants it: subcore_task[core], or [core + 2] of three.
inline rknpu_submit job(std::uint64_t tasks, std::uint32_t number, std::uint32_t core_mask = 1) {
  rknpu_submit s{};
  s.flags = RKNPU_JOB_PC | RKNPU_JOB_PINGPONG;
  s.timeout = 200;
  s.task_number = number;
  s.task_obj_addr = tasks;
  s.core_mask = core_mask;
  s.fence_fd = -1;
  for (auto& share : s.subcore_task) share = {0, number};
  return s;
}

/// The operators of this project on the vendor's driver. Jobs run when they are submitted.
class Device final : public npu::device::Device {
 public:
  enum class Mode { one_by_one, chained, not_linked };
  explicit Device(Mode mode, std::uint32_t core_mask = 1, std::uint32_t flags = 0)
      : mode_(mode), core_mask_(core_mask), flags_(flags), fd_(open(kCard, O_RDWR | O_CLOEXEC)) {
    info_.backend = "rknpu";
    tasks_bo_ = create(fd_, 4096, RKNPU_MEM_KERNEL_MAPPING);
    tasks_ = static_cast<rknpu_task*>(map(fd_, tasks_bo_));
  }
  ~Device() override { munmap(tasks_, 4096); }

  const npu::device::DeviceInfo& info() const override { return info_; }
  npu::device::Buffer create_buffer(std::size_t bytes) override {
    const rknpu_mem_create bo = create(fd_, bytes, RKNPU_MEM_NON_CONTIGUOUS | RKNPU_MEM_CACHEABLE);
    auto* host = static_cast<std::byte*>(map(fd_, bo));
    buffers_.push_back({bo, host});
    return make_buffer(bo.handle, static_cast<std::uint32_t>(bo.dma_addr), {host, bytes});
  }
  void prep(const npu::device::Buffer& b, Clock::time_point) override {
    sync(b, RKNPU_MEM_SYNC_FROM_DEVICE);
  }
  void fini(const npu::device::Buffer& b) override { sync(b, RKNPU_MEM_SYNC_TO_DEVICE); }
  void submit(std::span<const npu::device::Job> jobs) override {
    for (const auto& j : jobs) {
      if (mode_ == Mode::chained) link(j.tasks);
      for (std::size_t i = 0; i < j.tasks.size(); ++i) {
        tasks_[i] = {};
        tasks_[i].enable_mask = 0xd;
        tasks_[i].int_mask = 0x300;
        tasks_[i].int_clear = 0x1ffff;
        tasks_[i].regcfg_amount = j.tasks[i].regcmd_count - RKNPU_PC_DATA_EXTRA_AMOUNT;
        tasks_[i].regcmd_addr = j.tasks[i].regcmd;
      }
      const auto number = static_cast<std::uint32_t>(j.tasks.size());
      const std::uint32_t starts = mode_ == Mode::one_by_one ? number : 1;
      for (std::uint32_t start = 0; start < starts; ++start) {
        rknpu_submit s = job(tasks_bo_.obj_addr, number / starts, core_mask_);
        s.flags |= flags_;
        for (auto& share : s.subcore_task) share.task_start = start;
        const int error = call(fd_, DRM_IOCTL_RKNPU_SUBMIT, s);
        last_ = s;
        if (error != 0) throw npu::Error(npu::ErrorCode::device_fault, std::strerror(error));
        ++submits_;
      }
    }
  }
  std::unique_ptr<npu::device::Device> open_another() const override {
    return std::make_unique<Device>(mode_, core_mask_, flags_);
  }

  const rknpu_submit& last() const { return last_; }
  const rknpu_task& task(std::size_t i) const { return tasks_[i]; }
  int submits() const { return submits_; }
  int fd() const { return fd_; }

 private:
  struct Bo {
    rknpu_mem_create bo;
    std::byte* host;
  };

  void sync(const npu::device::Buffer& b, std::uint32_t flags) {
    for (const Bo& bo : buffers_)
      if (bo.bo.handle == b.handle()) {
        rknpu_mem_sync s{};
        s.flags = flags;
        s.obj_addr = bo.bo.obj_addr;
        s.size = b.size();
        ASSERT_EQ(call(fd_, DRM_IOCTL_RKNPU_MEM_SYNC, s), 0);
      }
  }
  std::uint64_t* words_at(std::uint32_t iova) {
    for (const Bo& bo : buffers_)
      if (iova >= bo.bo.dma_addr && iova < bo.bo.dma_addr + bo.bo.size)
        return reinterpret_cast<std::uint64_t*>(bo.host + (iova - bo.bo.dma_addr));
    ADD_FAILURE() << "no buffer at " << iova;
    return nullptr;
  }
  // Every trailer names the next program and its amount.
  void link(const std::vector<npu::device::Task>& tasks) {
    namespace rd = npu::regdb;
    constexpr auto target = static_cast<std::uint16_t>(rd::Target::pc);
    for (std::size_t i = 0; i + 1 < tasks.size(); ++i) {
      std::uint64_t* trailer = words_at(tasks[i].regcmd) + tasks[i].regcmd_count - 4;
      trailer[0] = rd::Regcmd{target, tasks[i + 1].regcmd, rd::pc::BASE_ADDRESS::offset}.pack();
      trailer[1] = rd::Regcmd{target, (tasks[i + 1].regcmd_count + 1) / 2 - 1,
                              rd::pc::REGISTER_AMOUNTS::offset}
                       .pack();
    }
  }
  void destroy_buffer(std::uint32_t handle, std::span<std::byte> host) noexcept override {
    munmap(host.data(), host.size());
    std::erase_if(buffers_, [&](const Bo& bo) { return bo.bo.handle == handle; });
    rknpu_mem_destroy d{};
    d.handle = handle;
    call(fd_, DRM_IOCTL_RKNPU_MEM_DESTROY, d);
  }

  npu::device::DeviceInfo info_;
  Mode mode_;
  std::uint32_t core_mask_, flags_;
  Fd fd_;
  rknpu_mem_create tasks_bo_{};
  rknpu_task* tasks_ = nullptr;
  std::vector<Bo> buffers_;
  rknpu_submit last_{};
  int submits_ = 0;
};

}  // namespace rknpu_client
