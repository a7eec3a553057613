// SPDX-License-Identifier: MIT
#include "kernel/virtual-board/board.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "kernel/virtual-board/trace.hpp"

namespace npu::vboard {
namespace {

// Where machine "virt" has its RAM, and how many of the GIC's interrupts are not SPIs.
constexpr std::uint64_t kRamAddress = 0x40000000, kLeastRam = 1u << 20, kMostRam = 1ull << 40;
constexpr std::uint64_t kPrivateInterrupts = 32;
// Above whatever else lies there.
constexpr int kPriority = 10;

// A thread of the model while it may touch guest memory.
struct Reader {
  explicit Reader(const qemu::Symbols& symbols) : qemu(symbols) { qemu.rcu_register_thread(); }
  ~Reader() { qemu.rcu_unregister_thread(); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  const qemu::Symbols& qemu;
};

// Once for each thread, whichever way it goes first.
void be_a_reader(const qemu::Symbols& symbols) { const thread_local Reader reader(symbols); }

void* new_object() { return std::calloc(1, qemu::kObjectBytes); }

}  // namespace

bool Board::plug_in(std::string& error) {
  bottom_half_ = qemu_.bh_new([](void* board) { static_cast<Board*>(board)->settle(); }, this,
                              "rosenblatt-vboard", nullptr);
  guest_time_.emplace(
      qemu_, arguments_.hold_after_ns, [](void* board) { static_cast<Board*>(board)->settle(); },
      this);

  if (!find_lines(error) || !find_memory(error) || !create_model(error)) return false;

  static const qemu::MemoryRegionOps registers{
      .read = [](void* opaque, std::uint64_t offset, unsigned) -> std::uint64_t {
        const Core& core = *static_cast<Core*>(opaque);
        std::uint32_t value = 0;
        npusim_mmio_read(core.board->sim_, core.index, static_cast<std::uint32_t>(offset), &value);
        return value;
      },
      .write =
          [](void* opaque, std::uint64_t offset, std::uint64_t value, unsigned) {
            Core& core = *static_cast<Core*>(opaque);
            core.board->write(core, static_cast<std::uint32_t>(offset),
                              static_cast<std::uint32_t>(value));
          }};
  static const qemu::MemoryRegionOps resets{
      .read = [](void* opaque, std::uint64_t, unsigned) -> std::uint64_t {
        return static_cast<Board*>(opaque)->soc_.resets;
      },
      .write =
          [](void* opaque, std::uint64_t, std::uint64_t value, unsigned) {
            static_cast<Board*>(opaque)->change_resets(
                [value](Soc& soc) { soc.resets = static_cast<std::uint32_t>(value); });
          }};
  static const qemu::MemoryRegionOps cru{
      .read = [](void* opaque, std::uint64_t offset, unsigned) -> std::uint64_t {
        return static_cast<Board*>(opaque)->soc_.cru.at(offset / 4);
      },
      .write =
          [](void* opaque, std::uint64_t offset, std::uint64_t value, unsigned) {
            static_cast<Board*>(opaque)->change_resets([offset, value](Soc& soc) {
              write_cru(soc, static_cast<std::uint32_t>(offset), static_cast<std::uint32_t>(value));
            });
          }};
  static const qemu::MemoryRegionOps pmu{
      .read = [](void*, std::uint64_t offset, unsigned) -> std::uint64_t {
        return read_pmu(static_cast<std::uint32_t>(offset));
      },
      .write = [](void*, std::uint64_t, std::uint64_t, unsigned) {}};
  static const qemu::MemoryRegionOps control{
      .read = [](void* opaque, std::uint64_t offset, unsigned) -> std::uint64_t {
        return static_cast<Board*>(opaque)->read_control(static_cast<std::uint32_t>(offset));
      },
      .write =
          [](void* opaque, std::uint64_t offset, std::uint64_t value, unsigned) {
            static_cast<Board*>(opaque)->write_control(static_cast<std::uint32_t>(offset),
                                                       static_cast<std::uint32_t>(value));
          }};
  for (Core& core : cores_)
    add_window("rk3588-npu", NPUSIM_CORE_ADDRESS(core.index), NPUSIM_CORE_BYTES, registers, &core);
  add_window("rk3588-npu-resets", kResetAddress, kResetBytes, resets, this);
  add_window("rk3588-cru", kCruAddress, kCruBytes, cru, this);
  add_window("rk3588-pmu", kPmuAddress, kPmuBytes, pmu, this);
  add_window("rosenblatt-control", kControlAddress, kControlBytes, control, this);
  if (!windows_answer(error)) return false;
  qemu_.register_reset([](void* board) { static_cast<Board*>(board)->reset(); }, this);
  return true;
}

bool Board::find_lines(std::string& error) {
  void* gic = nullptr;
  for (const char* type : {"arm-gicv3-common", "arm_gic_common"})
    if (gic == nullptr) gic = qemu_.object_resolve_path_type("", type, nullptr);
  if (gic == nullptr) {
    error = "this machine has no GIC: use -M virt,gic-version=3";
    return false;
  }
  // A number beyond the last would end QEMU in an assertion.
  const std::uint64_t interrupts = qemu_.object_property_get_uint(gic, "num-irq", nullptr);
  if (interrupts < kPrivateInterrupts + NPUSIM_CORE_SPI(kCores)) {
    error = "the GIC of this machine has " + std::to_string(interrupts) +
            " interrupts, and the NPU's are SPI 110 to 112: use -M virt,gic-version=3";
    return false;
  }
  for (unsigned i = 0; i < kCores; ++i) {
    Core& core = cores_[i];
    core.board = this;
    core.index = i;
    core.irq = qemu_.qdev_get_gpio_in(gic, static_cast<int>(NPUSIM_CORE_SPI(i)));
    core.late = new_object();
    qemu_.timer_init(
        core.late, nullptr, qemu::kVirtual, 1, 0,
        [](void* opaque) {
          Core& late = *static_cast<Core*>(opaque);
          late.board->update_line(late);
        },
        &core);
  }
  return true;
}

bool Board::find_memory(std::string& error) {
  std::uint64_t bytes = kMostRam;
  void* at = qemu_.address_space_map(qemu_.address_space_memory, kRamAddress, &bytes, false, 0);
  if (at != nullptr) qemu_.address_space_unmap(qemu_.address_space_memory, at, bytes, false, 0);
  if (at == nullptr || bytes < kLeastRam) {
    error = "this machine has no RAM at 0x40000000: use -M virt,gic-version=3";
    return false;
  }
  memory_begin_ = kRamAddress;
  memory_end_ = kRamAddress + bytes;
  return true;
}

// A guest of more than 3 GiB has RAM at the NPU's addresses; its tree reserves it, from the first
// window to the end of the last [virtual-board.dtso].
bool Board::in_memory(std::uint64_t address, std::size_t bytes) const {
  const std::uint64_t windows_end = NPUSIM_CORE_ADDRESS(kCores);
  return address >= memory_begin_ && address < memory_end_ && bytes <= memory_end_ - address &&
         (address + bytes <= kCruAddress || address >= windows_end);
}

bool Board::create_model(std::string& error) {
  if (!arguments_.trace.empty()) {
    trace_ = std::fopen(arguments_.trace.c_str(), "w");
    if (trace_ == nullptr) {
      error = "cannot write " + arguments_.trace + ": " + std::strerror(errno);
      return false;
    }
  }
  npusim_options options{};
  options.size = sizeof options;
  options.cores = kCores;
  options.mode = NPUSIM_ASYNCHRONOUS;
  options.threads = arguments_.threads;
  options.opaque = this;
  options.dma_read = [](void* opaque, std::uint64_t address, void* data, std::size_t bytes) {
    const Board& board = *static_cast<Board*>(opaque);
    be_a_reader(board.qemu_);
    // Registers are no memory: reaching them would take the big lock.
    if (!board.in_memory(address, bytes)) return -1;
    return board.qemu_.address_space_rw(board.qemu_.address_space_memory, address, 0, data, bytes,
                                        false) == 0
               ? 0
               : -1;
  };
  options.dma_write = [](void* opaque, std::uint64_t address, const void* data, std::size_t bytes) {
    const Board& board = *static_cast<Board*>(opaque);
    be_a_reader(board.qemu_);
    if (!board.in_memory(address, bytes)) return -1;
    return board.qemu_.address_space_rw(board.qemu_.address_space_memory, address, 0,
                                        const_cast<void*>(data), bytes, true) == 0
               ? 0
               : -1;
  };
  options.irq = [](void* opaque, unsigned, int) {
    const Board& board = *static_cast<Board*>(opaque);
    board.qemu_.bh_schedule(board.bottom_half_);
  };
  if (trace_ != nullptr)
    options.trace = [](void* opaque, const npusim_trace_event* event) {
      const Board& board = *static_cast<Board*>(opaque);
      write_trace_line(board.trace_, board.qemu_.clock_get_ns(qemu::kVirtual), *event);
    };
  options.inject = arguments_.inject.empty() ? nullptr : arguments_.inject.c_str();
  options.npu_hz = arguments_.npu_hz;
  if (npusim_create(&options, &sim_) == NPUSIM_OK) return true;
  error = npusim_last_error();
  return false;
}

void Board::add_window(const char* name, std::uint64_t address, std::uint64_t bytes,
                       const qemu::MemoryRegionOps& ops, void* opaque) {
  void* region = new_object();
  qemu_.memory_region_init_io(region, nullptr, &ops, opaque, name, bytes);
  qemu_.memory_region_add_subregion_overlap(qemu_.get_system_memory(), address, region, kPriority);
}

// That MemoryRegionOps is laid out as assumed shows when a value comes and goes through it.
bool Board::windows_answer(std::string& error) {
  const auto access = [this](std::uint64_t address, std::uint32_t& value, bool write) {
    return qemu_.address_space_rw(qemu_.address_space_memory, address, 0, &value, sizeof value,
                                  write) == 0;
  };
  std::uint32_t expected = 0, version = ~0u, asserted = 0x3F, seen = 0, none = 0;
  npusim_mmio_read(sim_, 0, 0, &expected);
  const bool good = access(NPUSIM_CORE_ADDRESS(0), version, false) && version == expected &&
                    access(kResetAddress, asserted, true) && access(kResetAddress, seen, false) &&
                    seen == 0x3F && access(kResetAddress, none, true) && soc_.resets == 0;
  if (!good)
    error =
        "registers of the NPU do not answer as they should: this QEMU's MemoryRegionOps is not "
        "the one of 7.2 to 10.0";
  return good;
}

void Board::write(Core& core, std::uint32_t offset, std::uint32_t value) {
  // The last write to a resting core is what started it. A job may be over before anybody looks.
  if (npusim_wait(sim_, core.index, 0) == NPUSIM_OK && npusim_irq(sim_, core.index) == 0)
    core.started_ns = qemu_.clock_get_ns(qemu::kVirtual);
  npusim_mmio_write(sim_, core.index, offset, value);
  settle();
}

// The driver asserts both lines of a core and releases them [rocket_core.c]. Either one resets the
// core's registers [inferred]; what is written while a line is asserted is lost with its release.
template <class Change>
void Board::change_resets(Change change) {
  const Soc before = soc_;
  change(soc_);
  for (const Core& core : cores_)
    if (in_reset(before, core.index) != in_reset(soc_, core.index))
      npusim_reset_core(sim_, core.index);
  settle();
}

std::uint32_t Board::read_control(std::uint32_t offset) const {
  if (offset == kControlIdOffset) return kControlId;
  if (offset == kControlInject) return control_refused_;
  std::uint32_t word = 0;
  if (offset - kControlText < kControlTextBytes)
    std::memcpy(&word, control_text_.data() + (offset - kControlText), sizeof word);
  return word;
}

// Any value written to kControlInject injects the text up to its first 0 byte, and clears it. What
// is read there then: 0, or 1 if the text was refused, for which the reason goes to QEMU's stderr.
void Board::write_control(std::uint32_t offset, std::uint32_t value) {
  if (offset - kControlText < kControlTextBytes)
    std::memcpy(control_text_.data() + (offset - kControlText), &value, sizeof value);
  if (offset != kControlInject) return;
  const std::string faults = as_npusim_has_it(
      std::string(control_text_.data(), strnlen(control_text_.data(), kControlTextBytes)));
  control_text_ = {};
  control_refused_ = npusim_inject(sim_, faults.c_str()) == NPUSIM_OK ? 0 : 1;
  if (control_refused_ != 0)
    std::fprintf(stderr, "rosenblatt-vboard: control window: %s\n", npusim_last_error());
}

void Board::reset() {
  if (sim_ == nullptr) return;
  npusim_reset(sim_);
  soc_ = {};
  control_text_ = {};
  control_refused_ = 0;
  settle();
}

// Brings lines and clock up to date. Neither call into the model waits.
void Board::settle() {
  GuestTime::Busy working{};
  for (Core& core : cores_) {
    core.busy = npusim_wait(sim_, core.index, 0) != NPUSIM_OK;
    update_line(core);
    // A core that waits in a page fault waits for the guest. Its line may be down: the driver's
    // handler lets the access be tried again before it clears the interrupt [rockchip-iommu.c].
    npusim_fault fault{};
    fault.size = sizeof fault;
    working[core.index] = core.busy && npusim_last_fault(sim_, core.index, &fault) == 0;
  }
  guest_time_->update(working);
}

void Board::update_line(Core& core) {
  const int level = npusim_irq(sim_, core.index) == 1 ? 1 : 0;
  if (level == core.level) return;
  if (level == 1 && arguments_.npu_hz != 0 && !core.busy) {
    npusim_start_info start{};
    start.size = sizeof start;
    if (npusim_last_start(sim_, core.index, &start) == NPUSIM_OK) {
      const std::int64_t due = core.started_ns + static_cast<std::int64_t>(start.modelled_ns);
      if (qemu_.clock_get_ns(qemu::kVirtual) < due) {
        qemu_.timer_mod(core.late, due);
        return;
      }
    }
  }
  core.level = level;
  qemu_.set_irq(core.irq, level);
}

// Threads that still compute would read what exit() is about to destroy. A program without memory
// ends soon; if it does not, the process ends with it.
void Board::shut_down() {
  if (sim_ == nullptr) return;
  for (const Core& core : cores_) npusim_reset_core(sim_, core.index);
  for (const Core& core : cores_) npusim_wait(sim_, core.index, 2000);
  if (trace_ != nullptr) std::fflush(trace_);
}

}  // namespace npu::vboard
