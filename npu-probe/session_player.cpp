// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "npu-device/sim_device.hpp"
#include "npu-probe/session.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using device::CaptureMemory;
using Outcome = device::CaptureJob::Outcome;

// The driver retires a job after 500 ms; a queue in front of it belongs to this process alone.
constexpr std::chrono::minutes kWait{10};

// Programs of one start; a chain that leads back into itself must end.
constexpr std::size_t kMaxChain = 4096;

const CaptureMemory::Bo* buffer_at(const CaptureMemory::Bos& bos, std::uint64_t iova,
                                   std::uint32_t* handle) {
  for (const auto& [h, bo] : bos)
    if (iova >= bo.iova && iova - bo.iova < bo.bytes.size()) return *handle = h, &bo;
  return nullptr;
}

}  // namespace

Player::File& Player::open(SessionFile id) {
  File& file = files_[id];
  if (!file.device) file.device = pattern_->open_another();
  return file;
}

device::Device* Player::device(SessionFile id) {
  const auto it = files_.find(id);
  return it == files_.end() ? nullptr : it->second.device.get();
}

const IovaMap* Player::addresses(SessionFile id) {
  const auto it = files_.find(id);
  return it == files_.end() ? nullptr : &it->second.addresses;
}

void Player::follow(const device::CaptureEvent& event, const CaptureMemory& memory) {
  if (const auto* opened = std::get_if<device::CaptureOpen>(&event.what)) {
    open({event.process, opened->file});
  } else if (const auto* closed = std::get_if<device::CaptureClose>(&event.what)) {
    files_.erase({event.process, closed->file});
  } else if (const auto* create = std::get_if<device::CaptureCreate>(&event.what)) {
    File& file = open({event.process, create->file});
    device::Buffer buffer = file.device->create_buffer(create->size);
    file.addresses.add(create->iova, create->size, buffer.iova());
    file.buffers.insert_or_assign(create->handle, std::move(buffer));
  } else if (const auto* destroy = std::get_if<device::CaptureDestroy>(&event.what)) {
    File& file = open({event.process, destroy->file});
    const auto it = file.buffers.find(destroy->handle);
    if (it == file.buffers.end()) return;
    file.addresses.remove(file.addresses.to_recording(it->second.iova()));
    file.patches.erase(destroy->handle);
    file.buffers.erase(it);
  } else if (const auto* done = std::get_if<device::CaptureWrite>(&event.what)) {
    const SessionFile id{event.process, done->file};
    write(open(id), done->handle, done->offset, *done->bytes,
          memory.bos(id).at(done->handle).bytes);
  }
}

void Player::write(File& file, std::uint32_t handle, std::uint64_t offset,
                   std::span<const std::byte> bytes, std::span<const std::byte> whole) {
  device::Buffer& buffer = file.buffers.at(handle);
  if (bytes.empty()) return;
  std::memcpy(buffer.host().data() + offset, bytes.data(), bytes.size());
  // A relocated word that is only half overwritten would be neither the one nor the other.
  auto& patches = file.patches[handle];
  auto it = patches.lower_bound(offset < 8 ? 0 : offset - 7);
  while (it != patches.end() && it->first < offset + bytes.size()) {
    std::memcpy(buffer.host().data() + it->first, whole.data() + it->first, 8);
    it = patches.erase(it);
  }
  file.device->fini(buffer);
}

void Player::relocate(File& file, SessionFile id, const CaptureMemory& memory,
                      std::span<const device::Task> tasks) {
  if (!file.addresses.moves() && file.patches.empty()) return;
  std::set<std::uint32_t> changed;
  for (const device::Task& task : tasks) {
    std::uint32_t dma_base = 0;  // the driver writes it before each start
    ChainLink next{task.regcmd, task.regcmd_count};
    std::set<std::uint32_t> seen;
    while (next.words != 0 && seen.size() < kMaxChain && seen.insert(next.iova).second) {
      const std::uint64_t start = next.iova & ~0xFu;
      const auto before =
          program_words(memory, id, {static_cast<std::uint32_t>(start), next.words});
      std::vector<std::uint64_t> after = before;
      next = relocate_program(after, file.addresses, dma_base);
      std::uint32_t handle = 0;
      const CaptureMemory::Bo* bo = buffer_at(memory.bos(id), start, &handle);
      if (bo == nullptr) break;
      for (std::size_t i = 0; i < after.size(); ++i) {
        const std::uint64_t offset = start - bo->iova + i * 8;
        auto& patches = file.patches[handle];
        const auto patch = patches.find(offset);
        if (after[i] == before[i] && patch == patches.end()) continue;
        std::memcpy(file.buffers.at(handle).host().data() + offset, &after[i], 8);
        if (after[i] == before[i])
          patches.erase(patch);  // its buffers have moved back
        else
          patches[offset] = {after[i], before[i]};
        changed.insert(handle);
      }
    }
  }
  for (const std::uint32_t handle : changed) file.device->fini(file.buffers.at(handle));
}

Player::End Player::run(const SessionJob& job, const CaptureMemory& memory,
                        std::optional<std::size_t> task) {
  File& file = open(job.file);
  std::span<const device::Task> tasks = job.job->job.tasks;
  if (task) tasks = tasks.subspan(*task, 1);
  relocate(file, job.file, memory, tasks);

  End end;
  device::Job out;
  for (const device::Task& t : tasks)
    out.tasks.push_back({file.addresses.to_device(t.regcmd), t.regcmd_count});
  std::vector<const device::Buffer*> waits;
  device::Buffer token;
  for (const bool output : {true, false})
    for (const std::uint32_t handle : output ? job.job->job.out_handles : job.job->job.in_handles) {
      const auto it = file.buffers.find(handle);
      if (it == file.buffers.end()) {
        end = {Outcome::dropped, true,
               fmt::format("it lists handle {}, which is no buffer of its file", handle)};
        return end;
      }
      if (output) waits.push_back(&it->second);
      (output ? out.out_handles : out.in_handles).push_back(it->second.handle());
    }
  if (waits.empty()) {
    // Only outputs can be waited for; a buffer more in the list changes nothing else.
    token = file.device->create_buffer(1);
    out.out_handles.push_back(token.handle());
    waits.push_back(&token);
  }
  try {
    file.device->submit(out);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_argument) throw;
    return {Outcome::dropped, true, error.what()};
  }
  for (const device::Buffer* buffer : waits) try {
      file.device->prep(*buffer, kWait);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::timeout && error.code() != ErrorCode::device_fault) throw;
      if (end.outcome != Outcome::done) continue;  // of the same job, said again
      end.outcome = error.code() == ErrorCode::timeout ? Outcome::timed_out : Outcome::faulted;
      end.note = error.what();
    }
  // A job that the kernel retires although its output is right (a pool's).
  if (info().backend == "sim")
    for (const std::string& note : device::take_sim_notes(*file.device)) {
      if (end.outcome != Outcome::done) break;
      end.outcome = Outcome::timed_out;
      end.note = note;
    }
  return end;
}

std::span<const std::byte> Player::content(SessionFile id, std::uint32_t handle) {
  const auto it = files_.find(id);
  if (it == files_.end()) return {};
  File& file = it->second;
  const auto found = file.buffers.find(handle);
  if (found == file.buffers.end()) return {};
  const device::Buffer& buffer = found->second;
  file.device->prep(buffer, kWait);
  const auto patches = file.patches.find(handle);
  if (patches == file.patches.end() || patches->second.empty()) return buffer.host();
  scratch_.assign(buffer.host().begin(), buffer.host().end());
  for (const auto& [offset, patch] : patches->second)
    // Unless a job wrote over it.
    if (std::memcmp(scratch_.data() + offset, &patch.device, 8) == 0)
      std::memcpy(scratch_.data() + offset, &patch.recorded, 8);
  return scratch_;
}

void Player::restore(SessionFile id, std::uint32_t handle, std::span<const std::byte> recorded) {
  File& file = open(id);
  const device::Buffer& buffer = file.buffers.at(handle);
  // run() relocates what it runs.
  file.patches.erase(handle);
  std::copy(recorded.begin(), recorded.end(), buffer.host().begin());
  file.device->fini(buffer);
}

}  // namespace npu::probe
