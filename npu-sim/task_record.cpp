// SPDX-License-Identifier: MIT
#include "npu-sim/task_record.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "npu-sim/pool_feed.hpp"

namespace npu::sim {
namespace {

constexpr std::uint64_t kAtom = 16;

MacType mac_type(Precision p) {
  switch (p) {
    case Precision::int8: return MacType::int8;
    case Precision::int4: return MacType::int4;
    case Precision::int16: return MacType::int16;
    case Precision::fp16: return MacType::fp16;
    case Precision::bf16: return MacType::bf16;
    case Precision::tf32: return MacType::tf32;
  }
  return MacType::int8;
}

Transfer feature_transfer(const ConvConfig& c) {
  const ConvShape& s = c.shape;
  const FeatureSource& f = c.feature;
  const std::uint64_t position_bytes = std::uint64_t{s.channels} * layout_of(s.precision).bits / 8;
  Transfer t{Engine::feature, f.address};
  t.rows = s.in_height;
  t.row_stride = static_cast<std::uint64_t>(f.line_stride);
  if (f.pixel_channels != 0) {
    t.bytes = std::uint64_t{s.in_width} * f.pixel_channels;
  } else if (f.row_major) {
    t.bytes = s.in_width * position_bytes;
  } else {
    t.bytes = s.in_width * kAtom;
    t.planes = position_bytes / kAtom;
    t.plane_stride = static_cast<std::uint64_t>(f.plane_stride);
  }
  return t;
}

// One transfer for each group of kernels: the writer goes through their planes.
void output_transfers(const ConvConfig& c, std::vector<Transfer>& out) {
  if (c.dst >= PortSpace::kWire) return;  // to the PPU
  const std::uint64_t atom_channels = kAtom / bytes_of(c.out_type);
  const std::uint64_t planes = (c.out_channels + atom_channels - 1) / atom_channels;
  for (std::uint64_t first = 0; first < planes; first += c.group_planes) {
    Transfer t{Engine::dpu_write, c.dst + first / c.group_planes * c.dst_group};
    t.bytes = c.shape.out_width * kAtom;
    t.rows = c.shape.out_height;
    t.row_stride = c.dst_line;
    t.planes = std::min<std::uint64_t>(c.written_planes, planes - first);
    t.plane_stride = c.dst_plane;
    out.push_back(t);
  }
}

void operand_transfers(const ConvConfig& c, std::vector<Transfer>& out) {
  if (c.bs.reads_stream) {
    const std::uint64_t bytes = c.bs.stream_is_vector
                                    ? std::uint64_t{c.out_channels} * 4
                                    : (c.out_channels + 7) / 8 * std::uint64_t{64};
    out.push_back({Engine::brdma, c.bs.stream, bytes});
  }
  if (!c.ew.active) return;
  const std::uint64_t atom = 128 / c.ew.operand_bits;
  const std::uint64_t planes = (c.out_channels + atom - 1) / atom;
  const std::uint64_t plane = std::uint64_t{c.shape.out_width} * c.shape.out_height * kAtom;
  Transfer even{Engine::mrdma, c.ew.even_planes, plane};
  even.planes = (planes + 1) / 2;
  even.plane_stride = c.ew.even_step;
  out.push_back(even);
  Transfer odd{Engine::erdma, c.ew.odd_planes, plane};
  odd.planes = planes / 2;
  odd.plane_stride = c.ew.odd_step;
  if (odd.planes != 0) out.push_back(odd);
}

std::string operation_of(const ConvConfig& c) {
  const ConvShape& s = c.shape;
  const bool matrix = s.kernel_width == 1 && s.kernel_height == 1 && s.in_width == 1;
  if (matrix && !s.depthwise)
    return fmt::format("gemm {} m={} k={} n={}", name_of(s.precision), s.out_height, s.channels,
                       s.kernels);
  std::string what =
      fmt::format("{} {}x{}", s.depthwise ? "dwconv" : "conv", s.kernel_height, s.kernel_width);
  if (s.stride_x != 1 || s.stride_y != 1) what += fmt::format(" s{}", s.stride_y);
  if (s.dilation_x > 1 || s.dilation_y > 1) what += fmt::format(" d{}", s.dilation_y);
  what += fmt::format(" {} {}x{}x{} -> {}x{}x{}", name_of(s.precision), s.in_height, s.in_width,
                      s.channels, s.out_height, s.out_width, c.out_channels);
  if (c.lut.active) what += " + table";
  if (c.ew.active) what += " + element-wise";
  return what;
}

void add_notes(const ConvConfig& c, const Quirks& quirks, std::vector<QuirkNote>& notes) {
  const ConvShape& s = c.shape;
  const std::uint32_t atom_channels = 16 / bytes_of(c.out_type);
  const std::uint32_t planes = (c.out_channels + atom_channels - 1) / atom_channels;
  const std::uint32_t deepest = std::min(planes, c.group_planes);
  if (quirks.size_e_counts_surfaces && c.written_planes < deepest)
    notes.push_back({"size_e_counts_surfaces", "DPU.BS_OW_CFG.size_e_0",
                     fmt::format("only the first {} of {} surfaces of each group of kernels are "
                                 "written; the others keep what memory held",
                                 c.written_planes, deepest)});
  if (c.truncate != 0 && !c.truncate_half_up)
    notes.push_back({"clip_truncate_tie", "CORE.CLIP_TRUNCATE.round_type",
                     "sums half-way between two results go to the even one; one source rounds "
                     "them up"});
  if (quirks.lut_zero_decodes_as_2_17 && c.lut.active && c.out_cvt.add_first)
    notes.push_back({"lut_zero_decodes_as_2_17", "DPU.OUT_CVT_OFFSET",
                     "a table value that cancels this offset comes out as 2^17"});
  if (c.feature.bank_offset != 0)
    notes.push_back({"fc_data_bank_shifts_features", "CNA.CBUF_CON0.fc_data_bank",
                     "the feature is read from a bank that does not hold it; write 0"});
  const bool cube_matrix = s.kernel_width == 1 && s.kernel_height == 1 && s.in_width == 1 &&
                           !s.depthwise && !c.feature.row_major;
  if (cube_matrix && s.in_height < 4)
    notes.push_back({"gemm_height_below_4", "CNA.DATA_SIZE0.datain_height",
                     "one library saw wrong data for matrices of fewer than 4 rows, Mesa's layers "
                     "of height 1 work",
                     false});
  const std::uint32_t pad = s.pad_value;
  const bool same_lanes = (pad & 0xFF) * 0x01010101u == pad;
  if (s.depthwise && s.precision == Precision::int8 && (s.pad_left != 0 || s.pad_top != 0) &&
      !same_lanes)
    notes.push_back({"pad_byte_lanes", "CNA.PAD_CON1.pad_value",
                     "odd channels among the first 32 of 64 are padded with byte 1 of the "
                     "register; write the same byte into all four lanes",
                     quirks.pad_byte_lanes});
}

}  // namespace

std::string_view to_string(Engine engine) {
  switch (engine) {
    case Engine::program: return "PC fetch";
    case Engine::feature: return "CNA feature";
    case Engine::weight: return "CNA weight";
    case Engine::brdma: return "DPU_RDMA BRDMA";
    case Engine::nrdma: return "DPU_RDMA NRDMA";
    case Engine::erdma: return "DPU_RDMA ERDMA";
    case Engine::mrdma: return "DPU_RDMA MRDMA";
    case Engine::dpu_write: return "DPU WDMA";
    case Engine::pool_read: return "PPU_RDMA";
    case Engine::pool_write: return "PPU WDMA";
  }
  return "?";
}

std::string_view name_of(Precision precision) { return to_string(mac_type(precision)); }

void sum_transfers(TaskRecord& record) {
  for (const Transfer& t : record.transfers) {
    switch (t.engine) {
      case Engine::program: break;
      case Engine::feature: record.work.feature_bytes += t.total(); break;
      case Engine::weight: record.work.weight_bytes += t.total(); break;
      case Engine::dpu_write:
      case Engine::pool_write: record.work.output_bytes += t.total(); break;
      default: record.work.operand_bytes += t.total(); break;
    }
  }
}

TaskRecord record_of(const ConvConfig& c, const Quirks& quirks) {
  const ConvShape& s = c.shape;
  TaskRecord record;
  record.operation = operation_of(c);
  TaskWork& w = record.work;
  w.type = mac_type(s.precision);
  w.kernels = s.kernels;
  w.channels = s.channels;
  w.kernel_width = s.kernel_width;
  w.kernel_height = s.kernel_height;
  w.positions = std::uint64_t{s.out_width} * s.out_height;
  w.depthwise = s.depthwise;
  w.data_reuse = c.data_reuse;
  w.weight_reuse = c.weight_reuse;
  w.output_elements = w.positions * c.out_channels;
  w.table = c.lut.active;
  // A reused operand moves nothing, but its size says what CBUF holds.
  const Transfer features = feature_transfer(c);
  if (c.data_reuse)
    w.feature_bytes = features.total();
  else
    record.transfers.push_back(features);
  if (c.weight_reuse)
    w.weight_bytes = c.weight_bytes;
  else
    record.transfers.push_back({Engine::weight, c.weights, c.weight_bytes});
  operand_transfers(c, record.transfers);
  output_transfers(c, record.transfers);
  sum_transfers(record);
  add_notes(c, quirks, record.quirks);
  return record;
}

}  // namespace npu::sim
