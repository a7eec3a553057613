// SPDX-License-Identifier: MIT
// Valid programs of every kind, made hostile: the first bytes of the input choose the programs and
// how memory lies, the rest change single words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "npu-sim/address_space.hpp"

namespace npu::sim::fuzz {

struct Hostile {
  std::shared_ptr<AddressSpace> space;
  std::uint32_t program = 0, words = 0;  ///< the first program of the chain
  std::uint32_t tasks = 1;               ///< TASK_NUMBER
  std::uint32_t dma_base = 0;
  unsigned core = 0;
  bool observed = false, quirks = true;
  /// What tasks may have changed, for comparing two runs.
  std::vector<std::uint8_t> snapshot() const;
  std::vector<std::pair<std::shared_ptr<std::byte[]>, std::size_t>> pieces;
};

/// The same bytes give the same case. At least kHeader bytes.
constexpr std::size_t kHeader = 8;
Hostile make_hostile(const std::uint8_t* data, std::size_t size);

}  // namespace npu::sim::fuzz
