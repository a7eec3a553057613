// SPDX-License-Identifier: MIT
// From times of jobs to the constants of the timing model.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "npu-probe/calibrate_suite.hpp"
#include "npu-sim/calibration.hpp"

namespace npu::probe::calibrate {

/// What a benchmark took.
struct Sample {
  const Microbenchmark* benchmark = nullptr;
  double seconds = 0;  ///< median
  double spread = 0;   ///< half of the middle half of all repetitions, relative to the median
  unsigned repetitions = 0;
};

enum class Certainty : std::uint8_t {
  fitted,
  at_least,  ///< nothing that ran was slow enough to show the true value: it is no lower
  kept,      ///< nothing that ran depends on it
};
std::string_view to_string(Certainty certainty);

struct FittedConstant {
  std::string name, unit;
  double initial = 0;  ///< the default
  double value = 0;
  double uncertainty = 0;   ///< relative, one standard deviation; 0 unless fitted
  std::size_t samples = 0;  ///< whose times change by 1 % or more if it changes by 10 %
  Certainty certainty = Certainty::kept;
  std::string why;  ///< of a constant that was not fitted
};

struct FitOptions {
  double npu_hz = 600e6;
  sim::InterruptCore interrupt = sim::InterruptCore::little;
};

struct Residual {
  const Sample* sample = nullptr;
  double modelled = 0;  ///< s, with the fitted constants
};

struct Fit {
  sim::Calibration values;
  std::vector<FittedConstant> constants;
  std::vector<Residual> residuals;           ///< in the order of the samples
  double median_error = 0, worst_error = 0;  ///< relative
};

/// Fits the constants of NPU, memory and kernel to the samples, starting from `initial`, which
/// also gives the value of whatever the samples cannot tell. Throws invalid_argument without
/// samples, or for a sample that is no time.
Fit fit(const std::vector<Sample>& samples, const sim::CalibrationFile& initial,
        const FitOptions& options);

/// The constants that fit() may change, in the order of its table.
std::vector<std::string_view> fitted_names(sim::InterruptCore interrupt);

/// `initial` with the fitted values; their source says where they come from.
sim::CalibrationFile calibration_file(const Fit& fit, const sim::CalibrationFile& initial,
                                      const std::string& name, const std::string& source);

}  // namespace npu::probe::calibrate
