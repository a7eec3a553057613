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
std::span<T> part(std::span<std::byte> buffer, std::uint64_t offset, std::size_t count) {
  return {reinterpret_cast<T*>(buffer.data() + offset), count};
}

std::vector<std::vector<Slot>> slots(const GemmPlan& plan) {
  std::vector<std::vector<Slot>> cores;
  for (const GemmCore& core : plan.cores) {
    using enum Slot::Role;
    cores.push_back({{"a", core.a_bytes, input},
                     {"b", core.b_bytes, input},
                     {"c", core.c_bytes, output},
                     {"bias", core.bias_bytes, core.bias_bytes != 0 ? input : unused}});
  }
  return cores;
}

GemmPlan checked_plan(std::span<device::Device* const> devices, const GemmShape& shape,
                      GemmOutput output) {
  if (devices.empty()) {
    throw Error(ErrorCode::invalid_argument,
                "a GEMM needs one open device per core: open one and pass it");
  }
  return plan_gemm(shape, output, static_cast<unsigned>(devices.size()));
}

}  // namespace

GemmI8::GemmI8(std::span<device::Device* const> devices, const GemmShape& shape, GemmOutput output)
    : plan_(checked_plan(devices, shape, output)), executor_(devices, slots(plan_)) {
  if (output == GemmOutput::i32) upload_programs();
}

void GemmI8::upload_programs() {
  const std::uint64_t out_bytes = plan_.task_output == GemmOutput::i32 ? 4 : 1;
  std::vector<std::vector<Stage>> stages(plan_.cores.size());
  for (std::size_t i = 0; i < plan_.cores.size(); ++i) {
    for (std::uint32_t slice = 0; slice < plan_.slices; ++slice) {
      Stage& stage = stages[i].emplace_back();
      stage.program = emit_gemm(plan_, i, slice, requant_);
      for (const GemmTask& task : plan_.cores[i].tasks) {
        if (task.slice != slice) continue;
        const std::uint64_t c_bytes = std::uint64_t{task.m_padded} * task.n_padded * out_bytes;
        stage.tasks.push_back(
            {.macs = task.macs(),
             .bytes = std::uint64_t{task.k_padded} * (task.m_padded + task.n_padded) + c_bytes,
             .out_slot = kGemmC,
             .last_atom = task.c_offset + c_bytes - kAtomBytes});
      }
    }
  }
  executor_.set_programs(stages);
  has_programs_ = true;
}

void GemmI8::set_weights(std::span<const std::int8_t> b) {
  const GemmShape& shape = plan_.shape;
  check_size("matrix B", b.size(), std::uint64_t{shape.n} * shape.k);
  pack_weights_ = {};
  const Timer timer(pack_weights_);
  for (std::size_t i = 0; i < executor_.cores(); ++i) {
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
                      kernels, task.k_padded,
                      part<std::int8_t>(executor_.host(i, kGemmB), offset, bytes));
      offset += bytes;
    }
    executor_.written(i, kGemmB);
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
  for (std::size_t i = 0; i < executor_.cores(); ++i) {
    if (plan_.cores[i].bias_bytes == 0) continue;
    const Range n = plan_.cores[i].n;
    const std::span<std::int32_t> to = executor_.as<std::int32_t>(i, kGemmBias);
    std::fill(to.begin(), to.end(), 0);
    if (!bias.empty()) std::copy_n(bias.begin() + n.begin, n.size, to.begin());
    executor_.written(i, kGemmBias);
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
  for (std::size_t i = 0; i < executor_.cores(); ++i) {
    for (const GemmTask& task : plan_.cores[i].tasks) {
      // Tasks of one tile of rows share it: pack with the first of them.
      if (task.n.begin != plan_.cores[i].n.begin) continue;
      pack_features_i8(
          {a.data() + task.m.begin * stride + task.k.begin, task.m.size, task.k.size, stride},
          task.m_padded, task.k_padded,
          part<std::int8_t>(executor_.host(i, kGemmA), task.a_offset,
                            std::size_t{task.m_padded} * task.k_padded));
    }
    executor_.written(i, kGemmA);
  }
}

void GemmI8::execute(std::uint32_t slice, GemmStats& stats) {
  RunStats run;
  executor_.run(slice, run);
  stats.submit += run.submit;
  stats.wait += run.wait;
  stats.jobs += run.jobs;
  stats.tasks += run.tasks;
  stats.regcmd_words += run.regcmd_words;
}

void GemmI8::run_sums(std::span<std::int32_t> c, GemmStats& stats) {
  const std::size_t stride = plan_.shape.n;
  for (std::uint32_t slice = 0; slice < plan_.slices; ++slice) {
    execute(slice, stats);
    const Timer timer(stats.unpack);
    for (std::size_t i = 0; i < executor_.cores(); ++i) {
      for (const GemmTask& task : plan_.cores[i].tasks) {
        if (task.slice != slice) continue;
        const std::span<const std::int32_t> cube = part<std::int32_t>(
            executor_.host(i, kGemmC), task.c_offset, std::size_t{task.m_padded} * task.n_padded);
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

GemmStats fresh_stats(const GemmPlan& plan, std::chrono::nanoseconds pack_weights) {
  GemmStats stats;
  stats.cores = static_cast<std::uint32_t>(plan.cores.size());
  stats.slices = plan.slices;
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
  GemmStats s = fresh_stats(plan_, pack_weights_);
  pack_features(a, s);
  run_sums(c, s);
  if (stats != nullptr) *stats = s;
}

void GemmI8::run(std::span<const std::int8_t> a, std::span<std::int8_t> c, GemmStats* stats) {
  check_run(a.size(), c.size(), GemmOutput::i8);
  GemmStats s = fresh_stats(plan_, pack_weights_);
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
    for (std::size_t i = 0; i < executor_.cores(); ++i) {
      for (const GemmTask& task : plan_.cores[i].tasks) {
        unpack_i8(
            part<std::int8_t>(executor_.host(i, kGemmC), task.c_offset,
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
