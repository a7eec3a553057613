// SPDX-License-Identifier: MIT
// A QEMU that lacks functions that the glue needs.
#include <gtest/gtest.h>

#include "fake_qemu.hpp"

TEST(Plugin, NamesTheFunctionsThatQemuDoesNotExport) {
  testing::internal::CaptureStderr();
  EXPECT_NE(fake_qemu::install({}), 0);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("does not export qemu_bh_schedule: use"), std::string::npos) << said;
  EXPECT_TRUE(fake_qemu::violations().empty());
}
