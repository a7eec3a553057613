// SPDX-License-Identifier: MIT
#include "microkernels/executor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

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
std::vector<Job> group(const BoundProgram& program, std::span<const TaskInfo> infos,
                       std::uint32_t base, const Job& buffers) {
  std::vector<Job> jobs;
  JobCutter cutter;
  for (std::size_t i = 0; i < program.tasks.size(); ++i) {
    if (cutter.cuts(infos[i])) jobs.push_back(buffers);
    const BoundProgram::Task& task = program.tasks[i];
    jobs.back().tasks.push_back({static_cast<std::uint32_t>(base + task.offset), task.count});
  }
  return jobs;
}

}  // namespace

Executor::Executor(std::span<device::Device* const> devices, std::vector<std::vector<Slot>> slots) {
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
    for (const Slot& slot : core.slots)
      core.buffers.push_back(slot.role == Slot::Role::unused
                                 ? device::Buffer{}
                                 : core.device->create_buffer(slot.bytes));
  }
}

std::span<std::byte> Executor::host(std::size_t core, std::uint32_t slot) const {
  return cores_.at(core).buffers.at(slot).host();
}

void Executor::written(std::size_t core, std::uint32_t slot) {
  cores_.at(core).device->fini(cores_.at(core).buffers.at(slot));
}

std::span<std::byte> Executor::atom(const Core& core, const TaskInfo& task) const {
  return core.buffers.at(task.out_slot).host().subspan(task.last_atom, kAtomBytes);
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
      const device::Buffer& buffer = core.buffers[s];
      iova.push_back(buffer ? buffer.iova() : 0);
      if (!buffer) continue;
      const bool in = core.slots[s].role == Slot::Role::input;
      (in ? handles.in_handles : handles.out_handles).push_back(buffer.handle());
    }
    std::vector<BoundProgram> programs;
    std::size_t words = 0;
    for (const Stage& stage : stages[i]) {
      if (stage.tasks.size() != stage.program.tasks.size())
        throw Error(ErrorCode::invalid_argument, "a program and what is said of its tasks differ");
      for (const TaskInfo& task : stage.tasks)
        if (task.out_slot >= core.buffers.size() || !core.buffers[task.out_slot] ||
            core.buffers[task.out_slot].size() < kAtomBytes ||
            task.last_atom > core.buffers[task.out_slot].size() - kAtomBytes)
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
      const BoundProgram& program = programs[s];
      const std::size_t size = program.words.size() * sizeof(std::uint64_t);
      std::memcpy(core.regcmd.host().data() + offset, program.words.data(), size);
      StageJobs& jobs = core.stages.emplace_back();
      jobs.tasks = stages[i][s].tasks;
      jobs.jobs = group(program, jobs.tasks,
                        static_cast<std::uint32_t>(core.regcmd.iova() + offset), handles);
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
  for (const TaskInfo& task : jobs.tasks) std::ranges::fill(atom(core, task), mark);
  for (std::size_t s = 0; s < core.slots.size(); ++s)
    if (core.slots[s].role == Slot::Role::output || core.slots[s].role == Slot::Role::scratch)
      core.device->fini(core.buffers[s]);
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
  for (std::size_t s = 0; s < core.slots.size(); ++s)
    if (core.slots[s].role == Slot::Role::output || core.slots[s].role == Slot::Role::scratch)
      wait(core, jobs.pools, core.buffers[s], timeout);
  if (!core.device->info().computes) return 0;
  done.resize(jobs.tasks.size());
  std::size_t missing = 0;
  for (std::size_t t = 0; t < jobs.tasks.size(); ++t) {
    const std::span<std::byte> last = atom(core, jobs.tasks[t]);
    if (std::ranges::any_of(last, [&](std::byte b) { return b != mark; })) done[t] = true;
    missing += !done[t];
  }
  return missing;
}

void Executor::run(std::size_t stage, RunStats& stats,
                   const std::function<void(std::size_t core)>& read) {
  std::uint64_t macs = 0;
  for (const Core& core : cores_) macs += core.stages.at(stage).macs;
  // A simulated core may be slow (emulation, sanitizers); a real one is retired by the kernel.
  const std::chrono::milliseconds timeout(60'000 + macs / 10'000);
  std::vector<std::vector<bool>> done(cores_.size());
  const std::chrono::nanoseconds begin = cores_[0].device->now();
  for (Core& core : cores_) start(core, stage, kMarks[0], stats);
  std::size_t missing = 0;  // all cores are waited for, whatever happens
  for (std::size_t i = 0; i < cores_.size(); ++i) {
    Core& core = cores_[i];
    std::size_t left = finish(core, stage, kMarks[0], timeout, done[i], stats);
    if (left != 0) {
      start(core, stage, kMarks[1], stats);
      left = finish(core, stage, kMarks[1], timeout, done[i], stats);
    }
    missing += left;
    if (i + 1 == cores_.size()) stats.device += cores_[0].device->now() - begin;
    if (read && missing == 0) read(i);
  }
  if (missing != 0)
    throw Error(ErrorCode::device_fault,
                fmt::format("{} task(s) ended without writing their output: look for "
                            "\"NPU job timed out\" or an IOMMU fault in the kernel log",
                            missing));
}

}  // namespace npu::kernels
