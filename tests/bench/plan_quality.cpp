// SPDX-License-Identifier: MIT
// How good are the plans of microkernels/ in the timing model? Beside them, in the same model at
// the same clock, the plan of the best published open stack.
//
//   plan_quality [--mhz=600]
#include "plan_quality.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace {

using namespace npu;
using namespace npu::bench;
using kernels::DataType;
using kernels::GemmOptions;
using kernels::GemmPlan;
using kernels::GemmShape;
using kernels::GemmTypes;

constexpr GemmTypes kExact{DataType::f16, DataType::f32}, kHalf{DataType::f16, DataType::f16},
    kInt8{DataType::i8, DataType::i32};

std::string_view binds(const kernels::GemmTime& t) {
  const std::pair<double, std::string_view> parts[] = {
      {t.mac, "MAC array"},
      {t.device - t.mac, "loading"},
      {t.dispatch, "interrupts and submits"},
      {t.seconds - t.device - t.dispatch, "host before and after"}};
  const auto* worst = parts;
  for (const auto& part : parts)
    if (part.first > worst->first) worst = &part;
  return worst->second;
}

void row(const char* name, const GemmShape& shape, const GemmPlan& plan, double reference,
         double today) {
  const kernels::GemmTime& t = plan.time;
  const double rate = operations(shape) / t.seconds;
  fmt::print(
      "  {:<16} {:8.3f} {:6.0f} {:6.2f} {:6.2f} {:6.2f} {:5.0f} {:5} {:5} {:4} {:7} {:7.1f}  {}\n",
      name, t.seconds * 1e3, rate * 1e-9, reference / t.seconds, today / t.seconds,
      rate / kPublishedRate, 100 * t.mac / t.seconds, t.tasks, t.kicks, t.jobs, t.regcmd_words,
      static_cast<double>(t.bytes) * 1e-6, binds(t));
}

void published_row(const char* name, const GemmShape& shape, const probe::Modelled& p,
                   double reference, double today) {
  const double rate = operations(shape) / p.seconds;
  fmt::print(
      "  {:<16} {:8.3f} {:6.0f} {:6.2f} {:6.2f} {:6.2f} {:5.0f} {:5} {:5} {:4} {:7} {:7.1f}  {}\n",
      name, p.seconds * 1e3, rate * 1e-9, reference / p.seconds, today / p.seconds,
      rate / kPublishedRate, 100 * p.mac_share, p.tasks, p.tasks, p.jobs, p.tasks * 126,
      static_cast<double>(p.bytes) * 1e-6, probe::shares(p).substr(0, 28));
}

void prefill(const std::string& name, const GemmShape& shape, double hz) {
  const probe::Modelled p = published(shape, hz, true), late = published(shape, hz, false);
  fmt::print("{}: M {} N {} K {}\n", name, shape.m, shape.n, shape.k);
  published_row("published plan", shape, p, p.seconds, late.seconds);
  published_row("its library now", shape, late, p.seconds, late.seconds);
  GemmOptions o;
  o.npu_hz = hz;
  const auto ours = [&](const char* label, const GemmTypes& types) {
    const GemmPlan plan = kernels::plan_gemm(shape, types, 3, o);
    row(label, shape, plan, p.seconds, late.seconds);
    return plan;
  };
  ours("i8->i32", kInt8);
  ours("f16->f32 exact", kExact);
  ours("f16->f16 exact", kHalf);
  o.on_chip_sums = true;
  const GemmPlan best = ours("f16->f16 chip", kHalf);
  o.chained = true;
  ours("the same chained", kHalf);
  fmt::print("    {}\n", to_string(best.choice));
}

// Weights once through the NPU, per token or small batch; the CPU reads them at its own rate.
void decode(std::uint32_t m, double hz) {
  const sim::Calibration& c = sim::default_calibration().values;
  fmt::print(
      "decode, M {} (padded to at least 4): weights streamed over three cores; DRAM {:.1f} GB/s, "
      "CPU {:.1f} GB/s\n",
      m, c.dram_bytes_per_second * 1e-9, c.cpu_bytes_per_second * 1e-9);
  fmt::print("  {:<10} {:<9} {:>8} {:>9} {:>6} {:>8} {:>6} {:>7} {:>6} {:>5} {:>6}\n", "operator",
             "types", "ms", "chip GB/s", "DRAM", "all GB/s", "DRAM", "to CPU", "kicks", "jobs",
             "MB");
  for (const Operator& op : kQwen)
    for (const GemmTypes& types : {kExact, kInt8}) {
      GemmOptions o;
      o.npu_hz = hz;
      const GemmPlan plan = kernels::plan_gemm({m, op.n, op.k}, types, 3, o);
      const kernels::GemmTime& t = plan.time;
      const double weights = static_cast<double>(op.n) * op.k * kernels::bits(types.in) / 8;
      const double chip = weights / t.device, all = weights / t.seconds;
      fmt::print(
          "  {:<10} {:<9} {:8.3f} {:9.2f} {:5.0f}% {:8.2f} {:5.0f}% {:6.2f}x {:6} {:5} {:6.1f}\n",
          op.name, to_string(types), t.seconds * 1e3, chip * 1e-9,
          100 * chip / c.dram_bytes_per_second, all * 1e-9, 100 * all / c.dram_bytes_per_second,
          all / c.cpu_bytes_per_second, t.kicks, t.jobs, static_cast<double>(t.bytes) * 1e-6);
    }
}

}  // namespace

int main(int argc, char** argv) {
  double mhz = 600;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    const bool known = flag.substr(0, 6) == "--mhz=";
    const char* const end = flag.data() + flag.size();
    if (!known || std::from_chars(flag.data() + 6, end, mhz).ptr != end || !(mhz > 0) ||
        mhz > 5000) {
      std::fprintf(stderr, "usage: plan_quality [--mhz=600]\n");
      return flag == "--help" ? 0 : 2;
    }
  }
  const double hz = mhz * 1e6;
  fmt::print(
      "Modelled at {:.0f} MHz, stock kernel, three cores. Ratios of time: to the published plan "
      "for the\nsame shape, to its library's plan of today, of the rate to {:.0f} GOP/s.\n\n",
      mhz, kPublishedRate * 1e-9);
  fmt::print("  {:<16} {:>8} {:>6} {:>6} {:>6} {:>6} {:>5} {:>5} {:>5} {:>4} {:>7} {:>7}  {}\n", "",
             "ms", "GOP/s", "publ.", "today", "460", "MAC%", "tasks", "kicks", "jobs", "words",
             "MB", "binds");
  prefill("published", {512, 4096, 3840}, hz);
  for (const std::uint32_t m : {128u, 512u})
    for (const Operator& op : kQwen)
      prefill(fmt::format("{} prefill", op.name), {m, op.n, op.k}, hz);
  fmt::print("\n");
  for (const std::uint32_t m : {1u, 4u, 8u}) decode(m, hz);
  return 0;
}
