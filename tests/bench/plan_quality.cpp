// SPDX-License-Identifier: MIT
// How good are the plans of microkernels/ in the timing model? Beside them, in the same model at
// the same clock, the plan of the best published open stack. Nothing here is measured: every figure
// is arithmetic on npu-sim's calibration (docs/timing.md).
//
//   plan_quality [--mhz=600]
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "microkernels/gemm_plan.hpp"
#include "npu-probe/timing_workloads.hpp"

namespace {

using namespace npu;
using kernels::DataType;
using kernels::GemmOptions;
using kernels::GemmPlan;
using kernels::GemmShape;

constexpr double kPublished = 460e9;  // operations per second, 512x3840x4096 at 600 MHz

struct Operator {
  const char* name;
  std::uint32_t n, k;
};
// Qwen2.5-1.5B: hidden 1536, 12 heads and 2 of keys and values of 128, feed forward 8960.
constexpr Operator kQwen[] = {{"qkv", 2048, 1536},        {"q", 1536, 1536},
                              {"k or v", 256, 1536},      {"o", 1536, 1536},
                              {"gate or up", 8960, 1536}, {"down", 1536, 8960}};

// As rocket-userspace runs it today: weights resident, slices of K added by the DPU, features kept
// in CBUF, asymmetric tiles, vector code, right-sized outputs, five files on three cores.
probe::Modelled published(const GemmShape& shape, double hz) {
  probe::GemmRun run;
  run.m = shape.m, run.n = shape.n, run.k = shape.k;
  run.files = 5, run.cores = 3;
  run.resident = run.accumulate = run.data_reuse = true;
  run.asymmetric = run.output_right_sized = run.fast_read = true;
  sim::Dispatch dispatch;
  return probe::gemm_time(run, sim::default_calibration().values, {hz, 3}, dispatch);
}

double operations(const GemmShape& s) { return 2.0 * s.m * s.n * s.k; }

std::string_view binds(const kernels::GemmTime& t) {
  const double host = t.pack + t.copy + t.sync + t.read, moving = t.device - t.mac;
  const std::array<std::pair<double, std::string_view>, 4> parts{
      {{t.mac, "MAC array"}, {host, "host"}, {t.dispatch, "dispatch"}, {moving, "DMA"}}};
  auto worst = parts[0];
  for (const auto& part : parts)
    if (part.first > worst.first) worst = part;
  return worst.second;
}

void row(const char* name, const GemmShape& shape, const GemmPlan& plan, double reference) {
  const kernels::GemmTime& t = plan.time;
  const double rate = operations(shape) / t.seconds;
  std::printf("  %-22s %7.3f ms %6.0f GOP/s", name, t.seconds * 1e3, rate * 1e-9);
  if (reference > 0) std::printf(" %5.2fx %5.2fx", reference / t.seconds, rate / kPublished);
  std::printf("  %4u tasks %4u kicks %3u jobs %6llu words %7.2f MB", t.tasks, t.kicks, t.jobs,
              static_cast<unsigned long long>(t.regcmd_words), static_cast<double>(t.bytes) * 1e-6);
  std::printf(
      "  MAC %4.1f%%, device %.2f dispatch %.2f pack %.2f copy %.2f sync %.2f read %.2f ms: "
      "%s\n",
      100 * t.mac / t.seconds, t.device * 1e3, t.dispatch * 1e3, t.pack * 1e3, t.copy * 1e3,
      t.sync * 1e3, t.read * 1e3, std::string(binds(t)).c_str());
}

}  // namespace

int main(int argc, char** argv) {
  double mhz = 600;
  if (argc > 1 && std::strncmp(argv[1], "--mhz=", 6) == 0) mhz = std::atof(argv[1] + 6);
  const double hz = mhz * 1e6;
  std::vector<std::pair<std::string, GemmShape>> shapes{{"published", {512, 4096, 3840}}};
  for (const std::uint32_t m : {128u, 512u})
    for (const Operator& op : kQwen)
      shapes.emplace_back(fmt::format("{} M={}", op.name, m), GemmShape{m, op.n, op.k});
  for (const auto& [name, shape] : shapes) {
    const probe::Modelled p = published(shape, hz);
    std::printf("%s: M %u N %u K %u\n", name.c_str(), shape.m, shape.n, shape.k);
    std::printf("  %-22s %7.3f ms %6.0f GOP/s  %zu tasks %zu jobs %.2f MB: %s\n", "published stack",
                p.seconds * 1e3, operations(shape) / p.seconds * 1e-9, p.tasks, p.jobs,
                static_cast<double>(p.bytes) * 1e-6, probe::shares(p).c_str());
    GemmOptions o;
    o.npu_hz = hz;
    row("f16->f32", shape, kernels::plan_gemm(shape, {DataType::f16, DataType::f32}, 3, o),
        p.seconds);
    row("f16->f16", shape, kernels::plan_gemm(shape, {DataType::f16, DataType::f16}, 3, o),
        p.seconds);
    o.on_chip_sums = true;
    const GemmPlan plan = kernels::plan_gemm(shape, {DataType::f16, DataType::f16}, 3, o);
    row("f16->f16 chip", shape, plan, p.seconds);
    o.chained = true;
    row("chained", shape, kernels::plan_gemm(shape, {DataType::f16, DataType::f16}, 3, o),
        p.seconds);
    o = {};
    o.npu_hz = hz;
    row("i8->i32", shape, kernels::plan_gemm(shape, {DataType::i8, DataType::i32}, 3, o),
        p.seconds);
    std::printf("  %s\n", to_string(plan.choice).c_str());
  }
  return 0;
}
