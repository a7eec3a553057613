// SPDX-License-Identifier: MIT
// Any words are linted, with and without buffers; each finding points into the input.
#include <cstdint>
#include <cstdlib>

#include "npu-probe/lint.hpp"
#include "regdb/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 1 << 16) return 0;
  std::vector<std::uint64_t> words;
  try {
    words = npu::regdb::parse_regcmd_bytes(std::as_bytes(std::span(data, size)));
  } catch (const npu::Error&) {
    return 0;
  }
  npu::probe::LintJob job;
  job.words = words;
  job.tasks = npu::regdb::lint_tasks(words);
  job.chained = (data[0] & 1) != 0;
  for (const bool buffers : {false, true}) {
    if (buffers) {
      job.buffers = {{0, 0x10000, "low"}, {0x20000, 0x1000, "high"}};
      for (const auto& task : job.tasks)
        job.task_iova.push_back(static_cast<std::uint32_t>(task.first * 8));
    }
    std::size_t task = 0;
    for (const npu::regdb::Finding& f : npu::probe::lint_job(job)) {
      if (f.rule == nullptr || f.message.empty() || f.task < task || f.task >= job.tasks.size() ||
          f.word >= words.size())
        std::abort();
      task = f.task;
    }
  }
  return 0;
}
