// SPDX-License-Identifier: MIT
// The registers of a device's cores, for backends that can reach them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace npu::device {

/// 32-bit access to the register window of a core: offsets 0 to 0xFFFC as in regdb, block base
/// included. Given by Device::registers(), used by its thread.
///
/// A read waits until the job that runs on the core has ended. Registers keep what the last task
/// left, per register group, and with the pointers as the driver sets them a plain read shows the
/// group that the *next* task will use [control-and-uapi.md B.7]: read_group() shows either.
class RegisterAccess {
 public:
  virtual ~RegisterAccess() = default;

  /// Indices of the cores that can be reached, lowest first.
  virtual std::vector<unsigned> cores() const = 0;

  /// Throws invalid_argument for another core, an offset outside the window or not a multiple of
  /// 4; reads also for the range that locks the chip (locks_chip()).
  virtual std::uint32_t read(unsigned core, std::uint32_t offset) = 0;
  virtual void write(unsigned core, std::uint32_t offset, std::uint32_t value) = 0;

  /// Whether the IOMMU's registers are in the window: at 0xA000, of core 0 at 0x9000 too, where the
  /// others have SDMA [rk3588-base.dtsi].
  virtual bool has_iommu() const = 0;

  /// Core of the last job that this Device submitted, nullopt before the first. A job that failed
  /// took its registers with it: the core was reset.
  virtual std::optional<unsigned> last_core() const = 0;
};

/// Reads at 0x2000 to 0x2FFF of a core hang the whole machine until it is powered off
/// [notes hw-byte-counters, HW]; writes there survive.
constexpr bool locks_chip(std::uint32_t offset) { return offset >> 12 == 2; }

/// Throws invalid_argument as RegisterAccess::read() and write() do.
void check_register_offset(std::uint32_t offset, bool for_read);

/// The two register groups of a block (CNA, CORE, DPU, DPU_RDMA, PPU, PPU_RDMA) and who uses them.
struct BlockPointers {
  unsigned producer = 0;  ///< group that a plain read or write reaches
  unsigned executer = 0;  ///< group that runs, or that the next start will run
};

/// Whether the register at `offset` exists twice: those of a compute block from +8 on.
bool has_groups(std::uint32_t offset);

/// S_POINTER of the block that `offset` lies in. Throws invalid_argument if it has no groups.
BlockPointers block_pointers(RegisterAccess& registers, unsigned core, std::uint32_t offset);

/// The group that the block's last task used: with ping-pong both pointers toggle after a task, so
/// it is the other one of the executer; without, the executer itself.
unsigned last_group(RegisterAccess& registers, unsigned core, std::uint32_t offset);

/// The register at `offset` in one group. Turns the block's S_POINTER for the read and puts it
/// back; the core must be idle.
std::uint32_t read_group(RegisterAccess& registers, unsigned core, std::uint32_t offset,
                         unsigned group);

}  // namespace npu::device
