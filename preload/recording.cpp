// SPDX-License-Identifier: MIT
#include "preload/recording.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <vector>

#include "npu-sim/timeline.hpp"
#include "npu-sim/trace_writer.hpp"
#include "preload/settings.hpp"
#include "regdb/error.hpp"

namespace npu::preload {
namespace {

struct Recording {
  std::shared_ptr<sim::TimelineRecorder> recorder;
  std::function<bool()> drain;
};

// One for each chip. Never destroyed: chips may outlive the library's own objects.
std::vector<Recording>& recordings() {
  static auto* const all = new std::vector<Recording>;
  return *all;
}

std::string trace_path() {
  std::string path = settings().trace;
  for (std::size_t at; (at = path.find("%p")) != path.npos;)
    path.replace(at, 2, std::to_string(getpid()));
  return path;
}

void explain(const sim::Timeline& timeline) {
  for (const sim::NamedQuirk& q : sim::name_quirks(timeline))
    log(fmt::format("quirk {} at {} ({} task{}): {}{}", q.note.quirk, q.note.where, q.tasks,
                    q.tasks == 1 ? "" : "s", q.note.effect,
                    q.note.modelled ? "" : " [reported of boards, not modelled]"));
  for (const sim::TimedFault& f : timeline.faults)
    log(fmt::format("fault {} at {} on core {}: {}", sim::to_string(f.fault.kind), f.fault.where,
                    f.core, f.fault.message));
}

// Also after exit(): destructors of a library run behind the program's own exit handlers.
__attribute__((destructor)) void tell() {
  for (const Recording& recording : recordings()) {
    try {
      if (!recording.drain()) {
        log("jobs are at work still: no trace, no explanations");
        continue;
      }
      const sim::Timeline timeline =
          recording.recorder->take(calibration().values, settings().clock_mhz * 1e6);
      if (timeline.jobs.empty()) continue;
      if (settings().explain) explain(timeline);
      if (settings().trace.empty()) continue;
      sim::TraceFile trace(trace_path(), settings().clock_mhz * 1e6, calibration().name);
      trace.add(timeline, program_invocation_short_name);
      trace.save();
    } catch (const std::exception& error) {
      log(error.what());
    }
  }
}

}  // namespace

std::shared_ptr<sim::Observer> start_recording(std::function<bool()> drain) {
  calibration();  // what is wrong with it is told now
  if (settings().trace.empty() && !settings().explain) return nullptr;
  auto recorder = std::make_shared<sim::TimelineRecorder>();
  recordings().push_back({recorder, std::move(drain)});
  return recorder;
}

void forget_recording() {
  // Not destroyed: a recorder's mutex may have been held in the parent.
  new std::vector<Recording>(std::move(recordings()));
  recordings().clear();
}

}  // namespace npu::preload
