// SPDX-License-Identifier: MIT
// A file of shapes is refused with a sentence, or every shape of it can be named and has types that
// its operator takes.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "npu-probe/bench_shapes.hpp"
#include "regdb/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace npu::probe;
  if (size > 1 << 16) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<BenchCase> cases;
  try {
    cases = parse_bench_shapes(text, "input");
  } catch (const npu::Error& error) {
    if (error.code() != npu::ErrorCode::bad_file ||
        std::string_view(error.what()).substr(0, 6) != "input:")
      std::abort();
    return 0;
  }
  if (cases.empty()) std::abort();
  for (const BenchCase& c : expand_cases(cases, {}, {})) {
    const auto known = bench_types(c.op);
    if (!c.types || shape_text(c).empty() ||
        std::find(known.begin(), known.end(), *c.types) == known.end())
      std::abort();
  }
  return 0;
}
