// SPDX-License-Identifier: MIT
// From programs to work done: buffers, addresses, jobs, waiting. Every operator runs through here.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "microkernels/program.hpp"
#include "npu-device/device.hpp"

namespace npu::kernels {

/// A buffer of an operator on one core. Slot i of its programs is slots[i].
struct Slot {
  enum class Role : std::uint8_t {
    input,    ///< written by the host before a run, or once (weights)
    output,   ///< written by the NPU and read by the host
    scratch,  ///< written and read by the NPU
    unused,   ///< no buffer; its address is 0
  };
  std::string name;
  std::uint64_t bytes = 0;
  Role role = Role::input;
};

/// What the executor has to know of a task besides its words.
struct TaskInfo {
  std::uint64_t macs = 0;   ///< multiply-accumulates, padding included
  std::uint64_t bytes = 0;  ///< that it moves, its program not counted
  std::uint32_t out_slot = 0;
  std::uint64_t last_atom = 0;  ///< offset of the 16 bytes that it writes last in out_slot
  /// The PPU ends it, whose interrupt stock drivers do not wait for: the job is retired after
  /// 500 ms with its output right [notes pool-completion, HW]. It gets a job of its own, and such a
  /// timeout is no error as long as the output is there.
  bool ends_in_ppu = false;
  bool checked = true;  ///< false: no mark there, the host does not look
};

/// The tasks of one core between two looks of the host.
struct Stage {
  Program program;
  std::vector<TaskInfo> tasks;  ///< as many as the program has
  bool chained = false;         ///< each job's tasks in one start (device::DeviceInfo::chains)
};

/// What one run took. Times are those of the host's clock; on the simulator `wait` is the time to
/// simulate, not a model of the chip.
struct RunStats {
  std::uint32_t jobs = 0, tasks = 0, submits = 0;
  std::uint64_t regcmd_words = 0;
  std::chrono::nanoseconds submit{}, wait{};
  /// From the first submit to the last wait by Device::now(): measured on a chip (with what `read`
  /// does for other cores meanwhile), modelled on the simulator.
  std::chrono::nanoseconds device{};

  /// What two runs took, one after the other.
  RunStats& operator+=(const RunStats& other);
};

/// Consecutive tasks become one job up to this much work. A job is retired after 500 ms
/// [rocket_job.c]; at the 200 MHz that mainline boots with, a core was measured at 28 G products
/// per second (fp16, measurements-public.csv): these limits leave a factor of six.
inline constexpr std::uint64_t kMaxJobMacs = std::uint64_t{1} << 31;
inline constexpr std::uint64_t kMaxJobBytes = std::uint64_t{64} << 20;

/// Where the executor cuts the tasks of a stage into jobs. Told of one task after the other.
class JobCutter {
 public:
  /// Whether this task is the first of a job.
  bool cuts(const TaskInfo& task) {
    const bool cut = first_ || pool_ || task.ends_in_ppu || macs_ + task.macs > kMaxJobMacs ||
                     bytes_ + task.bytes > kMaxJobBytes || count_ == device::kMaxChainedTasks;
    if (cut) macs_ = bytes_ = 0;
    first_ = false;
    count_ = cut ? 1 : count_ + 1;
    pool_ = task.ends_in_ppu;
    macs_ += task.macs;
    bytes_ += task.bytes;
    return cut;
  }

 private:
  bool first_ = true, pool_ = false;  ///< the task before ends in the PPU
  std::size_t count_ = 0;
  std::uint64_t macs_ = 0, bytes_ = 0;
};

/// Buffers that operators take turns with, found by device, name and size. Operators that share one
/// must not run at the same time. Outlived by nothing: operators keep what they use.
class BufferPool {
 public:
  /// Creates the buffer if there is none. Throws what Device::create_buffer() throws.
  std::shared_ptr<device::Buffer> get(device::Device& device, const Slot& slot);

 private:
  std::map<std::tuple<device::Device*, std::string, std::uint64_t>, std::shared_ptr<device::Buffer>>
      buffers_;
};

/// Whence an executor takes a slot's buffer; null: it creates one of its own.
using BufferSource =
    std::function<std::shared_ptr<device::Buffer>(std::size_t core, std::uint32_t slot)>;

/// An operator's buffers and programs on its devices: one file per core, because the kernel keeps a
/// file's queued work on one core. The devices must outlive it.
class Executor {
 public:
  /// Creates the buffers: slots[core] on devices[core]; there may be more devices than cores in
  /// `slots`. Throws invalid_argument without enough devices, what Device::create_buffer() throws.
  Executor(std::span<device::Device* const> devices, std::vector<std::vector<Slot>> slots,
           const BufferSource& source = {});

  std::size_t cores() const { return cores_.size(); }
  /// Stages that all cores have.
  std::size_t stages() const { return stages_; }

  /// Binds and uploads the programs: stages[core][stage], equally many stages for every core (a
  /// stage may be empty). Replaces what was there. Throws as bind().
  void set_programs(const std::vector<std::vector<Stage>>& stages);

  /// The buffer of a slot, for another executor on the same devices; null for an unused slot.
  std::shared_ptr<device::Buffer> buffer(std::size_t core, std::uint32_t slot) const {
    return cores_.at(core).buffers.at(slot);
  }

  /// A slot's host memory. Call written() after writing it.
  std::span<std::byte> host(std::size_t core, std::uint32_t slot) const;
  template <class T>
  std::span<T> as(std::size_t core, std::uint32_t slot) const {
    const std::span<std::byte> bytes = host(core, slot);
    return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
  void written(std::size_t core, std::uint32_t slot);

  /// Runs one stage on all cores and waits; outputs are then readable. `read(core)` is called for
  /// each core once its outputs are, from several threads at a time, while others may still be at
  /// work; its time is not counted.
  /// The kernel reports success
  /// for a job that its timeout retired, so every task's last atom is overwritten with a mark
  /// before the run and checked after it; a result may equal a mark by chance, therefore a task
  /// that seems to have written nothing is run once more with another mark: programs must give the
  /// same result twice. On a device that only takes the time nothing is checked. Throws
  /// device_fault if tasks left their output untouched, and what Device throws.
  void run(std::size_t stage, RunStats& stats,
           const std::function<void(std::size_t core)>& read = {});

  /// The two halves of run(). Stages may be queued one behind the other if their checked tasks
  /// write different slots.
  void submit(std::size_t stage, RunStats& stats);
  void wait(std::size_t stage, RunStats& stats,
            const std::function<void(std::size_t core)>& read = {});

 private:
  struct StageJobs {
    std::vector<device::Job> jobs;
    std::vector<TaskInfo> tasks;
    std::vector<std::uint32_t> looked_at;  // slots that carry marks
    std::uint64_t words = 0, macs = 0;
    std::uint32_t pools = 0;  ///< tasks that end in the PPU
  };
  struct Core {
    device::Device* device = nullptr;
    std::vector<Slot> slots;
    std::vector<std::shared_ptr<device::Buffer>> buffers;  // null: unused
    device::Buffer regcmd;
    std::vector<StageJobs> stages;
  };

  std::span<std::byte> atom(const Core& core, const TaskInfo& task) const;
  void start(Core& core, std::size_t stage, std::byte mark, RunStats& stats);
  /// For a buffer; the timeout grows by what `pools` retired jobs take.
  static void wait(Core& core, std::uint32_t pools, const device::Buffer& buffer,
                   std::chrono::milliseconds timeout);
  /// Waits; returns how many of the stage's tasks still show the mark. `done`, empty at first:
  /// those that no longer did at an earlier look.
  std::size_t finish(Core& core, std::size_t stage, std::byte mark,
                     std::chrono::milliseconds timeout, std::vector<bool>& done, RunStats& stats);

  std::vector<Core> cores_;
  std::size_t stages_ = 0;
  // Device time is counted from the first submit on, without what was counted before.
  std::size_t queued_ = 0;
  std::chrono::nanoseconds counted_{};
};

}  // namespace npu::kernels
