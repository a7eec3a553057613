// SPDX-License-Identifier: MIT
// What Gemm asks of a device, on one that records and computes nothing.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "microkernels/gemm.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

// PREP_BO that reports success although no job ran: what the kernel does after a timeout.
class IdleDevice : public device::Device {
 public:
  const device::DeviceInfo& info() const override { return info_; }
  device::Buffer create_buffer(std::size_t bytes) override {
    const std::uint32_t handle = ++last_handle_;
    auto& memory = memory_[handle];
    memory.resize((bytes + 7) / 8);
    const std::uint32_t iova = next_iova_;
    next_iova_ += static_cast<std::uint32_t>((bytes + 4095) / 4096 * 4096);
    return make_buffer(handle, iova, {reinterpret_cast<std::byte*>(memory.data()), bytes});
  }
  void prep(const device::Buffer& buffer, Clock::time_point) override {
    prepared.push_back(buffer.handle());
    if (on_prep) on_prep(buffer);
  }
  void fini(const device::Buffer& buffer) override { synced.insert(buffer.handle()); }
  void submit(std::span<const device::Job> jobs) override {
    submitted.insert(submitted.end(), jobs.begin(), jobs.end());
  }
  std::unique_ptr<device::Device> open_another() const override {
    return std::make_unique<IdleDevice>();
  }

  std::vector<device::Job> submitted;
  std::vector<std::uint32_t> prepared;
  std::set<std::uint32_t> synced;
  std::function<void(const device::Buffer&)> on_prep;

 private:
  void destroy_buffer(std::uint32_t handle, std::span<std::byte>) noexcept override {
    memory_.erase(handle);
  }
  device::DeviceInfo info_;
  std::uint32_t last_handle_ = 0, next_iova_ = 0;
  std::map<std::uint32_t, std::vector<std::uint64_t>> memory_;
};

TEST(GemmExecutor, JobsThatNeverRanAreNoticed) {
  IdleDevice idle;
  const std::vector<std::int8_t> a(20 * 40), b(50 * 40);
  std::vector<std::int32_t> c(20 * 50);
  std::vector<std::int8_t> q(20 * 50);
  for (const bool raw : {true, false}) {
    try {
      if (raw) {
        gemm_i8i32(idle, {20, 50, 40}, a, b, c);
      } else {
        gemm_i8i8(idle, {20, 50, 40}, {1, 0, 0}, {}, a, b, q);
      }
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::device_fault);
      EXPECT_NE(std::string(error.what()).find("kernel log"), std::string::npos);
    }
  }
}

TEST(GemmExecutor, JobsAreShortAndNameTheirBuffersOnce) {
  IdleDevice device;
  device::Device* devices[] = {&device};
  const GemmShape shape{4096, 4096, 512};
  const GemmTypes types{DataType::i8, DataType::i32};
  GemmOptions options;
  options.choice = plan_gemm(shape, types).choice;
  options.choice->row_passes = options.choice->column_passes = 1;
  Gemm gemm(devices, shape, types, options);
  gemm.set_weights(std::vector<std::int8_t>(std::size_t{shape.n} * shape.k));
  std::vector<std::int32_t> c(std::size_t{shape.m} * shape.n);
  EXPECT_THROW(gemm.run(std::vector<std::int8_t>(std::size_t{shape.m} * shape.k), c), Error);

  // Nothing was written, so all of it was tried twice.
  const std::size_t once = device.submitted.size() / 2;
  for (std::size_t i = 0; i < once; ++i)
    ASSERT_EQ(device.submitted[i].tasks.size(), device.submitted[once + i].tasks.size());
  device.submitted.resize(once);

  std::size_t next = 0;
  ASSERT_GE(once, 4u);  // 2^33 products, at most 2^31 in a job
  for (const device::Job& job : device.submitted) {
    std::uint64_t total = 0;
    for (const device::Task& task : job.tasks) {
      EXPECT_EQ(task.regcmd % 64, 0u);
      EXPECT_EQ(task.regcmd_count % 2, 0u);
      total += gemm.plan().cores[0].tasks[next++].macs();
    }
    EXPECT_LE(total, std::uint64_t{1} << 31);
    std::set<std::uint32_t> handles(job.in_handles.begin(), job.in_handles.end());
    handles.insert(job.out_handles.begin(), job.out_handles.end());
    EXPECT_EQ(handles.size(), job.in_handles.size() + job.out_handles.size());
    EXPECT_EQ(job.out_handles.size(), 1u);
  }
  EXPECT_EQ(next, gemm.plan().cores[0].tasks.size());
}

TEST(GemmExecutor, WhatTheCpuWroteIsHandedOverBeforeTheJobsAndTheOutputAwaited) {
  IdleDevice device;
  const std::vector<std::int8_t> a(8 * 32), b(32 * 32);
  std::vector<std::int8_t> q(8 * 32);
  // The first buffer prepared is C; pretend that the NPU wrote it.
  device.on_prep = [](const device::Buffer& c) {
    for (std::byte& byte : c.host()) byte = std::byte{7};
  };
  gemm_i8i8(device, {8, 32, 32}, {1, 0, 0}, {}, a, b, q);
  ASSERT_EQ(device.submitted.size(), 1u);
  const device::Job& job = device.submitted[0];
  EXPECT_EQ(device.prepared, job.out_handles);
  for (const std::uint32_t handle : job.in_handles) EXPECT_TRUE(device.synced.contains(handle));
  EXPECT_EQ(device.synced.size(), 5u);  // features, weights, bias, output, programs
  for (const std::int8_t value : q) EXPECT_EQ(value, 7);
}

}  // namespace
}  // namespace npu::kernels
