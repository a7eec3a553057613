// SPDX-License-Identifier: MIT
#include "npu-probe/job_operators.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "npu-probe/explain_group.hpp"

namespace npu::probe {
namespace {

struct Output {
  std::string name;
  NpuTensor tensor;
};

std::optional<Place> find(const std::vector<Output>& outputs, std::uint64_t iova) {
  for (const Output& output : outputs) {
    const NpuTensor& t = output.tensor;
    if (iova < t.iova) continue;
    const auto at = coordinate_of(t, iova - t.iova);
    const auto offset = at ? offset_of(t, *at) : std::nullopt;
    if (offset) return Place{output.name, t, *at, t.iova + *offset};
  }
  return std::nullopt;
}

}  // namespace

JobOperators OperatorReader::read(std::span<const Words> tasks) {
  std::vector<Operator> operators;
  for (const Words& words : tasks) {
    state_.driver_start();
    operators.push_back(explain_task(words, state_));
  }
  JobOperators job;
  const auto groups = group_tiles(operators);
  const auto outputs = std::make_shared<std::vector<Output>>();
  for (const OperatorGroup& group : groups) {
    if (!job.headline.empty()) job.headline += "; ";
    job.headline += headline(group.whole);
    for (const NpuTensor& tensor : group.whole.tensors)
      if (tensor.role == TensorRole::output || tensor.role == TensorRole::index)
        outputs->push_back(
            {groups.size() == 1 ? std::string() : fmt::format("task {}", group.tasks.front()),
             tensor});
  }
  // A network in one job has a line for each operator elsewhere.
  constexpr std::size_t kMostGroups = 3;
  if (groups.size() > kMostGroups)
    job.headline =
        fmt::format("{} operators: {}; ...", groups.size(), headline(groups.front().whole));
  job.locate = [outputs](std::uint64_t iova) { return find(*outputs, iova); };
  return job;
}

}  // namespace npu::probe
