// SPDX-License-Identifier: MIT
#include "npu-sim/trace_writer.hpp"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>

#include "regdb/error.hpp"

namespace npu::sim {
namespace {

using nlohmann::json;

enum Track : int { driver = 1, pc, cna_feature, cna_weight, core, dpu_rdma, dpu, ppu, wdma };
constexpr std::pair<int, std::string_view> kTracks[] = {{driver, "driver (job, interrupt)"},
                                                        {pc, "PC (program fetch)"},
                                                        {cna_feature, "CNA feature DMA"},
                                                        {cna_weight, "CNA weight DMA"},
                                                        {core, "CORE (MAC array)"},
                                                        {dpu_rdma, "DPU_RDMA / PPU_RDMA"},
                                                        {dpu, "DPU"},
                                                        {ppu, "PPU"},
                                                        {wdma, "write DMA"}};

json slice(unsigned core_index, int track, std::string name, double begin_us, double us) {
  return {{"ph", "X"},      {"pid", core_index}, {"tid", track},
          {"ts", begin_us}, {"dur", us},         {"name", std::move(name)}};
}

void name_tracks(json& events) {
  for (unsigned c = 0; c < 3; ++c) {
    events.push_back({{"ph", "M"},
                      {"pid", c},
                      {"name", "process_name"},
                      {"args", {{"name", fmt::format("NPU core {} (modelled)", c)}}}});
    for (const auto& [track, name] : kTracks) {
      events.push_back({{"ph", "M"},
                        {"pid", c},
                        {"tid", track},
                        {"name", "thread_name"},
                        {"args", {{"name", name}}}});
      events.push_back({{"ph", "M"},
                        {"pid", c},
                        {"tid", track},
                        {"name", "thread_sort_index"},
                        {"args", {{"sort_index", track}}}});
    }
  }
}

// The bytes that an engine moves in this task, with the first address of each transfer.
json moved(const TaskRecord& record, std::initializer_list<Engine> engines) {
  json out = json::array();
  for (const Transfer& t : record.transfers)
    for (const Engine engine : engines)
      if (t.engine == engine)
        out.push_back({{"engine", to_string(engine)},
                       {"iova", fmt::format("{:#x}", t.iova)},
                       {"bytes", t.total()}});
  return out;
}

void append_task(const TimedTask& task, unsigned core_index, double begin_us, double us_per_cycle,
                 json& events) {
  const TaskTime& t = task.time;
  const double at = begin_us + task.begin * 1e6;
  const auto put = [&](int track, std::string_view name, double first, double cycles, json args) {
    if (cycles <= 0) return;
    json event = slice(core_index, track, std::string(name), at + first * us_per_cycle,
                       cycles * us_per_cycle);
    event["args"] = std::move(args);
    events.push_back(std::move(event));
  };
  const std::string& what = task.record.operation;
  // In a chain the load of a task ran beside the one before it.
  const double hidden = std::max(0.0, t.total - task.seconds * 1e6 / us_per_cycle);
  const double body = t.load - hidden;
  put(pc, "fetch", -hidden, t.fetch,
      {{"words", task.record.work.regcmd_words},
       {"host_register_writes", task.host_writes},
       {"program_register_writes", task.program_writes}});
  put(cna_weight, what, t.fetch - hidden, t.weight, moved(task.record, {Engine::weight}));
  put(cna_feature, what, t.fetch + t.weight - hidden, t.feature,
      moved(task.record, {Engine::feature}));
  put(core, what, body, t.mac,
      {{"macs", task.record.work.macs()},
       {"utilisation", t.mac_utilisation},
       {"limit", to_string(t.limit)},
       {"cycles", t.total}});
  put(dpu_rdma, what, body, t.operand,
      moved(task.record,
            {Engine::brdma, Engine::nrdma, Engine::erdma, Engine::mrdma, Engine::pool_read}));
  put(dpu, what, body, t.dpu, {{"elements", task.record.work.output_elements}});
  put(ppu, what, body, t.ppu, {{"elements", task.record.work.pool_elements}});
  put(wdma, what, body, t.write, moved(task.record, {Engine::dpu_write, Engine::pool_write}));
}

void append_trace(const Timeline& timeline, const std::string& label, double begin_us,
                  double npu_hz, json& events) {
  if (events.empty()) name_tracks(events);
  for (const TimedJob& job : timeline.jobs) {
    const double at = begin_us + job.begin * 1e6;
    json event = slice(job.core, driver, label, at, job.time.total * 1e6);
    event["args"] = {{"tasks", job.tasks},
                     {"starts", job.starts},
                     {"submit_us", job.time.submit * 1e6},
                     {"iommu_us", job.time.iommu * 1e6},
                     {"interrupts_us", job.time.interrupts * 1e6},
                     {"device_us", job.time.device * 1e6}};
    events.push_back(std::move(event));
    std::size_t last_start = 0;
    for (std::size_t i = job.first_task; i < job.first_task + job.tasks; ++i) {
      const TimedTask& task = timeline.tasks[i];
      append_task(task, job.core, begin_us, 1e6 / npu_hz, events);
      const bool ends_start =
          i + 1 == job.first_task + job.tasks || timeline.tasks[i + 1].start != task.start;
      if (ends_start)
        events.push_back({{"ph", "i"},
                          {"s", "t"},
                          {"pid", job.core},
                          {"tid", driver},
                          {"ts", begin_us + (task.begin + task.seconds) * 1e6},
                          {"name", "interrupt"},
                          {"args", {{"start", last_start}}}});
      last_start += ends_start;
    }
  }
}

}  // namespace

TraceFile::TraceFile(std::string path, double npu_hz, std::string calibration)
    : path_(std::move(path)),
      calibration_(std::move(calibration)),
      npu_hz_(npu_hz),
      events_(std::make_unique<json>(json::array())) {
  if (!std::ofstream(path_, std::ios::app))
    throw Error(ErrorCode::bad_file, fmt::format("{}: cannot be written", path_));
}
TraceFile::~TraceFile() = default;
TraceFile::TraceFile(TraceFile&&) noexcept = default;
TraceFile& TraceFile::operator=(TraceFile&&) noexcept = default;

void TraceFile::add(const Timeline& timeline, const std::string& label) {
  append_trace(timeline, label, clock_us_, npu_hz_, *events_);
  clock_us_ += timeline.total * 1e6;
}

void TraceFile::save() {
  const json file = {
      {"traceEvents", *events_},
      {"displayTimeUnit", "ns"},
      {"otherData",
       {{"provenance", "modelled"}, {"clock_mhz", npu_hz_ * 1e-6}, {"calibration", calibration_}}}};
  std::ofstream out(path_, std::ios::trunc);
  out << file.dump(-1, ' ', false, json::error_handler_t::replace) << '\n';
  out.flush();
  if (!out) throw Error(ErrorCode::bad_file, fmt::format("{}: cannot be written", path_));
}

}  // namespace npu::sim
