// SPDX-License-Identifier: MIT
// Input files whole, with a bound; output files whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <span>
#include <string_view>
#include <vector>

namespace npu::probe {

/// Bytes of a regular file, gunzipped if its name ends in ".gz". Throws bad_file if it cannot be
/// read or holds more than `max_bytes`.
std::vector<std::byte> read_file(const std::filesystem::path& path, std::size_t max_bytes);

/// All of a stream, with the same bound.
std::vector<std::byte> read_stream(std::istream& in, std::size_t max_bytes);

/// Writes a whole file, or leaves what was there: by way of PATH.part. Throws permission_denied
/// with the system's reason; bad_file if PATH.part is there or, unless it may be replaced, PATH.
void save_file(const std::filesystem::path& path, std::string_view text, bool replace = true);

/// FNV-1a: tells results apart, no more.
std::uint64_t fnv1a(std::span<const std::byte> bytes);

}  // namespace npu::probe
