// SPDX-License-Identifier: MIT
#include "npu-device/mmio.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_map>
#include <utility>

#include "npu-device/iova_window.hpp"
#include "npu-device/job_check.hpp"
#include "npu-device/mmio_board.hpp"
#include "npu-device/mmio_core.hpp"
#include "npu-device/register_access.hpp"

namespace npu::device {
namespace {

struct MmioBuffer {
  std::unique_ptr<DmaMemory> memory;
  std::size_t bytes = 0;
  std::uint32_t iova = 0;
  // Guarded by the machine's mutex.
  unsigned writers = 0;  // jobs that list it as an output
  std::optional<MmioFault> fault{};
};

struct MmioJob {
  std::uint64_t number;
  std::vector<Task> tasks;
  std::vector<std::shared_ptr<MmioBuffer>> out;
  std::optional<std::uint32_t> dte;
  const void* file;
};

/// The cores, a thread each.
class MmioMachine {
 public:
  MmioMachine(MmioSpec spec, std::unique_ptr<MmioPlatform> platform)
      : spec_(std::move(spec)), platform_(std::move(platform)) {
    for (const unsigned index : spec_.cores) lanes_.emplace_back(*platform_, index);
    for (Lane& lane : lanes_) lane.thread = std::thread([this, &lane] { work(lane); });
  }
  ~MmioMachine() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (Lane& lane : lanes_)
      if (lane.thread.joinable()) lane.thread.join();
  }
  MmioMachine(const MmioMachine&) = delete;
  MmioMachine& operator=(const MmioMachine&) = delete;

  const MmioSpec& spec() const { return spec_; }
  MmioPlatform& platform() { return *platform_; }
  std::uint32_t version() const { return lanes_.front().core.version(); }
  /// Guards the platform's allocator, and all page tables.
  std::mutex& memory_mutex() { return memory_mutex_; }

  /// The core with the fewest files.
  std::size_t join() {
    const std::lock_guard lock(mutex_);
    std::size_t best = 0;
    for (std::size_t i = 1; i < lanes_.size(); ++i)
      if (lanes_[i].files < lanes_[best].files) best = i;
    ++lanes_[best].files;
    return best;
  }
  /// Drops the file's queued jobs and waits for its running one.
  void leave(std::size_t lane_index, const void* file) {
    std::deque<MmioJob> dropped;
    std::unique_lock lock(mutex_);
    Lane& lane = lanes_[lane_index];
    --lane.files;
    for (auto it = lane.queue.begin(); it != lane.queue.end();) {
      if (it->file != file) {
        ++it;
        continue;
      }
      release(*it, nullptr);
      dropped.push_back(std::move(*it));
      it = lane.queue.erase(it);
    }
    changed_.wait(lock, [&] { return lane.running != file; });
  }

  void enqueue(std::size_t lane, std::vector<MmioJob> jobs) {
    {
      const std::lock_guard lock(mutex_);
      for (MmioJob& job : jobs) {
        for (const auto& buffer : job.out) ++buffer->writers;
        lanes_[lane].queue.push_back(std::move(job));
      }
    }
    changed_.notify_all();
  }

  /// Throws timeout at the deadline; else the fault of the first job that failed, once.
  void wait(MmioBuffer& buffer, Device::Clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_until(lock, deadline, [&] { return buffer.writers == 0; }))
      throw Error(
          ErrorCode::timeout,
          fmt::format("The buffer at IOVA {:#x}: {} job(s) that write it did not end before "
                      "the deadline; wait longer.",
                      buffer.iova, buffer.writers));
    if (const auto fault = std::exchange(buffer.fault, std::nullopt))
      throw Error(fault->code, fault->message);
  }
  /// Until the file has no job queued or running.
  void wait_idle(std::size_t lane_index, const void* file) {
    std::unique_lock lock(mutex_);
    const Lane& lane = lanes_[lane_index];
    changed_.wait(lock, [&] {
      return lane.running != file &&
             std::none_of(lane.queue.begin(), lane.queue.end(),
                          [&](const auto& job) { return job.file == file; });
    });
  }

  unsigned core_of(std::size_t lane) const { return lanes_[lane].core.index(); }

  template <class Use>
  auto with_core(unsigned core, Use use) {
    for (Lane& lane : lanes_) {
      if (lane.core.index() != core) continue;
      const std::lock_guard lock(lane.mutex);
      return use(lane.core);
    }
    throw Error(ErrorCode::invalid_argument,
                fmt::format("core {}: this device drives core(s) {}; name it in the spec, as "
                            "mmio:{}.",
                            core, fmt::join(spec_.cores, ", "), core));
  }

 private:
  struct Lane {
    Lane(MmioPlatform& platform, unsigned index) : core(platform, index) {}
    MmioCore core;
    std::mutex mutex;  // held for the length of a job or of a register access
    std::deque<MmioJob> queue;
    const void* running = nullptr;
    unsigned files = 0;
    std::thread thread;
  };

  static void release(MmioJob& job, const std::optional<MmioFault>* fault) {
    for (const auto& buffer : job.out) {
      --buffer->writers;
      if (fault && *fault && !buffer->fault) buffer->fault = *fault;
    }
  }

  void work(Lane& lane) {
    for (;;) {
      MmioJob job;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stopping_ || !lane.queue.empty(); });
        if (lane.queue.empty()) return;
        job = std::move(lane.queue.front());
        lane.queue.pop_front();
        lane.running = job.file;
      }
      MmioJobResult result;
      try {
        const std::lock_guard lock(lane.mutex);
        result = lane.core.run(job.tasks, job.dte);
      } catch (const std::exception& error) {
        result.fault = MmioFault{ErrorCode::device_fault, error.what()};
      }
      if (result.fault)
        result.fault->message = fmt::format("Job {}, {}.", job.number, result.fault->message);
      {
        const std::lock_guard lock(mutex_);
        release(job, &result.fault);
        lane.running = nullptr;
      }
      changed_.notify_all();
    }
  }

  MmioSpec spec_;
  std::unique_ptr<MmioPlatform> platform_;
  std::mutex memory_mutex_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Lane> lanes_;
  bool stopping_ = false;
};

class MmioDevice final : public Device, private RegisterAccess {
 public:
  explicit MmioDevice(std::shared_ptr<MmioMachine> machine)
      : machine_(std::move(machine)), lane_(machine_->join()) {
    info_.backend = "mmio";
    info_.path = to_string(machine_->spec());
    info_.version = std::to_string(machine_->version());  // as rocket's log prints it
    info_.cores = static_cast<unsigned>(machine_->spec().cores.size());
    info_.provenance = machine_->platform().provenance();
    info_.time_base = machine_->spec().sim ? TimeBase::host : TimeBase::chip;
  }
  ~MmioDevice() override {
    machine_->leave(lane_, this);
    const std::lock_guard lock(machine_->memory_mutex());
    buffers_.clear();
    table_.reset();
  }

  const DeviceInfo& info() const override { return info_; }

  Buffer create_buffer(std::size_t bytes) override {
    check_buffer_size(bytes);
    const bool own = machine_->spec().iommu == MmioIommu::own;
    auto buffer = std::make_shared<MmioBuffer>();
    buffer->bytes = bytes;
    const std::lock_guard lock(machine_->memory_mutex());
    buffer->memory = machine_->platform().memory().allocate(bytes, !own);
    const auto& pages = buffer->memory->pages();
    if (own) {
      if (!table_) table_ = std::make_unique<PageTable>(machine_->platform().memory());
      const auto iova = iovas_.insert(bytes);
      if (!iova)
        throw Error(ErrorCode::out_of_memory,
                    fmt::format("The 4 GiB IOVA window of this file has no hole of {} bytes; free "
                                "buffers, or open another device (each file has a window of its "
                                "own).",
                                bytes));
      buffer->iova = *iova;
      try {
        table_->map(buffer->iova, pages);
      } catch (...) {
        table_->unmap(buffer->iova, pages.size());
        iovas_.remove(*iova);
        throw;
      }
    } else {
      buffer->iova = static_cast<std::uint32_t>(pages[0]);
    }
    const std::uint32_t handle = free_handles_.empty() ? next_handle_++ : *free_handles_.begin();
    free_handles_.erase(handle);
    const std::span<std::byte> host = buffer->memory->host().first(bytes);
    buffers_.emplace(handle, buffer);
    return make_buffer(handle, buffer->iova, host);
  }

  void prep(const Buffer& buffer, Clock::time_point deadline) override {
    MmioBuffer& own = find(buffer);
    machine_->wait(own, deadline);
    own.memory->from_device(0, own.bytes);
  }

  void fini(const Buffer& buffer) override {
    MmioBuffer& own = find(buffer);
    own.memory->to_device(0, own.bytes);
  }

  void submit(std::span<const Job> jobs) override {
    check_jobs(jobs, [this](std::uint32_t handle) { return buffers_.contains(handle); });
    std::vector<MmioJob> list;
    for (const Job& job : jobs) {
      MmioJob& queued = list.emplace_back();
      queued.number = ++submitted_;
      queued.tasks = job.tasks;
      queued.file = this;
      for (const std::uint32_t handle : job.out_handles) queued.out.push_back(buffers_.at(handle));
      if (machine_->spec().iommu == MmioIommu::own) queued.dte = table_dte();
    }
    machine_->enqueue(lane_, std::move(list));
  }

  std::unique_ptr<Device> open_another() const override {
    return std::make_unique<MmioDevice>(machine_);
  }

  RegisterAccess* registers() override { return this; }

 private:
  // RegisterAccess
  std::vector<unsigned> cores() const override { return machine_->spec().cores; }
  std::uint32_t read(unsigned core, std::uint32_t offset) override {
    return machine_->with_core(core, [&](MmioCore& c) { return c.read(offset); });
  }
  void write(unsigned core, std::uint32_t offset, std::uint32_t value) override {
    machine_->with_core(core, [&](MmioCore& c) { c.write(offset, value); });
  }
  bool has_iommu() const override { return true; }
  std::optional<unsigned> last_core() const override {
    if (submitted_ == 0) return std::nullopt;
    return machine_->core_of(lane_);
  }

  std::uint32_t table_dte() {
    if (!table_) {
      const std::lock_guard lock(machine_->memory_mutex());
      table_ = std::make_unique<PageTable>(machine_->platform().memory());
    }
    return table_->dte();
  }

  MmioBuffer& find(const Buffer& buffer) {
    if (!owns(buffer))
      throw Error(ErrorCode::invalid_argument,
                  "The buffer is empty or belongs to another device; use the device that created "
                  "it.");
    return *buffers_.at(buffer.handle());
  }

  void destroy_buffer(std::uint32_t handle, std::span<std::byte>) noexcept override {
    const auto it = buffers_.find(handle);
    const std::shared_ptr<MmioBuffer> buffer = std::move(it->second);
    buffers_.erase(it);
    free_handles_.insert(handle);
    // A running program may read it, listed or not, and must not find somebody else's memory behind
    // the address.
    machine_->wait_idle(lane_, this);
    const std::lock_guard lock(machine_->memory_mutex());
    if (machine_->spec().iommu == MmioIommu::own) {
      table_->unmap(buffer->iova, buffer->memory->pages().size());
      iovas_.remove(buffer->iova);
    }
    buffer->memory.reset();
  }

  std::shared_ptr<MmioMachine> machine_;
  std::size_t lane_;
  DeviceInfo info_;
  std::unique_ptr<PageTable> table_;
  IovaWindow iovas_;
  std::unordered_map<std::uint32_t, std::shared_ptr<MmioBuffer>> buffers_;
  std::set<std::uint32_t> free_handles_;
  std::uint32_t next_handle_ = 1;
  std::uint64_t submitted_ = 0;
};

}  // namespace

std::unique_ptr<Device> open_mmio(const MmioSpec& spec, std::unique_ptr<MmioPlatform> platform) {
  return std::make_unique<MmioDevice>(std::make_shared<MmioMachine>(spec, std::move(platform)));
}

std::unique_ptr<Device> open_mmio(const MmioSpec& spec, const sim::ChipOptions& options) {
  return open_mmio(spec, spec.sim ? simulated_board(options) : this_board(spec));
}

}  // namespace npu::device
