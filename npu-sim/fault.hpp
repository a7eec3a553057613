// SPDX-License-Identifier: MIT
// How the parts of a core stop a task.
#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include "npu-sim/chip.hpp"

namespace npu::sim {

/// Thrown inside a core and caught at its edge; never leaves Chip.
class TaskFault : public std::exception {
 public:
  explicit TaskFault(Fault fault) : fault_(std::move(fault)) {}
  const Fault& fault() const { return fault_; }
  const char* what() const noexcept override { return fault_.message.c_str(); }

 private:
  Fault fault_;
};

/// "not modelled: CNA.CONV_CON3.nn_mode=1".
[[noreturn]] void not_modelled(const std::string& where, std::uint64_t value);
[[noreturn]] void bad_program(const std::string& where, const std::string& why);
/// A reason that ends in "(quirk NAME)" names a row of docs/open-questions.md.
[[noreturn]] void hang(const std::string& where, const std::string& why);
[[noreturn]] void dma_fault(FaultKind kind, const std::string& where, std::uint64_t iova);

}  // namespace npu::sim
