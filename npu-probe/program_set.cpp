// SPDX-License-Identifier: MIT
#include "npu-probe/program_set.hpp"

#include <algorithm>

#include "npu-device/capture_reader.hpp"
#include "npu-probe/capture_input.hpp"
#include "npu-probe/case.hpp"
#include "npu-probe/files.hpp"
#include "regdb/regcmd.hpp"

namespace npu::probe {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxBytes = 256u << 20;

void sort(std::vector<ProgramBuffer>& buffers) {
  std::sort(buffers.begin(), buffers.end(),
            [](const auto& a, const auto& b) { return a.handle < b.handle; });
}

ProgramSet programs_of_case(const std::string& name, const Case& c) {
  ProgramSet set;
  set.name = name;
  for (const CaseSubmit& submit : c.submits) {
    std::vector<ProgramBuffer> buffers;
    for (const CaseBo& bo : submit.bos) buffers.push_back({bo.handle, bo.iova, bo.size});
    sort(buffers);
    const auto shared = std::make_shared<const std::vector<ProgramBuffer>>(std::move(buffers));
    for (const CaseJob& job : submit.jobs) {
      for (std::size_t t = 0; t < job.tasks.size(); ++t) {
        const auto first = c.regcmd.begin() + job.tasks[t].first_word;
        set.tasks.push_back({set.jobs, t, {first, first + job.tasks[t].count}, shared});
      }
      ++set.jobs;
    }
  }
  return set;
}

}  // namespace

ProgramSet programs_of_capture(std::string name, device::Capture capture) {
  ProgramSet set;
  set.name = std::move(name);
  set.capture = std::move(capture);
  SessionWalk walk(*set.capture);
  std::map<SessionFile, ProgramBuffers> lists;
  while (const SessionJob* job = walk.next()) {
    std::vector<ProgramBuffer> buffers;
    for (const auto& [handle, bo] : walk.memory().bos(job->file))
      buffers.push_back({handle, bo.iova, bo.bytes.size()});
    ProgramBuffers& list = lists[job->file];
    if (!list || *list != buffers)
      list = std::make_shared<const std::vector<ProgramBuffer>>(std::move(buffers));
    for (std::size_t t = 0; t < job->job->job.tasks.size(); ++t)
      set.tasks.push_back(
          {set.jobs, t, program_words(walk.memory(), job->file, job->job->job.tasks[t]), list});
    ++set.jobs;
  }
  return set;
}

ProgramSet load_programs(const std::string& file, std::istream& in) {
  const fs::path path = file;
  std::error_code error;
  if (file != "-" && is_capture(path)) return programs_of_capture(file, device::read_capture(file));
  if (file != "-" && fs::is_directory(path, error)) return programs_of_case(file, load_case(path));
  if (path.filename() == "case.json") return programs_of_case(file, load_case(path.parent_path()));
  const auto words = regdb::parse_regcmd_bytes(file == "-" ? read_stream(in, kMaxBytes)
                                                           : read_file(path, kMaxBytes));
  ProgramSet set;
  set.name = file;
  set.jobs = 1;
  for (const auto task : regdb::split_tasks(words))
    set.tasks.push_back({0, set.tasks.size(), {task.begin(), task.end()}, nullptr});
  return set;
}

std::optional<BufferOffset> find_buffer(const std::vector<ProgramBuffer>& buffers,
                                        std::uint64_t iova) {
  std::optional<BufferOffset> best;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const std::uint64_t start = buffers[i].iova;
    const std::uint64_t size = (buffers[i].size + 4095) / 4096 * 4096;
    if (iova < start || iova - start > size) continue;
    if (!best || iova - start < best->offset) best = BufferOffset{i, iova - start};
  }
  return best;
}

}  // namespace npu::probe
