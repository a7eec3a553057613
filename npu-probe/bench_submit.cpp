// SPDX-License-Identifier: MIT
// Almost empty jobs: what the way to the NPU and back costs.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "microkernels/gemm_emit.hpp"
#include "microkernels/timer.hpp"
#include "npu-probe/bench_run.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using device::Buffer;
using device::Device;
using device::Job;

constexpr kernels::GemmShape kSmallest{4, 32, 32};
constexpr std::byte kMark{0x5A};

struct File {
  Device* device;
  Buffer a, b, c, regcmd;
  std::vector<Job> jobs;
};

File make_file(Device& device, const BenchSubmit& shape) {
  const kernels::GemmPlan plan = kernels::plan_gemm(kSmallest, kernels::DataType::i32);
  const kernels::GemmCore& core = plan.cores.at(0);
  File file{&device,
            device.create_buffer(core.a_bytes[0]),
            device.create_buffer(core.b_bytes),
            device.create_buffer(core.c_bytes[0]),
            {},
            {}};
  std::memset(file.a.host().data(), 1, file.a.size());
  std::memset(file.b.host().data(), 1, file.b.size());
  std::vector<std::uint32_t> iova(kernels::gemm_slots(core).size());
  iova[kernels::kGemmA] = file.a.iova();
  iova[kernels::kGemmB] = file.b.iova();
  iova[kernels::gemm_c_slot(core)] = file.c.iova();
  const kernels::BoundProgram program = kernels::bind(kernels::emit_gemm(plan, 0, 0), iova);
  const std::size_t bytes = program.words.size() * sizeof(std::uint64_t);
  file.regcmd = device.create_buffer(bytes);
  std::memcpy(file.regcmd.host().data(), program.words.data(), bytes);
  for (const Buffer* buffer : {&file.a, &file.b, &file.regcmd}) device.fini(*buffer);
  Job job;
  job.tasks.assign(shape.tasks, {file.regcmd.iova(), program.tasks.at(0).count});
  job.in_handles = {file.a.handle(), file.b.handle(), file.regcmd.handle()};
  job.out_handles = {file.c.handle()};
  file.jobs.assign(shape.jobs, job);
  return file;
}

kernels::RunStats run(std::vector<File>& files) {
  kernels::RunStats stats;
  for (File& file : files) {
    std::ranges::fill(file.c.host(), kMark);
    file.device->fini(file.c);
  }
  const std::chrono::nanoseconds begin = files.front().device->now();
  {
    const kernels::Timer timer(stats.submit);
    for (File& file : files) {
      file.device->submit(file.jobs);
      ++stats.submits;
    }
  }
  {
    const kernels::Timer timer(stats.wait);
    for (File& file : files) file.device->prep(file.c, std::chrono::milliseconds(60'000));
  }
  stats.device = files.front().device->now() - begin;
  for (const File& file : files) {
    // The kernel reports success for a job that its timeout retired.
    if (file.device->info().computes &&
        std::ranges::all_of(file.c.host(), [](std::byte b) { return b == kMark; }))
      throw Error(ErrorCode::device_fault,
                  "jobs ended without writing their output: look for \"NPU job timed out\" or an "
                  "IOMMU fault in the kernel log");
    for (const Job& job : file.jobs) {
      ++stats.jobs;
      stats.tasks += static_cast<std::uint32_t>(job.tasks.size());
      for (const device::Task& task : job.tasks) stats.regcmd_words += task.regcmd_count;
    }
  }
  return stats;
}

}  // namespace

BenchSubject make_submit_subject(const BenchSubmit& shape, std::span<Device* const> devices) {
  const auto files = std::make_shared<std::vector<File>>();
  for (Device* device : devices) files->push_back(make_file(*device, shape));
  BenchSubject subject;
  subject.run = [files] { return run(*files); };
  // All its figures are times: what is multiplied is of no interest.
  return subject;
}

}  // namespace npu::probe
