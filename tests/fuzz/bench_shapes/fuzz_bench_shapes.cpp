// SPDX-License-Identifier: MIT
// A file of shapes is refused with a sentence, or every shape of it can be named and has types that
// its operator takes. An earlier report is refused likewise, or can be printed, compared with
// itself and read back.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "npu-probe/bench_compare.hpp"
#include "npu-probe/bench_shapes.hpp"
#include "regdb/error.hpp"

namespace {

using namespace npu::probe;

bool refused(const npu::Error& error) {
  return error.code() == npu::ErrorCode::bad_file &&
         std::string_view(error.what()).substr(0, 6) == "input:";
}

void shapes(std::string_view text) {
  std::vector<BenchCase> cases;
  try {
    cases = parse_bench_shapes(text, "input");
  } catch (const npu::Error& error) {
    if (!refused(error)) std::abort();
    return;
  }
  if (cases.empty()) std::abort();
  for (const BenchCase& c : expand_cases(cases, {}, {})) {
    const auto known = bench_types(c.op);
    if (!c.types || shape_text(c).empty() ||
        std::find(known.begin(), known.end(), *c.types) == known.end())
      std::abort();
  }
}

void report(std::string_view text) {
  BenchReport parsed;
  try {
    parsed = parse_bench_report(text, "input");
  } catch (const npu::Error& error) {
    if (!refused(error)) std::abort();
    return;
  }
  const BenchReport again = parse_bench_report(to_json(parsed), "again");
  if (again.rows.size() != parsed.rows.size()) std::abort();
  (void)to_markdown(parsed);
  (void)to_csv(parsed);
  (void)to_html(parsed);
  try {
    if (compare_reports(parsed, parsed, 0.1).slower != 0) std::abort();
  } catch (const npu::Error& error) {
    if (error.code() != npu::ErrorCode::bad_file) std::abort();  // no row that ran
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 1 << 16) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  shapes(text);
  report(text);
  return 0;
}
