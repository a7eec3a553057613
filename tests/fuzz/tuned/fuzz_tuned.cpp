// SPDX-License-Identifier: MIT
// A file of tuned plans is refused with a sentence, or comes back from JSON as it was.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "microkernels/tuned_plans.hpp"
#include "regdb/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace npu::kernels;
  TunedPlans plans;
  try {
    plans = parse_tuned_plans({reinterpret_cast<const char*>(data), size}, "input");
  } catch (const npu::Error&) {
    return 0;
  }
  if (parse_tuned_plans(to_json(plans), "again") != plans) std::abort();
  return 0;
}
