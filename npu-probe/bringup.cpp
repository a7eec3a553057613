// SPDX-License-Identifier: MIT
#include "npu-probe/bringup.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <random>

#include "microkernels/gemm.hpp"
#include "microkernels/gemm_emit.hpp"
#include "microkernels/layout.hpp"
#include "microkernels/reference.hpp"
#include "regdb/error.hpp"
#include "regdb/registers.hpp"

namespace npu::probe {
namespace {

using kernels::GemmShape;

// A failed rung: what was seen and what to try.
struct RungFailure {
  std::string detail, remedy;
};
struct RungSkip {
  std::string why;
};

class Ladder {
 public:
  Ladder(const BringupOptions& options, const std::function<void(const RungResult&)>& progress)
      : options_(options), progress_(progress) {}

  // Runs a rung; `body` returns what was seen. After a failure of a rung that the others stand
  // on, the rest is skipped.
  template <class Body>
  void rung(const std::string& name, const std::string& remedy, bool essential, Body body) {
    RungResult r{.name = name};
    if (!blocked_by_.empty()) {
      r.detail = "not reached: \"" + blocked_by_ + "\" failed";
    } else {
      const auto start = std::chrono::steady_clock::now();
      try {
        r.detail = body();
        r.state = RungState::pass;
      } catch (const RungSkip& skip) {
        r.detail = skip.why;
      } catch (const RungFailure& failure) {
        r = {.name = name,
             .state = RungState::fail,
             .detail = failure.detail,
             .remedy = failure.remedy.empty() ? remedy : failure.remedy};
      } catch (const Error& error) {
        r = {.name = name, .state = RungState::fail, .detail = error.what(), .remedy = remedy};
        last_error_ = error.code();
      }
      r.milliseconds =
          std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
              .count();
      if (r.state == RungState::fail && essential) blocked_by_ = name;
    }
    if (progress_) progress_(r);
    report.rungs.push_back(std::move(r));
  }

  const BringupOptions& options() const { return options_; }
  ErrorCode last_error() const { return last_error_; }

  BringupReport report;
  std::unique_ptr<device::Device> device;

 private:
  const BringupOptions& options_;
  const std::function<void(const RungResult&)>& progress_;
  std::string blocked_by_;
  ErrorCode last_error_ = ErrorCode::no_device;
};

struct Operands {
  std::vector<std::int8_t> a, b;
  std::vector<std::int32_t> want;
};

Operands make_operands(const GemmShape& s, std::uint32_t seed) {
  std::mt19937 rng(seed);
  std::uniform_int_distribution<int> byte(-128, 127);
  Operands o{std::vector<std::int8_t>(std::size_t{s.m} * s.k),
             std::vector<std::int8_t>(std::size_t{s.n} * s.k),
             std::vector<std::int32_t>(std::size_t{s.m} * s.n)};
  for (auto& x : o.a) x = static_cast<std::int8_t>(byte(rng));
  for (auto& x : o.b) x = static_cast<std::int8_t>(byte(rng));
  kernels::ref_gemm_i8i32(s, o.a, o.b, o.want);
  return o;
}

// Throws RungFailure with the first wrong element. Outputs start as a pattern that no product
// has, because a job that never ran leaves them as they were.
void expect_gemm(std::span<device::Device* const> devices, const GemmShape& s, std::uint32_t seed) {
  const Operands o = make_operands(s, seed);
  std::vector<std::int32_t> got(o.want.size(), INT32_MIN + 7);
  kernels::gemm_i8i32(devices, s, o.a, o.b, got);
  const auto [w, g] = std::mismatch(o.want.begin(), o.want.end(), got.begin());
  if (w == o.want.end()) return;
  const auto at = static_cast<std::size_t>(w - o.want.begin());
  throw RungFailure{fmt::format("gemm {}x{}x{}: element m={} n={} is {}, want {}", s.m, s.n, s.k,
                                at / s.n, at % s.n, *g, *w),
                    ""};
}

void check_buffers(device::Device& device) {
  for (const std::size_t bytes :
       {std::size_t{1}, std::size_t{4096}, std::size_t{100'000}, std::size_t{4} << 20}) {
    device::Buffer buffer = device.create_buffer(bytes);
    const auto host = buffer.host();
    if (buffer.iova() % 4096 != 0)
      throw RungFailure{
          fmt::format("IOVA {:#x} of a {} byte buffer is not page aligned", buffer.iova(), bytes),
          ""};
    for (std::size_t i = 0; i < host.size(); ++i) host[i] = static_cast<std::byte>(i * 7);
    device.fini(buffer);
    device.prep(buffer, std::chrono::seconds(5));
    for (std::size_t i = 0; i < host.size(); ++i)
      if (host[i] != static_cast<std::byte>(i * 7))
        throw RungFailure{fmt::format("byte {} of a {} byte buffer changed by itself", i, bytes),
                          ""};
  }
}

// A program for one small GEMM in buffers of its own.
struct SmallJob {
  GemmShape shape{32, 32, 32};
  Operands operands;
  device::Buffer a, b, c, program;
  device::Job job;

  SmallJob(device::Device& device, std::uint32_t seed, std::uint32_t bad_feature_address = 0)
      : operands(make_operands(shape, seed)) {
    const auto plan = kernels::plan_gemm(shape, kernels::GemmOutput::i32);
    a = device.create_buffer(plan.cores[0].a_bytes[0]);
    b = device.create_buffer(plan.cores[0].b_bytes);
    c = device.create_buffer(plan.cores[0].c_bytes[0]);
    kernels::pack_features_i8({operands.a.data(), 32, 32, 32}, 32, 32, a.as<std::int8_t>());
    kernels::pack_weights_i8({operands.b.data(), 32, 32, 32}, 32, 32, b.as<std::int8_t>());
    std::uint32_t iova[5] = {};
    iova[kernels::kGemmA] = bad_feature_address != 0 ? bad_feature_address : a.iova();
    iova[kernels::kGemmB] = b.iova();
    iova[kernels::gemm_c_slot(plan.cores[0])] = c.iova();
    const auto bound = kernels::bind(kernels::emit_gemm(plan, 0, 0), iova);
    program = device.create_buffer(bound.words.size() * 8);
    std::memcpy(program.host().data(), bound.words.data(), bound.words.size() * 8);
    std::fill(c.host().begin(), c.host().end(), std::byte{0x5A});
    for (const device::Buffer* buffer : {&a, &b, &c, &program}) device.fini(*buffer);
    job.tasks = {{program.iova(), bound.tasks[0].count}};
    job.in_handles = {a.handle(), b.handle()};
    job.out_handles = {c.handle()};
  }

  bool correct() const {
    std::vector<std::int32_t> got(operands.want.size());
    kernels::unpack_i32(c.as<std::int32_t>().first(std::size_t{32} * 32), 32,
                        {got.data(), 32, 32, 32});
    return got == operands.want;
  }
};

std::string two_jobs(device::Device& device) {
  SmallJob first(device, 11), second(device, 12);
  const device::Job jobs[] = {first.job, second.job};
  device.submit(jobs);
  device.prep(second.c, std::chrono::seconds(60));
  device.prep(first.c, std::chrono::seconds(60));
  if (!first.correct() || !second.correct())
    throw RungFailure{
        fmt::format("the {} job left a wrong result", first.correct() ? "second" : "first"), ""};
  return "both results exact";
}

std::string recovery(device::Device& device) {
  SmallJob bad(device, 13, 0xFFFF0000);
  device.submit(bad.job);
  std::string seen = "the output is untouched";
  try {
    device.prep(bad.c, std::chrono::seconds(60));
  } catch (const Error& error) {
    seen = error.what();
  }
  if (bad.correct())
    throw RungFailure{"a job that reads outside every buffer produced the right result", ""};
  SmallJob good(device, 14);
  device.submit(good.job);
  device.prep(good.c, std::chrono::seconds(60));
  if (!good.correct()) throw RungFailure{"the job after the faulty one is wrong", ""};
  return "fault seen (" + seen + "), next job exact";
}

void climb(Ladder& l) {
  l.rung("open device", "see the message above; `npu-probe audit` checks the whole machine", true,
         [&] {
           l.device = device::open_device(l.options().device);
           l.report.opened = true;
           l.report.device = l.device->info().backend;
           l.report.provenance = l.device->info().provenance == "modelled" ? "host" : "measured";
           return l.device->info().path;
         });
  if (!l.report.opened) l.report.open_exit_code = exit_code(l.last_error());
  const auto device = [&]() -> device::Device& { return *l.device; };
  const auto gemm = [&](const GemmShape& s, std::uint32_t seed) {
    device::Device* const one[] = {l.device.get()};
    expect_gemm(one, s, seed);
  };

  l.rung("driver and version", "another driver owns this node: name the right one with --device",
         true, [&] {
           const auto& info = device().info();
           if (info.driver.empty())  // mapped registers
             return fmt::format("no driver, chip version {}, {} core{}", info.version, info.cores,
                                info.cores == 1 ? "" : "s");
           if (info.driver != "rocket")
             throw RungFailure{"the DRM driver is \"" + info.driver + "\", not \"rocket\"", ""};
           return fmt::format("{} {}, {}", info.driver, info.version,
                              info.cores == 0 ? std::string("number of cores unknown")
                                              : fmt::format("{} cores", info.cores));
         });
  l.rung("buffers", "look for IOMMU or out-of-memory messages in the kernel log", true, [&] {
    check_buffers(device());
    return std::string("create, map, sync and free of 1 B to 4 MiB");
  });
  l.rung("empty submit", "SUBMIT is refused: is this the rocket driver of kernel 6.18 or later?",
         true, [&] {
           // No program smaller than one that ends in the DPU is proven on boards, so the empty
           // job is the one that the uAPI defines: job_count 0.
           device().submit(std::span<const device::Job>());
           return std::string("SUBMIT with no jobs is accepted");
         });
  l.rung("gemm 64x64x64",
         "the first job does not compute: check power domain, clocks and IOMMU with `npu-probe "
         "audit`, and the kernel log for \"NPU job timed out\"",
         true, [&] {
           gemm({64, 64, 64}, 1);
           return std::string("int8 -> int32, bit-exact");
         });
  l.rung("gemm grid", "note the shape and file a report with `npu-probe run gemm --check --json`",
         false, [&] {
           const GemmShape shapes[] = {{1, 1, 1},       {4, 32, 32},    {5, 33, 17},
                                       {31, 64, 100},   {128, 96, 256}, {7, 250, 511},
                                       {300, 40, 1024}, {64, 512, 64}};
           std::uint32_t seed = 2;
           for (const GemmShape& s : shapes) gemm(s, seed++);
           return fmt::format("{} shapes, bit-exact", std::size(shapes));
         });
  l.rung("three cores",
         "a core does not answer: look for three \"Rockchip NPU core\" lines in the "
         "kernel log",
         false, [&] {
           const auto second = device().open_another(), third = device().open_another();
           device::Device* const all[] = {l.device.get(), second.get(), third.get()};
           expect_gemm(all, {96, 384, 256}, 20);
           return std::string("three files at once, bit-exact");
         });
  l.rung("two jobs in one submit",
         "jobs of one submit disturb each other: check the kernel version", false,
         [&] { return two_jobs(device()); });
  l.rung("error recovery", "the core does not come back after a fault: reload the rocket module",
         false, [&] {
           if (l.report.provenance != "host" && !l.options().allow_faults)
             throw RungSkip{
                 "a fault on a real NPU costs a 500 ms timeout and repeated ones have "
                 "corrupted 6.18 kernels; use --allow-faults"};
           return recovery(device());
         });
}

}  // namespace

bool BringupReport::passed() const {
  return opened && std::none_of(rungs.begin(), rungs.end(),
                                [](const RungResult& r) { return r.state == RungState::fail; });
}

BringupReport bringup(const BringupOptions& options,
                      const std::function<void(const RungResult&)>& progress) {
  Ladder ladder(options, progress);
  climb(ladder);
  return std::move(ladder.report);
}

}  // namespace npu::probe
