// SPDX-License-Identifier: MIT
// Faults on purpose, to test what a driver or program makes of them.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
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
    hang,              ///< start `nth` never ends: the core is dead until its reset
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

/// "drop-interrupt@N", "hang@N", "delay@N:MS", "corrupt@N" or "iommu-fault@N", each with an
/// optional
/// "/core=K"; several separated by commas. Throws npu::Error(invalid_argument) naming the item.
std::vector<Injection> parse_injections(std::string_view text);

/// The counters of one core. Thread safety: add() from any thread, the rest from the core's.
class Injector {
 public:
  /// Faults that may wait to strike at a time: whoever adds them must not take all memory.
  static constexpr std::size_t kMaxWaiting = 256;

  Injector(std::span<const Injection> all, unsigned core);

  /// Counts starts and beats from the next start on. False if too many wait already; then none is
  /// added.
  bool add(std::span<const Injection> more);

  bool active() const { return !mine_.empty(); }

  /// Counts a start; what is due in it.
  struct Start {
    bool drop = false, hang = false;
    std::chrono::milliseconds delay{0};  // at its end
  };
  Start start();

  /// Counts the beats of a transfer. Throws TaskFault for an iommu_fault; a beat to corrupt is
  /// remembered: of a read it is inverted in memory until restore(), of a write at restore().
  void transfer(const Transfer& transfer, const AddressSpace& space);
  /// After the task, also after a fault (`wrote` false then).
  void restore(const AddressSpace& space, bool wrote);

 private:
  void take_added();

  unsigned core_;
  std::vector<Injection> mine_;
  std::mutex mutex_;
  std::vector<Injection> added_;  // guarded by mutex_
  std::uint64_t starts_ = 0, beats_ = 0;
  std::vector<std::uint64_t> corrupted_reads_, corrupted_writes_;  // IOVAs
};

}  // namespace npu::sim
