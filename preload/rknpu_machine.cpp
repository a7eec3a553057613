// SPDX-License-Identifier: MIT
#include "preload/rknpu_machine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "npu-sim/calibration.hpp"
#include "npu-sim/observer.hpp"
#include "npu-sim/timing.hpp"
#include "preload/settings.hpp"
#include "regdb/error.hpp"
#include "regdb/registers.hpp"

namespace npu::preload {
namespace {

namespace pc = regdb::pc;

constexpr std::uint32_t kMaxTasksPerStart = 4095;  // TASK_NUMBER has 12 bits
constexpr std::uint32_t kClearAll = 0x1FFFF;
// Of the vendor's operating points the one that boards run at [rkopnu dt overlay].
constexpr double kNpuHz = 1e9;

// One interrupt bit of a pair stands for both groups [rknpu_job.c].
constexpr std::uint32_t both_groups(std::uint32_t status) {
  std::uint32_t all = 0;
  for (std::uint32_t pair = 0x3; pair <= 0xC00; pair <<= 2)
    if ((status & pair) != 0) all |= pair;
  return all;
}

bool known_mask(std::uint32_t mask) {
  return mask == 1 || mask == 2 || mask == 4 || mask == 3 || mask == 7;
}

}  // namespace

// hw_elapse_time comes from the timing model: the host's clock says nothing about the chip.
class RknpuMachine::Clock final : public sim::ForwardingObserver {
 public:
  using ForwardingObserver::ForwardingObserver;
  bool listens() const override { return true; }
  void started(unsigned core) override {
    works_[core].clear();
    ForwardingObserver::started(core);
  }
  void task(const sim::TaskRecord& record) override {
    works_[record.core].push_back(record.work);
    ForwardingObserver::task(record);
  }
  double seconds(unsigned core, unsigned cores) const {
    const auto& calibration = sim::default_calibration().values;
    double sum = 0;
    for (const auto& task : sim::estimate_chain(works_[core], calibration, {kNpuHz, cores}))
      sum += task.seconds;
    return sum;
  }

 private:
  std::vector<sim::TaskWork> works_[3];  // each by its core's thread
};

struct RknpuMachine::Job {
  rknpu_submit args{};
  std::shared_ptr<RknpuObject> tasks;
  std::uint32_t mask = 0;
  unsigned used = 0;     // cores
  unsigned to_take = 0;  // cores that have not taken it: it starts on all of them together
  unsigned to_end = 0;
  bool done = false, hung = false, dropped = false;
  Steady::time_point committed{};
  std::uint32_t int_status[3] = {};
  std::uint32_t task_counter = 0;  // TASK_STATUS of the first core, if it hangs
  double seconds = 0;
};

rknpu_subcore_task rknpu_share(const rknpu_submit& args, unsigned core, unsigned used) {
  return args.subcore_task[used == 3 ? core + 2 : core];
}

RknpuMachine::RknpuMachine(const sim::ChipOptions& options, std::chrono::milliseconds longest,
                           RknpuObjects& objects)
    : objects_(objects),
      clock_(std::make_shared<Clock>(options.observer)),
      chip_([&] {
        sim::ChipOptions o = options;
        o.observer = clock_;
        return o;
      }()),
      longest_(longest) {
  const unsigned count = chip_.cores();
  queues_.resize(count);
  current_.resize(count);
  busy_.resize(count);
  loads_.resize(count);
  try {
    for (unsigned core = 0; core < count; ++core)
      threads_.emplace_back([this, core] { work(core); });
  } catch (const std::system_error& error) {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    throw Error(ErrorCode::out_of_memory,
                fmt::format("Cannot start a thread for each simulated core ({}); raise ulimit -u.",
                            error.what()));
  }
}

RknpuMachine::~RknpuMachine() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

// Where the driver would follow a bad pointer, or read tasks beyond their buffer, a board's kernel
// reports an Oops; here that is EFAULT, and the log says what it was.
int RknpuMachine::check(const rknpu_submit& args, const std::shared_ptr<RknpuObject>& tasks) const {
  const auto oops = [](const std::string& why) {
    log("SUBMIT: " + why + "; the kernel of a board would follow a bad pointer here (Oops)");
    return -EFAULT;
  };
  if (!tasks) return oops(fmt::format("task_obj_addr {:#x} names no buffer", args.task_obj_addr));
  if ((tasks->flags & RKNPU_MEM_KERNEL_MAPPING) == 0)
    return oops("the tasks' buffer was made without RKNPU_MEM_KERNEL_MAPPING");
  const unsigned used = static_cast<unsigned>(std::popcount(args.core_mask));
  for (unsigned core = 0; core < cores(); ++core) {
    if ((args.core_mask & 1u << core) == 0) continue;
    const rknpu_subcore_task share = rknpu_share(args, core, used);
    const std::uint64_t end = std::uint64_t{share.task_start} + share.task_number;
    if (end * sizeof(rknpu_task) > tasks->bytes)
      return oops(fmt::format("tasks {} to {} lie beyond their buffer of {} bytes",
                              share.task_start, end - 1, tasks->bytes));
  }
  return 0;
}

int RknpuMachine::submit(rknpu_submit& args) {
  const bool blocks = (args.flags & RKNPU_JOB_NONBLOCK) == 0;
  if (args.task_number == 0) {
    log("SUBMIT: invalid rknpu task number!");
    return -EINVAL;
  }
  if (args.core_mask > (1u << cores()) - 1) {
    log(fmt::format("SUBMIT: invalid rknpu core mask: {:#x}", args.core_mask));
    return -EINVAL;
  }
  auto job = std::make_shared<Job>();
  job->args = args;
  std::unique_lock lock(mutex_);
  if (!blocks) clean_timed_out(args.core_mask, lock);
  if (args.core_mask == 0) {
    const auto least = std::min_element(loads_.begin(), loads_.end());
    job->args.core_mask = 1u << (least - loads_.begin());
    if (blocks) args.core_mask = job->args.core_mask;  // the driver writes into the caller's copy
  }
  job->mask = job->args.core_mask;
  job->used = static_cast<unsigned>(std::popcount(job->mask));
  job->to_take = job->to_end = job->used;

  if (!known_mask(job->mask)) {
    // The job is queued, and nobody starts it.
    log(fmt::format("SUBMIT: Unknown core mask: {}", job->mask));
    if (!blocks) return 0;
    changed_.wait_for(lock, std::min(longest_, std::chrono::milliseconds(args.timeout)),
                      [] { return false; });
    return (args.flags & RKNPU_JOB_PC) != 0 ? -EINVAL : 0;
  }
  // A job that the driver refuses when it starts it.
  if ((args.flags & RKNPU_JOB_PC) == 0 || args.task_obj_addr == 0) return -EINVAL;
  job->tasks = objects_.find(args.task_obj_addr);
  if (const int error = check(job->args, job->tasks)) return error;

  enqueue(job);
  if (blocks) return wait(*job, args, lock);
  changed_.wait(lock, [&] { return job->done || job->hung || job->dropped || stuck(*job); });
  return 0;
}

void RknpuMachine::enqueue(const std::shared_ptr<Job>& job) {
  for (unsigned core = 0; core < cores(); ++core) {
    if ((job->mask & 1u << core) == 0) continue;
    queues_[core].push_back(job);
    loads_[core] += rknpu_share(job->args, core, job->used).task_number;
  }
  changed_.notify_all();
}

// Whether a job that hangs keeps it from starting.
bool RknpuMachine::stuck(const Job& job) const {
  for (unsigned core = 0; core < cores(); ++core)
    if ((job.mask & 1u << core) != 0 && current_[core] && current_[core].get() != &job &&
        current_[core]->hung)
      return true;
  return false;
}

// rknpu_job_wait() and rknpu_job_abort().
int RknpuMachine::wait(Job& job, rknpu_submit& args, std::unique_lock<std::mutex>& lock) {
  const auto timeout = std::min(longest_, std::chrono::milliseconds(args.timeout));
  const std::uint64_t resets = resets_;
  changed_.wait(lock, [&] { return job.done || job.hung || job.dropped || stuck(job); });
  int result = 0;
  if (!job.done && !job.hung) {
    // Not committed: the driver waits three times as long, then takes it from the queue.
    changed_.wait_for(lock, timeout * 3, [&] { return job.done || job.hung; });
    if (!job.done && !job.hung) {
      log("SUBMIT: job commit failed: a job before it hangs");
      result = -EINVAL;
    }
  }
  if (result == 0 && !job.done) {
    changed_.wait_until(lock, job.committed + timeout, [&] { return resets_ != resets; });
    if (resets_ != resets) {
      result = -EINVAL;  // another thread's reset woke it, and it is not done
    } else {
      args.task_counter = job.task_counter;
      log(fmt::format("SUBMIT: failed to wait job, task counter: {}, flags: {:#x}",
                      job.task_counter, args.flags));
      result = -ETIMEDOUT;
    }
  }
  if (result == 0) {
    args.task_counter = args.task_number;
    args.hw_elapse_time = static_cast<std::int64_t>(job.seconds * 1e9);
  }
  if (job.done || job.hung) {
    // The last task of the core that the driver waits on, and that core's interrupts.
    const unsigned first = static_cast<unsigned>(std::countr_zero(job.mask));
    const unsigned last = static_cast<unsigned>(std::bit_width(job.mask)) - 1;
    const rknpu_subcore_task share = rknpu_share(job.args, last, job.used);
    const std::uint64_t end = std::uint64_t{share.task_start} + share.task_number;
    if (end != 0)
      std::memcpy(job.tasks->pages.get() + (end - 1) * sizeof(rknpu_task) +
                      offsetof(rknpu_task, int_status),
                  &job.int_status[first], sizeof(std::uint32_t));
  }
  if (result != 0) {
    abandon(job);
    if (result == -ETIMEDOUT) reset_cores(lock);
  }
  return result;
}

// Takes a job from queues and cores, whoever has it.
void RknpuMachine::abandon(Job& job) {
  job.dropped = true;
  for (unsigned core = 0; core < cores(); ++core) {
    const auto mine = [&](const auto& other) { return other.get() == &job; };
    const std::size_t gone = std::erase_if(queues_[core], mine);
    const bool held = current_[core] && mine(current_[core]);
    if (gone != 0 || held) loads_[core] -= rknpu_share(job.args, core, job.used).task_number;
    if (held) current_[core].reset();
  }
  changed_.notify_all();
}

// A new job that does not block first throws out what is late on its cores. The driver compares
// microseconds with milliseconds there, so that anything that hangs is late.
void RknpuMachine::clean_timed_out(std::uint32_t mask, std::unique_lock<std::mutex>& lock) {
  for (unsigned core = 0; core < cores(); ++core) {
    if ((mask & 1u << core) == 0 || !current_[core] || !current_[core]->hung) continue;
    log(fmt::format("SUBMIT: the job that hangs on core {} is thrown out, with those behind it",
                    core));
    abandon(*current_[core]);
    while (!queues_[core].empty()) abandon(*queues_[core].front());
    reset_cores(lock);
  }
}

void RknpuMachine::reset() {
  std::unique_lock lock(mutex_);
  reset_cores(lock);
}

// A job that the host still computes has ended long ago on a chip: let it, then reset.
void RknpuMachine::reset_cores(std::unique_lock<std::mutex>& lock) {
  ++resets_;
  changed_.notify_all();
  for (unsigned core = 0; core < cores(); ++core) {
    changed_.wait(lock, [&] { return !busy_[core]; });
    chip_.reset(core);
  }
}

void RknpuMachine::work(unsigned core) {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || (!current_[core] && !queues_[core].empty()); });
    if (stopping_) return;
    const std::shared_ptr<Job> job = queues_[core].front();
    queues_[core].pop_front();
    current_[core] = job;
    if (--job->to_take == 0) {
      job->committed = Steady::now();
      changed_.notify_all();
    }
    changed_.wait(lock, [&] { return stopping_ || job->to_take == 0 || job->dropped; });
    if (stopping_) return;
    if (job->dropped) continue;
    busy_[core] = true;
    lock.unlock();
    const bool ended = run(*job, core);
    lock.lock();
    busy_[core] = false;
    if (ended) {
      loads_[core] -= rknpu_share(job->args, core, job->used).task_number;
      if (current_[core] == job) current_[core].reset();
      job->seconds = std::max(job->seconds, clock_->seconds(core, job->used));
      if (--job->to_end == 0) job->done = true;
    } else {
      job->hung = true;  // and stays the core's job until somebody gives up
    }
    changed_.notify_all();
  }
}

// The register writes of the driver, in its order [control-and-uapi.md B.5, second part]. False:
// the interrupt that the last task asks for did not come.
bool RknpuMachine::run(Job& job, unsigned core) {
  const rknpu_subcore_task share = rknpu_share(job.args, core, job.used);
  const bool ping_pong = (job.args.flags & RKNPU_JOB_PINGPONG) != 0;
  const auto task_at = [&](std::uint64_t index) {
    rknpu_task task;
    std::memcpy(&task, job.tasks->pages.get() + index * sizeof task, sizeof task);
    return task;
  };
  if (share.task_number == 0) {
    // Nothing would ever count to the end of it [gregordinary/rknpu-submit].
    log(fmt::format("SUBMIT: subcore_task gives core {} no tasks; it never ends", core));
    return false;
  }
  bool ended = true;
  try {
    chip_.attach(core, objects_.domain(static_cast<int>(job.args.iommu_domain_id)));
    for (std::uint32_t done = 0; ended && done < share.task_number; done += kMaxTasksPerStart) {
      const std::uint32_t number = std::min(kMaxTasksPerStart, share.task_number - done);
      const std::uint64_t start = std::uint64_t{share.task_start} + done;
      const rknpu_task first = task_at(start), last = task_at(start + number - 1);
      const std::uint32_t pointer = 0xEu + 0x10000000u * core;
      const std::uint32_t last_mask = last.int_mask;
      chip_.write(core, pc::BASE_ADDRESS::offset, 1);
      chip_.write(core, regdb::cna::S_POINTER::offset, pointer);
      chip_.write(core, regdb::core::S_POINTER::offset, pointer);
      chip_.write(core, pc::BASE_ADDRESS::offset, static_cast<std::uint32_t>(first.regcmd_addr));
      chip_.write(core, pc::REGISTER_AMOUNTS::offset,
                  (first.regcfg_amount + RKNPU_PC_DATA_EXTRA_AMOUNT + 1) / 2 - 1);
      chip_.write(core, pc::INTERRUPT_MASK::offset, last_mask);
      chip_.write(core, pc::INTERRUPT_CLEAR::offset, first.int_mask);
      chip_.write(core, pc::TASK_CON::offset, (ping_pong ? 0x7000u : 0x6000u) | number);
      chip_.write(core, pc::TASK_DMA_BASE_ADDR::offset,
                  static_cast<std::uint32_t>(job.args.task_base_addr));
      chip_.write(core, pc::OPERATION_ENABLE::offset, 1);
      chip_.write(core, pc::OPERATION_ENABLE::offset, 0);

      const std::uint32_t status =
          chip_.irq(core) ? chip_.read(core, pc::INTERRUPT_STATUS::offset) : 0;
      const std::uint32_t raw = chip_.read(core, pc::INTERRUPT_RAW_STATUS::offset);
      if (status != 0) job.int_status[core] = status;
      ended = status != 0 && both_groups(status) == last_mask && !chip_.fault(core);
      if (!ended) {
        job.task_counter = chip_.read(core, pc::TASK_STATUS::offset) & 0xFFF;
        log(
            fmt::format("core {} irq status: {:#x}, raw status: {:#x}, require mask: {:#x}, task "
                        "counter: {:#x}",
                        core, status, raw, last_mask, job.task_counter));
        if (const auto& fault = chip_.fault(core))
          log(fmt::format("core {}: {} at {}: {}", core, sim::to_string(fault->kind), fault->where,
                          fault->message));
      }
      if (status != 0) chip_.write(core, pc::INTERRUPT_CLEAR::offset, kClearAll);
    }
  } catch (const std::exception& error) {
    log(fmt::format("core {}: model error: {}", core, error.what()));
    ended = false;
  }
  chip_.attach(core, nullptr);
  return ended;
}

}  // namespace npu::preload
