// SPDX-License-Identifier: MIT
// Memory of the keys and values of all layers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "llm-runtime/cpu/attention.hpp"
#include "llm-runtime/cpu/buffer.hpp"
#include "llm-runtime/model.hpp"

namespace npu::llm {

class KvStore {
 public:
  /// Throws out_of_memory if it does not fit, invalid_argument for a q8_0 cache of heads that 32
  /// does not divide, or without sequences or positions.
  KvStore(const ModelShape& shape, cpu::KvType type, std::uint32_t sequences,
          std::uint32_t positions);

  std::uint32_t sequences() const { return sequences_; }
  std::uint32_t positions() const { return positions_; }
  cpu::KvType type() const { return type_; }
  std::uint64_t bytes() const { return 2 * layers_ * layer_bytes_; }

  cpu::KvCache layer(std::uint32_t layer);

  /// Keys, then values of the first `count` positions of a sequence in one layer, as they lie.
  std::span<std::byte> keys(std::uint32_t layer, std::uint32_t sequence, std::uint32_t count);
  std::span<std::byte> values(std::uint32_t layer, std::uint32_t sequence, std::uint32_t count);

 private:
  std::uint32_t sequences_ = 0, positions_ = 0, kv_heads_ = 0, head_size_ = 0;
  cpu::KvType type_ = cpu::KvType::f16;
  std::uint64_t layers_ = 0, layer_bytes_ = 0;  ///< of keys, and as many of values
  cpu::Buffer memory_;
};

}  // namespace npu::llm
