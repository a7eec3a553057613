// SPDX-License-Identifier: MIT
#include "llm-runtime/kv_store.hpp"

#include <fmt/format.h>

#include <new>

#include "regdb/error.hpp"

namespace npu::llm {

KvStore::KvStore(const ModelShape& shape, cpu::KvType type, std::uint32_t sequences,
                 std::uint32_t positions)
    : sequences_(sequences),
      positions_(positions),
      kv_heads_(shape.kv_heads),
      head_size_(shape.head_size),
      type_(type),
      layers_(shape.layers) {
  if (sequences == 0 || positions == 0) {
    throw Error(ErrorCode::invalid_argument,
                "a cache needs at least one sequence and one token of context");
  }
  if (type == cpu::KvType::q8_0 && shape.head_size % 32 != 0) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a q8_0 cache needs heads of a multiple of 32; this model's have {}: "
                            "use --kv-type f16",
                            shape.head_size));
  }
  const unsigned __int128 all = static_cast<unsigned __int128>(2 * layers_) * sequences *
                                positions * cpu::kv_row_bytes(type, kv_heads_, head_size_);
  constexpr std::uint64_t kMost = std::uint64_t{1} << 46;
  try {
    if (all > kMost) throw std::bad_alloc();
    layer_bytes_ = static_cast<std::uint64_t>(all) / (2 * layers_);
    memory_ = cpu::Buffer(static_cast<std::size_t>(all));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory,
                fmt::format("the cache of {} sequence(s) of {} tokens needs {} MiB: ask for a "
                            "smaller context (-c)",
                            sequences, positions, static_cast<std::uint64_t>(all >> 20)));
  }
}

cpu::KvCache KvStore::layer(std::uint32_t layer) {
  std::byte* keys = memory_.data() + 2 * layer * layer_bytes_;
  return {.type = type_,
          .kv_heads = kv_heads_,
          .head_size = head_size_,
          .positions = positions_,
          .k = keys,
          .v = keys + layer_bytes_};
}

std::span<std::byte> KvStore::keys(std::uint32_t layer, std::uint32_t sequence,
                                   std::uint32_t count) {
  const cpu::KvCache cache = this->layer(layer);
  return {cache.k + cache.offset(sequence, 0), count * cache.row_bytes()};
}

std::span<std::byte> KvStore::values(std::uint32_t layer, std::uint32_t sequence,
                                     std::uint32_t count) {
  const cpu::KvCache cache = this->layer(layer);
  return {cache.v + cache.offset(sequence, 0), count * cache.row_bytes()};
}

}  // namespace npu::llm
