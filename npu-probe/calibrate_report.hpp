// SPDX-License-Identifier: MIT
// What a calibration prints and writes.
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "npu-device/device.hpp"
#include "npu-probe/calibrate_fit.hpp"

namespace npu::probe::calibrate {

/// A figure in the units that people think in.
struct Figure {
  std::string what;
  double value = 0;
  std::string unit;
};

/// Rates and latencies that follow from the fit at its clock.
std::vector<Figure> figures(const Fit& fit, double npu_hz, sim::InterruptCore interrupt);

/// The clock at which the array would do the documented 1024 int8 products per cycle, Hz; and the
/// known clock (200, 600, 1000 MHz) that is within 5 % of it, 0 if none is.
struct ClockGuess {
  double hz = 0;
  double known_mhz = 0;
};
ClockGuess guess_clock(const Fit& fit, double npu_hz);

struct ReportSetting {
  device::DeviceInfo info;
  double npu_hz = 0;
  std::string clock_source;  ///< where npu_hz comes from
  sim::InterruptCore interrupt = sim::InterruptCore::little;
  bool samples = false;  ///< print every job too
};

void print_report(std::ostream& out, const Fit& fit, const ReportSetting& setting);
nlohmann::json report_json(const Fit& fit, const ReportSetting& setting);

}  // namespace npu::probe::calibrate
