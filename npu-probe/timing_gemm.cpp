// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "npu-probe/timing_workloads.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using sim::MacType;

constexpr std::uint64_t kTilesPerJob = 64;  // the library's batch [rocket-userspace]
constexpr std::uint64_t kLargestTile = 256;
constexpr std::uint32_t kWords = 126;  // a matmul program [notes regcmd-task-model, HW]
constexpr std::uint64_t kBankBytes = 32768, kBanks = 12;

std::uint64_t up(std::uint64_t value, std::uint64_t to) { return (value + to - 1) / to; }

std::uint64_t bytes_of(std::uint64_t elements, MacType type) {
  return static_cast<std::uint64_t>(static_cast<double>(elements) * sim::bits_of(type) / 8);
}

// int8 to int32, int4 to int16, the floating types to fp32; fp16 is narrowed where the DPU adds
// the slices or the library asks for it [notes datatypes, HW].
std::uint64_t output_element(MacType type) {
  switch (type) {
    case MacType::int4:
    case MacType::fp16: return 2;
    default: return 4;
  }
}

bool fits(std::uint64_t m, std::uint64_t n, std::uint64_t k, MacType type) {
  return up(bytes_of(m * k, type), kBankBytes) + up(bytes_of(n * k, type), kBankBytes) <= kBanks;
}

std::uint64_t deepest(std::uint64_t m, std::uint64_t n, std::uint64_t k, MacType type) {
  std::uint64_t depth = std::max<std::uint64_t>(std::min<std::uint64_t>(k, 16384) / 32 * 32, 32);
  while (depth > 32 && !fits(m, n, depth, type)) depth -= 32;
  return depth;
}

}  // namespace

GemmTiles gemm_tiles(const GemmRun& run, std::uint64_t columns) {
  GemmTiles t;
  t.m = std::min(run.m, kLargestTile);
  t.n = std::min(columns, kLargestTile);
  t.k = deepest(t.m, t.n, run.k, run.type);
  if (run.asymmetric && t.n == kLargestTile && columns > kLargestTile && t.k < run.k) {
    t.n = kLargestTile / 2;
    t.k = deepest(t.m, t.n, run.k, run.type);
  }
  t.count_m = up(run.m, t.m);
  t.count_n = up(columns, t.n);
  t.count_k = up(run.k, t.k);
  return t;
}

std::vector<sim::TaskWork> gemm_tasks(const GemmRun& run, const GemmTiles& t,
                                      std::uint64_t columns) {
  std::vector<sim::TaskWork> tasks;
  tasks.reserve(t.count_m * t.count_n * t.count_k);
  for (std::uint64_t ki = 0; ki < t.count_k; ++ki)
    for (std::uint64_t mi = 0; mi < t.count_m; ++mi)
      for (std::uint64_t ni = 0; ni < t.count_n; ++ni) {
        const std::uint64_t m = std::min(t.m, run.m - mi * t.m);
        const std::uint64_t n = std::min(t.n, columns - ni * t.n);
        const std::uint64_t k = std::min(t.k, run.k - ki * t.k);
        sim::TaskWork w;
        w.type = run.type;
        w.kernels = static_cast<std::uint32_t>(n);
        w.channels = static_cast<std::uint32_t>(k);
        w.positions = m;
        w.regcmd_words = kWords;
        w.feature_bytes = bytes_of(m * k, run.type);
        w.weight_bytes = bytes_of(n * k, run.type);
        w.output_elements = m * n;
        w.output_bytes = m * n * output_element(run.type);
        w.data_reuse = run.data_reuse && ni != 0;
        if (run.accumulate && ki != 0) w.operand_bytes = m * n * output_element(run.type);
        tasks.push_back(w);
      }
  return tasks;
}

Modelled gemm_time(const GemmRun& run, const sim::Calibration& c, const sim::Operating& clock,
                   const sim::Dispatch& dispatch) {
  if (run.m == 0 || run.n == 0 || run.k == 0 || run.files == 0 || run.cores == 0)
    throw Error(ErrorCode::invalid_argument,
                "a matrix product needs sizes, files and cores above 0");
  const unsigned files = static_cast<unsigned>(std::min<std::uint64_t>(run.files, up(run.n, 16)));
  const std::uint64_t columns = up(up(run.n, files), 16) * 16;
  const GemmTiles tiles = gemm_tiles(run, columns);
  constexpr std::uint64_t kMostTasks = 1 << 18;
  if (tiles.count_m * tiles.count_n * tiles.count_k > kMostTasks)
    throw Error(ErrorCode::invalid_argument, "the matrix product takes more than 262144 tasks");
  const std::vector<sim::TaskWork> tasks = gemm_tasks(run, tiles, columns);

  Modelled r;
  // Slices that the DPU adds wait for each other: at least one job for each.
  const std::uint64_t per_job =
      run.accumulate ? std::min(kTilesPerJob, tiles.count_m * tiles.count_n) : kTilesPerJob;
  for (std::size_t at = 0; at < tasks.size(); at += per_job) {
    const auto count = std::min<std::size_t>(per_job, tasks.size() - at);
    const sim::JobTime job = sim::estimate_job({tasks.data() + at, count}, dispatch, c, clock);
    r.device += job.device;
    r.dispatch += job.dispatch();
    r.mac += job.mac;
    r.bytes += job.bytes;
    r.macs += job.macs;
    ++r.jobs;
  }
  if (!run.device_only) {
    const double parallel = std::min<double>(
        files, run.host_parallelism > 0 ? run.host_parallelism : c.host_parallelism);
    const double slowdown = files / parallel;  // of a thread while all do the same
    const auto elements = [](std::uint64_t a, std::uint64_t b) {
      return static_cast<double>(a * b);
    };
    const double pack_a = elements(run.m, run.k) * c.host_pack_ns;
    const double pack_b =
        run.resident ? 0
                     : elements(columns, run.k) * (run.cold ? c.host_pack_cold_ns : c.host_pack_ns);
    const double read = elements(run.m, columns) *
                        (run.fast_read ? c.host_read_fast_ns : c.host_read_ns) *
                        static_cast<double>(run.accumulate ? 1 : tiles.count_k);
    r.host = (pack_a + pack_b + read) * 1e-9 * slowdown;
    // Several threads that read tall results back get in each other's way [notes
    // quant-prefill-microbatch: the time grows faster than the rows, at equal bytes].
    constexpr double kTall = 512;
    if (files > 1 && static_cast<double>(run.m) > kTall)
      r.host += elements(run.m, columns) * (static_cast<double>(run.m) / kTall - 1) *
                c.host_tall_ns * 1e-9 * files;
    if (run.cold) r.host += c.host_call_ms * 1e-3;
  }
  if (!run.device_only || run.waits) {
    // Four times a job. A thread alone waits for it; of several, most is hidden behind the others.
    const std::uint64_t tile_bytes = tiles.m * tiles.n * output_element(run.type);
    const std::uint64_t synced = run.output_right_sized
                                     ? std::min(kTilesPerJob, tiles.count_m * tiles.count_n)
                                     : kTilesPerJob;
    r.host += 4.0 * static_cast<double>(r.jobs * synced * tile_bytes) /
              (files == 1 ? c.host_sync_alone_bytes_per_second : c.host_sync_bytes_per_second);
  }
  // While a core waits for the interrupt between two tasks of a job it does nothing else.
  const double core = r.device + r.dispatch;
  r.seconds = sim::makespan(r.host, core, files, run.cores);
  const unsigned busy = std::min(run.cores, files);
  r.mac_share = r.mac * files / busy / r.seconds;
  r.bytes *= files;
  r.macs *= files;
  r.tasks = tasks.size() * files;
  r.jobs *= files;
  return r;
}

std::string shares(const Modelled& m) {
  std::array<std::pair<double, std::string_view>, 4> parts{
      {{m.host, "host"},
       {m.dispatch, "dispatch"},
       {std::max(m.device - m.mac, 0.0), "DMA and task starts"},
       {m.mac, "MAC array"}}};
  std::stable_sort(parts.begin(), parts.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  const double all = m.host + m.dispatch + std::max(m.device, m.mac);
  std::string text;
  for (const auto& [seconds, name] : parts)
    if (seconds > 0)
      text += fmt::format("{}{} {:.0f} %", text.empty() ? "" : ", ", name, 100 * seconds / all);
  return text;
}

}  // namespace npu::probe
