// SPDX-License-Identifier: MIT
// Fields and limits as swept on boards [notes encodings/ppu-pooling.md; allbilly expt/pooling.py;
// iree-rocket LIMITS.md, HW].
#include "npu-sim/pool_config.hpp"

#include <fmt/format.h>

#include <bit>
#include <utility>

#include "npu-sim/fault.hpp"
#include "npu-sim/known_bits.hpp"
#include "npu-sim/precision_codes.hpp"
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
    // Without effect: USE_CNT, all eight values give the same [allbilly expt, board].
    {rd::ppu::OPERATION_MODE_CFG::offset, 0x5FFF00F3},
    {rd::ppu::POOLING_KERNEL_CFG::offset, kAll},
    {rd::ppu::RECIP_KERNEL_WIDTH::offset, kAll},
    {rd::ppu::RECIP_KERNEL_HEIGHT::offset, kAll},
    {rd::ppu::POOLING_PADDING_CFG::offset, kAll},
    {rd::ppu::PADDING_VALUE_1_CFG::offset, kAll},
    {rd::ppu::PADDING_VALUE_2_CFG::offset, kAll},  // bits above those of any type
    {rd::ppu::DST_BASE_ADDR::offset, kAll},
    {rd::ppu::DST_SURF_STRIDE::offset, kAll},
    {rd::ppu::DATA_FORMAT::offset, kAll},
    {rd::ppu::MISC_CTRL::offset, 0xF},  // burst length: timing only
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

// What PPU_RDMA brings.
void read_reader(const PoolRegisters& r, std::uint32_t dma_base, PoolConfig& c) {
  check_known(
      rd::Block::ppu_rdma, kRdma, [&](std::uint32_t o) { return r.rdma(o); },
      [](std::uint32_t) { return false; });
  const std::uint32_t storage =
      rd::ppu_rdma::RDMA_DATA_FORMAT::decode(r.rdma(rd::ppu_rdma::RDMA_DATA_FORMAT::offset))
          .in_precision;
  const auto count = [&](std::uint32_t offset) { return (r.rdma(offset) & 0x1FFF) + 1; };
  if (count(rd::ppu_rdma::RDMA_CUBE_IN_WIDTH::offset) != c.in_width ||
      count(rd::ppu_rdma::RDMA_CUBE_IN_HEIGHT::offset) != c.in_height ||
      count(rd::ppu_rdma::RDMA_CUBE_IN_CHANNEL::offset) != c.channels)
    hang("PPU_RDMA.RDMA_CUBE_IN_WIDTH", "the reader's cube is not the one that the PPU waits for");
  // An element-size code: 1 is 8 bit, 2 is 16 bit; for int8 boards take 1 and 2 alike, and 3 where
  // nothing is summed [notes, HW].
  const bool fits = c.type == kInt8
                        ? storage == 1 || storage == 2 || (storage == 3 && c.method != kPoolAverage)
                    : c.type >= kInt32 ? storage == 3
                                       : storage == 2;
  require(fits, "PPU_RDMA.RDMA_DATA_FORMAT.in_precision", storage);
  const std::uint64_t src =
      std::uint64_t{dma_base} + r.rdma(rd::ppu_rdma::RDMA_SRC_BASE_ADDR::offset);
  const std::uint64_t step = r.rdma(rd::ppu_rdma::RDMA_SRC_SURF_STRIDE::offset) & ~0xFu;
  for (std::uint32_t surface = 0; surface < c.planes(); ++surface)
    c.surfaces.push_back(src + surface * step);
  c.src_line = r.rdma(rd::ppu_rdma::RDMA_SRC_LINE_STRIDE::offset) & ~0xFu;
}

// What comes over the wire.
void read_feed(const PoolFeed& feed, PoolConfig& c) {
  if (feed.width != c.in_width || feed.height != c.in_height || feed.channels != c.channels)
    hang("PPU.DATA_CUBE_IN_WIDTH", "the PPU waits for another cube than the DPU makes");
  constexpr std::pair<OutputType, std::uint32_t> kCodes[] = {{OutputType::int8, kInt8},
                                                             {OutputType::int16, kInt16},
                                                             {OutputType::fp16, kFp16},
                                                             {OutputType::int32, kInt32},
                                                             {OutputType::fp32, kFp32}};
  for (const auto& [type, code] : kCodes)
    if (type == feed.type) require(c.type == code, "PPU.DATA_FORMAT.proc_precision", c.type);
  c.surfaces = feed.surfaces;
  c.src_line = feed.line;
}

// What boards do not finish [iree-rocket LIMITS.md and pooling.rs, HW]. As NVDLA's PDP does, the
// PPU keeps windows under way in a line buffer of eight banks: each row of windows that overlaps
// another takes a power of two of them. 128 columns of one row, 64 of two, 32 of four, 16 of eight
// meet all measured widths (3x3 34 and 35, 4x4 34 and 36, 5x5 and 8x8 20 and 24, 2x2 s2 256).
void check_limits(const PoolConfig& c, const Quirks& quirks) {
  if (quirks.pool_stride_beyond_kernel && c.stride_x > c.kernel_width)
    hang("PPU.POOLING_KERNEL_CFG.kernel_stride_width",
         "a stride wider than the kernel (quirk pool_stride_beyond_kernel)");
  if (quirks.pool_stride_beyond_kernel && c.stride_y > c.kernel_height)
    hang("PPU.POOLING_KERNEL_CFG.kernel_stride_height",
         "a stride wider than the kernel (quirk pool_stride_beyond_kernel)");
  const std::uint32_t rows = (c.kernel_height + c.stride_y - 1) / c.stride_y;
  const std::uint32_t columns = rows > 8 ? 0 : 128 / std::bit_ceil(rows);
  if (quirks.pool_line_buffer && c.out_width > columns)
    hang("PPU.DATA_CUBE_OUT_WIDTH",
         fmt::format("{} rows of windows overlap, so the line buffer holds {} columns, not {} "
                     "(quirk pool_line_buffer)",
                     rows, columns, c.out_width));
}

}  // namespace

PoolConfig read_pool_config(const PoolRegisters& r, std::uint32_t dma_base, const Quirks& quirks,
                            const PoolFeed* feed) {
  check_known(
      rd::Block::ppu, kPpu, [&](std::uint32_t o) { return r.ppu(o); },
      [](std::uint32_t) { return false; });
  const auto count = [](std::uint32_t value) { return (value & 0x1FFF) + 1; };
  const auto mode = rd::ppu::OPERATION_MODE_CFG::decode(r.ppu(rd::ppu::OPERATION_MODE_CFG::offset));
  const auto kernel =
      rd::ppu::POOLING_KERNEL_CFG::decode(r.ppu(rd::ppu::POOLING_KERNEL_CFG::offset));
  const auto pad =
      rd::ppu::POOLING_PADDING_CFG::decode(r.ppu(rd::ppu::POOLING_PADDING_CFG::offset));
  const auto format = rd::ppu::DATA_FORMAT::decode(r.ppu(rd::ppu::DATA_FORMAT::offset));

  PoolConfig c{};
  c.in_width = count(r.ppu(rd::ppu::DATA_CUBE_IN_WIDTH::offset));
  c.in_height = count(r.ppu(rd::ppu::DATA_CUBE_IN_HEIGHT::offset));
  c.channels = count(r.ppu(rd::ppu::DATA_CUBE_IN_CHANNEL::offset));
  c.out_width = count(r.ppu(rd::ppu::DATA_CUBE_OUT_WIDTH::offset));
  c.out_height = count(r.ppu(rd::ppu::DATA_CUBE_OUT_HEIGHT::offset));
  if (count(r.ppu(rd::ppu::DATA_CUBE_OUT_CHANNEL::offset)) != c.channels)
    bad_program("PPU.DATA_CUBE_OUT_CHANNEL", "pooling does not change the number of channels");
  // The switch for "fed by PPU_RDMA"; with 0 the PPU waits for the DPU.
  if (feed == nullptr && !mode.flying_mode)
    hang("PPU.OPERATION_MODE_CFG.flying_mode", "the PPU waits for a DPU that is not enabled");
  if (feed != nullptr && mode.flying_mode)
    hang("PPU.OPERATION_MODE_CFG.flying_mode", "the PPU waits for a PPU_RDMA that is not enabled");
  // A board's only try: 1 behind a convolution ended and wrote nothing [iree-rocket
  // conv_then_pooling_hw.rs].
  c.fed = feed != nullptr;
  c.silent = feed != nullptr && !feed->flying && format.dpu_flyin;
  if (!c.silent)
    require(format.dpu_flyin == (feed != nullptr && feed->flying), "PPU.DATA_FORMAT.dpu_flyin",
            format.dpu_flyin);
  c.method = mode.pooling_method;
  require(c.method <= kPoolMin, "PPU.OPERATION_MODE_CFG.pooling_method", c.method);
  c.type = format.proc_precision;
  require(c.type <= kFp16 || c.type == kInt32 || c.type == kFp32, "PPU.DATA_FORMAT.proc_precision",
          c.type);
  if (feed != nullptr)
    read_feed(*feed, c);
  else
    read_reader(r, dma_base, c);
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
  c.dst = std::uint64_t{dma_base} + (r.ppu(rd::ppu::DST_BASE_ADDR::offset) & ~0xFu);
  c.dst_plane = r.ppu(rd::ppu::DST_SURF_STRIDE::offset) & ~0xFu;
  // The manual's words; a value of 2 disturbs the later rows on a board [allbilly expt].
  c.dst_line = (std::uint64_t{c.out_width} + mode.notch_addr) * 16;
  c.index = mode.index_en;
  if (c.index) {
    require(c.method != kPoolAverage, "PPU.OPERATION_MODE_CFG.index_en", 1);
    require(c.element_bytes() == 2, "PPU.DATA_FORMAT.proc_precision", c.type);
  }
  c.dst_index = c.dst + (r.ppu(rd::ppu::DATA_FORMAT::offset) & ~0xFu);
  check_limits(c, quirks);
  return c;
}

TaskRecord record_of(const PoolConfig& c) {
  TaskRecord record;
  const std::uint64_t planes = c.planes();
  constexpr std::string_view kTypes[] = {"int8", "int16", "fp16", "", "int32", "fp32"};
  record.operation = fmt::format("{} pool {}x{} s{} {} {}x{}x{} -> {}x{}",
                                 c.method == kPoolAverage ? "average"
                                 : c.method == kPoolMax   ? "max"
                                                          : "min",
                                 c.kernel_height, c.kernel_width, c.stride_y, kTypes[c.type],
                                 c.in_height, c.in_width, c.channels, c.out_height, c.out_width);
  TaskWork& w = record.work;
  w.type = c.type == kInt8 ? MacType::int8 : MacType::fp16;
  w.positions = std::uint64_t{c.out_width} * c.out_height;
  w.output_elements = w.positions * c.channels;
  w.pool_elements = w.output_elements * c.kernel_width * c.kernel_height;
  if (!c.fed)
    record.transfers.push_back({Engine::pool_read, c.surfaces[0], std::uint64_t{c.in_width} * 16,
                                c.in_height, c.src_line, planes,
                                planes > 1 ? c.surfaces[1] - c.surfaces[0] : 0});
  for (const std::uint64_t base : {c.dst, c.dst_index})
    if (base == c.dst || c.index)
      record.transfers.push_back({Engine::pool_write, base, std::uint64_t{c.out_width} * 16,
                                  c.out_height, c.dst_line, planes, c.dst_plane});
  sum_transfers(record);
  if (c.fed)
    record.quirks.push_back({"dpu_feeds_ppu", "PPU.OPERATION_MODE_CFG.flying_mode",
                             c.silent ? "DPU_FLYIN behind a convolution: nothing is written"
                                      : "by the manual: no published program has done it"});
  else
    record.quirks.push_back({"pool_raises_no_dpu_interrupt", "PC.INTERRUPT_RAW_STATUS",
                             "only the PPU's bit is raised; a driver that waits for the DPU's "
                             "retires the job after 500 ms, with the output right"});
  return record;
}

}  // namespace npu::sim
