// SPDX-License-Identifier: MIT
// The layout itself is held by static_asserts in rocket_uapi_check.cpp; here: bytes as a kernel on
// the other side of the ioctl would read them.
#include "npu-device/rocket_uapi.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace {

template <class T>
std::array<unsigned char, sizeof(T)> bytes_of(const T& value) {
  std::array<unsigned char, sizeof(T)> bytes;
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

TEST(RocketUapi, IoctlNumbersAreThoseSeenOnABoard) {
  EXPECT_EQ(DRM_IOCTL_ROCKET_CREATE_BO, 0xC0186440u);
  EXPECT_EQ(DRM_IOCTL_ROCKET_SUBMIT, 0x40186441u);
  EXPECT_EQ(DRM_IOCTL_ROCKET_PREP_BO, 0x40106442u);
  EXPECT_EQ(DRM_IOCTL_ROCKET_FINI_BO, 0x40086443u);
  EXPECT_EQ(ROCKET_IOCTL_GEM_CLOSE, 0x40086409u);
}

TEST(RocketUapi, JobIsLaidOutByteByByte) {
  drm_rocket_job job{};
  job.tasks = 0x0706050403020100;
  job.in_bo_handles = 0x0F0E0D0C0B0A0908;
  job.out_bo_handles = 0x1716151413121110;
  job.task_count = 0x1B1A1918;
  job.task_struct_size = 0x1F1E1D1C;
  job.in_bo_handle_count = 0x23222120;
  job.out_bo_handle_count = 0x27262524;
  const auto bytes = bytes_of(job);
  ASSERT_EQ(bytes.size(), 40u);
  for (unsigned i = 0; i < bytes.size(); ++i) EXPECT_EQ(bytes[i], i) << "byte " << i;
}

TEST(RocketUapi, SubmitAndTaskAreLaidOutByteByByte) {
  drm_rocket_submit submit{};
  submit.jobs = 0x0706050403020100;
  submit.job_count = 0x0B0A0908;
  submit.job_struct_size = 0x0F0E0D0C;
  submit.reserved = 0x1716151413121110;
  const auto bytes = bytes_of(submit);
  ASSERT_EQ(bytes.size(), 24u);
  for (unsigned i = 0; i < bytes.size(); ++i) EXPECT_EQ(bytes[i], i) << "byte " << i;

  const auto task = bytes_of(drm_rocket_task{0x03020100, 0x07060504});
  ASSERT_EQ(task.size(), 8u);
  for (unsigned i = 0; i < task.size(); ++i) EXPECT_EQ(task[i], i) << "byte " << i;
}

}  // namespace
