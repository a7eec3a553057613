// SPDX-License-Identifier: MIT
#include "microkernels/gemm.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "microkernels/gemm_emit.hpp"
#include "microkernels/layout.hpp"
#include "microkernels/reference.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using Clock = std::chrono::steady_clock;
using device::Job;

// A job is retired after 500 ms [rocket_job.c]. At the 200 MHz that mainline boots with, a core
// was measured at 28 G products per second (fp16, measurements-public.csv): these limits leave a
// factor of ten.
constexpr std::uint64_t kMaxJobMacs = std::uint64_t{1} << 30;
constexpr std::uint64_t kMaxJobBytes = std::uint64_t{64} << 20;

// For outputs that nothing overwrote. No int32 sum of at most kMaxGemmK products reaches the
// first one; an int8 output may equal one of the other two by chance, but not both.
constexpr std::uint32_t kSumMark = 0x80000001;
constexpr std::uint8_t kByteMarks[2] = {0x5A, 0xA5};

// Adds the time of its life to a counter.
class Timer {
 public:
  explicit Timer(std::chrono::nanoseconds& total) : total_(total), start_(Clock::now()) {}
  ~Timer() { total_ += Clock::now() - start_; }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  std::chrono::nanoseconds& total_;
  Clock::time_point start_;
};

void check_size(const char* what, std::size_t have, std::uint64_t want) {
  if (have != want) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} has {} elements; the shape asks for {}", what, have, want));
  }
}

template <class T>
std::span<T> part(const device::Buffer& buffer, std::uint64_t offset, std::size_t count) {
  return buffer.as<T>().subspan(offset / sizeof(T), count);
}

// The last atom of a task's tile, which the task writes last.
std::span<std::uint8_t> last_atom(const device::Buffer& c, const GemmTask& task,
                                  GemmOutput output) {
  const std::uint64_t bytes =
      std::uint64_t{task.m_padded} * task.n_padded * (output == GemmOutput::i32 ? 4 : 1);
  return part<std::uint8_t>(c, task.c_offset + bytes - kAtomBytes, kAtomBytes);
}

void fill_mark(GemmOutput output, std::uint8_t attempt, std::span<std::uint8_t> atom) {
  if (output == GemmOutput::i8) {
    std::fill(atom.begin(), atom.end(), kByteMarks[attempt]);
    return;
  }
  for (std::size_t i = 0; i < atom.size(); i += 4) std::memcpy(&atom[i], &kSumMark, 4);
}

}  // namespace

GemmI8::GemmI8(std::span<device::Device* const> devices, const GemmShape& shape,
               GemmOutput output) {
  if (devices.empty() || std::count(devices.begin(), devices.end(), nullptr) != 0) {
    throw Error(ErrorCode::invalid_argument,
                "a GEMM needs one open device per core: open one and pass it");
  }
  plan_ = plan_gemm(shape, output, static_cast<unsigned>(devices.size()));
  for (std::size_t i = 0; i < plan_.cores.size(); ++i) {
    const GemmCore& part = plan_.cores[i];
    Core core{.device = devices[i]};
    core.a = core.device->create_buffer(part.a_bytes);
    core.b = core.device->create_buffer(part.b_bytes);
    core.c = core.device->create_buffer(part.c_bytes);
    if (part.bias_bytes != 0) core.bias = core.device->create_buffer(part.bias_bytes);
    cores_.push_back(std::move(core));
  }
  if (output == GemmOutput::i32) upload_programs();
}

void GemmI8::upload_programs() {
  regcmd_words_ = 0;
  for (std::size_t i = 0; i < cores_.size(); ++i) {
    Core& core = cores_[i];
    std::vector<BoundProgram> programs;
    std::size_t words = 0;
    const std::uint32_t iova[kGemmSlots] = {core.a.iova(), core.b.iova(), core.c.iova(),
                                            core.bias ? core.bias.iova() : 0};
    for (std::uint32_t slice = 0; slice < plan_.slices; ++slice) {
      programs.push_back(bind(emit_gemm(plan_, i, slice, requant_), iova));
      words += programs.back().words.size();
    }
    const std::size_t bytes = words * sizeof(std::uint64_t);
    if (!core.regcmd || core.regcmd.size() < bytes) {
      core.regcmd = core.device->create_buffer(bytes);
    }

    core.jobs.assign(plan_.slices, {});
    std::size_t offset = 0, index = 0;
    for (std::uint32_t slice = 0; slice < plan_.slices; ++slice) {
      const BoundProgram& program = programs[slice];
      std::memcpy(core.regcmd.host().data() + offset, program.words.data(),
                  program.words.size() * sizeof(std::uint64_t));
      std::uint64_t macs = kMaxJobMacs, moved = 0;
      for (const BoundProgram::Task& bound : program.tasks) {
        const GemmTask& task = plan_.cores[i].tasks[index++];
        const std::uint64_t task_bytes =
            std::uint64_t{task.k_padded} * (task.m_padded + task.n_padded) +
            std::uint64_t{task.m_padded} * task.n_padded * 4;
        std::vector<Job>& jobs = core.jobs[slice];
        if (jobs.empty() || macs + task.macs() > kMaxJobMacs || moved + task_bytes > kMaxJobBytes) {
          Job job{.in_handles = {core.a.handle(), core.b.handle()},
                  .out_handles = {core.c.handle()}};
          if (core.bias) job.in_handles.push_back(core.bias.handle());
          jobs.push_back(std::move(job));
          macs = moved = 0;
        }
        macs += task.macs();
        moved += task_bytes;
        jobs.back().tasks.push_back(
            {static_cast<std::uint32_t>(core.regcmd.iova() + offset + bound.offset), bound.count});
        regcmd_words_ += bound.count;
      }
      offset += program.words.size() * sizeof(std::uint64_t);
    }
    core.device->fini(core.regcmd);
  }
  has_programs_ = true;
}

void GemmI8::set_weights(std::span<const std::int8_t> b) {
  const GemmShape& shape = plan_.shape;
  check_size("matrix B", b.size(), std::uint64_t{shape.n} * shape.k);
  pack_weights_ = {};
  const Timer timer(pack_weights_);
  for (std::size_t i = 0; i < cores_.size(); ++i) {
    const GemmCore& part_plan = plan_.cores[i];
    std::uint32_t slice = plan_.slices;
    std::uint64_t offset = 0;
    for (const GemmTask& task : part_plan.tasks) {
      if (task.slice == slice) continue;  // one block of weights per slice
      slice = task.slice;
      const std::size_t kernels = align_up<std::size_t>(part_plan.n.size, 32);
      const std::size_t bytes = kernels * task.k_padded;
      pack_weights_i8({b.data() + std::size_t{part_plan.n.begin} * shape.k + task.k.begin,
                       part_plan.n.size, task.k.size, shape.k},
                      kernels, task.k_padded, part<std::int8_t>(cores_[i].b, offset, bytes));
      offset += bytes;
    }
    cores_[i].device->fini(cores_[i].b);
  }
  has_weights_ = true;
}

void GemmI8::set_requant(const Requant& requant, std::span<const std::int32_t> bias) {
  if (plan_.output != GemmOutput::i8) {
    throw Error(ErrorCode::invalid_argument, "only a GEMM with int8 output takes a requantisation");
  }
  if (!bias.empty()) check_size("the bias", bias.size(), plan_.shape.n);
  if (requant.shift > 63) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("a requantisation shift of {} is not possible: use 0 to 63", requant.shift));
  }
  requant_ = requant;
  bias_.assign(bias.begin(), bias.end());
  for (std::size_t i = 0; i < cores_.size(); ++i) {
    Core& core = cores_[i];
    if (!core.bias) continue;
    const Range n = plan_.cores[i].n;
    const std::span<std::int32_t> to = core.bias.as<std::int32_t>();
    std::fill(to.begin(), to.end(), 0);
    if (!bias.empty()) std::copy_n(bias.begin() + n.begin, n.size, to.begin());
    core.device->fini(core.bias);
  }
  upload_programs();
}

void GemmI8::check_run(std::size_t a, std::size_t c, GemmOutput output) const {
  const GemmShape& shape = plan_.shape;
  if (output != plan_.output) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("this GEMM was made for {} output", to_string(plan_.output)));
  }
  if (!has_weights_) {
    throw Error(ErrorCode::invalid_argument, "the GEMM has no weights: call set_weights() first");
  }
  if (!has_programs_) {
    throw Error(ErrorCode::invalid_argument,
                "the GEMM has no requantisation: call set_requant() first");
  }
  check_size("matrix A", a, std::uint64_t{shape.m} * shape.k);
  check_size("matrix C", c, std::uint64_t{shape.m} * shape.n);
}

void GemmI8::pack_features(std::span<const std::int8_t> a, GemmStats& stats) {
  const Timer timer(stats.pack);
  const std::size_t stride = plan_.shape.k;
  for (std::size_t i = 0; i < cores_.size(); ++i) {
    for (const GemmTask& task : plan_.cores[i].tasks) {
      // Tasks of one tile of rows share it: pack with the first of them.
      if (task.n.begin != plan_.cores[i].n.begin) continue;
      pack_features_i8(
          {a.data() + task.m.begin * stride + task.k.begin, task.m.size, task.k.size, stride},
          task.m_padded, task.k_padded,
          part<std::int8_t>(cores_[i].a, task.a_offset,
                            std::size_t{task.m_padded} * task.k_padded));
    }
    cores_[i].device->fini(cores_[i].a);
  }
}

void GemmI8::mark_outputs(std::uint32_t slice, std::uint8_t attempt) {
  for (std::size_t i = 0; i < cores_.size(); ++i) {
    for (const GemmTask& task : plan_.cores[i].tasks) {
      if (task.slice != slice) continue;
      fill_mark(plan_.task_output, attempt, last_atom(cores_[i].c, task, plan_.task_output));
    }
    cores_[i].device->fini(cores_[i].c);
  }
}

std::size_t GemmI8::check_marks(std::uint32_t slice, std::uint8_t attempt,
                                std::vector<std::vector<bool>>& written) {
  std::uint8_t mark[kAtomBytes];
  fill_mark(plan_.task_output, attempt, mark);
  std::size_t missing = 0;
  written.resize(cores_.size());
  for (std::size_t i = 0; i < cores_.size(); ++i) {
    const std::vector<GemmTask>& tasks = plan_.cores[i].tasks;
    written[i].resize(tasks.size());
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      if (tasks[t].slice != slice) continue;
      const auto atom = last_atom(cores_[i].c, tasks[t], plan_.task_output);
      if (!std::equal(atom.begin(), atom.end(), mark)) written[i][t] = true;
      if (!written[i][t]) ++missing;
    }
  }
  return missing;
}

void GemmI8::execute(std::uint32_t slice, GemmStats& stats) {
  // A simulated core may be slow (emulation, sanitizers); a real one is retired by the kernel.
  const std::chrono::milliseconds timeout(60'000 + stats.macs / 10'000);
  std::vector<std::vector<bool>> written;
  const std::uint8_t attempts = plan_.task_output == GemmOutput::i32 ? 1 : 2;
  std::size_t missing = 0;
  for (std::uint8_t attempt = 0; attempt < attempts; ++attempt) {
    {
      const Timer timer(stats.submit);
      mark_outputs(slice, attempt);
      for (const Core& core : cores_) {
        core.device->submit(core.jobs[slice]);
        stats.jobs += static_cast<std::uint32_t>(core.jobs[slice].size());
        for (const Job& job : core.jobs[slice]) {
          stats.tasks += static_cast<std::uint32_t>(job.tasks.size());
        }
      }
    }
    {
      const Timer timer(stats.wait);
      for (const Core& core : cores_) core.device->prep(core.c, timeout);
    }
    missing = check_marks(slice, attempt, written);
    if (missing == 0) return;
  }
  throw Error(ErrorCode::device_fault,
              fmt::format("{} GEMM task(s) ended without writing their output: look for "
                          "\"NPU job timed out\" or an IOMMU fault in the kernel log",
                          missing));
}

void GemmI8::run_sums(std::span<std::int32_t> c, GemmStats& stats) {
  const std::size_t stride = plan_.shape.n;
  for (std::uint32_t slice = 0; slice < plan_.slices; ++slice) {
    execute(slice, stats);
    const Timer timer(stats.unpack);
    for (std::size_t i = 0; i < cores_.size(); ++i) {
      for (const GemmTask& task : plan_.cores[i].tasks) {
        if (task.slice != slice) continue;
        const std::span<const std::int32_t> cube = part<std::int32_t>(
            cores_[i].c, task.c_offset, std::size_t{task.m_padded} * task.n_padded);
        const MatrixView<std::int32_t> to{c.data() + task.m.begin * stride + task.n.begin,
                                          task.m.size, task.n.size, stride};
        if (slice == 0) {
          unpack_i32(cube, task.m_padded, to);
        } else {
          add_unpack_i32(cube, task.m_padded, to);
        }
      }
    }
  }
}

namespace {

GemmStats fresh_stats(const GemmPlan& plan, std::uint64_t words,
                      std::chrono::nanoseconds pack_weights) {
  GemmStats stats;
  stats.cores = static_cast<std::uint32_t>(plan.cores.size());
  stats.slices = plan.slices;
  stats.regcmd_words = words;
  stats.macs = std::uint64_t{plan.shape.m} * plan.shape.n * plan.shape.k;
  stats.feature_bytes = plan.feature_bytes;
  stats.weight_bytes = plan.weight_bytes;
  stats.output_bytes = plan.output_bytes;
  stats.pack_weights = pack_weights;
  return stats;
}

}  // namespace

void GemmI8::run(std::span<const std::int8_t> a, std::span<std::int32_t> c, GemmStats* stats) {
  check_run(a.size(), c.size(), GemmOutput::i32);
  GemmStats s = fresh_stats(plan_, regcmd_words_, pack_weights_);
  pack_features(a, s);
  run_sums(c, s);
  if (stats != nullptr) *stats = s;
}

void GemmI8::run(std::span<const std::int8_t> a, std::span<std::int8_t> c, GemmStats* stats) {
  check_run(a.size(), c.size(), GemmOutput::i8);
  GemmStats s = fresh_stats(plan_, regcmd_words_, pack_weights_);
  pack_features(a, s);
  if (plan_.task_output == GemmOutput::i32) {
    // K is sliced: only the host sees whole sums.
    std::vector<std::int32_t> sums(c.size());
    run_sums(sums, s);
    const Timer timer(s.unpack);
    ref_requantise(plan_.shape, requant_, bias_, sums, c);
  } else {
    execute(0, s);
    const Timer timer(s.unpack);
    const std::size_t stride = plan_.shape.n;
    for (std::size_t i = 0; i < cores_.size(); ++i) {
      for (const GemmTask& task : plan_.cores[i].tasks) {
        unpack_i8(
            part<std::int8_t>(cores_[i].c, task.c_offset,
                              std::size_t{task.m_padded} * task.n_padded),
            task.m_padded,
            {c.data() + task.m.begin * stride + task.n.begin, task.m.size, task.n.size, stride});
      }
    }
  }
  if (stats != nullptr) *stats = s;
}

void gemm_i8i32(std::span<device::Device* const> devices, const GemmShape& shape,
                std::span<const std::int8_t> a, std::span<const std::int8_t> b,
                std::span<std::int32_t> c, GemmStats* stats) {
  GemmI8 gemm(devices, shape, GemmOutput::i32);
  gemm.set_weights(b);
  gemm.run(a, c, stats);
}

void gemm_i8i32(device::Device& device, const GemmShape& shape, std::span<const std::int8_t> a,
                std::span<const std::int8_t> b, std::span<std::int32_t> c, GemmStats* stats) {
  device::Device* devices[] = {&device};
  gemm_i8i32(devices, shape, a, b, c, stats);
}

void gemm_i8i8(std::span<device::Device* const> devices, const GemmShape& shape,
               const Requant& requant, std::span<const std::int32_t> bias,
               std::span<const std::int8_t> a, std::span<const std::int8_t> b,
               std::span<std::int8_t> c, GemmStats* stats) {
  GemmI8 gemm(devices, shape, GemmOutput::i8);
  gemm.set_weights(b);
  gemm.set_requant(requant, bias);
  gemm.run(a, c, stats);
}

void gemm_i8i8(device::Device& device, const GemmShape& shape, const Requant& requant,
               std::span<const std::int32_t> bias, std::span<const std::int8_t> a,
               std::span<const std::int8_t> b, std::span<std::int8_t> c, GemmStats* stats) {
  device::Device* devices[] = {&device};
  gemm_i8i8(devices, shape, requant, bias, a, b, c, stats);
}

}  // namespace npu::kernels
