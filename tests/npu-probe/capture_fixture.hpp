// SPDX-License-Identifier: MIT
// Captures made in memory: a recorded Mesa case, run on the simulated device.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "npu-device/capture.hpp"
#include "npu-device/capture_writer.hpp"
#include "npu-device/device.hpp"
#include "npu-probe/case.hpp"
#include "regdb/registers.hpp"
#include "tool.hpp"

namespace npu::probe::test {

inline device::CaptureBytes bytes_of_capture(std::span<const std::byte> bytes) {
  return std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
}

/// Address registers of Mesa's programs, without the decoder that the code under test uses.
inline bool is_mesa_address(std::uint64_t word) {
  namespace rd = npu::regdb;
  const auto is = [&](auto reg) {
    using R = decltype(reg);
    return word >> 48 == static_cast<std::uint16_t>(R::target) && (word & 0xFFFF) == R::offset;
  };
  const bool link = is(rd::pc::BASE_ADDRESS{});
  return (link && (word >> 16 & 0xFFFFFFFF) != 0) || is(rd::cna::FEATURE_DATA_ADDR{}) ||
         is(rd::cna::DCOMP_ADDR0{}) || is(rd::dpu::DST_BASE_ADDR{}) ||
         is(rd::dpu_rdma::RDMA_SRC_BASE_ADDR{}) || is(rd::dpu_rdma::RDMA_BS_BASE_ADDR{}) ||
         is(rd::dpu_rdma::RDMA_BN_BASE_ADDR{}) || is(rd::dpu_rdma::RDMA_EW_BASE_ADDR{});
}

struct RecordOptions {
  std::uint32_t shift = 0;  ///< added to every IOVA, also inside of the programs
  std::uint32_t process = 4711;
  std::uint32_t first_handle = 0;  ///< added to every handle
};

/// What the recorder would have seen of a program that runs a case's submits, each on a file of its
/// own. Jobs are run where the case placed them; the shift is that of the recording alone.
inline device::Capture record(const Case& c, const device::Device& pattern,
                              const RecordOptions& options = {}) {
  using namespace npu::device;
  Capture capture;
  capture.version = 1;
  const auto add = [&](auto what) { capture.events.push_back({options.process, std::move(what)}); };
  CaptureStart start;
  start.process = options.process;
  start.program = c.name;
  start.driver = "rocket";
  start.backend = pattern.info().backend;
  start.provenance = pattern.info().provenance;
  add(start);
  for (std::uint32_t file = 0; file < c.submits.size(); ++file) {
    const CaseSubmit& submit = c.submits[file];
    add(CaptureOpen{file});
    const auto device = pattern.open_another();
    std::map<std::uint32_t, Buffer> buffers;
    for (const CaseBo& bo : submit.bos) {
      Buffer buffer = device->create_buffer(bo.size);
      EXPECT_EQ(buffer.iova(), bo.iova) << "the allocator no longer places as the kernel did";
      std::copy(bo.bytes.begin(), bo.bytes.end(), buffer.host().begin());
      buffers.emplace(bo.handle, std::move(buffer));
      add(CaptureCreate{file, bo.handle + options.first_handle, bo.iova + options.shift, bo.size});
    }
    for (const CaseJob& job : submit.jobs)
      for (const CaseTask& task : job.tasks)
        for (const CaseBo& bo : submit.bos)
          if (task.regcmd >= bo.iova && task.regcmd - bo.iova < bo.size)
            std::memcpy(buffers.at(bo.handle).host().data() + (task.regcmd - bo.iova),
                        &c.regcmd[task.first_word], std::size_t{task.count} * 8);
    for (const CaseBo& bo : submit.bos) {
      std::vector<std::byte> host(buffers.at(bo.handle).host().begin(),
                                  buffers.at(bo.handle).host().end());
      if (bo.role == "regcmd" && options.shift != 0)
        for (std::size_t i = 0; i + 8 <= host.size(); i += 8) {
          std::uint64_t word;
          std::memcpy(&word, &host[i], 8);
          if (is_mesa_address(word)) word += std::uint64_t{options.shift} << 16;
          std::memcpy(&host[i], &word, 8);
        }
      add(CaptureWrite{CaptureWrite::By::host, file, bo.handle + options.first_handle, 0,
                       bytes_of_capture(host)});
      device->fini(buffers.at(bo.handle));
    }
    for (std::uint32_t index = 0; index < submit.jobs.size(); ++index) {
      const CaseJob& from = submit.jobs[index];
      CaptureJob job;
      Job run;
      job.file = file;
      job.index = index;
      const auto once = [](std::vector<std::uint32_t>& list, std::uint32_t handle) {
        if (std::find(list.begin(), list.end(), handle) == list.end()) list.push_back(handle);
      };
      for (const CaseTask& task : from.tasks) {
        run.tasks.push_back({task.regcmd, task.count});
        job.job.tasks.push_back({task.regcmd + options.shift, task.count});
      }
      for (const std::uint32_t h : from.out) {
        once(job.job.out_handles, h + options.first_handle);
        once(run.out_handles, buffers.at(h).handle());
      }
      for (const std::uint32_t h : from.in)
        if (std::find(from.out.begin(), from.out.end(), h) == from.out.end()) {
          once(job.job.in_handles, h + options.first_handle);
          once(run.in_handles, buffers.at(h).handle());
        }
      std::map<std::uint32_t, std::vector<std::byte>> before;
      for (const std::uint32_t h : from.out)
        before[h].assign(buffers.at(h).host().begin(), buffers.at(h).host().end());
      device->submit(run);
      for (const std::uint32_t h : from.out) device->prep(buffers.at(h), std::chrono::minutes(1));
      job.outcome = CaptureJob::Outcome::done;
      add(job);
      for (auto& [h, old] : before) {
        const auto now = buffers.at(h).host();
        const auto first = std::mismatch(old.begin(), old.end(), now.begin());
        if (first.first == old.end()) continue;
        const auto offset = static_cast<std::size_t>(first.first - old.begin());
        add(CaptureWrite{CaptureWrite::By::device, file, h + options.first_handle, offset,
                         bytes_of_capture(now.subspan(offset))});
      }
    }
    for (const CaseBo& bo : submit.bos) add(CaptureDestroy{file, bo.handle + options.first_handle});
    add(CaptureClose{file});
  }
  return capture;
}

inline void save(const device::Capture& capture, const std::filesystem::path& path) {
  device::CaptureWriter writer(path.string());
  for (const device::CaptureEvent& event : capture.events) writer.append(event);
  writer.flush();
}

/// The event of the n-th job.
inline device::CaptureJob& job_of(device::Capture& capture, std::size_t n) {
  for (device::CaptureEvent& event : capture.events)
    if (auto* job = std::get_if<device::CaptureJob>(&event.what); job != nullptr && n-- == 0)
      return *job;
  throw std::out_of_range("no such job");
}

/// Changes one recorded byte that the n-th job wrote.
inline void flip_output(device::Capture& capture, std::size_t n, std::size_t at, std::byte mask) {
  bool mine = false;
  for (device::CaptureEvent& event : capture.events) {
    if (std::holds_alternative<device::CaptureJob>(event.what)) mine = n-- == 0;
    auto* write = std::get_if<device::CaptureWrite>(&event.what);
    if (!mine || write == nullptr) continue;
    auto bytes = *write->bytes;
    bytes.at(at) ^= mask;
    write->bytes = bytes_of_capture(bytes);
    return;
  }
  throw std::out_of_range("the job wrote nothing");
}

}  // namespace npu::probe::test
