// SPDX-License-Identifier: MIT
// The simulated NPU: three cores behind register windows.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "npu-sim/address_space.hpp"
#include "npu-sim/injection.hpp"
#include "npu-sim/observer.hpp"
#include "npu-sim/quirks.hpp"

namespace npu::sim {

/// Why a task did not do what its program asked for.
enum class FaultKind {
  dma_read,      ///< a read outside every mapped buffer (IOMMU page fault)
  dma_write,     ///< a write outside every mapped buffer
  hang,          ///< on the chip this task never ends; the driver's 500 ms timeout retires it
  not_modelled,  ///< the model does not implement what the register asks for
  bad_program,   ///< the program contradicts itself (sizes, strides, CBUF)
};

std::string_view to_string(FaultKind kind);

/// A fault names the register (and field) that caused it, as "CNA.FEATURE_DATA_ADDR".
struct Fault {
  FaultKind kind;
  std::string where;       ///< BLOCK.REGISTER or BLOCK.REGISTER.field
  std::string message;     ///< one sentence for people
  std::uint64_t iova = 0;  ///< first bad address, for dma_read and dma_write
  std::string quirk{};     ///< its row in docs/open-questions.md; empty: none
};

struct ChipOptions {
  unsigned cores = 3;    ///< 1 to 3
  unsigned threads = 0;  ///< host threads for the inner loops of all cores; 0: one per host CPU
  Quirks quirks;
  /// Int8 multiply-accumulates (or work as long) after which a start counts as one that never ends.
  /// The driver gives a job 500 ms; at 1 GHz and 1024 MAC/cycle that is 5e11 [rocket_job.c; TRM].
  std::uint64_t task_mac_budget = 500'000'000'000;
  std::shared_ptr<Observer>
      observer{};  ///< nullptr: nobody is told, and nothing is computed for it
  std::vector<Injection> injections{};
};

/// Register-level model of the RK3588 NPU. A core is driven as the kernel driver drives it: the
/// caller attaches an address space (the IOMMU domain), writes the PC registers and, with
/// OPERATION_ENABLE = 1, starts the program [rocket_job.c]. write() returns when the program has
/// ended; the caller runs each core on a thread of its own where that matters.
///
/// Thread safety: different cores may be used from different threads, one core from one thread.
class Chip {
 public:
  explicit Chip(ChipOptions options = {});
  ~Chip();
  Chip(const Chip&) = delete;
  Chip& operator=(const Chip&) = delete;

  unsigned cores() const;

  /// The IOMMU view of a core; nullptr detaches. Without one every DMA access faults.
  void attach(unsigned core, std::shared_ptr<const AddressSpace> space);

  /// 32-bit access to the register window of a core (offset 0 to 0xFFFF, block base included).
  std::uint32_t read(unsigned core, std::uint32_t offset);
  void write(unsigned core, std::uint32_t offset, std::uint32_t value);

  /// Level of the interrupt line: INTERRUPT_RAW_STATUS & INTERRUPT_MASK != 0.
  bool irq(unsigned core) const;

  /// Both reset lines asserted and released: registers to reset values, a hang ends.
  void reset(unsigned core);

  /// The fault of the last program of this core, if it had one; cleared by the next start.
  const std::optional<Fault>& fault(unsigned core) const;

  /// More faults on purpose, from any thread and at any time; N counts from each core's next start
  /// on. Throws npu::Error(invalid_argument) if a core has hundreds waiting; those before it have
  /// got theirs then.
  void inject(std::span<const Injection> more);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace npu::sim
