// SPDX-License-Identifier: MIT
// Windows, lines, DMA and resets between QEMU and libnpusim.so.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "kernel/virtual-board/arguments.hpp"
#include "kernel/virtual-board/guest_time.hpp"
#include "kernel/virtual-board/qemu.hpp"
#include "kernel/virtual-board/soc.hpp"
#include "npu-sim/npusim.h"

namespace npu::vboard {

/// For tests in the guest, in a page that no driver claims: text of faults to inject, and a
/// register that is read as kControlId, written to inject them. No chip has this.
constexpr std::uint64_t kControlAddress = 0xFD7C1000, kControlBytes = 0x1000;
constexpr std::uint32_t kControlId = 0x31425652;  // "RVB1"
constexpr std::uint32_t kControlIdOffset = 0, kControlInject = 4, kControlText = 0x100,
                        kControlTextBytes = 0x100;

/// Locks. Everything here runs under QEMU's big lock but the three callbacks of the model, which
/// come from its threads. Those take no lock of QEMU: memory is reached as an RCU reader, and a
/// change of a line only wakes the main loop, which looks at the line then. So the big lock may be
/// held across any call into the model that does not wait for a program, and no other is made.
class Board {
 public:
  Board(const qemu::Symbols& symbols, Arguments arguments)
      : qemu_(symbols), arguments_(std::move(arguments)) {}
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;

  /// Puts the NPU into the machine, which must be complete. False: `error` says what is in the way.
  bool plug_in(std::string& error);

  /// Power on, and "system_reset".
  void reset();

  /// Stops the cores, as the process is about to end.
  void shut_down();

 private:
  struct Core {
    Board* board = nullptr;
    unsigned index = 0;
    void* irq = nullptr;
    int level = 0;
    bool busy = false;
    std::int64_t started_ns = 0;  // guest time
    void* late = nullptr;         // timer
  };

  bool find_lines(std::string& error);
  bool find_memory(std::string& error);
  bool create_model(std::string& error);
  void add_window(const char* name, std::uint64_t address, std::uint64_t bytes,
                  const qemu::MemoryRegionOps& ops, void* opaque);
  bool windows_answer(std::string& error);
  void write(Core& core, std::uint32_t offset, std::uint32_t value);
  template <class Change>
  void change_resets(Change change);
  std::uint32_t read_control(std::uint32_t offset) const;
  void write_control(std::uint32_t offset, std::uint32_t value);
  void settle();
  void update_line(Core& core);
  bool in_memory(std::uint64_t address, std::size_t bytes) const;

  const qemu::Symbols& qemu_;
  Arguments arguments_;
  npusim* sim_ = nullptr;
  std::array<Core, kCores> cores_{};
  Soc soc_;
  std::array<char, kControlTextBytes> control_text_{};
  std::uint32_t control_refused_ = 0;
  std::uint64_t memory_begin_ = 0, memory_end_ = 0;
  std::optional<GuestTime> guest_time_;
  void* bottom_half_ = nullptr;
  std::FILE* trace_ = nullptr;
};

}  // namespace npu::vboard
