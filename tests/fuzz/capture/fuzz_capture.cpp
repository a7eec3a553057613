// SPDX-License-Identifier: MIT
// Hostile captures: read or refused, and what is read can be applied to buffers or is refused.
// Checksums would keep the fuzzer out, so most inputs are records, which are put into sound frames
// here; those that begin as a file does are taken as one.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "npu-device/capture_format.hpp"
#include "npu-device/capture_reader.hpp"
#include "regdb/error.hpp"

namespace {

using namespace npu::device;
using namespace npu::device::capture_format;

template <class T>
void put(std::vector<std::byte>& out, const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

// Frames of the input: two bytes of length, one of process, records.
std::vector<std::byte> file_of(std::span<const std::byte> input) {
  std::vector<std::byte> file;
  put(file, FileHeader{});
  while (input.size() > 3) {
    const std::size_t length =
        static_cast<std::size_t>(input[0]) | static_cast<std::size_t>(input[1]) << 8;
    FrameHeader header;
    header.process = static_cast<std::uint32_t>(input[2]) & 3;
    const auto part = input.subspan(3, std::min(length, input.size() - 3));
    header.unpacked = header.stored = static_cast<std::uint32_t>(part.size());
    header.stored_sum = XXH3_64bits(part.data(), part.size());
    header.header_sum = sum_of(header);
    put(file, header);
    file.insert(file.end(), part.begin(), part.end());
    input = input.subspan(3 + part.size());
  }
  return file;
}

void read(std::span<const std::byte> file) {
  try {
    const Capture capture = read_capture(file, {.bytes = 64 << 20});
    CaptureMemory memory;
    std::uint64_t total = 0;
    for (const CaptureEvent& event : capture.events) {
      if (const auto* create = std::get_if<CaptureCreate>(&event.what))
        if ((total += std::min<std::uint64_t>(create->size, 1u << 31)) > 16 << 20) break;
      memory.apply(event);
    }
  } catch (const npu::Error& error) {
    if (error.code() != npu::ErrorCode::bad_file) __builtin_trap();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  if (size >= kMagic.size() && std::memcmp(data, kMagic.data(), kMagic.size()) == 0)
    read(bytes);
  else
    read(file_of(bytes));
  return 0;
}
