// SPDX-License-Identifier: MIT
// A table of measurements is refused with a sentence, or every row of it gets a figure above 0 or a
// reason. Constants of the timing model are refused, or come back from JSON as they were.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "npu-probe/timing_report.hpp"
#include "npu-sim/calibration.hpp"
#include "regdb/error.hpp"

namespace {

void constants(std::string_view text) {
  using namespace npu::sim;
  CalibrationFile file;
  try {
    file = parse_calibration(text, "input");
  } catch (const npu::Error&) {
    return;
  }
  const std::string json = to_json(file);
  if (to_json(parse_calibration(json, "again")) != json) std::abort();
}

void table(std::string_view text) {
  using namespace npu::probe;
  std::vector<Measurement> rows;
  try {
    rows = parse_measurements(text, "input");
  } catch (const npu::Error&) {
    return;
  }
  constexpr std::size_t kRows = 16;  // a few large products take most of the time
  if (rows.size() > kRows) rows.resize(kRows);
  const Report report = make_report(rows, npu::sim::default_calibration().values);
  for (const ReportRow& row : report.rows) {
    const bool reason = !row.modelled.inexpressible.empty();
    if (row.modelled.value.has_value() == reason) std::abort();
    if (!reason && !(*row.modelled.value > 0 && std::isfinite(*row.modelled.value))) std::abort();
  }
  if (report.all.rows != rows.size()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (!text.empty() && text.front() == '{')
    constants(text);
  else
    table(text);
  return 0;
}
