// SPDX-License-Identifier: MIT
// The rocket driver's scheduler and buffers over the simulated chip, by handle as the ioctls have
// them: sim.cpp makes a Device of it, the preload library an ioctl.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "npu-device/device.hpp"
#include "npu-device/iova_window.hpp"
#include "npu-device/sim_clock.hpp"
#include "npu-device/sim_device.hpp"
#include "npu-sim/chip.hpp"
#include "regdb/error.hpp"

namespace npu::device {

/// Why a job failed, as prep() will throw it.
struct JobFault {
  ErrorCode code;
  std::string message;
  bool missed_deadline = false;  ///< of wait(): no job failed, time was over
};

/// Memory of one buffer object and its place in the file's window. Owned by the handle and by the
/// jobs that list it; the mapping goes with the last of them, as in the kernel [rocket_gem.c].
struct SimBuffer {
  /// `pages`: as much memory as `size` asks for in whole pages. `at`: nullopt for the kernel's
  /// choice.
  SimBuffer(std::shared_ptr<sim::AddressSpace> address_space, std::shared_ptr<IovaWindow> window,
            std::shared_ptr<std::byte[]> pages, std::size_t size,
            std::optional<std::uint32_t> at = std::nullopt);
  ~SimBuffer();
  SimBuffer(const SimBuffer&) = delete;
  SimBuffer& operator=(const SimBuffer&) = delete;

  std::shared_ptr<sim::AddressSpace> space;
  std::shared_ptr<IovaWindow> iovas;
  std::shared_ptr<std::byte[]> memory;  ///< whole pages, page aligned, zeroed
  std::size_t bytes;                    ///< as asked for
  std::uint32_t iova = 0;

  // Guarded by the machine's mutex.
  unsigned writers = 0;  ///< queued and running jobs that list it as an output
  std::shared_ptr<ClockedJob> last_writer{};
  std::optional<JobFault> fault{};  ///< of the first failed one since the last prep
};

struct JobResult;

/// What the scheduler knows of one file (the kernel's entity). Guarded by the machine's mutex,
/// except `space` and `iovas`.
struct SimEntity {
  std::shared_ptr<sim::AddressSpace> space = std::make_shared<sim::AddressSpace>();
  std::shared_ptr<IovaWindow> iovas = std::make_shared<IovaWindow>();
  std::optional<unsigned> core;  ///< where its last job was queued
  std::size_t pending = 0;       ///< queued and running jobs
  std::shared_ptr<ClockedJob> last{};
  std::uint64_t submitted = 0;  ///< jobs ever; numbers in messages count from 1
  std::deque<std::string> notes;
};

struct SimJob {
  std::shared_ptr<SimEntity> entity;
  std::uint64_t number;
  std::vector<Task> tasks;
  std::vector<std::shared_ptr<SimBuffer>> in, out;
  bool chained = false;
  std::shared_ptr<ClockedJob> clocked{};
};

/// One chip with a kernel thread's worth of driver per core. Thread safe. Files must be gone
/// before it is.
class SimMachine {
 public:
  /// `hang_time`: how long (host time) a job that never ends keeps its core, as the driver's 500 ms
  /// timeout would.
  explicit SimMachine(const SimOptions& options, std::chrono::milliseconds hang_time = {});
  ~SimMachine();
  SimMachine(const SimMachine&) = delete;
  SimMachine& operator=(const SimMachine&) = delete;

  unsigned cores() const { return static_cast<unsigned>(queues_.size()); }
  const SimOptions& options() const { return options_; }
  SimStats stats() const;

  /// Queues the jobs of one entity. It stays on its core while it has queued or running work, and
  /// else goes to the least loaded one, counting jobs and resting entities
  /// [drm_sched_entity_select_rq; inferred]. One core takes jobs in order of submission, so the
  /// jobs of a file run one after the other: that is all that their write fences ask for.
  void enqueue(const std::shared_ptr<SimEntity>& entity, std::vector<SimJob> jobs);

  /// Drops the entity's queued jobs, waits for its running one and takes it off its core.
  void retire(SimEntity& entity);

  /// PREP_BO. nullopt on success; a fault is reported once.
  std::optional<JobFault> wait(SimBuffer& buffer, Device::Clock::time_point deadline);

  std::vector<std::string> take_notes(SimEntity& entity);

  /// FINI_BO. Costs modelled time only.
  void synchronise(const SimBuffer& buffer);
  /// Device::now().
  std::chrono::nanoseconds now();

  /// Waits until no job is queued or runs; false if that takes longer.
  bool drain(Device::Clock::time_point deadline);

  /// Registers of a core; waits for the job that runs on it.
  std::uint32_t read_register(unsigned core, std::uint32_t offset);
  void write_register(unsigned core, std::uint32_t offset, std::uint32_t value);
  /// Core of the entity's last job, nullopt before the first.
  std::optional<unsigned> last_core(const SimEntity& entity) const;

 private:
  void work(unsigned core);
  JobResult run(unsigned core, const SimJob& job);
  unsigned least_loaded() const;
  void stop();

  SimOptions options_;
  std::shared_ptr<SimClock> clock_;
  sim::Chip chip_;
  std::vector<std::mutex> core_mutexes_;  // held for the length of a job or of a register access
  std::chrono::milliseconds hang_time_;
  mutable std::mutex mutex_;
  std::condition_variable work_, done_;
  bool stopping_ = false;
  std::vector<std::deque<SimJob>> queues_;  // per core
  std::size_t pending_ = 0;                 // queued and running jobs of all cores
  std::vector<unsigned> loads_;             // per core: queued and running jobs, entities
  SimStats stats_;
  std::vector<std::thread> threads_;
};

/// One open file.
class SimFile {
 public:
  explicit SimFile(std::shared_ptr<SimMachine> machine);
  ~SimFile();
  SimFile(const SimFile&) = delete;
  SimFile& operator=(const SimFile&) = delete;

  const std::shared_ptr<SimMachine>& machine() const { return machine_; }

  /// CREATE_BO and mmap. Throws invalid_argument (size) and out_of_memory.
  std::uint32_t create_bo(std::size_t bytes);
  /// The same over memory of somebody else's: whole pages.
  std::uint32_t create_bo(std::size_t bytes, std::shared_ptr<std::byte[]> pages);
  /// A buffer that another process of the same file made: handle and IOVA are given. Throws
  /// invalid_argument if either is in use.
  void restore_bo(std::uint32_t handle, std::uint32_t iova, std::size_t bytes,
                  std::shared_ptr<std::byte[]> pages);
  /// GEM_CLOSE; false for an unknown handle.
  bool close_bo(std::uint32_t handle);
  /// nullptr for an unknown handle.
  std::shared_ptr<SimBuffer> find(std::uint32_t handle) const;
  /// SUBMIT of jobs that check_jobs() accepts; throws invalid_argument for others.
  void submit(std::span<const Job> jobs);
  /// PREP_BO: throws timeout, device_fault, invalid_argument (unknown handle).
  void prep_bo(std::uint32_t handle, Device::Clock::time_point deadline);

  std::vector<std::string> take_notes() { return machine_->take_notes(*entity_); }
  std::optional<unsigned> last_core() const { return machine_->last_core(*entity_); }

 private:
  std::shared_ptr<SimMachine> machine_;
  std::shared_ptr<SimEntity> entity_ = std::make_shared<SimEntity>();
  std::unordered_map<std::uint32_t, std::shared_ptr<SimBuffer>> buffers_;
  std::set<std::uint32_t> free_handles_;  // below next_handle_; the kernel takes the lowest first
  std::uint32_t next_handle_ = 1;
};

}  // namespace npu::device
