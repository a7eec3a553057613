// SPDX-License-Identifier: MIT
#include "npu-probe/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using device::CaptureEvent;
using device::CaptureJob;
using device::CaptureWrite;

// The file that an event speaks of; nullopt for the start of a process.
std::optional<std::uint32_t> file_of(const CaptureEvent& event) {
  return std::visit(
      [](const auto& what) -> std::optional<std::uint32_t> {
        if constexpr (requires { what.file; })
          return what.file;
        else
          return std::nullopt;
      },
      event.what);
}

const CaptureWrite* device_write(const CaptureEvent& event) {
  const auto* write = std::get_if<CaptureWrite>(&event.what);
  return write != nullptr && write->by == CaptureWrite::By::device ? write : nullptr;
}

}  // namespace

std::string_view to_string(CaptureJob::Outcome outcome) {
  switch (outcome) {
    case CaptureJob::Outcome::done: return "done";
    case CaptureJob::Outcome::timed_out: return "timed out";
    case CaptureJob::Outcome::faulted: return "faulted";
    case CaptureJob::Outcome::dropped: return "dropped";
    case CaptureJob::Outcome::unknown: break;
  }
  return "unknown";
}

std::vector<std::uint64_t> program_words(const device::CaptureMemory& memory, SessionFile file,
                                         const device::Task& task) {
  const std::span<const std::byte> bytes = memory.at(file, task.regcmd);
  std::vector<std::uint64_t> words(std::min<std::uint64_t>(task.regcmd_count, bytes.size() / 8));
  if (!words.empty()) std::memcpy(words.data(), bytes.data(), words.size() * 8);
  return words;
}

std::vector<std::vector<std::uint64_t>> programs_of(const SessionJob& job,
                                                    const device::CaptureMemory& memory) {
  std::vector<std::vector<std::uint64_t>> programs;
  for (const device::Task& task : job.job->job.tasks)
    programs.push_back(program_words(memory, job.file, task));
  return programs;
}

SessionWalk::SessionWalk(const device::Capture& capture) : capture_(capture) {
  // A small file can name large buffers. The largest boards have 32 GiB.
  constexpr std::uint64_t kMostBytes = std::uint64_t{32} << 30;
  std::map<std::pair<SessionFile, std::uint32_t>, std::uint64_t> live;
  std::uint64_t total = 0;
  const auto remove = [&](auto first, auto last) {
    for (auto it = first; it != last; it = live.erase(it)) total -= it->second;
  };
  for (const CaptureEvent& event : capture.events) {
    if (const auto* create = std::get_if<device::CaptureCreate>(&event.what)) {
      if (create->size > device::kMaxBufferBytes) continue;  // refused when it is applied
      const SessionFile file{event.process, create->file};
      if (live.emplace(std::pair(file, create->handle), create->size).second) total += create->size;
      if (total > kMostBytes)
        throw Error(ErrorCode::bad_file,
                    "The capture's buffers hold more than 32 GiB at once, more than any board.");
    } else if (const auto* destroy = std::get_if<device::CaptureDestroy>(&event.what)) {
      const auto range = live.equal_range({{event.process, destroy->file}, destroy->handle});
      remove(range.first, range.second);
    } else if (const auto* close = std::get_if<device::CaptureClose>(&event.what)) {
      remove(live.lower_bound({{event.process, close->file}, 0}),
             live.upper_bound({{event.process, close->file}, ~std::uint32_t{0}}));
    }
  }
}

void SessionWalk::collect_writes() {
  job_.writes.clear();
  // Other files' events may stand between; the next thing that this file's program does ends them.
  for (std::size_t i = position_; i < capture_.events.size(); ++i) {
    const CaptureEvent& event = capture_.events[i];
    if (event.process != job_.file.first || file_of(event) != job_.file.second) continue;
    if (std::holds_alternative<device::CaptureIoctl>(event.what)) continue;
    if (device_write(event) == nullptr) break;
    job_.writes.push_back(&event);
    taken_[i] = true;
  }
}

const SessionJob* SessionWalk::next(const Seen& seen) {
  finish();
  taken_.resize(capture_.events.size());
  while (position_ < capture_.events.size()) {
    const std::size_t at = position_++;
    const CaptureEvent& event = capture_.events[at];
    if (taken_[at]) continue;
    if (const auto* job = std::get_if<CaptureJob>(&event.what)) {
      job_.number = jobs_++;
      job_.file = {event.process, job->file};
      job_.job = job;
      collect_writes();
      finished_ = false;
      return &job_;
    }
    memory_.apply(event);
    if (seen) seen(event);
  }
  return nullptr;
}

void SessionWalk::finish() {
  if (finished_) return;
  finished_ = true;
  for (const CaptureEvent* write : job_.writes) memory_.apply(*write);
}

}  // namespace npu::probe
