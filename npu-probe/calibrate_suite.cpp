// SPDX-License-Identifier: MIT
// Every program here is of a form that boards have run: matrix products in cube form, depthwise
// convolutions, copies and tables of the DPU alone, stand-alone pools [compute.md 2 to 6].
#include "npu-probe/calibrate_suite.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "microkernels/activation.hpp"
#include "microkernels/flying_task.hpp"
#include "microkernels/layout.hpp"
#include "microkernels/mac_task.hpp"
#include "npu-probe/explain.hpp"
#include "regdb/registers.hpp"

namespace npu::probe::calibrate {
namespace {

using kernels::DataType;
using kernels::kAtomBytes;

enum : std::uint32_t { kIn, kWeights, kOut, kSlots };
constexpr std::uint32_t kBanks = 12, kBankBytes = 32768;  // notes chips/rk3588

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

// As the matrix products of microkernels.
void product_task(Maker& maker, const Product& p) {
  const auto bytes = [&](std::uint64_t elements, DataType type) {
    return static_cast<std::uint32_t>(elements * bits(type) / 8);
  };
  const std::uint32_t feature = bytes(std::uint64_t{p.m} * p.k, p.in);
  const std::uint32_t weight = bytes(std::uint64_t{p.n} * p.k, p.in);
  // One bank more for int8 [notes cbuf-bank-slack, HW].
  const std::uint32_t data_banks = kernels::ceil_div(feature, kBankBytes) + 1;
  const std::uint32_t planes = bits(p.out) == 32      ? (p.in == DataType::i8 ? 8 : 4)
                               : p.in == DataType::i4 ? 8
                                                      : 2;
  kernels::MacTask task{.in = p.in,
                        .out = p.out,
                        .in_width = 1,
                        .in_height = p.m,
                        .channels = p.k,
                        .channels_real = p.k,
                        .line_stride = 4,
                        .surface_stride = static_cast<std::int32_t>(p.m) - 4,
                        .entries = kernels::ceil_div(bytes(p.k, p.in), 64u),
                        .grains = p.m + 1,
                        .features = {kIn, 0},
                        .kernels = p.n,
                        .kernel_bytes = bytes(p.k, p.in),
                        .weight_bytes = weight,
                        .weights = {kWeights, 0},
                        .data_banks = data_banks,
                        .weight_banks = kBanks - data_banks,
                        .data_reuse = p.keeps_features,
                        .weight_reuse = p.keeps_weights,
                        .quantify = is_float(p.in),
                        .output = {.size_e = planes - 1,
                                   .width = 1,
                                   .height = p.m,
                                   .channels = p.n,
                                   .original_channels = p.n,
                                   .surface = p.m,
                                   .surface_add = p.m * planes,
                                   .output = {kOut, 0}},
                        .dpu = {}};
  if (p.out == DataType::f16) kernels::narrow_to_f16(task.dpu);
  kernels::emit(maker.program(), task);
  maker.need(kIn, feature);
  maker.need(kWeights, weight);
  const std::uint64_t out = bytes(std::uint64_t{p.m} * p.n, p.out);
  maker.mark(out - kAtomBytes);
}

// A depthwise convolution of 8x8 pixels with 5x5 windows.
void depthwise_task(Maker& maker, DataType type, std::uint32_t channels) {
  constexpr std::uint32_t kSide = 8, kWindow = 5;
  const std::uint32_t element = bits(type) / 8, plane = kSide * kSide;
  const std::uint32_t feature = plane * channels * element;
  const std::uint32_t weight = kWindow * kWindow * channels * element;
  const std::uint32_t data_banks = kernels::ceil_div(feature, kBankBytes) + 1;
  kernels::MacTask task{.in = type,
                        .out = type,
                        .in_width = kSide,
                        .in_height = kSide,
                        .channels = channels,
                        .channels_real = channels,
                        .line_stride = 4 * kSide,
                        .surface_stride = kSide * (kSide - 4),
                        .entries = kernels::ceil_div(kSide * channels * element, 64u),
                        .grains = 52,
                        .features = {kIn, 0},
                        .depthwise = true,
                        .kernels = 1,
                        .kernel_width = kWindow,
                        .kernel_height = kWindow,
                        .pad_left = kWindow / 2,
                        .pad_top = kWindow / 2,
                        .kernel_bytes = weight,
                        .weight_bytes = weight,
                        .weights = {kWeights, 0},
                        .data_banks = data_banks,
                        .weight_banks = kBanks - data_banks,
                        .quantify = true,
                        .output = {.size_e = 3,
                                   .od_bypass = false,
                                   .ow_op = type == DataType::f16 ? 0x80 : 0,
                                   .width = kSide,
                                   .height = kSide,
                                   .channels = channels,
                                   .original_channels = channels,
                                   .surface = plane,
                                   .surface_add = plane * 4,
                                   .output = {kOut, 0}},
                        .dpu = {}};
  if (type == DataType::f16) kernels::narrow_to_f16(task.dpu);
  kernels::emit(maker.program(), task);
  maker.need(kIn, feature);
  maker.need(kWeights, weight);
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

// Max pool of int8, windows of `window` at every place where they fit [allbilly pooling.py, board].
void pool_task(Maker& maker, std::uint32_t side, std::uint32_t channels, std::uint32_t window) {
  namespace ppu = regdb::ppu;
  namespace rdma = regdb::ppu_rdma;
  kernels::TaskEmitter e(maker.program());
  const std::uint32_t out = side - window + 1, area = out * out;
  e.write(
      ppu::S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true},
      rdma::RDMA_S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true},
      ppu::DATA_CUBE_IN_WIDTH{.cube_in_width = side},
      ppu::DATA_CUBE_IN_HEIGHT{.cube_in_height = side},
      ppu::DATA_CUBE_IN_CHANNEL{.cube_in_channel = channels},
      ppu::DATA_CUBE_OUT_WIDTH{.cube_out_width = out},
      ppu::DATA_CUBE_OUT_HEIGHT{.cube_out_height = out},
      ppu::DATA_CUBE_OUT_CHANNEL{.cube_out_channel = channels},
      ppu::OPERATION_MODE_CFG{.flying_mode = true, .pooling_method = 1},
      ppu::POOLING_KERNEL_CFG{.kernel_stride_height = 1,
                              .kernel_stride_width = 1,
                              .kernel_height = window,
                              .kernel_width = window},
      ppu::RECIP_KERNEL_WIDTH{}, ppu::RECIP_KERNEL_HEIGHT{}, ppu::POOLING_PADDING_CFG{},
      ppu::PADDING_VALUE_1_CFG{}, ppu::PADDING_VALUE_2_CFG{});
  e.address(ppu::DST_BASE_ADDR{}, {kOut, 0});
  // In atoms of 16 bytes; misc_ctrl 3 as every proven program has it.
  e.write(ppu::DST_SURF_STRIDE::decode(area * kAtomBytes), ppu::DATA_FORMAT::decode(area << 4),
          ppu::MISC_CTRL::decode(3), rdma::RDMA_CUBE_IN_WIDTH{.cube_in_width = side},
          rdma::RDMA_CUBE_IN_HEIGHT{.cube_in_height = side},
          rdma::RDMA_CUBE_IN_CHANNEL{.cube_in_channel = channels});
  e.address(rdma::RDMA_SRC_BASE_ADDR{}, {kIn, 0});
  e.write(rdma::RDMA_SRC_LINE_STRIDE::decode(side * kAtomBytes),
          rdma::RDMA_SRC_SURF_STRIDE::decode(side * side * kAtomBytes),
          rdma::RDMA_DATA_FORMAT{.in_precision = 1}, rdma::RDMA_OPERATION_ENABLE::decode(1));
  e.end(regdb::enable_mask::ppu | regdb::enable_mask::ppu_rdma);
  maker.need(kIn, std::uint64_t{side} * side * channels);
  maker.mark(std::uint64_t{area} * channels - kAtomBytes);
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
