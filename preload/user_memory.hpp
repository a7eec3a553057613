// SPDX-License-Identifier: MIT
// copy_from_user() and copy_to_user() for a driver that lives in the same process.
#pragma once

#include <cstddef>
#include <cstdint>

namespace npu::preload {

/// False (EFAULT) if any byte is not readable, or writable, memory of this process.
bool copy_from_user(void* to, std::uint64_t from, std::size_t bytes);
bool copy_to_user(std::uint64_t to, const void* from, std::size_t bytes);

}  // namespace npu::preload
