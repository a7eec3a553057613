// SPDX-License-Identifier: MIT
// Registers and arithmetic as swept on a board [notes encodings/ppu-pooling.md, HW]: max and min
// are exact; an average is the window's sum, padding included, times the two reciprocals of the
// registers. Those are FP17 numbers (6 bits of exponent, bias 31) for fp16, so 1/1 exists, and 16
// bits behind the point for integers [allbilly expt/pooling.py, board]. Integers round half to
// even, which with a reciprocal that had to be cut gives the rule that the notes describe (an
// exact half then lies just below it).
#include "npu-sim/pooling.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "npu-sim/float_types.hpp"
#include "npu-sim/known_bits.hpp"
#include "npu-sim/mac_float.hpp"
#include "npu-sim/precision_codes.hpp"
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

constexpr std::size_t kMaxOutputBytes = 512u << 20;
constexpr std::uint32_t kAverage = 0, kMax = 1, kMin = 2;
struct PoolConfig {
  std::uint32_t in_width, in_height, out_width, out_height, channels;
  std::uint32_t kernel_width, kernel_height, stride_x, stride_y, pad_left, pad_top;
  std::uint32_t method;
  std::uint32_t type;  // a precision code
  std::uint32_t recip_width, recip_height;
  std::uint32_t pad_value;
  std::vector<std::uint64_t> surfaces;  // of the input
  std::uint64_t src_line, dst, dst_plane, dst_line;
  bool fed;     // by the DPU
  bool silent;  // ends and writes nothing
  bool index;   // the position of each extremum is written too
  std::uint64_t dst_index;
  std::uint32_t element_bytes() const { return type == kInt8 ? 1 : type >= kInt32 ? 4 : 2; }
  std::uint32_t planes() const {
    const std::uint32_t lanes = 16 / element_bytes();
    return (channels + lanes - 1) / lanes;
  }
};

// 17 bits: 6 of exponent, 10 of fraction.
double fp17(std::uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 0x3F);
  const double fraction = static_cast<double>(bits & 0x3FF);
  return exponent == 0 ? std::ldexp(fraction, -40) : std::ldexp(1024 + fraction, exponent - 41);
}

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
                        ? storage == 1 || storage == 2 || (storage == 3 && c.method != kAverage)
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

PoolConfig read_config(const PoolRegisters& r, std::uint32_t dma_base, const PoolFeed* feed) {
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
  require(c.method <= kMin, "PPU.OPERATION_MODE_CFG.pooling_method", c.method);
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
    require(c.method != kAverage, "PPU.OPERATION_MODE_CFG.index_en", 1);
    require(c.element_bytes() == 2, "PPU.DATA_FORMAT.proc_precision", c.type);
  }
  c.dst_index = c.dst + (r.ppu(rd::ppu::DATA_FORMAT::offset) & ~0xFu);
  return c;
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

// Three bits of row and three of column, within the window [allbilly expt, 16x16 on a board]; the
// first of equals. Padded windows with a stride show another row on boards, by no known rule.
constexpr std::uint16_t position(std::uint32_t y, std::uint32_t x) {
  return static_cast<std::uint16_t>((y & 7) << 3 | (x & 7));
}

// The lanes of one atom, window by window.
template <class T, class Sum, std::size_t kLanes>
struct Lanes {
  T best[kLanes];
  std::uint16_t index[kLanes];
  Sum sum[kLanes];

  void start(const T* v) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      best[i] = v[i];
      index[i] = position(0, 0);
      sum[i] = Sum{} + static_cast<Sum>(v[i]);  // a negative zero counts as zero
    }
  }
  void take(const T* v, const PoolConfig& c, std::uint16_t where) {
    if (c.method == kAverage) {
      for (std::size_t i = 0; i < kLanes; ++i) sum[i] += static_cast<Sum>(v[i]);
    } else if (c.index) {
      for (std::size_t i = 0; i < kLanes; ++i)
        if (c.method == kMax ? v[i] > best[i] : v[i] < best[i]) {  // the first of equals stays
          best[i] = v[i];
          index[i] = where;
        }
    } else if (c.method == kMax) {
      for (std::size_t i = 0; i < kLanes; ++i) best[i] = v[i] > best[i] ? v[i] : best[i];
    } else {
      for (std::size_t i = 0; i < kLanes; ++i) best[i] = v[i] < best[i] ? v[i] : best[i];
    }
  }
};

// Runs the windows of one output position: `at(y, x)` gives the lanes of an input position, its
// padding included.
template <class T, class Sum, std::size_t kLanes, class At>
Lanes<T, Sum, kLanes> pool_window(const PoolConfig& c, At at) {
  Lanes<T, Sum, kLanes> lanes;
  lanes.start(at(0, 0));
  for (std::uint32_t y = 0; y < c.kernel_height; ++y)
    for (std::uint32_t x = y == 0 ? 1 : 0; x < c.kernel_width; ++x)
      lanes.take(at(y, x), c, position(y, x));
  return lanes;
}

template <class T, std::size_t kLanes, class At>
void pool_integers(const PoolConfig& c, At at, T* out, std::uint16_t* index) {
  const auto lanes = pool_window<T, std::int32_t, kLanes>(c, at);  // at most 256 values
  for (std::size_t i = 0; i < kLanes; ++i) {
    out[i] = lanes.best[i];
    index[i] = lanes.index[i];
    if (c.method != kAverage) continue;
    const std::int64_t product =
        std::int64_t{lanes.sum[i]} * (c.recip_width & 0x1FFFF) * (c.recip_height & 0x1FFFF);
    out[i] = saturate<T>(round_shift(product, 32, TieRule::half_even));
    index[i] = 0;
  }
}

template <class At>
void pool_floats(const PoolConfig& c, At at, std::uint16_t* out, std::uint16_t* index) {
  const auto lanes = pool_window<float, double, 8>(c, at);  // exact: at most 256 fp16 values
  const double width = fp17(c.recip_width), height = fp17(c.recip_height);
  for (std::size_t i = 0; i < 8; ++i) {
    const float average = static_cast<float>(lanes.sum[i] * width * height);
    out[i] = float_to_fp16(c.method == kAverage ? average : lanes.best[i]);
    index[i] = c.method == kAverage ? std::uint16_t{0} : lanes.index[i];
  }
}

void pool_line(const PoolConfig& c, const std::uint8_t* plane, std::uint32_t oy, std::uint8_t* out,
               std::uint8_t* index) {
  std::uint8_t padding[16];
  for (std::uint32_t i = 0; i < 16; ++i)
    padding[i] = static_cast<std::uint8_t>(c.pad_value >> (c.type == kInt8 ? 0 : i % 2 * 8));
  for (std::uint32_t ox = 0; ox < c.out_width; ++ox, out += 16) {
    const auto atom = [&](std::uint32_t ky, std::uint32_t kx) -> const std::uint8_t* {
      const std::int64_t y = std::int64_t{oy} * c.stride_y + ky - c.pad_top;
      const std::int64_t x = std::int64_t{ox} * c.stride_x + kx - c.pad_left;
      if (y < 0 || y >= c.in_height || x < 0 || x >= c.in_width) return padding;
      return plane + static_cast<std::uint64_t>(y) * c.src_line +
             static_cast<std::uint64_t>(x) * 16;
    };
    std::uint16_t positions[16];
    if (c.type == kInt8) {
      std::int8_t in[16], result[16];
      const auto at = [&](std::uint32_t y, std::uint32_t x) {
        std::memcpy(in, atom(y, x), sizeof in);
        return &in[0];
      };
      pool_integers<std::int8_t, 16>(c, at, result, positions);
      std::memcpy(out, result, sizeof result);
    } else if (c.type == kInt16) {
      std::int16_t in[8], result[8];
      const auto at = [&](std::uint32_t y, std::uint32_t x) {
        std::memcpy(in, atom(y, x), sizeof in);
        return &in[0];
      };
      pool_integers<std::int16_t, 8>(c, at, result, positions);
      std::memcpy(out, result, sizeof result);
    } else {
      float in[8];
      std::uint16_t result[8];
      const auto at = [&](std::uint32_t y, std::uint32_t x) {
        fp16_to_floats(atom(y, x), 8, in);
        return &in[0];
      };
      pool_floats(c, at, result, positions);
      std::memcpy(out, result, sizeof result);
    }
    if (index != nullptr && c.type != kInt8)
      std::memcpy(index + std::size_t{ox} * 16, positions, 16);
  }
}

TaskRecord record_of(const PoolConfig& c) {
  TaskRecord record;
  const std::uint64_t planes = c.planes();
  constexpr std::string_view kTypes[] = {"int8", "int16", "fp16", "", "int32", "fp32"};
  record.operation = fmt::format("{} pool {}x{} s{} {} {}x{}x{} -> {}x{}",
                                 c.method == kAverage ? "average"
                                 : c.method == kMax   ? "max"
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

}  // namespace

TaskRecord pooling_record(const PoolRegisters& registers, std::uint32_t dma_base,
                          const Quirks& quirks, const PoolFeed* feed) {
  const PoolConfig c = read_config(registers, dma_base, feed);
  check_limits(c, quirks);
  return record_of(c);
}

std::uint64_t run_pooling(const PoolRegisters& registers, const AddressSpace& space,
                          std::uint32_t dma_base, std::uint64_t budget, const Quirks& quirks,
                          ThreadPool& pool, const TaskHook* hook, const PoolFeed* feed) {
  const PoolConfig c = read_config(registers, dma_base, feed);
  check_limits(c, quirks);
  const std::uint32_t planes = c.planes(), lanes = 16 / c.element_bytes();
  // A thousandth of the MAC rate: the PPU takes a few elements a cycle.
  const std::uint64_t work = std::uint64_t{c.out_width} * c.out_height * planes * lanes *
                             c.kernel_width * c.kernel_height * 64;
  if (work > budget) hang("PPU.DATA_CUBE_OUT_WIDTH", "more windows than 500 ms allow");

  // The output is made aside: it may lie over the input.
  const std::size_t in_bytes =
      (std::size_t{c.in_height} - 1) * c.src_line + std::size_t{c.in_width} * 16;
  const std::size_t out_bytes = std::size_t{c.out_width} * c.out_height * 16;
  const std::size_t target_bytes =
      (std::size_t{c.out_height} - 1) * c.dst_line + std::size_t{c.out_width} * 16;
  if (out_bytes * planes > kMaxOutputBytes)
    bad_program("PPU.DATA_CUBE_OUT_WIDTH", "an output of more than 512 MiB");
  const auto target = [&](std::uint64_t address) {
    const auto view = space.resolve_write(address, target_bytes);
    if (view.empty()) dma_fault(FaultKind::dma_write, "PPU.DST_BASE_ADDR", address);
    return reinterpret_cast<std::uint8_t*>(view.data());
  };
  std::vector<const std::uint8_t*> in(planes);
  std::vector<std::uint8_t*> targets;  // values, then positions
  for (std::uint32_t plane = 0; plane < planes; ++plane) {
    const auto view = space.resolve(c.surfaces[plane], in_bytes);
    if (view.empty())
      dma_fault(FaultKind::dma_read, "PPU_RDMA.RDMA_SRC_BASE_ADDR", c.surfaces[plane]);
    in[plane] = reinterpret_cast<const std::uint8_t*>(view.data());
    targets.push_back(target(c.dst + plane * c.dst_plane));
  }
  if (c.index)
    for (std::uint32_t plane = 0; plane < planes; ++plane)
      targets.push_back(target(c.dst_index + plane * c.dst_plane));
  if (hook != nullptr) (*hook)(record_of(c));
  if (c.silent) return work;

  std::vector<std::uint8_t> out(out_bytes * targets.size());
  // Types of 32 bits are accepted and come out as zeros [allbilly expt, board].
  if (c.type < kInt32)
    pool.parallel_for(std::size_t{planes} * c.out_height, [&](std::size_t item) {
      const std::size_t plane = item / c.out_height, y = item % c.out_height;
      const std::size_t line = y * c.out_width * 16;
      pool_line(c, in[plane], static_cast<std::uint32_t>(y), out.data() + plane * out_bytes + line,
                c.index ? out.data() + (planes + plane) * out_bytes + line : nullptr);
    });
  for (std::size_t plane = 0; plane < targets.size(); ++plane)
    for (std::uint32_t y = 0; y < c.out_height; ++y)
      std::memcpy(targets[plane] + y * c.dst_line,
                  out.data() + plane * out_bytes + std::size_t{y} * c.out_width * 16,
                  std::size_t{c.out_width} * 16);
  return work;
}

}  // namespace npu::sim
