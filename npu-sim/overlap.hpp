// SPDX-License-Identifier: MIT
// Do the surfaces that a task writes or reads share bytes? A hostile or careless program may lay
// them over each other; what comes out must not depend on the host's threads then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace npu::sim {

/// Surfaces of `rows` rows, `row_bytes` of each written, rows `line` (>= row_bytes) apart; null
/// ones do not count. True if any two share a byte. Many interleaved surfaces (row-major outputs)
/// are cheap; for a thousand surfaces that are neither stacked nor evenly interleaved it may say
/// true although they only come close.
bool share_bytes(const std::vector<std::uint8_t*>& surfaces, std::size_t rows, std::size_t line,
                 std::size_t row_bytes);

/// True if any of `reads` (each `read_bytes` long) touches any of `writes`.
bool touch(const std::vector<const std::uint8_t*>& reads, std::size_t read_bytes,
           const std::vector<std::uint8_t*>& writes, std::size_t write_bytes);

}  // namespace npu::sim
