// SPDX-License-Identifier: MIT
// What every backend refuses before a job is queued.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "npu-device/device.hpp"

namespace npu::device {

/// Throws npu::Error(invalid_argument), naming the entry as jobs[j].tasks[t], for whatever the
/// kernel would drop without a word [rocket_job.c] or the PC cannot fetch. `is_open` says whether
/// a handle is one of this file; `chains` whether the backend takes chained jobs (not_supported).
void check_jobs(std::span<const Job> jobs, const std::function<bool(std::uint32_t)>& is_open,
                bool chains = false);

/// Throws npu::Error(invalid_argument) unless 1 <= bytes <= kMaxBufferBytes.
void check_buffer_size(std::size_t bytes);

}  // namespace npu::device
