// SPDX-License-Identifier: MIT
// Which matrix products go to the NPU: decided by the timing model and by the speed of the CPU,
// for each group and each number of rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "llm-runtime/offload/cpu_times.hpp"
#include "llm-runtime/offload/npu_projector.hpp"
#include "microkernels/gemm_time.hpp"
#include "npu-sim/timing.hpp"

namespace npu::llm {

/// What the plan is made for.
struct PlanOptions {
  unsigned cores = 3;
  OffloadOptions offload;                         ///< its `plan` is what is looked for
  sim::Dispatch dispatch;                         ///< the stock kernel's
  const sim::Calibration* calibration = nullptr;  ///< null: the default one
};

/// A group of one layer with some rows on the NPU, in modelled seconds.
struct NpuTime {
  std::uint32_t rows = 0;  ///< of the product, padding included
  kernels::GemmTime gemm;  ///< of all parts of the columns together
  double convert = 0;      ///< to int8, on the CPU
  double seconds() const { return gemm.seconds + convert; }
};

struct GroupPlan {
  Group group{};
  std::uint32_t layers = 0;
  std::uint32_t rows_per_token = 1;      ///< 2: QuantisationOptions::wide
  double file_bytes = 0, npu_bytes = 0;  ///< of one layer's weights
  std::vector<NpuTime> npu;              ///< for product_heights(), ascending
  std::uint32_t from_rows = OffloadPlan::kNever;
};

/// m tokens as NpuProjector takes them: whole turns of the tallest product, then what is left.
template <class Each>
void for_each_turn(const GroupPlan& group, std::uint32_t m, const Each& each) {
  const std::uint64_t all = std::uint64_t{m} * group.rows_per_token;
  for (std::uint64_t done = 0; done < all;) {
    const std::uint64_t rows = std::min<std::uint64_t>(all - done, group.npu.back().rows);
    each(*std::ranges::lower_bound(group.npu, rows, {}, &NpuTime::rows));
    done += rows;
  }
}

struct Plan {
  PlanOptions options;
  CpuTimes cpu;
  std::vector<GroupPlan> groups;  ///< in the order of kGroups
  OffloadPlan offload() const;
  Plan with(const OffloadPlan& other) const;  ///< the same times, another decision
  const GroupPlan& of(Group group) const { return groups[static_cast<std::size_t>(group)]; }
};

OffloadPlan all_on_npu();
OffloadPlan all_on_cpu();

/// A group goes to the NPU from the smallest number of rows on for which it is faster there, by at
/// least a twentieth and for all larger numbers too. Throws what plan_gemm() throws.
Plan make_plan(const Model& model, const CpuTimes& cpu, const PlanOptions& options);

/// One forward pass by a plan, in seconds. Its parts add up to the whole.
struct ForwardTime {
  double cpu_products = 0;
  double npu_mac = 0;       ///< the MAC array at work on the busiest core
  double npu_memory = 0;    ///< the rest of that core's time: loading, writing, starting
  double npu_dispatch = 0;  ///< kernel: submits, IOMMU, interrupts
  double transfer = 0;      ///< packing, cache maintenance, reading back and scaling, if not hidden
  double convert = 0;       ///< to int8
  double attention = 0;
  double layers = 0;  ///< norms, activation functions, threads meeting
  std::uint64_t npu_submits = 0;

  double seconds() const {
    return cpu_products + npu_mac + npu_memory + npu_dispatch + transfer + convert + attention +
           layers;
  }
  /// What takes longest, in a few words.
  std::string_view binds() const;
  ForwardTime& operator+=(const ForwardTime& other);
};

/// A pass over `rows` tokens behind `past` others of the same sequence, logits of `outputs` of
/// them. `decoding`: they belong to as many sequences, each with `past` tokens before it.
ForwardTime modelled_pass(const Model& model, const Plan& plan, std::uint32_t rows,
                          std::uint32_t past, std::uint32_t outputs, bool decoding = false);

/// A prompt in batches, as Engine evaluates it.
ForwardTime modelled_prefill(const Model& model, const Plan& plan, std::uint32_t tokens,
                             std::uint32_t batch);
/// `tokens` tokens one after the other behind `past` others.
ForwardTime modelled_decode(const Model& model, const Plan& plan, std::uint32_t tokens,
                            std::uint32_t past);

}  // namespace npu::llm
