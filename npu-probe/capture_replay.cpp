// SPDX-License-Identifier: MIT
#include "npu-probe/capture_replay.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "npu-probe/job_operators.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using Outcome = device::CaptureJob::Outcome;

bool failed(Outcome outcome) {
  return outcome == Outcome::timed_out || outcome == Outcome::faulted;
}

// Whether a job ended as it did when it was recorded, as far as both can tell.
bool ended_alike(const device::Capture& capture, const JobReplay& r, bool device_tells) {
  if (r.recorded == Outcome::unknown || !device_tells) return true;
  // Stock mainline tells its clients nothing of a job that it retired.
  const bool recording_tells =
      failed(r.recorded) ||
      std::any_of(capture.events.begin(), capture.events.end(), [&](const auto& event) {
        const auto* start = std::get_if<device::CaptureStart>(&event.what);
        return start != nullptr && event.process == r.file.first && start->backend != "rocket";
      });
  return !recording_tells || failed(r.recorded) == failed(r.replayed);
}

}  // namespace

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::exact: return "bit-exact";
    case Verdict::differs: return "DIFFERS";
    case Verdict::not_run: return "not run";
    case Verdict::unchecked: break;
  }
  return "unchecked";
}

std::vector<std::uint32_t> written_buffers(const SessionJob& job) {
  std::set<std::uint32_t> handles(job.job->job.out_handles.begin(), job.job->job.out_handles.end());
  for (const device::CaptureEvent* event : job.writes)
    handles.insert(std::get<device::CaptureWrite>(event->what).handle);
  return {handles.begin(), handles.end()};
}

CaptureReplay replay_capture(std::unique_ptr<device::Device> device, const device::Capture& capture,
                             const CaptureReplayOptions& options,
                             const std::function<void(const JobReplay&)>& done) {
  Player player(std::move(device));
  SessionWalk walk(capture);
  CaptureReplay total;
  OperatorReader operators;
  const std::optional<std::size_t> last = options.only ? options.only : options.until;
  bool over = false;
  const auto follow = [&](const device::CaptureEvent& event) {
    if (!over) player.follow(event, walk.memory());
  };
  while (const SessionJob* job = walk.next(follow)) {
    ++total.jobs;
    const auto& bos = walk.memory().bos(job->file);
    const auto stay_as_recorded = [&] {
      walk.finish();
      for (const std::uint32_t handle : written_buffers(*job))
        if (const auto bo = bos.find(handle); bo != bos.end())
          player.restore(job->file, handle, bo->second.bytes);
    };
    if (over) continue;
    over = last && job->number >= *last;
    if (options.only && job->number != *options.only) {
      stay_as_recorded();
      continue;
    }
    JobReplay r;
    r.number = job->number;
    r.file = job->file;
    r.submit = job->job->submit;
    r.index = job->job->index;
    r.tasks = job->job->job.tasks.size();
    r.recorded = job->job->outcome;
    r.note = job->job->note;
    const JobOperators what = operators.read(programs_of(*job, walk.memory()));
    r.what = what.headline;
    if (r.recorded == Outcome::dropped) {
      r.verdict = Verdict::not_run;
      r.replayed = Outcome::dropped;
      ++total.not_run;
      done(r);
      continue;
    }
    const Player::End end = player.run(*job, walk.memory());
    ++total.run;
    r.replayed = end.outcome;
    r.note = end.note;
    const bool unchecked = r.recorded == Outcome::unknown && job->writes.empty();
    walk.finish();
    if (unchecked) {
      r.verdict = Verdict::unchecked;
      if (!options.chained) stay_as_recorded();
    } else {
      for (const std::uint32_t handle : written_buffers(*job)) {
        const auto bo = bos.find(handle);
        if (bo == bos.end()) continue;
        const auto got = player.content(job->file, handle);
        auto difference =
            find_difference(handle, bo->second.iova, bo->second.bytes, got, what.locate);
        r.compared += bo->second.bytes.size();
        if (!difference) continue;
        r.differences.push_back(std::move(*difference));
        if (!options.chained) player.restore(job->file, handle, bo->second.bytes);
      }
      if (!r.differences.empty() || end.refused || !ended_alike(capture, r, player.tells_outcome()))
        r.verdict = Verdict::differs;
    }
    r.faulted = failed(r.replayed) && !failed(r.recorded) && r.recorded != Outcome::unknown;
    total.exact += r.verdict == Verdict::exact;
    total.differ += r.verdict == Verdict::differs;
    total.unchecked += r.verdict == Verdict::unchecked;
    total.faulted += r.faulted;
    done(r);
  }
  if (options.only && *options.only >= total.jobs)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("there is no job {}: the capture has {} (0 to {})", *options.only,
                            total.jobs, total.jobs == 0 ? 0 : total.jobs - 1));
  return total;
}

}  // namespace npu::probe
