// SPDX-License-Identifier: MIT
#include "microkernels/tuner.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "microkernels/gemm_plan.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

std::vector<GemmChoice> space(const GemmShape& shape, const GemmTypes& types, unsigned cores,
                              const GemmOptions& options) {
  std::vector<GemmChoice> all;
  for (const CoreSplit split : {CoreSplit::columns, CoreSplit::rows})
    for (const bool reuse : {true, false})
      for (const bool chained : {false, true}) {
        if ((reuse && !options.reuse) || (chained && !options.chained) ||
            (options.split && *options.split != split))
          continue;
        GemmOptions o = options;
        o.split = split;
        o.reuse = reuse;
        o.chained = chained;
        for (const GemmChoice& choice : gemm_choices(shape, types, cores, o))
          if (std::ranges::find(all, choice) == all.end()) all.push_back(choice);
      }
  return all;
}

int differences(const GemmChoice& a, const GemmChoice& b) {
  return (a.cores != b.cores) + (a.split != b.split) + (a.rows != b.rows) +
         (a.columns != b.columns) + (a.k != b.k) + (a.order != b.order) + (a.reuse != b.reuse) +
         (a.sums != b.sums) + (a.chained != b.chained) + (a.row_passes != b.row_passes) +
         (a.column_passes != b.column_passes);
}

}  // namespace

GemmTimer modelled_timer(const GemmShape& shape, const GemmTypes& types, unsigned cores,
                         const GemmOptions& options) {
  return [=](const GemmChoice& choice) {
    GemmOptions o = options;
    o.choice = choice;
    o.chained = choice.chained;
    return plan_gemm(shape, types, cores, o).seconds;
  };
}

TuneResult tune_gemm(const GemmShape& shape, const GemmTypes& types, unsigned cores,
                     const GemmOptions& options, const TuneSearch& search, const GemmTimer& timer) {
  const GemmChoice usual = plan_gemm(shape, types, cores, options).choice;
  std::vector<GemmChoice> choices = space(shape, types, cores, options);
  if (std::ranges::find(choices, usual) == choices.end()) choices.push_back(usual);
  std::ranges::stable_sort(choices, {}, [&](const GemmChoice& choice) {
    return rough_time(shape, types, choice, options);
  });

  TuneResult result{.choices = choices.size()};
  std::vector<std::optional<double>> times(choices.size());  // nothing: not tried, or it failed
  std::vector<bool> tried(choices.size());
  std::optional<std::size_t> best;
  const auto time = [&](std::size_t i) {
    if (tried[i] || result.timed == search.most) return false;
    tried[i] = true;
    ++result.timed;
    try {
      times[i] = timer(choices[i]);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::device_fault && error.code() != ErrorCode::timeout &&
          error.code() != ErrorCode::out_of_memory)
        throw;
      ++result.failed;
      return true;
    }
    if (!best || *times[i] < *times[*best]) best = i;
    return true;
  };
  const auto first = static_cast<std::size_t>(std::ranges::find(choices, usual) - choices.begin());
  time(first);
  const std::size_t start = search.beam == 0 ? choices.size() : search.beam;
  for (std::size_t i = 0; i < choices.size() && i < start; ++i) time(i);
  while (best && search.beam != 0) {
    const std::size_t centre = *best;
    std::size_t added = 0;
    for (std::size_t i = 0; i < choices.size() && added < search.beam; ++i)
      if (differences(choices[i], choices[centre]) == 1) added += time(i);
    if (added == 0) break;
  }
  if (!best)
    throw Error(ErrorCode::device_fault,
                "no plan for this product works here, the usual one included");
  if (times[first] && *times[*best] >= *times[first]) best = first;
  result.gemm = {.shape = shape,
                 .types = types,
                 .cores = cores,
                 .on_chip_sums = options.on_chip_sums,
                 .choice = choices[*best],
                 .seconds = *times[*best],
                 .usual_seconds = times[first].value_or(*times[*best])};
  return result;
}

}  // namespace npu::kernels
