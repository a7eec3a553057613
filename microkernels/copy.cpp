// SPDX-License-Identifier: MIT
#include "microkernels/copy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "microkernels/flying_task.hpp"
#include "microkernels/layout.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

enum : std::uint32_t { kFrom, kTo };

std::uint64_t atoms(DataType type, std::uint64_t elements) {
  return ceil_div<std::uint64_t>(elements, atom_elements(type));
}

std::vector<std::uint64_t> split(DataType type, std::uint64_t n, std::size_t cores) {
  if (type != DataType::i8 && type != DataType::i16 && type != DataType::i32 &&
      type != DataType::f16)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("copy: the DPU passes i8, i16, i32 and f16 on, not {}; use i8, i16 or "
                            "i32 of the same size",
                            to_string(type)));
  return split_vector(type, n, cores);
}

std::vector<std::vector<Slot>> slots(DataType type, std::span<const std::uint64_t> sizes) {
  std::vector<std::vector<Slot>> cores;
  for (const std::uint64_t size : sizes) {
    const std::uint64_t bytes = atoms(type, size) * kAtomBytes;
    cores.push_back({{"from", bytes, Slot::Role::input}, {"to", bytes, Slot::Role::output}});
  }
  return cores;
}

}  // namespace

Copy::Copy(std::span<device::Device* const> devices, DataType type, std::uint64_t n)
    : type_(type), sizes_(split(type, n, devices.size())), executor_(devices, slots(type, sizes_)) {
  std::vector<std::vector<Stage>> stages;
  for (const std::uint64_t size : sizes_) {
    Stage stage{.program = {.slots = {"from", "to"}}, .tasks = {}};
    const std::uint64_t all = atoms(type, size);
    for (std::uint64_t at = 0; at < all; at += kMaxFlyingAtoms) {
      const auto count =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(kMaxFlyingAtoms, all - at));
      const std::uint64_t offset = at * kAtomBytes;
      emit(stage.program, FlyingTask{.type = type,
                                     .atoms = count,
                                     .main = {kFrom, offset},
                                     .output = {kTo, offset},
                                     .dpu = {}});
      stage.tasks.push_back({.macs = 0,
                             .bytes = std::uint64_t{count} * kAtomBytes * 2,
                             .out_slot = kTo,
                             .last_atom = offset + (std::uint64_t{count} - 1) * kAtomBytes});
    }
    stages.push_back({std::move(stage)});
  }
  executor_.set_programs(stages);
}

void Copy::check(std::size_t count, std::size_t element_bytes) const {
  const std::uint64_t n = std::accumulate(sizes_.begin(), sizes_.end(), std::uint64_t{0});
  if (count != n || element_bytes != host_bytes(type_))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("copy: a vector has {} elements of {} bytes; {} of {} are needed",
                            count, element_bytes, n, to_string(type_)));
}

void Copy::upload(ConstElements from) {
  check(from.size(), from.element_bytes());
  const std::byte* next = from.data();
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    const std::size_t bytes = sizes_[i] * host_bytes(type_);
    std::memcpy(executor_.host(i, kFrom).data(), next, bytes);
    executor_.written(i, kFrom);
    next += bytes;
  }
}

void Copy::execute(RunStats& stats) { executor_.run(0, stats); }

void Copy::download(Elements to) const {
  check(to.size(), to.element_bytes());
  std::byte* next = to.data();
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    const std::size_t bytes = sizes_[i] * host_bytes(type_);
    std::memcpy(next, executor_.host(i, kTo).data(), bytes);
    next += bytes;
  }
}

void Copy::run(ConstElements from, Elements to, RunStats* stats) {
  check(to.size(), to.element_bytes());
  upload(from);
  RunStats run;
  execute(run);
  download(to);
  if (stats != nullptr) *stats = run;
}

std::uint64_t Copy::bytes_moved() const {
  std::uint64_t bytes = 0;
  for (const std::uint64_t size : sizes_) bytes += 2 * atoms(type_, size) * kAtomBytes;
  return bytes;
}

}  // namespace npu::kernels
