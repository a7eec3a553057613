// SPDX-License-Identifier: MIT
#include "mobilenet_quality.hpp"

#include <algorithm>
#include <stdexcept>

#include "microkernels/conv2d_plan.hpp"
#include "npu-sim/task_check.hpp"

namespace npu::bench {
namespace {

kernels::Conv2dShape shape_of(const Layer& l) {
  return {.in_height = l.in_size,
          .in_width = l.in_size,
          .in_channels = l.in_channels,
          .out_channels = l.out_channels,
          .kernel_height = l.kernel,
          .kernel_width = l.kernel,
          .stride_y = l.stride,
          .stride_x = l.stride,
          .pad_top = l.pad_before,
          .pad_left = l.pad_before,
          .pad_bottom = l.pad_after,
          .pad_right = l.pad_after,
          .depthwise = l.kind == Layer::Kind::depthwise};
}

Modelled model_ours(const Layer& l, unsigned cores, double npu_hz) {
  const kernels::Conv2dPlan plan =
      kernels::plan_conv2d(shape_of(l), {kernels::DataType::i8, kernels::DataType::i8}, cores);
  kernels::Conv2dPost post;
  post.requant = {static_cast<std::int16_t>(l.scale), static_cast<std::uint8_t>(l.shift), l.offset};
  Modelled all;
  for (std::size_t core = 0; core < plan.cores.size(); ++core) {
    const kernels::Program program = kernels::emit_conv2d(plan, core, 0, post);
    const Modelled one =
        model_job(work_of(program.tasks), npu_hz, static_cast<unsigned>(plan.cores.size()));
    all.tasks += one.tasks;
    all.bytes += one.bytes;
    all.seconds = std::max(all.seconds, one.seconds);
  }
  return all;
}

}  // namespace

std::vector<sim::TaskWork> work_of(std::span<const std::vector<std::uint64_t>> tasks) {
  sim::TaskChecker checker;
  std::vector<sim::TaskWork> works;
  for (const std::vector<std::uint64_t>& words : tasks) {
    const sim::TaskCheck check = checker.check(words);
    if (check.fault) throw std::runtime_error(check.fault->message);
    if (check.records.empty()) throw std::runtime_error("a task without work");
    works.push_back(check.records.front().work);
    works.back().regcmd_words = static_cast<std::uint32_t>(words.size());
  }
  return works;
}

std::vector<sim::TaskWork> mesa_work(const Layer& layer) {
  std::vector<sim::TaskWork> works = work_of(layer_programs(layer, {}));
  for (sim::TaskWork& work : works) work.regcmd_words = kMesaWords;
  return works;
}

Modelled model_job(std::span<const sim::TaskWork> works, double npu_hz, unsigned active_cores) {
  const sim::JobTime time =
      sim::estimate_job(works, {}, sim::default_calibration().values, {npu_hz, active_cores});
  return {time.tasks, time.bytes, time.total};
}

std::vector<LayerQuality> mobilenet_quality(double multiplier, std::uint32_t size, unsigned cores,
                                            double npu_hz) {
  std::vector<LayerQuality> layers;
  for (const Layer& l : mobilenet_v1(multiplier, size)) {
    if (l.kind == Layer::Kind::average_pool) continue;
    const std::string shape = std::to_string(l.in_size) + "x" + std::to_string(l.in_size) + "x" +
                              std::to_string(l.in_channels) + " -> " + std::to_string(l.out_size) +
                              "x" + std::to_string(l.out_size) + "x" +
                              std::to_string(l.out_channels);
    layers.push_back(
        {l.name, shape, model_ours(l, cores, npu_hz), model_job(mesa_work(l), npu_hz, 1)});
  }
  return layers;
}

QualitySums sums(std::span<const LayerQuality> layers) {
  QualitySums all;
  for (const LayerQuality& l : layers) {
    all.ours += l.ours.seconds;
    all.mesa += l.mesa.seconds;
    all.our_tasks += l.ours.tasks;
    all.mesa_tasks += l.mesa.tasks;
  }
  return all;
}

}  // namespace npu::bench
