// SPDX-License-Identifier: MIT
#include "microkernels/gemm.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "microkernels/dpu_setup.hpp"
#include "microkernels/gemm_emit.hpp"
#include "microkernels/gemm_tiling.hpp"
#include "microkernels/host_threads.hpp"
#include "microkernels/layout.hpp"
#include "microkernels/reference.hpp"
#include "microkernels/timer.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

void check_size(const char* what, std::size_t have, std::uint64_t want) {
  if (have != want) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} has {} elements; the shape asks for {}", what, have, want));
  }
}

void check_elements(const char* what, std::size_t have, DataType type) {
  if (have != host_bytes(type)) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} has elements of {} bytes; {} has {}", what, have, to_string(type),
                            host_bytes(type)));
  }
}

std::vector<std::vector<Slot>> slots(const GemmPlan& plan) {
  std::vector<std::vector<Slot>> cores;
  for (const GemmCore& core : plan.cores) cores.push_back(gemm_slots(core));
  return cores;
}

// Pieces of work for the host's threads: whole atoms of every type, and enough to be worth it.
constexpr std::uint32_t kPieceChannels = 64, kPieceElements = 1 << 16;

// Whether all that `plan` needs of B is where `weights` has it. A few rows, shared out by rows, are
// for fewer cores.
bool same_weights(const GemmPlan& plan, const GemmPlan& weights) {
  if (plan.types != weights.types || plan.shape.n != weights.shape.n ||
      plan.shape.k != weights.shape.k || plan.k_slices != weights.k_slices ||
      plan.cores.size() > weights.cores.size())
    return false;
  const std::span<const GemmCore> cores = std::span(weights.cores).first(plan.cores.size());
  return std::ranges::equal(plan.cores, cores, {}, &GemmCore::n, &GemmCore::n);
}

GemmPlan checked_plan(std::span<device::Device* const> devices, const GemmShape& shape,
                      const GemmTypes& types, const GemmOptions& options, const GemmPlan* weights) {
  if (devices.empty()) {
    throw Error(ErrorCode::invalid_argument,
                "a GEMM needs one open device per core: open one and pass it");
  }
  GemmPlan plan = plan_gemm(shape, types, static_cast<unsigned>(devices.size()), options);
  if (weights != nullptr && !same_weights(plan, *weights))
    throw Error(ErrorCode::invalid_argument,
                "the products cut their common weights in different ways: pin the split and the "
                "slices of K");
  return plan;
}

// Whether stages are slices of K whose sums the host adds.
bool host_adds(const GemmPlan& plan) {
  return plan.slices > 1 && plan.stages.size() == plan.slices &&
         plan.choice.sums == SliceSums::host;
}

GemmStats fresh_stats(const GemmPlan& plan, std::chrono::nanoseconds pack_weights) {
  GemmStats stats;
  stats.cores = static_cast<std::uint32_t>(plan.cores.size());
  stats.slices = plan.slices;
  stats.macs = std::uint64_t{plan.shape.m} * plan.shape.n * plan.shape.k;
  stats.feature_bytes = plan.feature_bytes;
  stats.weight_bytes = plan.weight_bytes;
  stats.output_bytes = plan.output_bytes;
  stats.pack_weights = pack_weights;
  return stats;
}

BufferSource shared_buffers(std::span<device::Device* const> devices, const GemmPlan& plan,
                            const GemmSharing& sharing, const Executor* weights) {
  if (weights == nullptr && sharing.pool == nullptr) return {};
  return [=, &plan](std::size_t core, std::uint32_t slot) -> std::shared_ptr<device::Buffer> {
    if (slot == kGemmB || slot == kGemmBias)
      return weights != nullptr ? weights->buffer(core, slot) : nullptr;
    return sharing.pool != nullptr
               ? sharing.pool->get(*devices[core], gemm_slots(plan.cores[core])[slot])
               : nullptr;
  };
}

}  // namespace

Gemm::Gemm(std::span<device::Device* const> devices, const GemmShape& shape, const GemmTypes& types,
           const GemmOptions& options, const GemmSharing& sharing)
    : plan_(checked_plan(devices, shape, types, options,
                         sharing.weights != nullptr ? &sharing.weights->plan_ : nullptr)),
      executor_(
          devices, slots(plan_),
          shared_buffers(devices, plan_, sharing,
                         sharing.weights != nullptr ? &sharing.weights->executor_ : nullptr)) {
  if (const Gemm* other = sharing.weights; other != nullptr) {
    if (!other->has_weights_ || !other->has_programs_)
      throw Error(ErrorCode::invalid_argument, "the product with the common weights has none yet");
    requant_ = other->requant_;
    channels_ = other->channels_;
    bias_ = other->bias_;
    has_weights_ = true;
    upload_programs();
  } else if (types.out != DataType::i8) {
    upload_programs();
  }
}

GemmOptions like_weights_of(const GemmPlan& plan, GemmOptions options) {
  options.split = plan.choice.split;
  options.k = plan.choice.k;
  return options;
}

std::uint64_t Gemm::weight_bytes() const {
  std::uint64_t bytes = 0;
  for (const GemmCore& core : plan_.cores) bytes += core.b_bytes;
  return bytes;
}

void Gemm::upload_programs() {
  std::vector<std::vector<Stage>> stages(plan_.cores.size());
  for (std::size_t i = 0; i < plan_.cores.size(); ++i) {
    const GemmCore& core = plan_.cores[i];
    for (std::uint32_t s = 0; s < plan_.stages.size(); ++s)
      stages[i].push_back({.program = emit_gemm(plan_, i, s, requant_, channels_),
                           .tasks = {},
                           .chained = plan_.choice.chained});
    for (const GemmTask& task : core.tasks)
      stages[i][task.stage].tasks.push_back(task_info(plan_, core, task));
  }
  executor_.set_programs(stages);
  has_programs_ = true;
}

void Gemm::set_weights(ConstElements b) {
  const GemmShape& shape = plan_.shape;
  const DataType type = plan_.types.in;
  check_size("matrix B", b.size(), std::uint64_t{shape.n} * shape.k);
  check_elements("matrix B", b.element_bytes(), type);
  pack_weights_ = {};
  const Timer timer(pack_weights_);
  for (std::size_t i = 0; i < executor_.cores(); ++i) {
    const GemmCore& core = plan_.cores[i];
    const std::size_t kernels = align_up<std::size_t>(core.n.size, mac_format(type).kernel_group);
    std::uint64_t offset = 0;
    for (const Range& k : plan_.k_slices) {
      const std::size_t channels = align_up(k.size, mac_format(type).channel_block);
      const std::size_t bytes = type_bytes(type, kernels * channels);
      const std::size_t first = std::size_t{core.n.begin} * shape.k + k.begin;
      pack_weights(type, {b.data() + first * b.element_bytes(), core.n.size, k.size, shape.k},
                   kernels, channels, executor_.host(i, kGemmB).subspan(offset, bytes));
      offset += bytes;
    }
    executor_.written(i, kGemmB);
  }
  has_weights_ = true;
}

void Gemm::set_requant(const Requant& requant, std::span<const std::int32_t> bias,
                       const ChannelScales& channels) {
  if (plan_.types.out != DataType::i8) {
    throw Error(ErrorCode::invalid_argument, "only a GEMM with int8 output takes a requantisation");
  }
  if (!bias.empty()) check_size("the bias", bias.size(), plan_.shape.n);
  if (!channels.empty()) check_size("the multipliers", channels.multipliers.size(), plan_.shape.n);
  if (requant.shift > 63 || channels.shift > 63) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a requantisation shift of {} is not possible: use 0 to 63",
                            std::max(requant.shift, channels.shift)));
  }
  requant_ = requant;
  channels_ = channels;
  bias_.assign(bias.begin(), bias.end());
  for (std::size_t i = 0; i < executor_.cores(); ++i) {
    if (plan_.cores[i].bias_bytes == 0) continue;
    const Range n = plan_.cores[i].n;
    const auto here = [&](auto all) { return all.empty() ? all : all.subspan(n.begin, n.size); };
    if (channels.empty()) {
      const std::span<std::int32_t> to = executor_.as<std::int32_t>(i, kGemmBias);
      std::fill(to.begin(), to.end(), 0);
      std::ranges::copy(here(bias), to.begin());
    } else {
      pack_bias_and_multipliers(here(bias),
                                here(std::span<const std::int16_t>(channels.multipliers)),
                                executor_.host(i, kGemmBias));
    }
    executor_.written(i, kGemmBias);
  }
  upload_programs();
}

void Gemm::pack_a(ConstElements a, std::uint32_t part, GemmStats& stats) {
  const Timer timer(stats.pack);
  const std::size_t stride = plan_.shape.k;
  const DataType type = plan_.types.in;
  struct Piece {  // of a tile: some of its channels, which lie together in the cube
    std::size_t core;
    const GemmTask* task;
    Range k;
  };
  // Cores that share columns out read the same rows, cut alike: packed once, copied.
  const bool same = plan_.choice.split == CoreSplit::columns;
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < (same ? 1 : executor_.cores()); ++i) {
    std::uint64_t packed = 0;  // tiles of rows lie one behind the other; later tasks share them
    for (const GemmTask& task : plan_.cores[i].tasks) {
      if (task.a_part != part || task.a_offset != packed) continue;
      packed += type_bytes(type, std::uint64_t{task.m_padded} * task.k_padded);
      const std::uint32_t step = align_up(kPieceElements / task.m_padded + 1, kPieceChannels);
      for (const Range& k : split_by_limit({0, task.k_padded}, step, kPieceChannels))
        pieces.push_back({i, &task, k});
    }
  }
  host_threads().parallel_for(pieces.size(), [&](std::size_t p) {
    const auto& [core, task, k] = pieces[p];
    const std::uint64_t rows = task->m_padded;
    const std::size_t real = std::min(k.end(), task->k.size) - std::min(k.begin, task->k.size);
    const std::size_t first = task->m.begin * stride + task->k.begin + k.begin;
    pack_features(type,
                  {real != 0 ? a.data() + first * a.element_bytes() : a.data(),
                   real != 0 ? task->m.size : 0, real, stride},
                  rows, k.size,
                  executor_.host(core, kGemmA + part)
                      .subspan(task->a_offset + type_bytes(type, rows * k.begin),
                               type_bytes(type, rows * k.size)));
  });
  host_threads().parallel_for(executor_.cores(), [&](std::size_t i) {
    if (same && i != 0) {
      const std::span<const std::byte> from = executor_.host(0, kGemmA + part);
      std::memcpy(executor_.host(i, kGemmA + part).data(), from.data(), from.size());
    }
    if (part < plan_.cores[i].a_bytes.size()) executor_.written(i, kGemmA + part);
  });
}

// What a core's tasks wrote, slices added up, into a matrix of the sums' type.
void Gemm::read_back(std::size_t core_index, std::uint32_t stage, std::byte* c,
                     const GemmConsumer* consume) {
  const std::size_t stride = plan_.shape.n;
  const DataType type = plan_.task_output;
  const bool widened = type == DataType::i16 && plan_.types.out == DataType::i32;
  const std::size_t element = host_bytes(widened ? DataType::i32 : type);
  const GemmCore& core = plan_.cores[core_index];
  struct Piece {  // some columns of a tile
    const GemmTask* task;
    Range n;
  };
  std::vector<Piece> pieces;
  for (const GemmTask& task : core.tasks) {
    if (task.stage != stage || task.to_scratch) continue;
    const std::uint32_t step = align_up(kPieceElements / task.m_padded + 1, kPieceChannels);
    for (const Range& n : split_by_limit({0, task.n.size}, step, kPieceChannels))
      pieces.push_back({&task, n});
  }
  const bool slices = host_adds(plan_);
  const bool adds = slices && stage != 0;
  const bool whole = !slices || stage + 1 == plan_.stages.size();
  host_threads().parallel_for(pieces.size(), [&](std::size_t p) {
    const auto& [task, n] = pieces[p];
    const std::uint64_t rows = task->m_padded;
    const std::uint32_t columns = n.end() == task->n.size ? task->n_padded - n.begin : n.size;
    const std::span<const std::byte> cube =
        executor_.host(core_index, gemm_c_slot(core, task->c_part))
            .subspan(task->c_offset + type_bytes(type, rows * n.begin),
                     type_bytes(type, rows * columns));
    thread_local std::vector<std::byte> block;
    MatrixView<std::byte> to{nullptr, task->m.size, n.size, n.size};
    if (c != nullptr) {
      to.data = c + (task->m.begin * stride + task->n.begin + n.begin) * element;
      to.stride = stride;
    } else {
      block.resize(std::size_t{task->m.size} * n.size * element);
      to.data = block.data();
    }
    if (adds) {
      add_unpack(type, cube, rows, to);
    } else if (widened) {
      widen_unpack(cube, rows, to);
    } else {
      unpack(type, cube, rows, to);
    }
    if (consume != nullptr && whole) {
      (*consume)(task->m, {task->n.begin + n.begin, n.size}, to.data, to.stride);
    }
  });
}

void Gemm::run_stages(ConstElements a, std::byte* c, const GemmConsumer* consume,
                      GemmStats& stats) {
  const auto read = [&](std::size_t stage) {
    std::mutex mutex;
    std::chrono::nanoseconds longest{};
    executor_.wait(stage, stats.run, [&](std::size_t core) {
      std::chrono::nanoseconds time{};
      {
        const Timer timer(time);
        read_back(core, static_cast<std::uint32_t>(stage), c, consume);
      }
      const std::lock_guard lock(mutex);
      longest = std::max(longest, time);
    });
    stats.unpack += longest;
  };
  // Passes are queued while others run; a slice has to be read before the next one overwrites it.
  const std::size_t window = plan_.queues() ? GemmPlan::kWindow : 1;
  std::size_t next = 0;
  for (std::size_t stage = 0; stage < plan_.stages.size(); ++stage) {
    if (plan_.stages[stage].packs) pack_a(a, plan_.stages[stage].a_part, stats);
    if (stage >= window) read(next++);
    executor_.submit(stage, stats.run);
  }
  while (next < plan_.stages.size()) read(next++);
}

void Gemm::check_ready(ConstElements a) const {
  if (!has_weights_) {
    throw Error(ErrorCode::invalid_argument, "the GEMM has no weights: call set_weights() first");
  }
  if (!has_programs_) {
    throw Error(ErrorCode::invalid_argument,
                "the GEMM has no requantisation: call set_requant() first");
  }
  check_size("matrix A", a.size(), std::uint64_t{plan_.shape.m} * plan_.shape.k);
  check_elements("matrix A", a.element_bytes(), plan_.types.in);
}

void Gemm::run(ConstElements a, const GemmConsumer& consume, GemmStats* stats) {
  check_ready(a);
  if (plan_.types.out == DataType::i8 ||
      (plan_.types.out == DataType::f16 && plan_.task_output != DataType::f16)) {
    throw Error(ErrorCode::invalid_argument,
                "only sums can be taken block by block: ask for int32 or fp32");
  }
  GemmStats s = fresh_stats(plan_, pack_weights_);
  std::vector<std::byte> sums(host_adds(plan_) ? std::size_t{plan_.shape.m} * plan_.shape.n *
                                                     host_bytes(plan_.types.out)
                                               : 0);
  run_stages(a, sums.empty() ? nullptr : sums.data(), &consume, s);
  if (stats != nullptr) *stats = s;
}

void Gemm::run(ConstElements a, Elements c, GemmStats* stats) {
  const GemmShape& shape = plan_.shape;
  check_ready(a);
  check_size("matrix C", c.size(), std::uint64_t{shape.m} * shape.n);
  check_elements("matrix C", c.element_bytes(), plan_.types.out);
  GemmStats s = fresh_stats(plan_, pack_weights_);
  if (plan_.types.out == DataType::i8 && plan_.task_output == DataType::i32) {
    // K is sliced: only the host sees whole sums.
    std::vector<std::int32_t> sums(c.size());
    run_stages(a, reinterpret_cast<std::byte*>(sums.data()), nullptr, s);
    const Timer timer(s.unpack);
    ref_requantise(shape, requant_, bias_, sums,
                   {reinterpret_cast<std::int8_t*>(c.data()), c.size()}, channels_);
  } else if (plan_.types.out == DataType::f16 && plan_.task_output == DataType::f32) {
    std::vector<float> sums(c.size());
    run_stages(a, reinterpret_cast<std::byte*>(sums.data()), nullptr, s);
    const Timer timer(s.unpack);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const std::uint16_t half = sim::float_to_fp16(sums[i]);
      std::memcpy(c.data() + i * sizeof half, &half, sizeof half);
    }
  } else {
    run_stages(a, c.data(), nullptr, s);
  }
  if (stats != nullptr) *stats = s;
}

void gemm(std::span<device::Device* const> devices, const GemmShape& shape, const GemmTypes& types,
          ConstElements a, ConstElements b, Elements c, GemmStats* stats) {
  Gemm product(devices, shape, types);
  product.set_weights(b);
  product.run(a, c, stats);
}

void gemm_i8i32(std::span<device::Device* const> devices, const GemmShape& shape,
                std::span<const std::int8_t> a, std::span<const std::int8_t> b,
                std::span<std::int32_t> c, GemmStats* stats) {
  gemm(devices, shape, {DataType::i8, DataType::i32}, a, b, c, stats);
}

void gemm_i8i32(device::Device& device, const GemmShape& shape, std::span<const std::int8_t> a,
                std::span<const std::int8_t> b, std::span<std::int32_t> c, GemmStats* stats) {
  device::Device* devices[] = {&device};
  gemm_i8i32(devices, shape, a, b, c, stats);
}

void gemm_i8i8(std::span<device::Device* const> devices, const GemmShape& shape,
               const Requant& requant, std::span<const std::int32_t> bias,
               std::span<const std::int8_t> a, std::span<const std::int8_t> b,
               std::span<std::int8_t> c, GemmStats* stats) {
  Gemm product(devices, shape, {DataType::i8, DataType::i8});
  product.set_weights(b);
  product.set_requant(requant, bias);
  product.run(a, c, stats);
}

void gemm_i8i8(device::Device& device, const GemmShape& shape, const Requant& requant,
               std::span<const std::int32_t> bias, std::span<const std::int8_t> a,
               std::span<const std::int8_t> b, std::span<std::int8_t> c, GemmStats* stats) {
  device::Device* devices[] = {&device};
  gemm_i8i8(devices, shape, requant, bias, a, b, c, stats);
}

namespace {

// x = 256 * high + low + 128 with both bytes signed.
struct Bytes {
  std::vector<std::int8_t> rows;   // [2 * rows][k]: all high bytes, then all low ones
  std::vector<std::int64_t> sums;  // of 256 * high + low, per row
};

Bytes split_bytes(std::span<const std::int16_t> matrix, std::size_t rows, std::size_t k) {
  Bytes out{std::vector<std::int8_t>(2 * matrix.size()), std::vector<std::int64_t>(rows)};
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t i = 0; i < k; ++i) {
      const int x = matrix[r * k + i];
      out.rows[r * k + i] = static_cast<std::int8_t>(x >> 8);
      out.rows[(rows + r) * k + i] = static_cast<std::int8_t>((x & 0xFF) - 128);
      out.sums[r] += x - 128;
    }
  }
  return out;
}

}  // namespace

void gemm_i16i64(std::span<device::Device* const> devices, const GemmShape& shape,
                 std::span<const std::int16_t> a, std::span<const std::int16_t> b,
                 std::span<std::int64_t> c, GemmStats* stats) {
  check_size("matrix A", a.size(), std::uint64_t{shape.m} * shape.k);
  check_size("matrix B", b.size(), std::uint64_t{shape.n} * shape.k);
  check_size("matrix C", c.size(), std::uint64_t{shape.m} * shape.n);
  if (shape.m > 0x7FFFFFFF || shape.n > 0x7FFFFFFF) {
    throw Error(ErrorCode::out_of_memory, "a matrix of int16 is too large: compute it in parts");
  }
  const Bytes a8 = split_bytes(a, shape.m, shape.k), b8 = split_bytes(b, shape.n, shape.k);
  const std::size_t m = shape.m, n = shape.n, wide = 2 * n;
  std::vector<std::int32_t> parts(2 * m * wide);
  gemm_i8i32(devices, {2 * shape.m, 2 * shape.n, shape.k}, a8.rows, b8.rows, parts, stats);
  // (a' + 128) (b' + 128) summed over k, with a' = 256 * high + low.
  const std::int64_t constant = std::int64_t{128} * 128 * shape.k;
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      const std::int64_t high = parts[i * wide + j], low = parts[(m + i) * wide + n + j];
      const std::int64_t mixed = std::int64_t{parts[i * wide + n + j]} + parts[(m + i) * wide + j];
      c[i * n + j] = high * 65536 + mixed * 256 + low + 128 * (a8.sums[i] + b8.sums[j]) + constant;
    }
  }
}

}  // namespace npu::kernels
