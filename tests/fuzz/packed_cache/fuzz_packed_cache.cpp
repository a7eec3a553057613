// SPDX-License-Identifier: MIT
// A file of packed weights is refused with a sentence, or every matrix of it lies inside. Once as
// it is, once with what guards the numbers behind it made right, as someone would who means harm.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "llm-runtime/packed_cache.hpp"
#include "regdb/error.hpp"

namespace {

using namespace npu::llm;

void parse(std::span<const std::byte> file) {
  try {
    for (const PackedEntry& entry : parse_packed(file).entries) {
      if (entry.offset > file.size() || entry.bytes > file.size() - entry.offset) std::abort();
      cpu::Matrix::from_packed(static_cast<TensorType>(entry.type), entry.rows, entry.columns,
                               file.subspan(entry.offset, entry.bytes));
    }
  } catch (const npu::Error& error) {
    if (error.code() != npu::ErrorCode::bad_file) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A mapping's alignment.
  std::vector<std::byte> memory(size + 64);
  const auto skip = (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  std::byte* file = memory.data() + skip;
  std::copy_n(reinterpret_cast<const std::byte*>(data), size, file);
  parse({file, size});
  PackedHeader header;
  if (size < sizeof header) return 0;
  std::memcpy(&header, file, sizeof header);
  header.magic = PackedHeader::kMagic;
  header.version = PackedHeader::kVersion;
  header.layout = {};
  cpu::packed_layout().copy(header.layout.data(), header.layout.size());
  header.bytes = size;
  if (header.matrices <= (size - sizeof header) / sizeof(PackedEntry)) {
    std::vector<PackedEntry> entries(header.matrices);
    std::copy_n(file + sizeof header, entries.size() * sizeof(PackedEntry),
                reinterpret_cast<std::byte*>(entries.data()));
    header.checksum = table_checksum(header, entries);
  }
  std::memcpy(file, &header, sizeof header);
  parse({file, size});
  return 0;
}
