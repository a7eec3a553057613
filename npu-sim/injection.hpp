// SPDX-License-Identifier: MIT
// Faults on purpose, to test what a driver or program makes of them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "npu-sim/address_space.hpp"
#include "npu-sim/observer.hpp"

namespace npu::sim {

/// One fault. Starts and beats are counted per core from the chip's creation; 1 is the first. A
/// beat is 16 bytes of DMA, in the order program, features, weights, operands, output of each task.
struct Injection {
  enum class Kind : std::uint8_t {
    drop_interrupt,    ///< start `nth` ends without raising anything
    delay_completion,  ///< start `nth` raises its interrupt `delay` later (host time)
    corrupt_beat,      ///< beat `nth` arrives (or is written) with its lowest bit inverted
    iommu_fault,       ///< beat `nth` is refused, as by an IOMMU page fault
  };
  Kind kind = Kind::drop_interrupt;
  std::uint64_t nth = 1;
  std::optional<unsigned> core;  ///< nullopt: every core
  std::chrono::milliseconds delay{0};
  bool operator==(const Injection&) const = default;
};

/// "drop-interrupt@N", "delay@N:MS", "corrupt@N" or "iommu-fault@N", each with an optional
/// "/core=K"; several separated by commas. Throws npu::Error(invalid_argument) naming the item.
std::vector<Injection> parse_injections(std::string_view text);

/// The counters of one core.
class Injector {
 public:
  Injector(std::span<const Injection> all, unsigned core);
  bool active() const { return !mine_.empty(); }

  /// Counts a start; what is due at its end.
  struct AtEnd {
    bool drop = false;
    std::chrono::milliseconds delay{0};
  };
  AtEnd start();

  /// Counts the beats of a transfer. Throws TaskFault for an iommu_fault; a beat to corrupt is
  /// remembered: of a read it is inverted in memory until restore(), of a write at restore().
  void transfer(const Transfer& transfer, const AddressSpace& space);
  /// After the task, also after a fault (`wrote` false then).
  void restore(const AddressSpace& space, bool wrote);

 private:
  std::vector<Injection> mine_;
  std::uint64_t starts_ = 0, beats_ = 0;
  std::vector<std::uint64_t> corrupted_reads_, corrupted_writes_;  // IOVAs
};

}  // namespace npu::sim
