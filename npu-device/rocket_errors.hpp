// SPDX-License-Identifier: MIT
// From the errno of a call on a rocket node to a sentence with a remedy.
#pragma once

#include <string_view>

#include "regdb/error.hpp"

namespace npu::device {

enum class RocketCall { open, version, create_bo, mmap, submit, prep_bo, fini_bo };

/// `subject` says what the call was about ("/dev/accel/accel0", "buffer 3 (4096 bytes at ...)").
/// PREP_BO's EBUSY and ETIMEDOUT become ErrorCode::timeout.
Error rocket_error(RocketCall call, int error, std::string_view subject);

/// No node at all, or none whose driver is rocket; `seen` lists what there is ("" for nothing).
Error no_rocket_node(std::string_view seen);

}  // namespace npu::device
