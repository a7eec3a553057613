// SPDX-License-Identifier: MIT
// What a chip tells about its work, for traces, timing reports and explanations.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "npu-sim/timing.hpp"

namespace npu::sim {

struct Fault;

/// The DMA engines of a core, named by what they move.
enum class Engine : std::uint8_t {
  program,     ///< PC: register programs
  feature,     ///< CNA: feature cube
  weight,      ///< CNA: kernels
  brdma,       ///< DPU_RDMA: operands of BS
  nrdma,       ///< DPU_RDMA: operands of BN
  erdma,       ///< DPU_RDMA: operands of EW
  mrdma,       ///< DPU_RDMA: main operand of a task without the MAC array
  dpu_write,   ///< DPU: write DMA
  pool_read,   ///< PPU_RDMA
  pool_write,  ///< PPU: write DMA
};
std::string_view to_string(Engine engine);
constexpr bool is_write(Engine e) { return e == Engine::dpu_write || e == Engine::pool_write; }

/// What one engine moves in a task: `planes` planes of `rows` rows of `bytes` bytes each.
struct Transfer {
  Engine engine;
  std::uint64_t iova = 0;
  std::uint64_t bytes = 0;
  std::uint64_t rows = 1, row_stride = 0;
  std::uint64_t planes = 1, plane_stride = 0;
  std::uint64_t total() const { return bytes * rows * planes; }
};

/// Behaviour of the silicon that a program runs into.
struct QuirkNote {
  std::string_view quirk;  ///< its row in docs/open-questions.md
  std::string where;       ///< BLOCK.REGISTER.field
  std::string effect;      ///< one sentence
  bool modelled = true;    ///< false: boards are said to do so, the model leaves the data right
};

/// One enable word: a task as its registers describe it.
struct TaskRecord {
  unsigned core = 0;
  std::uint32_t blocks = 0;  ///< enable mask
  std::string operation;     ///< "conv 3x3 s2 int8 14x14 32->64"
  TaskWork work;
  std::vector<Transfer> transfers;
  std::vector<QuirkNote> quirks;
};

/// Callbacks from a chip; each comes from the thread that drives the core. Calls for different
/// cores may come at the same time. Nothing is computed for them while no observer is set.
class Observer {
 public:
  virtual ~Observer() = default;
  /// False: nobody wants task(), and no records are made for it. The other calls come all the same.
  virtual bool listens() const { return true; }
  /// A job begins (an address space) or ends (nullptr) on the core.
  virtual void attached(unsigned /*core*/, bool /*present*/) {}
  /// OPERATION_ENABLE of the PC, before the first word is fetched.
  virtual void started(unsigned /*core*/) {}
  /// A register write by the host or by a program; offset with the block's base.
  virtual void register_written(unsigned /*core*/, std::uint32_t /*offset*/,
                                std::uint32_t /*value*/, bool /*by_program*/) {}
  /// A task whose registers make sense and whose memory is there is about to run.
  virtual void task(const TaskRecord& /*record*/) {}
  /// The level of INTERRUPT_RAW_STATUS after a start has ended.
  virtual void ended(unsigned /*core*/, std::uint32_t /*raw_status*/) {}
  virtual void faulted(unsigned /*core*/, const Fault& /*fault*/) {}
};

/// Passes everything on to another observer, if there is one: a base for those that only look at
/// some of it. Their overrides call these.
class ForwardingObserver : public Observer {
 public:
  explicit ForwardingObserver(std::shared_ptr<Observer> next) : next_(std::move(next)) {}
  bool listens() const override { return next_ && next_->listens(); }
  void attached(unsigned core, bool present) override {
    if (next_) next_->attached(core, present);
  }
  void started(unsigned core) override {
    if (next_) next_->started(core);
  }
  void register_written(unsigned core, std::uint32_t offset, std::uint32_t value,
                        bool by_program) override {
    if (next_) next_->register_written(core, offset, value, by_program);
  }
  /// Only to one that listens: the record may have been made for somebody else.
  void task(const TaskRecord& record) override {
    if (ForwardingObserver::listens()) next_->task(record);
  }
  void ended(unsigned core, std::uint32_t raw_status) override {
    if (next_) next_->ended(core, raw_status);
  }
  void faulted(unsigned core, const Fault& fault) override {
    if (next_) next_->faulted(core, fault);
  }

 private:
  std::shared_ptr<Observer> next_;
};

/// Calls `burst(iova, bytes)` for every run of consecutive bytes of a transfer, in order.
template <class Burst>
void for_each_burst(const Transfer& t, Burst burst) {
  const bool whole_plane = t.row_stride == t.bytes || t.rows == 1;
  for (std::uint64_t plane = 0; plane < t.planes; ++plane) {
    const std::uint64_t base = t.iova + plane * t.plane_stride;
    if (whole_plane) {
      burst(base, t.bytes * t.rows);
      continue;
    }
    for (std::uint64_t row = 0; row < t.rows; ++row) burst(base + row * t.row_stride, t.bytes);
  }
}

}  // namespace npu::sim
