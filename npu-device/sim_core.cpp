// SPDX-License-Identifier: MIT
#include "npu-device/sim_core.hpp"

#include <fmt/format.h>

#include <exception>

#include "npu-sim/task_check.hpp"
#include "regdb/registers.hpp"

namespace npu::device {
namespace {

namespace pc = regdb::pc;

constexpr std::uint32_t kDpuDone = 0x300;     // bits 8, 9: group 0, 1
constexpr std::uint32_t kPpuDone = 0xC00;     // bits 10, 11
constexpr std::uint32_t kDmaErrors = 0x3000;  // bits 12 (read), 13 (write)
constexpr std::uint32_t kClearAll = 0x1FFFF;

// POINTER_PP_EN, EXECUTER_PP_EN, POINTER_PP_MODE; bits 29:28 hold the core's index.
constexpr std::uint32_t s_pointer(unsigned core) { return 0xEu + 0x10000000u * core; }

/// The kernel's writes for one task, in its order (B.5).
void start_task(sim::Chip& chip, unsigned core, const Task& task, std::uint32_t task_number) {
  chip.write(core, pc::BASE_ADDRESS::offset, 1);
  chip.write(core, regdb::cna::S_POINTER::offset, s_pointer(core));
  chip.write(core, regdb::core::S_POINTER::offset, s_pointer(core));
  chip.write(core, pc::BASE_ADDRESS::offset, task.regcmd);
  chip.write(core, pc::REGISTER_AMOUNTS::offset, (task.regcmd_count + 1) / 2 - 1);
  chip.write(core, pc::INTERRUPT_MASK::offset, kDpuDone);
  chip.write(core, pc::INTERRUPT_CLEAR::offset, kDpuDone);
  chip.write(core, pc::TASK_CON::offset, 0x7000 | task_number);
  chip.write(core, pc::TASK_DMA_BASE_ADDR::offset, 0);
  chip.write(core, pc::OPERATION_ENABLE::offset, 1);
}

JobFault job_fault(const sim::Fault& fault) {
  return {fault.kind == sim::FaultKind::hang ? ErrorCode::timeout : ErrorCode::device_fault,
          fmt::format("{} at {}: {}", sim::to_string(fault.kind), fault.where, fault.message)};
}

struct TaskEnd {
  bool ended = false;  ///< the DPU interrupt came and the model has no complaint
  bool ppu_only = false;
  std::optional<JobFault> fault;
};

/// The interrupt path (B.6): the hard handler, then its thread.
TaskEnd finish_task(sim::Chip& chip, unsigned core) {
  TaskEnd end;
  const bool irq = chip.irq(core);
  const std::uint32_t raw = chip.read(core, pc::INTERRUPT_RAW_STATUS::offset);
  const bool done = irq && (raw & kDpuDone) != 0;
  if (done) {
    chip.write(core, pc::INTERRUPT_MASK::offset, 0);
    chip.write(core, pc::OPERATION_ENABLE::offset, 0);
    chip.write(core, pc::INTERRUPT_CLEAR::offset, kClearAll);
  }
  if (const auto& fault = chip.fault(core)) {
    end.fault = job_fault(*fault);
  } else if (raw & kDmaErrors) {
    end.fault = JobFault{ErrorCode::device_fault,
                         fmt::format("DMA error interrupt (raw status {:#x}); an address of the "
                                     "program lies outside every mapped buffer",
                                     raw)};
  } else if (done) {
    end.ended = true;
  } else if (raw & kPpuDone) {
    end.ppu_only = true;
  } else {
    end.fault = JobFault{ErrorCode::timeout,
                         fmt::format("no DPU interrupt (raw status {:#x}); the program does not "
                                     "start the DPU",
                                     raw)};
  }
  return end;
}

constexpr std::string_view kRetired =
    "the kernel would retire the job after 500 ms (\"NPU job timed out\") and reset the core";

}  // namespace

JobResult run_job(sim::Chip& chip, unsigned core,
                  const std::shared_ptr<const sim::AddressSpace>& space,
                  std::span<const Task> tasks, std::uint64_t number, std::uint32_t task_number) {
  JobResult result;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    const std::string place =
        fmt::format("Job {}, task {} of {} on core {}", number, t + 1, tasks.size(), core);
    TaskEnd end;
    try {
      if (t == 0) chip.attach(core, space);
      ++result.tasks_started;
      start_task(chip, core, tasks[t], task_number);
      end = finish_task(chip, core);
    } catch (const std::exception& error) {
      // The model itself failed (host memory, say): the job ends, the machine goes on.
      end.fault = JobFault{ErrorCode::device_fault, fmt::format("model error: {}", error.what())};
    }
    if (end.ended) continue;

    const bool last = t + 1 == tasks.size();
    if (end.ppu_only && last) {
      // PREP_BO returns 0 after the timeout and the data is right [notes/pool-completion, HW].
      result.note = fmt::format(
          "{}: only the PPU interrupt came, for which the kernel does not "
          "wait; the output is right, but {}.",
          place, kRetired);
    } else if (end.ppu_only) {
      end.fault = JobFault{ErrorCode::timeout,
                           "only the PPU interrupt came, for which the kernel "
                           "does not wait; submit such a task in a job of its "
                           "own"};
    }
    if (end.fault) {
      std::string text = fmt::format("{}: {}", place, end.fault->message);
      while (text.ends_with('.')) text.pop_back();
      if (end.fault->code == ErrorCode::timeout) text += fmt::format("; {}", kRetired);
      if (!last) text += "; the job's other tasks did not run";
      result.fault = JobFault{end.fault->code, text + "."};
      result.note = result.fault->message;
    }
    result.retired = true;
    chip.attach(core, nullptr);
    chip.reset(core);
    return result;
  }
  chip.attach(core, nullptr);
  return result;
}

JobResult time_job(const TimedJobInput& job, const sim::ChipOptions& options,
                   sim::Observer& observer) {
  JobResult result;
  sim::TaskChecker checker(options, job.chained);
  std::vector<std::uint64_t> words;
  bool dpu_ends = false;  // of this start
  for (std::size_t t = 0; t < job.tasks.size(); ++t) {
    const Task& task = job.tasks[t];
    std::optional<JobFault> fault;
    ++result.tasks_started;
    try {
      const auto lock = job.space->lock();
      words.resize(task.regcmd_count);
      std::uint64_t bad = 0;
      if (!job.space->read(task.regcmd, words.data(), words.size() * sizeof(std::uint64_t), &bad))
        throw Error(ErrorCode::device_fault,
                    fmt::format("its program cannot be read at IOVA {:#x}", bad));
      if (t == 0 || !job.chained) observer.started(job.core);
      sim::TaskCheck check = checker.check(words);
      for (std::size_t i = 0; i < check.records.size(); ++i) {
        sim::TaskRecord& record = check.records[i];
        record.core = job.core;
        record.blocks = check.blocks;
        record.work.regcmd_words = i == 0 ? task.regcmd_count : 0;
        observer.task(record);
      }
      if (check.fault)
        fault = job_fault(*check.fault);
      else if (check.blocks == 0)
        fault = JobFault{ErrorCode::timeout, "its program has no enable word"};
      // As for run_job(): nobody waits for the PPU's interrupt. A chain raises the bits of all its
      // tasks at its end.
      dpu_ends = (dpu_ends && job.chained) || (check.blocks & regdb::enable_mask::dpu) != 0;
      if (!fault && !dpu_ends && (!job.chained || t + 1 == job.tasks.size())) result.retired = true;
    } catch (const std::exception& error) {
      fault = JobFault{ErrorCode::device_fault, error.what()};
    }
    if (fault) {
      result.fault =
          JobFault{fault->code, fmt::format("Job {}, task {} of {} on core {}: {}.", job.number,
                                            t + 1, job.tasks.size(), job.core, fault->message)};
      result.note = result.fault->message;
      result.retired = true;
    }
    if (result.retired) return result;
  }
  return result;
}

}  // namespace npu::device
