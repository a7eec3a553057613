// SPDX-License-Identifier: MIT
#include "npu-device/sim_machine.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <iterator>
#include <system_error>
#include <utility>

#include "npu-device/job_check.hpp"
#include "npu-device/sim_core.hpp"

namespace npu::device {
namespace {

constexpr std::size_t kMaxNotes = 64;

std::shared_ptr<std::byte[]> allocate_pages(std::size_t bytes) {
  const std::size_t size = sim::AddressSpace::whole_pages(bytes);
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw Error(ErrorCode::out_of_memory,
                fmt::format("This machine has no memory for a buffer of {} bytes; free buffers or "
                            "close programs that use much memory.",
                            bytes));
  }
  return {static_cast<std::byte*>(memory), [size](std::byte* p) { ::munmap(p, size); }};
}

}  // namespace

SimBuffer::SimBuffer(std::shared_ptr<sim::AddressSpace> address_space,
                     std::shared_ptr<IovaWindow> window, std::shared_ptr<std::byte[]> pages,
                     std::size_t size, std::optional<std::uint32_t> at)
    : space(std::move(address_space)),
      iovas(std::move(window)),
      memory(std::move(pages)),
      bytes(size) {
  if (at) {
    if (!iovas->reserve(*at, bytes))
      throw Error(ErrorCode::invalid_argument, fmt::format("IOVA {:#x} is in use", *at));
    iova = *at;
  } else if (const auto free = iovas->insert(bytes)) {
    iova = *free;
  } else {
    throw Error(ErrorCode::out_of_memory,
                fmt::format("The 4 GiB IOVA window of this file has no hole of {} bytes; free "
                            "buffers, or open another device (each file has a window of its own).",
                            bytes));
  }
  space->map(iova, memory, bytes);
}

SimBuffer::~SimBuffer() {
  space->unmap(iova);
  iovas->remove(iova);
}

SimMachine::SimMachine(const SimOptions& options, std::chrono::milliseconds hang_time)
    : options_(options),
      clock_(std::make_shared<SimClock>(options.timing, options.chip.observer)),
      chip_([this] {
        sim::ChipOptions chip = options_.chip;
        chip.observer = clock_;
        return chip;
      }()),
      core_mutexes_(chip_.cores()),
      hang_time_(hang_time) {
  const unsigned count = chip_.cores();
  queues_.resize(count);
  loads_.resize(count);
  stats_.jobs.resize(count);
  stats_.tasks.resize(count);
  try {
    for (unsigned core = 0; core < count; ++core)
      threads_.emplace_back([this, core] { work(core); });
  } catch (const std::system_error& error) {
    stop();
    throw Error(ErrorCode::out_of_memory,
                fmt::format("Cannot start a thread for each simulated core ({}); raise ulimit -u.",
                            error.what()));
  }
}

SimMachine::~SimMachine() { stop(); }

void SimMachine::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

SimStats SimMachine::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

unsigned SimMachine::least_loaded() const {
  return static_cast<unsigned>(std::min_element(loads_.begin(), loads_.end()) - loads_.begin());
}

void SimMachine::enqueue(const std::shared_ptr<SimEntity>& entity, std::vector<SimJob> jobs) {
  if (jobs.empty()) return;
  {
    std::lock_guard lock(mutex_);
    // By the modelled clock a file has work until the host has waited for it.
    const bool rests =
        entity->pending == 0 && (!clock_->listening() || !entity->last || entity->last->waited);
    if (rests) {
      // The scheduler takes the first of equals. But a simulated job may have ended before the host
      // submits the next file's, which no chip's has: a resting file stays then, so that files are
      // spread alike whatever this computer's speed.
      unsigned core = least_loaded();
      if (entity->core && loads_[*entity->core] == loads_[core]) core = *entity->core;
      if (entity->core != core) {
        if (entity->core) --loads_[*entity->core];
        ++loads_[core];
        entity->core = core;
      }
    }
    for (SimJob& job : jobs) {
      job.number = ++entity->submitted;
      job.clocked = std::make_shared<ClockedJob>();
      job.clocked->core = *entity->core;
      clock_->submitted(entity->space.get(), job.clocked);
      entity->last = job.clocked;
      for (const auto& buffer : job.out) {
        ++buffer->writers;
        buffer->last_writer = job.clocked;
      }
      ++entity->pending;
      ++pending_;
      ++loads_[*entity->core];
      queues_[*entity->core].push_back(std::move(job));
    }
  }
  work_.notify_all();
}

void SimMachine::retire(SimEntity& entity) {
  std::deque<SimJob> dropped;  // released without the mutex: the last user of a buffer unmaps it
  std::unique_lock lock(mutex_);
  if (!entity.core) return;
  auto& queue = queues_[*entity.core];
  for (auto it = queue.begin(); it != queue.end();) {
    if (it->entity.get() != &entity) {
      ++it;
      continue;
    }
    for (const auto& buffer : it->out) --buffer->writers;
    --entity.pending;
    --pending_;
    --loads_[*entity.core];
    dropped.push_back(std::move(*it));
    it = queue.erase(it);
  }
  done_.wait(lock, [&] { return entity.pending == 0; });
  --loads_[*entity.core];
  entity.core.reset();
}

std::optional<JobFault> SimMachine::wait(SimBuffer& buffer, Device::Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  if (!done_.wait_until(lock, deadline, [&] { return buffer.writers == 0; })) {
    return JobFault{ErrorCode::timeout,
                    fmt::format("PREP_BO on the buffer at IOVA {:#x}: {} job(s) that write it did "
                                "not end before the deadline; wait longer.",
                                buffer.iova, buffer.writers),
                    true};
  }
  if (buffer.last_writer) buffer.last_writer->waited = true;
  clock_->waited(buffer.space.get(), std::exchange(buffer.last_writer, nullptr));
  clock_->synchronised(buffer.space.get(), buffer.bytes);
  if (clock_->full() && pending_ == 0) clock_->now();
  return std::exchange(buffer.fault, std::nullopt);
}

void SimMachine::synchronise(const SimBuffer& buffer) {
  const std::lock_guard lock(mutex_);
  clock_->synchronised(buffer.space.get(), buffer.bytes);
}

std::chrono::nanoseconds SimMachine::now() {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return pending_ == 0; });
  clock_->start();
  return clock_->now();
}

bool SimMachine::drain(Device::Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return done_.wait_until(lock, deadline, [&] { return pending_ == 0; });
}

std::vector<std::string> SimMachine::take_notes(SimEntity& entity) {
  std::lock_guard lock(mutex_);
  std::vector<std::string> notes(std::make_move_iterator(entity.notes.begin()),
                                 std::make_move_iterator(entity.notes.end()));
  entity.notes.clear();
  return notes;
}

std::uint32_t SimMachine::read_register(unsigned core, std::uint32_t offset) {
  const std::lock_guard core_lock(core_mutexes_.at(core));
  return chip_.read(core, offset);
}

void SimMachine::write_register(unsigned core, std::uint32_t offset, std::uint32_t value) {
  const std::lock_guard core_lock(core_mutexes_.at(core));
  chip_.write(core, offset, value);
}

std::optional<unsigned> SimMachine::last_core(const SimEntity& entity) const {
  std::lock_guard lock(mutex_);
  return entity.core;
}

JobResult SimMachine::run(unsigned core, const SimJob& job) {
  const std::lock_guard core_lock(core_mutexes_[core]);
  clock_->begin(core, job.clocked.get());
  const auto tasks = static_cast<std::uint32_t>(job.tasks.size());
  const std::span<const Task> all(job.tasks);
  JobResult result = !options_.computes
                         ? time_job({core, job.entity->space, all, job.number, job.chained},
                                    options_.chip, *clock_)
                         : run_job(chip_, core, job.entity->space, job.chained ? all.first(1) : all,
                                   job.number, job.chained ? tasks : 1);
  clock_->begin(core, nullptr);
  if (job.chained && !result.retired) result.tasks_started = tasks;
  return result;
}

void SimMachine::work(unsigned core) {
  for (;;) {
    SimJob job;
    {
      std::unique_lock lock(mutex_);
      work_.wait(lock, [&] { return stopping_ || !queues_[core].empty(); });
      if (queues_[core].empty()) return;
      job = std::move(queues_[core].front());
      queues_[core].pop_front();
    }
    JobResult result = run(core, job);
    if (result.retired && hang_time_.count() != 0) std::this_thread::sleep_for(hang_time_);
    {
      std::lock_guard lock(mutex_);
      job.clocked->retired = result.retired;
      for (const auto& buffer : job.out) {
        --buffer->writers;
        if (result.fault && !buffer->fault) buffer->fault = result.fault;
      }
      // Under the mutex, so that whoever waited finds freed buffers unmapped: IOVAs stay
      // reproducible.
      job.in.clear();
      job.out.clear();
      if (!result.note.empty()) {
        if (job.entity->notes.size() == kMaxNotes) job.entity->notes.pop_front();
        job.entity->notes.push_back(std::move(result.note));
      }
      stats_.tasks[core] += result.tasks_started;
      ++stats_.jobs[core];
      --loads_[core];
      --job.entity->pending;
      --pending_;
    }
    done_.notify_all();
  }
}

SimFile::SimFile(std::shared_ptr<SimMachine> machine) : machine_(std::move(machine)) {}

SimFile::~SimFile() { machine_->retire(*entity_); }

std::uint32_t SimFile::create_bo(std::size_t bytes) {
  check_buffer_size(bytes);
  return create_bo(bytes, allocate_pages(bytes));
}

void SimFile::restore_bo(std::uint32_t handle, std::uint32_t iova, std::size_t bytes,
                         std::shared_ptr<std::byte[]> pages) {
  check_buffer_size(bytes);
  if (handle == 0 || buffers_.contains(handle))
    throw Error(ErrorCode::invalid_argument, fmt::format("handle {} is in use", handle));
  auto buffer =
      std::make_shared<SimBuffer>(entity_->space, entity_->iovas, std::move(pages), bytes, iova);
  for (; next_handle_ <= handle; ++next_handle_) free_handles_.insert(next_handle_);
  free_handles_.erase(handle);
  buffers_.emplace(handle, std::move(buffer));
}

std::uint32_t SimFile::create_bo(std::size_t bytes, std::shared_ptr<std::byte[]> pages) {
  check_buffer_size(bytes);
  auto buffer =
      std::make_shared<SimBuffer>(entity_->space, entity_->iovas, std::move(pages), bytes);
  const bool reuse = !free_handles_.empty();
  const std::uint32_t handle = reuse ? *free_handles_.begin() : next_handle_;
  buffers_.emplace(handle, std::move(buffer));
  if (reuse) {
    free_handles_.erase(free_handles_.begin());
  } else {
    ++next_handle_;
  }
  return handle;
}

bool SimFile::close_bo(std::uint32_t handle) {
  if (buffers_.erase(handle) == 0) return false;
  free_handles_.insert(handle);
  return true;
}

std::shared_ptr<SimBuffer> SimFile::find(std::uint32_t handle) const {
  const auto it = buffers_.find(handle);
  return it == buffers_.end() ? nullptr : it->second;
}

void SimFile::submit(std::span<const Job> jobs) {
  check_jobs(
      jobs, [this](std::uint32_t handle) { return buffers_.contains(handle); },
      machine_->options().chains);
  std::vector<SimJob> list;
  list.reserve(jobs.size());
  for (const Job& job : jobs) {
    SimJob& queued = list.emplace_back(SimJob{entity_, 0, job.tasks, {}, {}});
    for (std::uint32_t handle : job.in_handles) queued.in.push_back(find(handle));
    for (std::uint32_t handle : job.out_handles) queued.out.push_back(find(handle));
    queued.chained = job.chained;
  }
  machine_->enqueue(entity_, std::move(list));
}

void SimFile::prep_bo(std::uint32_t handle, Device::Clock::time_point deadline) {
  const auto buffer = find(handle);
  if (!buffer) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("PREP_BO on handle {}: this file has no such buffer.", handle));
  }
  if (const auto fault = machine_->wait(*buffer, deadline)) {
    throw Error(fault->code, fault->message);
  }
}

}  // namespace npu::device
