// SPDX-License-Identifier: MIT
// MobileNetV1 in the timing model: our plans beside the programs that Mesa emits for the same
// layers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "microkernels/program.hpp"
#include "mobilenet.hpp"
#include "npu-sim/timing.hpp"

namespace npu::bench {

struct Modelled {
  std::size_t tasks = 0;    ///< of all cores
  std::uint64_t bytes = 0;  ///< over the memory port
  double seconds = 0;       ///< of the busiest core, submit and interrupts included
};

struct LayerQuality {
  std::string name, shape;
  Modelled ours, mesa;
};

/// Words of a task of Mesa's [tests/vectors/mesa: every recorded task]. layer_programs() leaves the
/// registers out that hold 0.
constexpr std::uint32_t kMesaWords = 130;

/// The work of the tasks of a job, read off their registers as the simulated chip reads them.
/// Throws std::runtime_error if the chip would refuse a task.
std::vector<sim::TaskWork> work_of(std::span<const std::vector<std::uint64_t>> tasks);
std::vector<sim::TaskWork> mesa_work(const Layer& layer);

/// What the timing model makes of a job whose tasks are a start each, as on the stock driver.
Modelled model_job(std::span<const sim::TaskWork> works, double npu_hz, unsigned active_cores);

/// Every layer but the pool, which Mesa leaves to the CPU. Mesa runs a layer on one core; ours may
/// take several.
std::vector<LayerQuality> mobilenet_quality(double multiplier, std::uint32_t size, unsigned cores,
                                            double npu_hz);

struct QualitySums {
  double ours = 0, mesa = 0;
  std::size_t our_tasks = 0, mesa_tasks = 0;
};
QualitySums sums(std::span<const LayerQuality> layers);

}  // namespace npu::bench
