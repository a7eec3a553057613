// SPDX-License-Identifier: MIT
#include "npu-probe/calibrate_measure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "regdb/error.hpp"
#include "regdb/registers.hpp"

namespace npu::probe::calibrate {
namespace {

constexpr std::byte kUntouched{0x5A};  // no result of operands that are all zero
constexpr double kRetired = 0.45;      // s; the driver retires a job after 0.5 [rocket_job.c]
constexpr std::uint32_t kOut = 2;      // slot

// A benchmark's buffers and its job on one file.
struct Loaded {
  device::Device* file;
  std::vector<device::Buffer> slots;
  device::Buffer program, fence;
  device::Job job;

  Loaded(device::Device& on, const Microbenchmark& b) : file(&on) {
    std::vector<std::uint32_t> iova;
    for (const std::uint64_t bytes : b.slot_bytes) {
      slots.push_back(file->create_buffer(bytes));
      iova.push_back(slots.back().iova());
    }
    std::size_t words = 0;
    for (const auto& task : b.program.tasks) words += task.size() + 8;
    program = file->create_buffer(words * sizeof(std::uint64_t));
    fence = file->create_buffer(1);
    const kernels::BoundProgram bound = bind_job(b.program, iova, program.iova(), b.chained);
    std::memcpy(program.host().data(), bound.words.data(), bound.words.size() * 8);
    for (const kernels::BoundProgram::Task& task : bound.tasks)
      job.tasks.push_back({program.iova() + static_cast<std::uint32_t>(task.offset), task.count});
    job.chained = b.chained;
    job.in_handles = {slots[0].handle(), slots[1].handle(), program.handle()};
    job.out_handles = {slots[kOut].handle(), fence.handle()};
    for (const device::Buffer& buffer : slots) file->fini(buffer);
    file->fini(program);
    file->fini(fence);
  }

  void mark(const Microbenchmark& b) {
    for (const std::uint64_t at : b.marks)
      std::ranges::fill(slots[kOut].host().subspan(at, 16), kUntouched);
    file->fini(slots[kOut]);
  }
  // Atoms that nobody wrote.
  std::size_t untouched(const Microbenchmark& b) {
    file->prep(slots[kOut], std::chrono::seconds(10));
    return static_cast<std::size_t>(std::ranges::count_if(b.marks, [&](std::uint64_t at) {
      return std::ranges::all_of(slots[kOut].host().subspan(at, 16),
                                 [](std::byte x) { return x == kUntouched; });
    }));
  }
};

double quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

}  // namespace

Bench::Bench(device::Device& device, unsigned cores, unsigned repetitions)
    : files_{&device}, repetitions_(repetitions) {
  while (files_.size() < cores) {
    opened_.push_back(device.open_another());
    files_.push_back(opened_.back().get());
  }
}

Sample Bench::measure(const Microbenchmark& b) {
  if (b.files > files_.size())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("\"{}\" needs {} open files", b.name, b.files));
  std::vector<Loaded> loaded;
  for (unsigned i = 0; i < b.files; ++i) loaded.emplace_back(*files_[i], b);
  const bool checks = files_[0]->info().computes;
  std::vector<double> times;
  for (unsigned repetition = 0; repetition <= repetitions_; ++repetition) {
    for (Loaded& l : loaded) l.mark(b);
    const auto begin = files_[0]->now();
    for (Loaded& l : loaded) l.file->submit(l.job);
    // A simulated core may take its time.
    for (Loaded& l : loaded) l.file->prep(l.fence, std::chrono::seconds(120));
    const double seconds = std::chrono::duration<double>(files_[0]->now() - begin).count();
    if (seconds > kRetired)
      throw Error(ErrorCode::timeout,
                  fmt::format("\"{}\" took {:.0f} ms: the driver retired it; look for \"NPU job "
                              "timed out\" in the kernel log",
                              b.name, seconds * 1e3));
    for (Loaded& l : loaded)
      if (const std::size_t missing = checks ? l.untouched(b) : 0; missing != 0)
        throw Error(
            ErrorCode::device_fault,
            fmt::format("\"{}\" left {} of {} outputs untouched: look for an IOMMU fault in "
                        "the kernel log",
                        b.name, missing, b.marks.size()));
    if (repetition != 0) times.push_back(seconds);
  }
  std::ranges::sort(times);
  const double median = quantile(times, 0.5);
  const double spread =
      median > 0 ? (quantile(times, 0.75) - quantile(times, 0.25)) / 2 / median : 0;
  return {&b, median, spread, static_cast<unsigned>(times.size())};
}

kernels::BoundProgram bind_job(const kernels::Program& program,
                               std::span<const std::uint32_t> slots, std::uint32_t iova,
                               bool chained) {
  namespace pc = regdb::pc;
  kernels::BoundProgram bound = kernels::bind(program, slots);
  for (std::size_t i = 0; chained && i + 1 < bound.tasks.size(); ++i) {
    const kernels::BoundProgram::Task& next = bound.tasks[i + 1];
    const std::size_t trailer =
        bound.tasks[i].offset / sizeof(std::uint64_t) + bound.tasks[i].count - 4;
    const auto word = [](std::uint32_t value, std::uint16_t offset) {
      return regdb::Regcmd{static_cast<std::uint16_t>(regdb::Target::pc), value, offset}.pack();
    };
    bound.words[trailer] =
        word(iova + static_cast<std::uint32_t>(next.offset), pc::BASE_ADDRESS::offset);
    bound.words[trailer + 1] = word((next.count + 1) / 2 - 1, pc::REGISTER_AMOUNTS::offset);
  }
  return bound;
}

double system_clock_mhz(const std::string& root) {
  namespace fs = std::filesystem;
  double best = 0;
  bool firmware = false;
  std::error_code error;
  for (fs::directory_iterator at(root + "/sys/kernel/debug/clk", error), end; !error && at != end;
       at.increment(error)) {
    // The compute clock is the firmware's, scmi_clk_npu; the others with npu are bus clocks.
    const std::string name = at->path().filename().string();
    const bool scmi = name.find("scmi") != std::string::npos;
    if (name.find("clk_npu") == std::string::npos || name.find("aclk") != std::string::npos ||
        name.find("hclk") != std::string::npos || name.find("pclk") != std::string::npos ||
        (firmware && !scmi))
      continue;
    double hz = 0;
    if (!(std::ifstream(at->path() / "clk_rate") >> hz) || !(hz > 0)) continue;
    best = hz * 1e-6;
    firmware = scmi;
  }
  return best;
}

}  // namespace npu::probe::calibrate
