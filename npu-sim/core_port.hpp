// SPDX-License-Identifier: MIT
// One core of a Chip as a bus sees it: registers that answer while a program runs, an interrupt
// line, an IOMMU in front of memory.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "npu-sim/chip.hpp"
#include "npu-sim/dma_space.hpp"
#include "npu-sim/iommu.hpp"

namespace npu::sim {

/// Who runs the program that a write of OPERATION_ENABLE starts.
enum class StartMode {
  in_write,   ///< the write itself: it returns when the program has ended
  by_caller,  ///< run(), which the caller calls from where it likes
  threaded,   ///< a thread of the port; the write returns at once, as on the chip
};

struct CorePortOptions {
  unsigned core = 0;
  StartMode mode = StartMode::in_write;
  /// With it the core works through an Iommu, whose register windows lie where the RK3588 has them
  /// (0x9000 and 0xA000 of core 0, 0xA000 of the others [rk3588-base.dtsi]). Without, the caller
  /// attaches an address space to the chip.
  std::optional<PhysicalMemory> memory;
  IommuQuirks iommu_quirks{};
  /// Told each level of the interrupt line that differs from the one before: core and IOMMU share
  /// it. Called from the thread that changed it, never with a lock held, one call at a time.
  std::function<void(bool level)> irq;
};

/// Thread safety: every member but the destructor may be called from any thread, and from `irq`.
///
/// While a program runs, reads show the registers as it found them (INTERRUPT_* excepted), writes
/// take effect when it has ended, and a second start is ignored.
class CorePort {
 public:
  /// `chip` must outlive the port, and its core must be driven by the port alone.
  CorePort(Chip& chip, CorePortOptions options);
  /// Waits until a running program has ended.
  ~CorePort();
  CorePort(const CorePort&) = delete;
  CorePort& operator=(const CorePort&) = delete;

  std::uint32_t read(std::uint32_t offset);
  void write(std::uint32_t offset, std::uint32_t value);
  bool irq() const;
  /// Whether a register belongs to the IOMMU, and the chip does not hear of it.
  bool is_iommu(std::uint32_t offset) const { return iommu_window(offset).has_value(); }

  /// by_caller: runs the program that was started. False if there is none.
  bool run();
  /// True when no program runs or waits to be run.
  bool wait_idle(std::chrono::milliseconds limit);

  /// Both reset lines of the core, which leave its IOMMU alone. Returns at once: a program that
  /// runs loses its memory, and the registers are those of a reset core.
  void reset();
  /// The same, and the IOMMU too.
  void power_on_reset();

  std::optional<Fault> fault() const;

 private:
  enum class Phase {
    idle,
    started,  // somebody has yet to run it
    running,
    draining,  // was reset while it ran
  };
  using Write = std::pair<std::uint32_t, std::uint32_t>;

  std::optional<unsigned> iommu_window(std::uint32_t offset) const;
  bool level() const;
  void start(Write write);
  void execute();
  void run_once(Write start);
  bool finish(std::uint32_t raised, std::optional<Fault> fault);
  void apply(Write write);
  void save_registers();
  void update_irq();
  void page_fault_latched(const DmaSpace::Failure& failure);
  std::optional<Fault> settle_memory(std::optional<Fault> fault, std::uint32_t& raised);
  void work();

  Chip& chip_;
  CorePortOptions options_;
  std::unique_ptr<Iommu> iommu_;
  std::shared_ptr<DmaSpace> space_;
  std::uint32_t idle_raw_ = 0, reset_mask_ = 0;
  std::vector<std::uint32_t> reset_registers_;

  mutable std::mutex mutex_;  // guards what follows; the chip's core too unless a program runs
  std::condition_variable changed_;
  Phase phase_ = Phase::idle;
  Write start_{};
  std::vector<Write> held_;               // writes that wait for the end of a program
  std::vector<std::uint32_t> registers_;  // what reads show meanwhile
  std::uint32_t raw_ = 0, mask_ = 0;
  bool hung_ = false;  // in memory; the chip knows of other hangs itself
  std::optional<Fault> fault_;
  bool told_level_ = false, telling_ = false;
  bool stop_ = false;
  std::thread worker_;
};

}  // namespace npu::sim
