// SPDX-License-Identifier: MIT
#include "npu-sim/npusim_observer.hpp"

#include <cmath>
#include <string>

#include "npu-sim/chip.hpp"

namespace npu::sim {
namespace {

npusim_trace_event event(npusim_trace_kind kind, unsigned core, const char* text = "") {
  npusim_trace_event e{};
  e.size = sizeof e;
  e.kind = kind;
  e.core = core;
  e.text = text;
  return e;
}

}  // namespace

NpusimObserver::NpusimObserver(Trace trace, std::uint64_t npu_hz)
    : trace_(std::move(trace)), npu_hz_(static_cast<double>(npu_hz)) {}

void NpusimObserver::started(unsigned core) {
  now_[core] = {};
  works_[core].clear();
  if (trace_) trace_(event(NPUSIM_TRACE_START, core));
}

void NpusimObserver::register_written(unsigned core, std::uint32_t offset, std::uint32_t value,
                                      bool by_program) {
  if (!trace_) return;
  npusim_trace_event e = event(NPUSIM_TRACE_REGISTER, core);
  e.offset = offset;
  e.value = value;
  e.by_program = by_program;
  trace_(e);
}

void NpusimObserver::task(const TaskRecord& record) {
  npusim_start_info& sum = now_[record.core];
  ++sum.tasks;
  sum.macs += record.work.macs();
  sum.bytes += std::uint64_t{record.work.regcmd_words} * 8;
  for (const Transfer& t : record.transfers) sum.bytes += t.total();
  if (npu_hz_ != 0) works_[record.core].push_back(record.work);
  if (!trace_) return;

  npusim_trace_event task = event(NPUSIM_TRACE_TASK, record.core, record.operation.c_str());
  task.value = record.blocks;
  trace_(task);
  for (const QuirkNote& note : record.quirks) {
    const std::string text = std::string(note.quirk) + ": " + note.where + ": " + note.effect;
    trace_(event(NPUSIM_TRACE_QUIRK, record.core, text.c_str()));
  }
  const auto bursts = [&](bool writes) {
    for (const Transfer& t : record.transfers) {
      if (is_write(t.engine) != writes) continue;
      const std::string engine(to_string(t.engine));
      for_each_burst(t, [&](std::uint64_t iova, std::uint64_t bytes) {
        npusim_trace_event e = event(writes ? NPUSIM_TRACE_DMA_WRITE : NPUSIM_TRACE_DMA_READ,
                                     record.core, engine.c_str());
        e.iova = iova;
        e.count = bytes;
        trace_(e);
      });
    }
  };
  bursts(false);
  if (const std::uint64_t macs = record.work.macs(); macs != 0) {
    npusim_trace_event e = event(NPUSIM_TRACE_MAC, record.core);
    e.count = macs;
    trace_(e);
  }
  bursts(true);
}

void NpusimObserver::ended(unsigned core, std::uint32_t raw_status) {
  double seconds = 0;  // tasks of one start overlap, so only the whole chain has a time
  for (const ChainedTask& task :
       estimate_chain(works_[core], default_calibration().values, {.npu_hz = npu_hz_}))
    seconds += task.seconds;
  now_[core].modelled_ns = static_cast<std::uint64_t>(std::llround(seconds * 1e9));
  {
    const std::lock_guard lock(mutex_);
    last_[core] = now_[core];
  }
  if (!trace_) return;
  npusim_trace_event e = event(NPUSIM_TRACE_END, core);
  e.value = raw_status;
  trace_(e);
}

void NpusimObserver::faulted(unsigned core, const Fault& fault) {
  if (!trace_) return;
  npusim_trace_event e = event(NPUSIM_TRACE_FAULT, core, fault.message.c_str());
  e.iova = fault.iova;
  trace_(e);
}

void NpusimObserver::interrupt(unsigned core, bool level) {
  if (!trace_) return;
  npusim_trace_event e = event(NPUSIM_TRACE_INTERRUPT, core);
  e.value = level;
  trace_(e);
}

npusim_start_info NpusimObserver::last_start(unsigned core) const {
  const std::lock_guard lock(mutex_);
  return last_[core];
}

}  // namespace npu::sim
