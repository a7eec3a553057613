// SPDX-License-Identifier: MIT
// How long the silicon would take: plain arithmetic on what a task moves and computes. The model
// and the source of every constant are in docs/timing.md.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "npu-sim/calibration.hpp"

namespace npu::sim {

/// Operand type of the MAC array as the timing sees it. fp32 only moves through the DPU.
enum class MacType : std::uint8_t { int4, int8, int16, fp16, bf16, tf32, fp32 };
std::string_view to_string(MacType type);

/// Kernels by channels that the array takes per cycle: the weight block [notes tile-layouts, HW;
/// TRM for the product of both].
struct ArrayBlock {
  std::uint32_t kernels, channels;
};
ArrayBlock array_block(MacType type);
double bits_of(MacType type);

/// What one task moves and computes. Bytes are bytes over the DRAM port; a reused operand counts
/// none, whatever its size says.
struct TaskWork {
  MacType type = MacType::int8;

  std::uint32_t kernels = 0, channels = 0;  ///< channels: the kernels' depth; 0: no MAC array
  std::uint32_t kernel_width = 1, kernel_height = 1;
  std::uint64_t positions = 0;  ///< output pixels, or rows of a matrix product
  bool depthwise = false;       ///< `channels` filters of one channel each

  std::uint32_t regcmd_words = 0;
  std::uint64_t feature_bytes = 0, weight_bytes = 0;
  std::uint64_t operand_bytes = 0;  ///< DPU_RDMA: BRDMA, NRDMA, ERDMA, MRDMA
  std::uint64_t output_bytes = 0;
  std::uint64_t output_elements = 0;
  bool data_reuse = false, weight_reuse = false;
  bool table = false;  ///< the DPU looks its results up (LUT)

  std::uint64_t pool_elements = 0;  ///< PPU: input elements times how often a window reads each

  std::uint64_t macs() const;
};

/// Which part of a task keeps the others waiting.
enum class Resource : std::uint8_t {
  fetch,    ///< the program itself
  feature,  ///< feature DMA
  weight,   ///< weight DMA
  mac,
  operand,  ///< DPU_RDMA, PPU_RDMA
  dpu,
  ppu,
  write,  ///< write DMA
  dram,   ///< the share of the memory's bandwidth
  start,  ///< filling and draining the pipeline
};
std::string_view to_string(Resource resource);

/// Cycles of the NPU clock by cause. Weights are loaded before the array starts; a part of
/// the feature loading overlaps with the array's work; multiplying, DPU, PPU and writing run
/// together.
struct TaskTime {
  double fetch = 0, feature = 0, weight = 0;  ///< one after the other: they share a read port
  double mac = 0, operand = 0, dpu = 0, ppu = 0, write = 0;
  double dram = 0;   ///< all bytes at this core's share of the memory
  double start = 0;  ///< fixed part of each task
  double load = 0;   ///< fetch + weight + what does not overlap of feature
  double body = 0;   ///< the slowest of what runs together, plus start
  double total = 0;  ///< load + body, or dram if that takes longer
  Resource limit = Resource::start;
  double mac_utilisation = 0;  ///< of the array's peak, 0 to 1
  std::uint64_t bytes = 0;     ///< over the DRAM port, the program included
  double bytes_per_second = 0;
  double seconds = 0;
};

struct Operating {
  double npu_hz = 600e6;      ///< 200 MHz stock mainline, 600 MHz patched, 1 GHz vendor
  unsigned active_cores = 1;  ///< sharing the memory, this one included
};

/// One task on its own. Throws npu::Error(invalid_argument) for a clock or core count of 0.
TaskTime estimate(const TaskWork& work, const Calibration& calibration, const Operating& operating);

/// Where the completion interrupt is handled and the waiting thread runs. The kernel's default
/// mask lands on a little core.
enum class InterruptCore : std::uint8_t {
  little,
  big_floating,  ///< on a big core, the waiter anywhere
  big_other,     ///< the waiter pinned to another big core
  big_same,      ///< the waiter on the same core
};

struct Dispatch {
  InterruptCore interrupt = InterruptCore::little;
  bool iommu_kept = false;  ///< the driver keeps the address space attached between jobs
  bool chained = false;     ///< all tasks in one start with one interrupt
};

/// One job: its tasks in order on one core, and what the kernel does around them.
struct JobTime {
  double device = 0;      ///< s, all tasks
  double submit = 0;      ///< s: ioctl, scheduler, last interrupt, wake-up of the waiter
  double iommu = 0;       ///< s: attach and detach
  double interrupts = 0;  ///< s: interrupt and restart between tasks
  double total = 0;
  double mac = 0;  ///< s that the MAC array is at work
  std::uint64_t bytes = 0, macs = 0;
  std::size_t tasks = 0;
  double dispatch() const { return submit + iommu + interrupts; }
};

/// In a chain the register groups ping-pong, so that a program is fetched while the task before it
/// runs, and a tile is loaded while the one before it is multiplied if CBUF has room for both.
JobTime estimate_job(std::span<const TaskWork> tasks, const Dispatch& dispatch,
                     const Calibration& calibration, const Operating& operating);

/// A job of several starts: `starts[i]` are the tasks that start i chains (TASK_NUMBER). Its
/// `dispatch.chained` is ignored.
JobTime estimate_starts(std::span<const std::vector<TaskWork>> starts, const Dispatch& dispatch,
                        const Calibration& calibration, const Operating& operating);

/// A task of a chain: by itself, and the seconds that it adds.
struct ChainedTask {
  TaskTime time;
  double seconds = 0;
};

/// The tasks of one start, in order.
std::vector<ChainedTask> estimate_chain(std::span<const TaskWork> tasks,
                                        const Calibration& calibration, const Operating& operating);

/// Several threads, each with a file of its own, share the cores. Each does `host` seconds of its
/// own work and `device` seconds on a core, in turn; its jobs run on any core.
double makespan(double host, double device, unsigned threads, unsigned cores);

}  // namespace npu::sim
