// SPDX-License-Identifier: MIT
// What rosenblatt-vboard.so needs of QEMU, in the test's own process, with QEMU's rules checked:
// who holds the big lock, which threads may touch memory, what a line or a clock is told.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace fake_qemu {

constexpr std::uint64_t kRamAddress = 0x40000000;

/// What the machine is made of. To be set before plug_in().
struct Machine {
  std::string target = "aarch64";
  bool system_emulation = true;
  std::string gic = "arm-gicv3-common";  // empty: none
  std::uint64_t interrupts = 256;
  std::uint64_t ram_bytes = 8u << 20;
  std::uint64_t ram_claimed = 0;  // as address_space_map() has it; 0: ram_bytes
};
Machine& machine();

/// dlopen() and qemu_plugin_install(). Returns what that does.
int install(std::vector<std::string> arguments);
/// The machine is complete: calls the notifier.
void machine_done();
/// The process ends: the same for its notifier.
void machine_exits();
void system_reset();

// The guest's CPU, which holds the big lock while it is in a register.
std::uint32_t load(std::uint64_t address);
void store(std::uint64_t address, std::uint32_t value);
std::uint8_t* ram(std::uint64_t address);

/// Level of an SPI.
int level(unsigned spi);
std::int64_t guest_ns();
/// Whether the guest's clock stands, and how often it was stopped.
bool clock_stands();
int clock_stops();
void set_running(bool running);

/// Runs bottom halves and timers until `done`, 20 s at most. False if that never came.
bool main_loop(const std::function<bool()>& done);

/// Broken rules of QEMU, a line each.
std::vector<std::string> violations();

}  // namespace fake_qemu
