// SPDX-License-Identifier: MIT
// What writer and reader of .npucap files agree on; docs/capture-format.md says it in words.
#pragma once

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace npu::device::capture_format {

static_assert(std::endian::native == std::endian::little, "the file is little endian");

inline constexpr std::array<char, 8> kMagic{'N', 'P', 'U', 'C', 'A', 'P', '\x1a', '\n'};
inline constexpr std::uint32_t kVersion = 1;

/// Begins the file.
struct FileHeader {
  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(FileHeader) == 16);

inline constexpr std::array<char, 4> kFrameMagic{'\xf1', 'N', 'P', 'F'};
inline constexpr std::uint16_t kEvents = 1;  // the only type of frame so far
enum class Codec : std::uint16_t { none = 0, zstd = 1 };

/// Begins a frame: events of one process, written with one write().
struct FrameHeader {
  std::array<char, 4> magic = kFrameMagic;
  std::uint16_t type = kEvents;
  Codec codec = Codec::none;
  std::uint32_t process = 0;
  std::uint32_t unpacked = 0;    ///< bytes of its records
  std::uint32_t stored = 0;      ///< bytes that follow this header
  std::uint32_t header_sum = 0;  ///< of the other fields
  std::uint64_t stored_sum = 0;  ///< XXH3-64 of the bytes that follow
};
static_assert(sizeof(FrameHeader) == 32);

inline std::uint32_t sum_of(FrameHeader header) {
  header.header_sum = 0;
  return static_cast<std::uint32_t>(XXH3_64bits(&header, sizeof header));
}

/// Bounds that the writer keeps and the reader insists on.
inline constexpr std::uint32_t kMaxFrameBytes = 64u << 20;  // of records, unpacked
inline constexpr std::uint32_t kMaxJobElements = 1u << 20;  // tasks, or handles of one kind
inline constexpr std::uint32_t kMaxText = 64u << 10;
inline constexpr std::uint32_t kMaxIoctlBytes = 1u << 14;  // _IOC_SIZEBITS
inline constexpr std::uint32_t kBlockBytes = 4096;         // the unit of sharing
inline constexpr std::uint32_t kMaxWriteBytes = 1u << 20;  // of one record

/// A record: its kind, the length of what follows, the fields in the order of capture.hpp.
enum class Record : std::uint8_t {
  start = 1,
  open = 2,
  close = 3,
  ioctl = 4,
  create = 5,
  destroy = 6,
  write = 7,
  job = 8,      ///< as it begins
  job_end = 9,  ///< outcome, note, times
};
inline constexpr std::size_t kRecordHeader = 5;

struct BlockHash {
  std::uint64_t low = 0, high = 0;
  friend bool operator==(const BlockHash&, const BlockHash&) = default;
};
inline BlockHash hash_of(std::span<const std::byte> block) {
  const XXH128_hash_t hash = XXH3_128bits(block.data(), block.size());
  return {hash.low64, hash.high64};
}
struct BlockHashHash {
  std::size_t operator()(const BlockHash& hash) const { return hash.low; }
};

}  // namespace npu::device::capture_format
