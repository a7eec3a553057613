// SPDX-License-Identifier: MIT
// What the timing model says of a run, and the roof over all programs.
#include <algorithm>
#include <map>

#include "npu-probe/bench_run.hpp"
#include "npu-sim/mac_rate.hpp"

namespace npu::probe {

void BenchRecorder::started(unsigned core) {
  const std::lock_guard lock(mutex_);
  starts_[core].emplace_back();
}

void BenchRecorder::task(const sim::TaskRecord& record) {
  const std::lock_guard lock(mutex_);
  if (starts_[record.core].empty()) starts_[record.core].emplace_back();
  starts_[record.core].back().push_back(record.work);
}

void BenchRecorder::clear() {
  const std::lock_guard lock(mutex_);
  for (auto& starts : starts_) starts.clear();
}

BenchModel BenchRecorder::model(double seconds, unsigned files, const sim::Calibration& calibration,
                                double npu_hz) const {
  const std::lock_guard lock(mutex_);
  BenchModel model;
  model.seconds = seconds;
  std::map<std::string, double> causes;
  double busy = 0;
  for (const auto& starts : starts_)
    for (const std::vector<sim::TaskWork>& start : starts) {
      ++model.kicks;
      for (const sim::ChainedTask& task :
           sim::estimate_chain(start, calibration, {npu_hz, files})) {
        busy += task.seconds;
        causes[std::string(to_string(task.time.limit))] += task.seconds;
        model.bytes += task.time.bytes;
      }
      for (const sim::TaskWork& work : start) {
        // The second record of a task (DPU, then PPU) has no program of its own.
        model.tasks += work.regcmd_words != 0;
        model.regcmd_words += work.regcmd_words;
        model.macs += work.macs();
      }
    }
  if (!(seconds > 0)) return model;
  // A file's jobs may go to another core each time, so cores are not told apart: this is the mean.
  const double whole = std::max(seconds, busy / files) * files;
  if (whole > busy) causes["dispatch"] = whole - busy;
  for (const auto& [name, part] : causes) model.shares.emplace_back(name, part / whole);
  std::stable_sort(model.shares.begin(), model.shares.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return model;
}

BenchRoof roof_of(const BenchSubject& subject, unsigned cores, const sim::Calibration& calibration,
                  double npu_hz) {
  BenchRoof roof;
  const auto macs = static_cast<double>(subject.macs);
  const auto read = static_cast<double>(subject.read_bytes),
             written = static_cast<double>(subject.write_bytes);
  if (subject.macs != 0)
    roof.peak_macs = sim::mac_rate(subject.type, subject.depthwise, calibration) * npu_hz * cores;
  const std::pair<double, const char*> ceilings[] = {
      {subject.macs != 0 ? macs / roof.peak_macs : 0, "array"},
      {(read + written) / calibration.dram_bytes_per_second, "memory"},
      {read / (calibration.read_bytes_per_cycle * npu_hz * cores), "read port"},
      {written / (calibration.write_bytes_per_cycle * npu_hz * cores), "write port"}};
  for (const auto& [seconds, name] : ceilings)
    if (seconds > roof.seconds) {
      roof.seconds = seconds;
      roof.bound = name;
    }
  if (read + written > 0) roof.intensity = macs / (read + written);
  return roof;
}

}  // namespace npu::probe
