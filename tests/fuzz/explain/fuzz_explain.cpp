// SPDX-License-Identifier: MIT
// Any bytes as a capture or a program: they are refused with a sentence, or explained; and the
// bytes of every tensor lead to elements that hold them.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "npu-probe/explain_report.hpp"
#include "regdb/error.hpp"

namespace {

void check(const npu::probe::NpuTensor& t) {
  using namespace npu::probe;
  const std::uint64_t span = span_bytes(t), width = std::max(1u, bits_of(t.type) / 8);
  for (std::uint64_t i = 0; i < 16; ++i) {
    const std::uint64_t offset = span / 16 * i + i;
    const auto at = coordinate_of(t, offset);
    if (!at) continue;
    const auto first = offset_of(t, *at);
    if (!first || *first > offset || offset >= *first + width) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace npu::probe;
  if (size > 64 << 10) return 0;
  ExplainedInput input;
  try {
    input = explain_bytes({reinterpret_cast<const std::byte*>(data), size}, {});
  } catch (const npu::Error&) {
    return 0;
  }
  for (const ExplainedJob& job : input.jobs)
    for (const Operator& op : job.tasks)
      for (const NpuTensor& t : op.tensors) check(t);
  std::ostringstream out;
  print_text({&input, 600, std::nullopt, std::nullopt}, out);
  for (std::size_t job = 0; job < std::min<std::size_t>(input.jobs.size(), 4); ++job)
    print_text({&input, 600, job, std::nullopt}, out);
  if (out.str().empty() || to_json({&input, 600, std::nullopt, std::nullopt}).dump().empty())
    std::abort();
  return 0;
}
