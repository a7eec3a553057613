// SPDX-License-Identifier: MIT
#include "microkernels/executor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>
#include <utility>

#include "microkernels/host_threads.hpp"
#include "microkernels/layout.hpp"
#include "microkernels/timer.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using device::Job;

// A driver's timeout and what it takes to notice it [rocket_job.c; notes pool-completion, HW].
constexpr std::chrono::milliseconds kRetiredAfter(1000);

// For outputs that nothing overwrote. A result may equal one of them by chance, but not both.
constexpr std::byte kMarks[2] = {std::byte{0x5A}, std::byte{0xA5}};

// Tasks in order, as few jobs as end in time.
std::vector<Job> group(BoundProgram& program, const Stage& stage, std::uint32_t base,
                       const Job& buffers) {
  std::vector<Job> jobs;
  JobCutter cutter;
  std::size_t first = 0;
  const auto end_job = [&](std::size_t end) {
    if (!stage.chained || end - first < 2) return;
    link_tasks(program, first, end - first, base);
    jobs.back().chained = true;
  };
  for (std::size_t i = 0; i < program.tasks.size(); ++i) {
    if (cutter.cuts(stage.tasks[i])) {
      end_job(i);
      first = i;
      jobs.push_back(buffers);
    }
    const BoundProgram::Task& task = program.tasks[i];
    jobs.back().tasks.push_back({static_cast<std::uint32_t>(base + task.offset), task.count});
  }
  end_job(program.tasks.size());
  return jobs;
}

// The cores work side by side: counts add up, of times the longest one counts.
void add_up(const std::vector<RunStats>& cores, RunStats& all) {
  RunStats longest;
  for (const RunStats& core : cores) {
    all.jobs += core.jobs;
    all.tasks += core.tasks;
    all.submits += core.submits;
    all.regcmd_words += core.regcmd_words;
    longest.submit = std::max(longest.submit, core.submit);
    longest.wait = std::max(longest.wait, core.wait);
  }
  all.submit += longest.submit;
  all.wait += longest.wait;
}

}  // namespace

RunStats& RunStats::operator+=(const RunStats& other) {
  jobs += other.jobs;
  tasks += other.tasks;
  submits += other.submits;
  regcmd_words += other.regcmd_words;
  submit += other.submit;
  wait += other.wait;
  device += other.device;
  return *this;
}

std::shared_ptr<device::Buffer> BufferPool::get(device::Device& device, const Slot& slot) {
  std::shared_ptr<device::Buffer>& buffer = buffers_[{&device, slot.name, slot.bytes}];
  if (!buffer) buffer = std::make_shared<device::Buffer>(device.create_buffer(slot.bytes));
  return buffer;
}

Executor::Executor(std::span<device::Device* const> devices, std::vector<std::vector<Slot>> slots,
                   const BufferSource& source) {
  if (slots.empty() || devices.size() < slots.size() ||
      std::count(devices.begin(), devices.end(), nullptr) != 0)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("an operator on {} core(s) needs as many open devices, one per core; "
                            "{} given",
                            slots.size(), devices.size()));
  for (std::size_t i = 0; i < slots.size(); ++i) {
    Core& core = cores_.emplace_back();
    core.device = devices[i];
    core.slots = std::move(slots[i]);
    for (std::uint32_t s = 0; s < core.slots.size(); ++s) {
      const Slot& slot = core.slots[s];
      std::shared_ptr<device::Buffer>& buffer = core.buffers.emplace_back();
      if (slot.role == Slot::Role::unused) continue;
      if (source) buffer = source(i, s);
      if (!buffer)
        buffer = std::make_shared<device::Buffer>(core.device->create_buffer(slot.bytes));
      if (buffer->size() < slot.bytes)
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("slot {} needs {} bytes, the buffer for it has {}", slot.name,
                                slot.bytes, buffer->size()));
    }
  }
}

std::span<std::byte> Executor::host(std::size_t core, std::uint32_t slot) const {
  return cores_.at(core).buffers.at(slot)->host();
}

void Executor::written(std::size_t core, std::uint32_t slot) {
  cores_.at(core).device->fini(*cores_.at(core).buffers.at(slot));
}

std::span<std::byte> Executor::atom(const Core& core, const TaskInfo& task) const {
  return core.buffers.at(task.out_slot)->host().subspan(task.last_atom, kAtomBytes);
}

void Executor::set_programs(const std::vector<std::vector<Stage>>& stages) {
  if (stages.size() != cores_.size())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("programs for {} cores, but there are buffers for {}", stages.size(),
                            cores_.size()));
  stages_ = stages[0].size();
  for (std::size_t i = 0; i < cores_.size(); ++i) {
    Core& core = cores_[i];
    if (stages[i].size() != stages_)
      throw Error(ErrorCode::invalid_argument, "the cores have different numbers of stages");
    Job handles;
    std::vector<std::uint32_t> iova;
    for (std::size_t s = 0; s < core.slots.size(); ++s) {
      const std::shared_ptr<device::Buffer>& buffer = core.buffers[s];
      iova.push_back(buffer ? buffer->iova() : 0);
      if (!buffer) continue;
      if (core.slots[s].role == Slot::Role::input) handles.in_handles.push_back(buffer->handle());
      // What the host wrote there (zeros, by the kernel) must not come over results later.
      if (core.slots[s].role == Slot::Role::scratch) core.device->fini(*buffer);
    }
    std::vector<BoundProgram> programs;
    std::size_t words = 0;
    for (const Stage& stage : stages[i]) {
      if (stage.tasks.size() != stage.program.tasks.size())
        throw Error(ErrorCode::invalid_argument, "a program and what is said of its tasks differ");
      for (const TaskInfo& task : stage.tasks)
        if (task.out_slot >= core.buffers.size() || !core.buffers[task.out_slot] ||
            core.buffers[task.out_slot]->size() < kAtomBytes ||
            task.last_atom > core.buffers[task.out_slot]->size() - kAtomBytes)
          throw Error(ErrorCode::invalid_argument, "a task's last atom is in no buffer");
      programs.push_back(kernels::bind(stage.program, iova));
      words += programs.back().words.size();
    }
    const std::size_t bytes = std::max<std::size_t>(words, 1) * sizeof(std::uint64_t);
    if (!core.regcmd || core.regcmd.size() < bytes) core.regcmd = core.device->create_buffer(bytes);
    handles.in_handles.push_back(core.regcmd.handle());

    core.stages.clear();
    std::size_t offset = 0;
    for (std::size_t s = 0; s < programs.size(); ++s) {
      BoundProgram& program = programs[s];
      const std::size_t size = program.words.size() * sizeof(std::uint64_t);
      StageJobs& jobs = core.stages.emplace_back();
      jobs.tasks = stages[i][s].tasks;
      // Outputs of other stages are left out: waiting for one would be waiting for all.
      std::set<std::uint32_t> outputs, looked_at;
      for (std::uint32_t slot = 0; slot < core.slots.size(); ++slot)
        if (core.slots[slot].role == Slot::Role::scratch) outputs.insert(slot);
      for (const TaskInfo& task : jobs.tasks) {
        outputs.insert(task.out_slot);
        if (task.checked) looked_at.insert(task.out_slot);
      }
      handles.out_handles.clear();
      for (const std::uint32_t slot : outputs)
        handles.out_handles.push_back(core.buffers[slot]->handle());
      jobs.looked_at.assign(looked_at.begin(), looked_at.end());
      jobs.jobs = group(program, stages[i][s],
                        static_cast<std::uint32_t>(core.regcmd.iova() + offset), handles);
      if (size != 0)  // a core without a task in this stage
        std::memcpy(core.regcmd.host().data() + offset, program.words.data(), size);
      for (const BoundProgram::Task& task : program.tasks) jobs.words += task.count;
      for (const TaskInfo& task : jobs.tasks) {
        jobs.macs += task.macs;
        jobs.pools += task.ends_in_ppu;
      }
      offset += size;
    }
    core.device->fini(core.regcmd);
  }
}

void Executor::start(Core& core, std::size_t stage, std::byte mark, RunStats& stats) {
  const Timer timer(stats.submit);
  const StageJobs& jobs = core.stages[stage];
  if (jobs.jobs.empty()) return;
  for (const TaskInfo& task : jobs.tasks)
    if (task.checked) std::ranges::fill(atom(core, task), mark);
  for (const std::uint32_t slot : jobs.looked_at) core.device->fini(*core.buffers[slot]);
  core.device->submit(jobs.jobs);
  ++stats.submits;
  stats.jobs += static_cast<std::uint32_t>(jobs.jobs.size());
  stats.tasks += static_cast<std::uint32_t>(jobs.tasks.size());
  stats.regcmd_words += jobs.words;
}

// A retired job is told by what is in its output, where it is meant to be retired.
void Executor::wait(Core& core, std::uint32_t pools, const device::Buffer& buffer,
                    std::chrono::milliseconds timeout) {
  if (pools == 0) return core.device->prep(buffer, timeout);
  const auto deadline = device::Device::Clock::now() + timeout + pools * kRetiredAfter;
  try {
    core.device->prep(buffer, deadline);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::timeout || device::Device::Clock::now() >= deadline) throw;
  }
}

std::size_t Executor::finish(Core& core, std::size_t stage, std::byte mark,
                             std::chrono::milliseconds timeout, std::vector<bool>& done,
                             RunStats& stats) {
  const Timer timer(stats.wait);
  const StageJobs& jobs = core.stages[stage];
  if (jobs.jobs.empty()) return 0;
  for (const std::uint32_t slot : jobs.looked_at)
    wait(core, jobs.pools, *core.buffers[slot], timeout);
  if (!core.device->info().computes) return 0;
  done.resize(jobs.tasks.size());
  std::size_t missing = 0;
  for (std::size_t t = 0; t < jobs.tasks.size(); ++t) {
    if (!jobs.tasks[t].checked) continue;
    const std::span<std::byte> last = atom(core, jobs.tasks[t]);
    if (std::ranges::any_of(last, [&](std::byte b) { return b != mark; })) done[t] = true;
    missing += !done[t];
  }
  return missing;
}

void Executor::submit(std::size_t stage, RunStats& stats) {
  if (queued_++ == 0) counted_ = cores_[0].device->now();
  std::vector<RunStats> each(cores_.size());
  host_threads().parallel_for(cores_.size(), [&](std::size_t i) {
    static_cast<void>(cores_[i].stages.at(stage));
    start(cores_[i], stage, kMarks[0], each[i]);
  });
  add_up(each, stats);
}

void Executor::wait(std::size_t stage, RunStats& stats,
                    const std::function<void(std::size_t core)>& read) {
  std::uint64_t macs = 0;
  for (const Core& core : cores_)
    for (const StageJobs& jobs : core.stages) macs += jobs.macs;  // others may be queued before it
  // A simulated core may be slow (emulation, sanitizers); a real one is retired by the kernel.
  const std::chrono::milliseconds timeout(60'000 + macs / 10'000);
  std::vector<RunStats> each(cores_.size());
  std::vector<std::size_t> missing(cores_.size());
  std::vector<std::chrono::nanoseconds> ended(cores_.size());
  // The modelled clock knows nothing of what the host does, and is asked when all threads are back.
  const bool modelled = cores_[0].device->info().time_base == device::TimeBase::model;
  // All cores are waited for, whatever happens.
  host_threads().parallel_for(cores_.size(), [&](std::size_t i) {
    std::vector<bool> done;
    missing[i] = finish(cores_[i], stage, kMarks[0], timeout, done, each[i]);
    if (missing[i] != 0) {
      start(cores_[i], stage, kMarks[1], each[i]);
      missing[i] = finish(cores_[i], stage, kMarks[1], timeout, done, each[i]);
    }
    if (!modelled) ended[i] = cores_[i].device->now();
    if (read && missing[i] == 0) read(i);
  });
  add_up(each, stats);
  if (modelled) ended[0] = cores_[0].device->now();
  const std::chrono::nanoseconds end = *std::ranges::max_element(ended);
  stats.device += end - std::exchange(counted_, end);
  --queued_;
  if (const std::size_t tasks = std::reduce(missing.begin(), missing.end()); tasks != 0)
    throw Error(ErrorCode::device_fault,
                fmt::format("{} task(s) ended without writing their output: look for "
                            "\"NPU job timed out\" or an IOMMU fault in the kernel log",
                            tasks));
}

void Executor::run(std::size_t stage, RunStats& stats,
                   const std::function<void(std::size_t core)>& read) {
  submit(stage, stats);
  wait(stage, stats, read);
}

}  // namespace npu::kernels
