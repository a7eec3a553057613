// SPDX-License-Identifier: MIT
// Every program that the tests run is linted too: lint's verdict has to be the chip's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "npu-sim/chip.hpp"

namespace npu::sim::test {

class LintAgrees {
 public:
  explicit LintAgrees(const ChipOptions& options) : quirks_(options.quirks) {}
  /// A failed expectation if lint calls a program wrong that just ran, or has nothing to say about
  /// one that hung or that the chip refused.
  void ran(const std::vector<std::uint64_t>& words, const std::optional<Fault>& fault,
           unsigned core = 0);
  /// A program whose own verdict is not known; later ones may rely on its registers.
  void remember(const std::vector<std::uint64_t>& words, unsigned core = 0);

 private:
  Quirks quirks_;
  std::vector<std::vector<std::uint64_t>> last_[3];  ///< per core: what registers may still hold
};

}  // namespace npu::sim::test
