// SPDX-License-Identifier: MIT
#include "npu-probe/capture_diff.hpp"

#include <algorithm>
#include <map>

#include "npu-probe/program_diff.hpp"

namespace npu::probe {
namespace {

// [first, last) of a buffer's bytes.
using Ranges = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

const SessionJob* walk_to(SessionWalk& walk, std::size_t number) {
  while (const SessionJob* job = walk.next())
    if (job->number == number) return job;
  return nullptr;
}

std::map<std::uint32_t, Ranges> written(const SessionJob& job) {
  std::map<std::uint32_t, Ranges> ranges;
  for (const device::CaptureEvent* event : job.writes) {
    const auto& write = std::get<device::CaptureWrite>(event->what);
    if (write.bytes)
      ranges[write.handle].push_back({write.offset, write.offset + write.bytes->size()});
  }
  return ranges;
}

std::vector<ProgramBuffer> buffers_of(const device::CaptureMemory::Bos& bos) {
  std::vector<ProgramBuffer> buffers;
  for (const auto& [handle, bo] : bos) buffers.push_back({handle, bo.iova, bo.bytes.size()});
  return buffers;
}

}  // namespace

std::vector<JobDataDifference> diff_data(
    const device::Capture& a, const device::Capture& b,
    const std::vector<std::pair<std::size_t, std::size_t>>& jobs, const MakeLocate& make_locate) {
  std::vector<JobDataDifference> all;
  SessionWalk walk_a(a), walk_b(b);
  for (const auto& [number_a, number_b] : jobs) {
    const SessionJob* job_a = walk_to(walk_a, number_a);
    const SessionJob* job_b = walk_to(walk_b, number_b);
    if (job_a == nullptr || job_b == nullptr) break;
    JobDataDifference d{number_a, number_b, job_a->job->outcome, job_b->job->outcome, 0, {}};
    const Locate locate = make_locate ? make_locate(*job_a, walk_a.memory()) : Locate{};
    walk_a.finish();
    walk_b.finish();
    const auto& bos_a = walk_a.memory().bos(job_a->file);
    const auto& bos_b = walk_b.memory().bos(job_b->file);
    const auto list_a = buffers_of(bos_a), list_b = buffers_of(bos_b);
    const auto pairs = pair_buffers(list_a, list_b);
    const auto ranges_a = written(*job_a), ranges_b = written(*job_b);
    std::vector<std::byte> masked;
    for (std::size_t i = 0; i < list_a.size(); ++i) {
      Ranges ranges;
      if (const auto it = ranges_a.find(list_a[i].handle); it != ranges_a.end())
        ranges = it->second;
      if (!pairs[i]) {
        if (ranges.empty()) continue;
        // A result that the other side has no buffer for.
        if (auto difference = find_difference(list_a[i].handle, list_a[i].iova,
                                              bos_a.at(list_a[i].handle).bytes, {}, locate))
          d.buffers.push_back(std::move(*difference));
        continue;
      }
      const std::uint32_t other = list_b[*pairs[i]].handle;
      if (const auto it = ranges_b.find(other); it != ranges_b.end())
        ranges.insert(ranges.end(), it->second.begin(), it->second.end());
      if (ranges.empty()) continue;
      const auto& bytes_a = bos_a.at(list_a[i].handle).bytes;
      const auto& bytes_b = bos_b.at(other).bytes;
      // Bytes that neither job wrote are not their results: inputs, programs with addresses.
      masked = bytes_a;
      masked.resize(bytes_b.size());
      std::sort(ranges.begin(), ranges.end());
      std::uint64_t counted = 0;
      for (const auto& [first, last] : ranges) {
        const std::uint64_t end = std::min<std::uint64_t>(last, bytes_b.size());
        if (first < end)
          std::copy(bytes_b.begin() + static_cast<std::ptrdiff_t>(first),
                    bytes_b.begin() + static_cast<std::ptrdiff_t>(end),
                    masked.begin() + static_cast<std::ptrdiff_t>(first));
        d.compared += std::max(last, counted) - std::max(first, counted);
        counted = std::max(last, counted);
      }
      auto difference = find_difference(list_a[i].handle, list_a[i].iova, bytes_a, masked, locate);
      if (difference) d.buffers.push_back(std::move(*difference));
    }
    all.push_back(std::move(d));
  }
  return all;
}

}  // namespace npu::probe
