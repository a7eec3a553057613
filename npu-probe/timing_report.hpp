// SPDX-License-Identifier: MIT
// The timing model beside what was measured on real boards.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "npu-probe/timing_workloads.hpp"
#include "npu-sim/calibration.hpp"

namespace npu::probe {

/// One row of measurements.csv, as written there.
struct Measurement {
  std::string op, dtype, shape;
  unsigned cores = 0;
  double npu_clock_mhz = 0;
  std::string metric;
  double value = 0;
  std::string unit, stack, source, conditions;
  std::string split;   ///< "fit": constants were fitted on it; else "check"
  std::string reason;  ///< why the model may be off by more than 2x here
};

/// Reads the table. Columns are found by the names of the first line; split and reason may be
/// missing. Throws npu::Error(bad_file) with the line.
std::vector<Measurement> parse_measurements(std::string_view csv, std::string_view where);

/// The modelled figure in the unit of the row, or why there is none.
struct Prediction {
  std::optional<double> value;
  Modelled detail;
  std::string assumed;  ///< what the row leaves open and the model took: "1000 MHz"
  std::string inexpressible;
};
Prediction predict(const Measurement& row, const sim::Calibration& calibration);

struct ReportRow {
  Measurement measured;
  Prediction modelled;
  double ratio = 0;    ///< modelled / measured; 0: not expressible
  std::string reason;  ///< for a row off by more than 2x: the table's, or one that is known
};

/// The error of a row is how many times it is off, less one: a ratio of 0.8 or 1.25 is 25 %.
double error_of(double ratio);

struct Statistics {
  std::size_t rows = 0, inexpressible = 0;
  double geometric_mean = 0;  ///< of the ratios
  double median_error = 0, worst_ratio = 0;
  std::size_t worst_row = 0;    ///< index into the report
  std::size_t off_by_2 = 0;     ///< rows off by more than 2x
  std::size_t unexplained = 0;  ///< of those, without a reason
};

struct Report {
  std::vector<ReportRow> rows;
  Statistics fit, check, all;
};

Report make_report(std::span<const Measurement> rows, const sim::Calibration& calibration);
Statistics statistics(std::span<const ReportRow> rows, std::string_view split);

/// The measurements that come with the tool.
std::string_view default_measurements();

}  // namespace npu::probe
