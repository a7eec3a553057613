// SPDX-License-Identifier: MIT
#include "npu-probe/explain_input.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "npu-device/capture_reader.hpp"
#include "npu-probe/case.hpp"
#include "npu-probe/files.hpp"
#include "regdb/error.hpp"
#include "regdb/regcmd.hpp"

namespace npu::probe {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::uint64_t>;

constexpr std::size_t kMaxWordBytes = 256u << 20;
constexpr std::size_t kMaxFileBytes = std::size_t{4} << 30;

void add_task(ExplainedJob& job, std::span<const std::uint64_t> words, RegisterState& state,
              const ExplainSetting& setting) {
  state.driver_start();
  job.tasks.push_back(explain_task(words, state, setting));
  job.words.push_back(words.size());
}

ExplainedInput of_words(std::span<const std::uint64_t> words, const ExplainSetting& setting) {
  ExplainedInput input;
  input.kind = "regcmd";
  ExplainedJob job;
  RegisterState state;
  for (const auto& task : regdb::split_tasks(words)) {
    // Drivers fill up between programs, and behind the last.
    const auto first = std::find_if(task.begin(), task.end(), [](auto word) { return word != 0; });
    if (first == task.end()) continue;
    add_task(job, task.subspan(static_cast<std::size_t>(first - task.begin())), state, setting);
  }
  job.operators = group_tiles(job.tasks);
  input.jobs.push_back(std::move(job));
  return input;
}

ExplainedInput of_case(const Case& c, const ExplainSetting& setting) {
  ExplainedInput input;
  input.kind = "case";
  RegisterState state;
  for (std::size_t s = 0; s < c.submits.size(); ++s)
    for (const CaseJob& from : c.submits[s].jobs) {
      ExplainedJob job;
      job.index = input.jobs.size();
      for (const CaseTask& task : from.tasks) {
        // The loader has checked that the words are there.
        add_task(job, std::span(c.regcmd).subspan(task.first_word, task.count), state, setting);
      }
      for (const CaseBo& bo : c.submits[s].bos)
        job.buffers.push_back({bo.handle, bo.iova, bo.size});
      job.operators = group_tiles(job.tasks);
      input.jobs.push_back(std::move(job));
    }
  return input;
}

std::string_view outcome_of(device::CaptureJob::Outcome outcome) {
  switch (outcome) {
    case device::CaptureJob::Outcome::done: return "done";
    case device::CaptureJob::Outcome::timed_out: return "timed out";
    case device::CaptureJob::Outcome::faulted: return "faulted";
    case device::CaptureJob::Outcome::dropped: return "dropped";
    case device::CaptureJob::Outcome::unknown: break;
  }
  return "unknown";
}

// The first element's row of a tensor is enough to tell one from another, but a whole one is safer.
std::optional<std::uint64_t> hash_of(const device::CaptureMemory& memory,
                                     device::CaptureMemory::File file, const NpuTensor* tensor) {
  if (tensor == nullptr) return std::nullopt;
  const auto bytes = memory.at(file, tensor->iova);
  const std::uint64_t wanted = span_bytes(*tensor);
  if (wanted == 0 || bytes.size() < wanted) return std::nullopt;
  return fnv1a(bytes.first(static_cast<std::size_t>(wanted)));
}

ExplainedJob of_captured(const device::CaptureJob& from, std::uint32_t process,
                         const device::CaptureMemory& memory, RegisterState& state,
                         const ExplainSetting& setting) {
  ExplainedJob job;
  job.process = process;
  job.file = from.file;
  job.outcome = outcome_of(from.outcome);
  const device::CaptureMemory::File file{process, from.file};
  for (const auto& [handle, bo] : memory.bos(file))
    job.buffers.push_back({handle, bo.iova, bo.bytes.size()});
  for (const device::Task& task : from.job.tasks) {
    const auto bytes = memory.at(file, task.regcmd);
    const std::size_t count = std::min<std::size_t>(task.regcmd_count, bytes.size() / 8);
    if (count < task.regcmd_count)
      job.note = fmt::format("task {}: {} words at {:#x} are wanted, the capture has {}",
                             job.tasks.size(), task.regcmd_count, task.regcmd, count);
    Words words(count);
    if (count != 0) std::memcpy(words.data(), bytes.data(), count * 8);
    add_task(job, words, state, setting);
  }
  job.operators = group_tiles(job.tasks);
  if (job.operators.size() == 1 && job.operators[0].whole.matrix) {
    job.input_hash = hash_of(memory, file, job.tasks[0].find(TensorRole::input));
    job.weight_hash = hash_of(memory, file, job.tasks[0].find(TensorRole::weights));
  }
  return job;
}

bool begins_as_capture(std::span<const std::byte> bytes) {
  constexpr std::string_view kMagic = "NPUCAP";
  return bytes.size() >= kMagic.size() && std::memcmp(bytes.data(), kMagic.data(), 6) == 0;
}

// Whether job b goes on with the product that job a is a part of.
std::optional<bool> columns_of_same(const ExplainedJob& a, const ExplainedJob& b) {
  if (a.operators.size() != 1 || b.operators.size() != 1) return std::nullopt;
  const Operator &x = a.operators[0].whole, &y = b.operators[0].whole;
  if (std::pair(a.process, a.file) == std::pair(b.process, b.file)) return std::nullopt;
  if (!x.matrix || !y.matrix || x.matrix->k != y.matrix->k || x.fused != y.fused)
    return std::nullopt;
  const NpuTensor *xi = x.find(TensorRole::input), *yi = y.find(TensorRole::input);
  const NpuTensor *xo = x.find(TensorRole::output), *yo = y.find(TensorRole::output);
  if (xi == nullptr || yi == nullptr || xo == nullptr || yo == nullptr || xi->type != yi->type ||
      xo->type != yo->type)
    return std::nullopt;
  const bool same_input = a.input_hash && a.input_hash == b.input_hash;
  const bool same_weights = a.weight_hash && a.weight_hash == b.weight_hash;
  if (same_input && !same_weights && x.matrix->m == y.matrix->m) return true;
  if (same_weights && !same_input && x.matrix->n == y.matrix->n) return false;
  return std::nullopt;
}

}  // namespace

ExplainedInput explain_capture(const device::Capture& capture, const ExplainSetting& setting) {
  ExplainedInput input{"capture", capture.truncated, {}};
  device::CaptureMemory memory;
  std::map<device::CaptureMemory::File, RegisterState> states;
  for (const device::CaptureEvent& event : capture.events) {
    memory.apply(event);
    const auto* job = std::get_if<device::CaptureJob>(&event.what);
    if (job == nullptr) continue;
    RegisterState& state = states[{event.process, job->file}];
    input.jobs.push_back(of_captured(*job, event.process, memory, state, setting));
    input.jobs.back().index = input.jobs.size() - 1;
  }
  return input;
}

ExplainedInput explain_bytes(std::span<const std::byte> bytes, const ExplainSetting& setting) {
  if (begins_as_capture(bytes)) return explain_capture(device::read_capture(bytes), setting);
  return of_words(regdb::parse_regcmd_bytes(bytes), setting);
}

ExplainedInput explain_input(const std::string& file, std::istream& in,
                             const ExplainSetting& setting) {
  if (file == "-") return explain_bytes(read_stream(in, kMaxFileBytes), setting);
  fs::path path = file;
  std::error_code error;
  if (path.filename() == "case.json") path = path.parent_path().empty() ? "." : path.parent_path();
  if (fs::is_directory(path, error)) return of_case(load_case(path), setting);
  const std::vector<std::byte> bytes = read_file(path, kMaxFileBytes);
  if (!begins_as_capture(bytes) && bytes.size() > kMaxWordBytes)
    throw Error(ErrorCode::bad_file,
                fmt::format("{}: neither a capture nor a program of at most {} bytes", file,
                            kMaxWordBytes));
  return explain_bytes(bytes, setting);
}

std::vector<SplitProduct> split_products(const ExplainedInput& input) {
  std::vector<SplitProduct> products;
  for (std::size_t first = 0; first < input.jobs.size();) {
    std::size_t end = first + 1;
    std::optional<bool> columns;
    std::set<std::pair<std::uint32_t, std::uint32_t>> files{
        {input.jobs[first].process, input.jobs[first].file}};
    while (end < input.jobs.size()) {
      const auto next = columns_of_same(input.jobs[first], input.jobs[end]);
      if (!next || (columns && *columns != *next) ||
          !files.emplace(input.jobs[end].process, input.jobs[end].file).second)
        break;
      columns = next;
      ++end;
    }
    if (columns) {
      SplitProduct p;
      p.by_columns = *columns;
      p.shape = *input.jobs[first].operators[0].whole.matrix;
      for (std::size_t i = first; i < end; ++i) {
        p.jobs.push_back(i);
        if (i == first) continue;
        const MatrixShape& part = *input.jobs[i].operators[0].whole.matrix;
        (p.by_columns ? p.shape.n : p.shape.m) += p.by_columns ? part.n : part.m;
      }
      products.push_back(std::move(p));
    }
    first = end;
  }
  return products;
}

}  // namespace npu::probe
