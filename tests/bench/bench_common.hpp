// SPDX-License-Identifier: MIT
// What the benchmarks share: buffers behind an NPU, the driver's register writes, ratios.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "npu-sim/chip.hpp"

namespace npu::bench {

/// Copies `bytes` of `data` into a new buffer of at least `room` bytes at `iova`.
void map(sim::AddressSpace& space, std::uint32_t iova, const void* data, std::size_t bytes,
         std::size_t room);

/// Programs of tasks in a buffer of their own, a page apart or more.
struct Tasks {
  std::vector<std::uint32_t> iova, words;
};
Tasks map_programs(sim::AddressSpace& space, std::uint32_t iova,
                   const std::vector<std::vector<std::uint64_t>>& programs);

/// Interrupts that end a task: the DPU's, or the PPU's for a pool.
constexpr std::uint32_t kDpuDone = 0x300, kPpuDone = 0xC00;

/// Runs the tasks one after the other with the kernel driver's ten writes [rocket_job.c]. False if
/// one raised no interrupt: the message is then in chip.fault().
bool run(sim::Chip& chip, unsigned core, const Tasks& tasks, std::uint32_t done = kDpuDone);

/// A matrix product [m][k] x [n][k]^T in the cube form [compute.md 2.3], cut into tasks of as many
/// rows as CBUF takes, one bank to spare. int8 makes int32, fp16 makes fp32.
struct GemmProgram {
  bool fp16;
  std::uint32_t m, n, k;
  std::uint32_t a, b, c;  ///< addresses of the whole cubes
};
std::vector<std::vector<std::uint64_t>> gemm_programs(const GemmProgram& gemm);

/// Console output that remembers the best time of every benchmark.
class RatioReporter : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override;
  /// Best of the repetitions: other work on the machine only ever adds time. 0 if it did not run.
  double best(const std::string& name) const;

 private:
  std::map<std::string, std::vector<double>> seconds_;
};

/// Takes "--name=value" out of the arguments; true if it was there and a number.
bool take_flag(int& argc, char** argv, const char* name, int* value);

}  // namespace npu::bench
