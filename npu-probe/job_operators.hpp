// SPDX-License-Identifier: MIT
// What a job computes, and where the elements of its results lie.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "npu-probe/data_difference.hpp"
#include "npu-probe/explain.hpp"

namespace npu::probe {

using Words = std::vector<std::uint64_t>;

struct JobOperators {
  std::string headline;  ///< of its operators: "conv 3x3 s2 p1 32->64, int8, ..."
  Locate locate;         ///< elements of its outputs; tiles count in the whole tensor
};

/// Explains jobs one after the other: registers that a program does not write are those of the
/// ones before it.
class OperatorReader {
 public:
  JobOperators read(std::span<const Words> tasks);

 private:
  RegisterState state_;
};

}  // namespace npu::probe
