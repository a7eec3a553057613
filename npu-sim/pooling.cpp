// SPDX-License-Identifier: MIT
// Registers and arithmetic as swept on a board [notes encodings/ppu-pooling.md, HW]: max and min
// are exact; an average is the window's sum, padding included, times the two reciprocals of the
// registers, over 2^32. Integers round half to even, which with a reciprocal that had to be cut
// gives the rule that the notes describe (an exact half then lies just below it).
#include "npu-sim/pooling.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "npu-sim/float_types.hpp"
#include "npu-sim/known_bits.hpp"
#include "npu-sim/rounding.hpp"
#include "regdb/registers.hpp"

namespace npu::sim {
namespace {

namespace rd = npu::regdb;

constexpr std::uint32_t kAll = 0xFFFFFFFF;
constexpr KnownBits kPpu[] = {
    {rd::ppu::OPERATION_ENABLE::offset, kAll},
    {rd::ppu::DATA_CUBE_IN_WIDTH::offset, kAll},
    {rd::ppu::DATA_CUBE_IN_HEIGHT::offset, 0x1FFF},
    {rd::ppu::DATA_CUBE_IN_CHANNEL::offset, kAll},
    {rd::ppu::DATA_CUBE_OUT_WIDTH::offset, kAll},
    {rd::ppu::DATA_CUBE_OUT_HEIGHT::offset, kAll},
    {rd::ppu::DATA_CUBE_OUT_CHANNEL::offset, kAll},
    {rd::ppu::OPERATION_MODE_CFG::offset, 0x13},  // FLYING_MODE and POOLING_METHOD
    {rd::ppu::POOLING_KERNEL_CFG::offset, kAll},
    {rd::ppu::RECIP_KERNEL_WIDTH::offset, kAll},
    {rd::ppu::RECIP_KERNEL_HEIGHT::offset, kAll},
    {rd::ppu::POOLING_PADDING_CFG::offset, kAll},
    {rd::ppu::PADDING_VALUE_1_CFG::offset, kAll},
    {rd::ppu::DST_BASE_ADDR::offset, kAll},
    {rd::ppu::DST_SURF_STRIDE::offset, kAll},
    {rd::ppu::DATA_FORMAT::offset, 0xFFFFFFF7},  // not DPU_FLYIN
    {rd::ppu::MISC_CTRL::offset, 0xF},           // burst length: timing only
};
constexpr KnownBits kRdma[] = {
    {rd::ppu_rdma::RDMA_OPERATION_ENABLE::offset, kAll},
    {rd::ppu_rdma::RDMA_CUBE_IN_WIDTH::offset, kAll},
    {rd::ppu_rdma::RDMA_CUBE_IN_HEIGHT::offset, kAll},
    {rd::ppu_rdma::RDMA_CUBE_IN_CHANNEL::offset, kAll},
    {rd::ppu_rdma::RDMA_SRC_BASE_ADDR::offset, kAll},
    {rd::ppu_rdma::RDMA_SRC_LINE_STRIDE::offset, kAll},
    {rd::ppu_rdma::RDMA_SRC_SURF_STRIDE::offset, kAll},
    {rd::ppu_rdma::RDMA_DATA_FORMAT::offset, kAll},
};

constexpr std::size_t kMaxOutputBytes = 512u << 20;
constexpr std::uint32_t kAverage = 0, kMax = 1, kMin = 2;
constexpr std::uint32_t kInt8 = 0, kFp16 = 2;

struct PoolConfig {
  std::uint32_t in_width, in_height, out_width, out_height, channels;
  std::uint32_t kernel_width, kernel_height, stride_x, stride_y, pad_left, pad_top;
  std::uint32_t method;
  bool fp16;
  std::uint32_t recip_width, recip_height;
  std::uint32_t pad_value;
  std::uint64_t src, src_line, src_plane, dst, dst_plane;
};

PoolConfig read_config(const PoolRegisters& r, std::uint32_t dma_base) {
  const auto none = [](std::uint32_t) { return false; };
  check_known(
      rd::Block::ppu, kPpu, [&](std::uint32_t o) { return r.ppu(o); }, none);
  check_known(
      rd::Block::ppu_rdma, kRdma, [&](std::uint32_t o) { return r.rdma(o); }, none);
  const auto count = [](std::uint32_t value) { return (value & 0x1FFF) + 1; };
  const auto mode = rd::ppu::OPERATION_MODE_CFG::decode(r.ppu(rd::ppu::OPERATION_MODE_CFG::offset));
  const auto kernel =
      rd::ppu::POOLING_KERNEL_CFG::decode(r.ppu(rd::ppu::POOLING_KERNEL_CFG::offset));
  const auto pad =
      rd::ppu::POOLING_PADDING_CFG::decode(r.ppu(rd::ppu::POOLING_PADDING_CFG::offset));
  const auto format = rd::ppu::DATA_FORMAT::decode(r.ppu(rd::ppu::DATA_FORMAT::offset));
  const std::uint32_t storage =
      rd::ppu_rdma::RDMA_DATA_FORMAT::decode(r.rdma(rd::ppu_rdma::RDMA_DATA_FORMAT::offset))
          .in_precision;

  PoolConfig c{};
  c.in_width = count(r.ppu(rd::ppu::DATA_CUBE_IN_WIDTH::offset));
  c.in_height = count(r.ppu(rd::ppu::DATA_CUBE_IN_HEIGHT::offset));
  c.channels = count(r.ppu(rd::ppu::DATA_CUBE_IN_CHANNEL::offset));
  c.out_width = count(r.ppu(rd::ppu::DATA_CUBE_OUT_WIDTH::offset));
  c.out_height = count(r.ppu(rd::ppu::DATA_CUBE_OUT_HEIGHT::offset));
  if (count(r.ppu(rd::ppu::DATA_CUBE_OUT_CHANNEL::offset)) != c.channels)
    bad_program("PPU.DATA_CUBE_OUT_CHANNEL", "pooling does not change the number of channels");
  if (count(r.rdma(rd::ppu_rdma::RDMA_CUBE_IN_WIDTH::offset)) != c.in_width ||
      count(r.rdma(rd::ppu_rdma::RDMA_CUBE_IN_HEIGHT::offset)) != c.in_height ||
      count(r.rdma(rd::ppu_rdma::RDMA_CUBE_IN_CHANNEL::offset)) != c.channels)
    hang("PPU_RDMA.RDMA_CUBE_IN_WIDTH", "the reader's cube is not the one that the PPU waits for");
  // The switch for "fed by PPU_RDMA"; with 0 the PPU waits for the DPU.
  if (!mode.flying_mode)
    hang("PPU.OPERATION_MODE_CFG.flying_mode", "the PPU waits for a DPU that is not enabled");
  c.method = mode.pooling_method;
  require(c.method <= kMin, "PPU.OPERATION_MODE_CFG.pooling_method", c.method);
  require(format.proc_precision == kInt8 || format.proc_precision == kFp16,
          "PPU.DATA_FORMAT.proc_precision", format.proc_precision);
  c.fp16 = format.proc_precision == kFp16;
  // An element-size code: 1 is 8 bit, 2 is 16 bit; for int8 boards take both [notes, HW].
  require(c.fp16 ? storage == 2 : storage == 1 || storage == 2,
          "PPU_RDMA.RDMA_DATA_FORMAT.in_precision", storage);
  c.kernel_width = kernel.kernel_width;
  c.kernel_height = kernel.kernel_height;
  c.stride_x = kernel.kernel_stride_width;
  c.stride_y = kernel.kernel_stride_height;
  c.pad_left = pad.pad_left;
  c.pad_top = pad.pad_top;
  // Every window has to start on the padded image.
  if ((c.out_width - 1) * c.stride_x >= c.in_width + c.pad_left + pad.pad_right ||
      (c.out_height - 1) * c.stride_y >= c.in_height + c.pad_top + pad.pad_bottom)
    bad_program("PPU.DATA_CUBE_OUT_WIDTH", "more windows than the padded image holds");
  c.recip_width = r.ppu(rd::ppu::RECIP_KERNEL_WIDTH::offset);
  c.recip_height = r.ppu(rd::ppu::RECIP_KERNEL_HEIGHT::offset);
  c.pad_value = r.ppu(rd::ppu::PADDING_VALUE_1_CFG::offset);
  c.src = std::uint64_t{dma_base} + r.rdma(rd::ppu_rdma::RDMA_SRC_BASE_ADDR::offset);
  c.src_line = r.rdma(rd::ppu_rdma::RDMA_SRC_LINE_STRIDE::offset) & ~0xFu;
  c.src_plane = r.rdma(rd::ppu_rdma::RDMA_SRC_SURF_STRIDE::offset) & ~0xFu;
  c.dst = std::uint64_t{dma_base} + (r.ppu(rd::ppu::DST_BASE_ADDR::offset) & ~0xFu);
  c.dst_plane = r.ppu(rd::ppu::DST_SURF_STRIDE::offset) & ~0xFu;
  return c;
}

// One lane of one window: `at(y, x)` is the input with its padding.
template <class At>
float pool_float(const PoolConfig& c, At at) {
  double sum = 0;
  float best = 0;
  for (std::uint32_t y = 0; y < c.kernel_height; ++y)
    for (std::uint32_t x = 0; x < c.kernel_width; ++x) {
      const float v = at(y, x);
      sum += static_cast<double>(v);  // exact: at most 256 fp16 values
      if ((y | x) == 0 || (c.method == kMax ? v > best : v < best)) best = v;
    }
  if (c.method != kAverage) return best;
  const double scale =
      static_cast<double>(fp16_to_float(static_cast<std::uint16_t>(c.recip_width))) *
      static_cast<double>(fp16_to_float(static_cast<std::uint16_t>(c.recip_height)));
  return static_cast<float>(sum * scale * 0x1p-32);
}

template <class At>
std::int8_t pool_int8(const PoolConfig& c, At at) {
  std::int64_t sum = 0;
  int best = 0;
  for (std::uint32_t y = 0; y < c.kernel_height; ++y)
    for (std::uint32_t x = 0; x < c.kernel_width; ++x) {
      const int v = at(y, x);
      sum += v;
      if ((y | x) == 0 || (c.method == kMax ? v > best : v < best)) best = v;
    }
  if (c.method != kAverage) return static_cast<std::int8_t>(best);
  const std::int64_t product = sum * (c.recip_width & 0x1FFFF) * (c.recip_height & 0x1FFFF);
  return saturate<std::int8_t>(round_shift(product, 32, TieRule::half_even));
}

void pool_line(const PoolConfig& c, const std::uint8_t* plane, std::uint32_t oy,
               std::uint8_t* out) {
  for (std::uint32_t ox = 0; ox < c.out_width; ++ox, out += 16) {
    const auto atom = [&](std::uint32_t ky, std::uint32_t kx) -> const std::uint8_t* {
      const std::int64_t y = std::int64_t{oy} * c.stride_y + ky - c.pad_top;
      const std::int64_t x = std::int64_t{ox} * c.stride_x + kx - c.pad_left;
      if (y < 0 || y >= c.in_height || x < 0 || x >= c.in_width) return nullptr;
      return plane + static_cast<std::uint64_t>(y) * c.src_line +
             static_cast<std::uint64_t>(x) * 16;
    };
    if (c.fp16) {
      std::uint16_t result[8];
      for (std::uint32_t lane = 0; lane < 8; ++lane)
        result[lane] = float_to_fp16(pool_float(c, [&](std::uint32_t y, std::uint32_t x) {
          auto half = static_cast<std::uint16_t>(c.pad_value);
          if (const std::uint8_t* a = atom(y, x)) std::memcpy(&half, a + lane * 2, 2);
          return fp16_to_float(half);
        }));
      std::memcpy(out, result, sizeof result);
    } else {
      std::int8_t result[16];
      for (std::uint32_t lane = 0; lane < 16; ++lane)
        result[lane] = pool_int8(c, [&](std::uint32_t y, std::uint32_t x) {
          const std::uint8_t* a = atom(y, x);
          return int{static_cast<std::int8_t>(a != nullptr ? a[lane] : c.pad_value)};
        });
      std::memcpy(out, result, sizeof result);
    }
  }
}

TaskRecord record_of(const PoolConfig& c) {
  TaskRecord record;
  const std::uint32_t lanes = c.fp16 ? 8 : 16;
  const std::uint64_t planes = (c.channels + lanes - 1) / lanes;
  record.operation =
      fmt::format("{} pool {}x{} s{} {} {}x{}x{} -> {}x{}",
                  c.method == kAverage ? "average"
                  : c.method == kMax   ? "max"
                                       : "min",
                  c.kernel_height, c.kernel_width, c.stride_y, c.fp16 ? "fp16" : "int8",
                  c.in_height, c.in_width, c.channels, c.out_height, c.out_width);
  TaskWork& w = record.work;
  w.type = c.fp16 ? MacType::fp16 : MacType::int8;
  w.positions = std::uint64_t{c.out_width} * c.out_height;
  w.output_elements = w.positions * c.channels;
  w.pool_elements = w.output_elements * c.kernel_width * c.kernel_height;
  record.transfers.push_back({Engine::pool_read, c.src, std::uint64_t{c.in_width} * 16, c.in_height,
                              c.src_line, planes, c.src_plane});
  record.transfers.push_back(
      {Engine::pool_write, c.dst, w.positions * 16, 1, 0, planes, c.dst_plane});
  sum_transfers(record);
  record.quirks.push_back({"pool_raises_no_dpu_interrupt", "PC.INTERRUPT_RAW_STATUS",
                           "only the PPU's bit is raised; a driver that waits for the DPU's "
                           "retires the job after 500 ms, with the output right"});
  return record;
}

}  // namespace

std::uint64_t run_pooling(const PoolRegisters& registers, const AddressSpace& space,
                          std::uint32_t dma_base, std::uint64_t budget, ThreadPool& pool,
                          const TaskHook* hook) {
  const PoolConfig c = read_config(registers, dma_base);
  const std::uint32_t lanes = c.fp16 ? 8 : 16;
  const std::uint32_t planes = (c.channels + lanes - 1) / lanes;
  // A thousandth of the MAC rate: the PPU takes a few elements a cycle.
  const std::uint64_t work = std::uint64_t{c.out_width} * c.out_height * planes * lanes *
                             c.kernel_width * c.kernel_height * 64;
  if (work > budget) hang("PPU.DATA_CUBE_OUT_WIDTH", "more windows than 500 ms allow");

  // The output is made aside: it may lie over the input.
  const std::size_t in_bytes =
      (std::size_t{c.in_height} - 1) * c.src_line + std::size_t{c.in_width} * 16;
  const std::size_t out_bytes = std::size_t{c.out_width} * c.out_height * 16;
  if (out_bytes * planes > kMaxOutputBytes)
    bad_program("PPU.DATA_CUBE_OUT_WIDTH", "an output of more than 512 MiB");
  std::vector<const std::uint8_t*> in(planes);
  std::vector<std::uint8_t*> targets(planes);
  for (std::uint32_t plane = 0; plane < planes; ++plane) {
    const auto view = space.resolve(c.src + plane * c.src_plane, in_bytes);
    if (view.empty())
      dma_fault(FaultKind::dma_read, "PPU_RDMA.RDMA_SRC_BASE_ADDR", c.src + plane * c.src_plane);
    in[plane] = reinterpret_cast<const std::uint8_t*>(view.data());
    const auto target = space.resolve(c.dst + plane * c.dst_plane, out_bytes, Access::write);
    if (target.empty())
      dma_fault(FaultKind::dma_write, "PPU.DST_BASE_ADDR", c.dst + plane * c.dst_plane);
    targets[plane] = reinterpret_cast<std::uint8_t*>(target.data());
  }
  if (hook != nullptr) (*hook)(record_of(c));

  std::vector<std::uint8_t> out(out_bytes * planes);
  pool.parallel_for(std::size_t{planes} * c.out_height, [&](std::size_t item) {
    const std::size_t plane = item / c.out_height, y = item % c.out_height;
    pool_line(c, in[plane], static_cast<std::uint32_t>(y),
              out.data() + plane * out_bytes + y * c.out_width * 16);
  });
  for (std::uint32_t plane = 0; plane < planes; ++plane)
    std::memcpy(targets[plane], out.data() + plane * out_bytes, out_bytes);
  return work;
}

}  // namespace npu::sim
