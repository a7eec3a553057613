// SPDX-License-Identifier: MIT
#include "npu-probe/calibrate_lab.hpp"

#include <algorithm>

#include "npu-probe/calibrate_measure.hpp"
#include "regdb/error.hpp"

namespace npu::probe::calibrate {

RunEnd Lab::run(const kernels::Program& program, std::vector<Bytes>& slots) {
  std::vector<device::Buffer> buffers;
  std::vector<std::uint32_t> iova;
  device::Job job;
  for (const Bytes& slot : slots) {
    buffers.push_back(device_.create_buffer(std::max<std::size_t>(slot.size(), 1)));
    std::ranges::copy(slot, buffers.back().host().begin());
    iova.push_back(buffers.back().iova());
    job.out_handles.push_back(buffers.back().handle());
    device_.fini(buffers.back());
  }
  std::size_t words = 0;
  for (const auto& task : program.tasks) words += task.size() + 8;
  device::Buffer code = device_.create_buffer(words * sizeof(std::uint64_t));
  const kernels::BoundProgram bound = bind_job(program, iova, code.iova(), false);
  std::memcpy(code.host().data(), bound.words.data(), bound.words.size() * sizeof(std::uint64_t));
  device_.fini(code);
  for (const kernels::BoundProgram::Task& task : bound.tasks)
    job.tasks.push_back({code.iova() + static_cast<std::uint32_t>(task.offset), task.count});
  job.in_handles = {code.handle()};

  RunEnd end{.ended = true, .why = {}};
  const auto begin = device::Device::Clock::now();
  device_.submit(job);
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    try {
      device_.prep(buffers[i], std::chrono::seconds(120));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::timeout && error.code() != ErrorCode::device_fault) throw;
      // Told once for each buffer of the failed job.
      end = {
          .ended = false, .refused = error.code() == ErrorCode::device_fault, .why = error.what()};
    }
    std::ranges::copy(buffers[i].host().first(slots[i].size()), slots[i].begin());
  }
  // The kernel reports success for a job that its 500 ms timeout retired.
  const auto took = device::Device::Clock::now() - begin;
  if (end.ended && device_.info().time_base == device::TimeBase::chip &&
      took > std::chrono::milliseconds(450))
    end = {
        .ended = false,
        .why = "the driver retired the job: it took " +
               std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()) +
               " ms"};
  return end;
}

}  // namespace npu::probe::calibrate
