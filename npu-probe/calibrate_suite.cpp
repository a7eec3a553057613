// SPDX-License-Identifier: MIT
#include "npu-probe/calibrate_suite.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "microkernels/activation.hpp"
#include "microkernels/flying_task.hpp"
#include "microkernels/layout.hpp"
#include "microkernels/mac_task.hpp"
#include "npu-probe/calibrate_programs.hpp"
#include "npu-probe/explain.hpp"
#include "regdb/registers.hpp"

namespace npu::probe::calibrate {
namespace {

using kernels::DataType;
using kernels::kAtomBytes;

constexpr std::uint32_t kSlots = 3;

// Appends tasks to a benchmark and keeps account of buffers and marks.
class Maker {
 public:
  Maker(Family family, std::string name) {
    b_.family = family;
    b_.name = std::move(name);
    b_.program.slots = {"in", "weights", "out"};
    b_.slot_bytes.assign(kSlots, 4096);
  }
  kernels::Program& program() { return b_.program; }
  void need(std::uint32_t slot, std::uint64_t bytes) {
    b_.slot_bytes[slot] = std::max(b_.slot_bytes[slot], bytes);
  }
  void mark(std::uint64_t offset) {
    need(kOut, offset + kAtomBytes);
    if (std::ranges::find(b_.marks, offset) == b_.marks.end()) b_.marks.push_back(offset);
  }
  Microbenchmark done(bool chained = false, unsigned files = 1) {
    RegisterState state;
    for (const auto& words : b_.program.tasks) {
      state.driver_start();
      b_.works.push_back(explain_task(words, state).work);
    }
    b_.chained = chained;
    b_.files = files;
    return std::move(b_);
  }

 private:
  Microbenchmark b_;
};

// A copy of `atoms` by the DPU, behind `padding` words that write what is there already.
void copy_task(Maker& m, std::uint32_t atoms, std::uint64_t at = 0, std::uint32_t padding = 0) {
  const std::uint64_t bytes = std::uint64_t{atoms} * kAtomBytes;
  kernels::Program one{.slots = m.program().slots};
  kernels::emit(one, kernels::FlyingTask{.type = DataType::f16,
                                         .atoms = atoms,
                                         .main = {kIn, at},
                                         .output = {kOut, at},
                                         .dpu = {}});
  const auto word = regdb::RegcmdStream().write(regdb::dpu::EW_OP_VALUE_0{}).words().front();
  auto& words = one.tasks.front();
  words.insert(words.begin(), padding, word);
  for (kernels::Relocation r : one.relocations) {
    r.task = static_cast<std::uint32_t>(m.program().tasks.size());
    r.word += padding;
    m.program().relocations.push_back(r);
  }
  m.program().tasks.push_back(std::move(words));
  m.need(kIn, at + bytes);
  m.mark(at + bytes - kAtomBytes);
}

struct Product {
  DataType in, out;
  std::uint32_t m, k, n;
  bool keeps_features = false, keeps_weights = false;  // they lie in CBUF from the task before
};

void product_task(Maker& maker, const Product& p) {
  const std::uint64_t out = std::uint64_t{p.m} * p.n * bits(p.out) / 8;
  kernels::MacTask task = product(p.in, p.out, p.m, p.k, p.n);
  task.data_reuse = p.keeps_features;
  task.weight_reuse = p.keeps_weights;
  kernels::emit(maker.program(), task);
  maker.need(kIn, std::uint64_t{p.m} * p.k * bits(p.in) / 8);
  maker.need(kWeights, task.weight_bytes);
  maker.mark(out - kAtomBytes);
}

// 8x8 pixels, 5x5 windows.
void depthwise_task(Maker& maker, DataType type, std::uint32_t channels) {
  const kernels::MacTask task = depthwise(type, 8, channels, 5);
  const std::uint32_t feature = 8 * 8 * channels * bits(type) / 8;
  kernels::emit(maker.program(), task);
  maker.need(kIn, feature);
  maker.need(kWeights, task.weight_bytes);
  maker.mark(feature - kAtomBytes);
}

void table_task(Maker& maker, std::uint32_t atoms) {
  kernels::FlyingTask task{
      .type = DataType::f16, .atoms = atoms, .main = {kIn, 0}, .output = {kOut, 0}, .dpu = {}};
  kernels::set_activation(task.dpu, kernels::Activation::sigmoid);
  kernels::emit(maker.program(), task);
  const std::uint64_t bytes = std::uint64_t{atoms} * kAtomBytes;
  maker.need(kIn, bytes);
  maker.mark(bytes - kAtomBytes);
}

void pool_task(Maker& maker, std::uint32_t side, std::uint32_t channels, std::uint32_t window) {
  const Pool pool{.side = side, .channels = channels, .window = window};
  emit_pool(maker.program(), pool, {kIn, 0}, {kOut, 0});
  maker.need(kIn, std::uint64_t{side} * side * channels);
  maker.mark(std::uint64_t{pool.out()} * pool.out() * channels - kAtomBytes);
}

struct MacForm {
  Family family;
  Product product;
};
// The array takes four times as long as its results need to memory, so that a rate up to four
// times the documented one still shows.
constexpr MacForm kMacForms[] = {
    {Family::mac_int4, {DataType::i4, DataType::i16, 128, 1024, 128}},
    {Family::mac_int8, {DataType::i8, DataType::i32, 128, 1024, 128}},
    {Family::mac_int16, {DataType::i16, DataType::i32, 128, 512, 128}},
    {Family::mac_fp16, {DataType::f16, DataType::f32, 128, 512, 128}},
    {Family::mac_bf16, {DataType::bf16, DataType::f32, 128, 512, 128}},
    {Family::mac_tf32, {DataType::tf32, DataType::f32, 128, 256, 128}},
};

template <class Body>
void repeat(std::uint32_t times, Body body) {
  for (std::uint32_t i = 0; i < times; ++i) body(i);
}

}  // namespace

std::string_view to_string(Family family) {
  switch (family) {
    case Family::job: return "job";
    case Family::tasks: return "tasks";
    case Family::chain: return "chain";
    case Family::fetch: return "fetch";
    case Family::weights: return "weights";
    case Family::features: return "features";
    case Family::write: return "write";
    case Family::dpu: return "dpu";
    case Family::copy: return "copy";
    case Family::table: return "table";
    case Family::mac_int4: return "mac int4";
    case Family::mac_int8: return "mac int8";
    case Family::mac_int16: return "mac int16";
    case Family::mac_fp16: return "mac fp16";
    case Family::mac_bf16: return "mac bf16";
    case Family::mac_tf32: return "mac tf32";
    case Family::depthwise_int8: return "depthwise int8";
    case Family::depthwise_fp16: return "depthwise fp16";
    case Family::pool: return "pool";
    case Family::pool_write: return "pool 1x1";
    case Family::shared: return "shared";
  }
  return "?";
}

std::vector<Microbenchmark> make_suite(const SuiteOptions& options) {
  std::vector<Microbenchmark> suite;
  const auto add = [&](Family family, std::string name, bool chained, unsigned files, auto body) {
    if (chained && !options.chains) return;
    Maker maker(family, std::move(name));
    body(maker);
    suite.push_back(maker.done(chained, files));
  };

  for (const std::uint32_t n : {1u, 2u, 4u, 8u, 16u, 32u, 64u})
    add(n == 1 ? Family::job : Family::tasks, fmt::format("{} tiny task{}", n, n == 1 ? "" : "s"),
        false, 1, [n](Maker& m) { repeat(n, [&](auto i) { copy_task(m, 1, i * kAtomBytes); }); });
  for (const std::uint32_t n : {4u, 16u, 64u})
    add(Family::chain, fmt::format("{} tiny tasks in a chain", n), true, 1,
        [n](Maker& m) { repeat(n, [&](auto i) { copy_task(m, 1, i * kAtomBytes); }); });
  for (const std::uint32_t words : {4096u, 16384u})
    add(Family::fetch, fmt::format("4 programs, {} words more each", words), false, 1,
        [words](Maker& m) { repeat(4, [&](auto i) { copy_task(m, 1, i * kAtomBytes, words); }); });

  // Little to multiply, much to load.
  for (const std::uint32_t n : {32u, 64u, 128u})
    add(Family::weights, fmt::format("8 products 4x2048x{} int8", n), false, 1, [n](Maker& m) {
      repeat(8, [&](auto) { product_task(m, {DataType::i8, DataType::i32, 4, 2048, n}); });
    });
  for (const std::uint32_t n : {32u, 64u, 96u})
    add(Family::features, fmt::format("8 products 256x1024x{} int8", n), false, 1, [n](Maker& m) {
      repeat(8, [&](auto) { product_task(m, {DataType::i8, DataType::i32, 256, 1024, n}); });
    });
  // Long enough at the array that much could hide behind it.
  for (const std::uint32_t m : {64u, 128u})
    add(Family::features,
        fmt::format("8 products {}x512x{} fp16, weights kept", m, m == 64 ? 256 : 128), false, 1,
        [m](Maker& maker) {
          repeat(8, [&](auto i) {
            Product p{DataType::f16, DataType::f32, m, 512, m == 64 ? 256u : 128u};
            p.keeps_weights = i != 0;
            product_task(maker, p);
          });
        });
  for (const std::uint32_t n : {64u, 128u})
    add(Family::write, fmt::format("8 products 1000x32x{} int8 to int32", n), false, 1,
        [n](Maker& m) {
          repeat(8, [&](auto) { product_task(m, {DataType::i8, DataType::i32, 1000, 32, n}); });
        });
  for (const std::uint32_t n : {64u, 128u})
    add(Family::dpu, fmt::format("8 products 1000x16x{} tf32 to fp16", n), false, 1, [n](Maker& m) {
      repeat(8, [&](auto) { product_task(m, {DataType::tf32, DataType::f16, 1000, 16, n}); });
    });
  for (const std::uint32_t atoms : {1024u, 4096u})
    add(Family::copy, fmt::format("16 copies of {} KiB", atoms / 64), false, 1,
        [atoms](Maker& m) { repeat(16, [&](auto) { copy_task(m, atoms); }); });
  for (const std::uint32_t atoms : {1024u, 4096u})
    add(Family::table, fmt::format("8 tables over {} fp16", atoms * 8), false, 1,
        [atoms](Maker& m) { repeat(8, [&](auto) { table_task(m, atoms); }); });

  for (const MacForm& form : kMacForms)
    for (const std::uint32_t n : {1u, 4u, 8u})
      add(form.family,
          fmt::format("{} product{} {}x{}x{} {}{}", n, n == 1 ? "" : "s", form.product.m,
                      form.product.k, form.product.n, kernels::to_string(form.product.in),
                      n == 1 ? "" : ", operands kept"),
          false, 1, [&form, n](Maker& m) {
            repeat(n, [&](auto i) {
              Product p = form.product;
              p.keeps_features = p.keeps_weights = i != 0;
              product_task(m, p);
            });
          });
  // The array takes whole groups of channels: several widths narrow the group down.
  for (const std::uint32_t part : {32u, 31u, 29u, 26u}) {
    add(Family::depthwise_int8, fmt::format("4 depthwise 8x8x{} 5x5 int8", part * 64), false, 1,
        [part](Maker& m) { repeat(4, [&](auto) { depthwise_task(m, DataType::i8, part * 64); }); });
    add(Family::depthwise_fp16, fmt::format("4 depthwise 8x8x{} 5x5 fp16", part * 32), false, 1,
        [part](Maker& m) {
          repeat(4, [&](auto) { depthwise_task(m, DataType::f16, part * 32); });
        });
  }
  // A pool raises no DPU interrupt; a copy behind it in the same start does [notes
  // pool-completion, HW].
  for (const std::uint32_t window : {1u, 3u, 5u, 7u})
    add(window == 1 ? Family::pool_write : Family::pool,
        fmt::format("4 pools {0}x{0} of 20x20x256 int8 and a copy, in a chain", window), true, 1,
        [window](Maker& m) {
          repeat(4, [&](auto) { pool_task(m, 20, 256, window); });
          copy_task(m, 1, std::uint64_t{20} * 20 * 256);
        });

  for (unsigned files = 2; files <= options.cores; ++files)
    for (const bool chained : {false, true})
      add(Family::shared,
          fmt::format("32 copies of 64 KiB on each of {} cores{}", files,
                      chained ? ", in a chain" : ""),
          chained, files, [](Maker& m) { repeat(32, [&](auto) { copy_task(m, 4096); }); });
  return suite;
}

double modelled_seconds(const Microbenchmark& b, const sim::Calibration& calibration, double npu_hz,
                        sim::InterruptCore interrupt) {
  return sim::estimate_job(b.works, {.interrupt = interrupt, .chained = b.chained}, calibration,
                           {.npu_hz = npu_hz, .active_cores = b.files})
      .total;
}

}  // namespace npu::probe::calibrate
