// SPDX-License-Identifier: MIT
#include "tables.hpp"

#include <algorithm>
#include <bit>

#include "regdb/registers.hpp"

namespace npu::sim::programs {

namespace rd = npu::regdb;

namespace {

std::int32_t quantise(double y, std::int32_t floor) {
  return static_cast<std::int32_t>(
      std::clamp(std::lround(y * 32768), static_cast<long>(floor), 32767L));
}

}  // namespace

Tables affine_tables(const Function& f, double index_scale, double low, int span) {
  Tables t;
  const double step = 32 / index_scale, s = std::ldexp(1.0, span);
  for (std::size_t i = 0; i <= 512; ++i) {
    t.le[i] = quantise((f(-static_cast<double>(512 - i) * step) - low) / s, 0);
    t.lo[i] = quantise((f(static_cast<double>(i) * step) - low) / s, 0);
  }
  t.bn_mul = half(index_scale);
  t.offset = static_cast<std::int32_t>(std::lround(low * 32768 / s));
  t.minus_exp = static_cast<std::uint32_t>(15 - span);
  return t;
}

Tables unit_tables(const Function& f) {
  Tables t = affine_tables(f, 2596, 0, 0);
  t.bn_mul = 0x6912;
  t.offset = 1;
  t.le_underflow_scale = 23107;
  t.le_underflow_shift = 22;
  return t;
}

Tables shifted_tables(const Function& f, double x0, double x1, double low, int span,
                      std::int32_t floor) {
  Tables t;
  const double s = std::ldexp(1.0, span), scale = 16384 / (x1 - x0);
  for (std::size_t i = 0; i <= 512; ++i)
    t.lo[i] = quantise((f(x0 + static_cast<double>(i) * (x1 - x0) / 512) - low) / s, floor);
  t.le.fill(t.lo[0]);
  t.bn_mul = half(scale);
  t.bn_alu = std::bit_cast<std::uint32_t>(static_cast<float>(-x0 * scale));
  t.offset = static_cast<std::int32_t>(std::lround(low * 32768 / s));
  t.minus_exp = static_cast<std::uint32_t>(15 - span);
  return t;
}

std::vector<std::uint64_t> table_program(const Tables& t, std::uint32_t n, std::uint32_t in,
                                         std::uint32_t out, bool with_tables) {
  rd::RegcmdStream s;
  const std::uint32_t columns = n / 8;
  s.write(rd::dpu::S_POINTER::decode(0xE)).write(rd::dpu_rdma::RDMA_S_POINTER::decode(0xE));
  for (std::uint32_t id = 0; with_tables && id < 2; ++id) {
    s.write(rd::dpu::LUT_ACCESS_CFG{.lut_access_type = true, .lut_table_id = id != 0});
    for (const std::int32_t entry : id == 0 ? t.le : t.lo)
      s.write(rd::dpu::LUT_ACCESS_DATA{.lut_access_data = static_cast<std::uint16_t>(entry)});
  }
  s.write(rd::dpu::FEATURE_MODE_CFG{.burst_len = 15, .output_mode = 2, .flying_mode = 1});
  s.write(rd::dpu::DATA_FORMAT{.out_precision = 2, .in_precision = 2, .proc_precision = 2});
  s.write(rd::dpu::DST_BASE_ADDR{.dst_base_addr = out});
  s.write(rd::dpu::DST_SURF_STRIDE{.dst_surf_stride = columns});
  s.write(rd::dpu::DATA_CUBE_WIDTH{.width = columns}).write(rd::dpu::DATA_CUBE_HEIGHT{});
  s.write(rd::dpu::DATA_CUBE_CHANNEL{.orig_channel = 8, .channel = 8});
  s.write(rd::dpu::BS_CFG::decode(0x53)).write(rd::dpu::BS_OW_CFG::decode(2));
  s.write(rd::dpu::WDMA_SIZE_0::decode(7)).write(rd::dpu::WDMA_SIZE_1::decode(columns - 1));
  s.write(rd::dpu::BN_CFG::decode(0x20040));
  s.write(rd::dpu::BN_ALU_CFG::decode(t.bn_alu));
  s.write(rd::dpu::BN_MUL_CFG::decode(std::uint32_t{t.bn_mul} << 16));
  s.write(rd::dpu::EW_CFG::decode(t.ew_cfg));
  s.write(rd::dpu::EW_CVT_SCALE_VALUE{.ew_op_cvt_scale = 1});
  s.write(rd::dpu::OUT_CVT_OFFSET{.out_cvt_offset = t.offset});
  s.write(rd::dpu::OUT_CVT_SCALE{.fp32tofp16_en = true, .out_cvt_scale = 1});
  s.write(rd::dpu::OUT_CVT_SHIFT{.cvt_type = t.add_first, .minus_exp = t.minus_exp});
  s.write(rd::dpu::SURFACE_ADD{.surf_add = columns});
  s.write(rd::dpu::LUT_CFG::decode(0x68)).write(rd::dpu::LUT_INFO::decode(0x00050500));
  s.write(rd::dpu::LUT_LE_START{.lut_le_start = -16384});
  s.write(rd::dpu::LUT_LO_END{.lut_lo_end = 16384});
  s.write(rd::dpu::LUT_LE_SLOPE_SCALE::decode(t.le_underflow_scale));
  s.write(rd::dpu::LUT_LE_SLOPE_SHIFT::decode(t.le_underflow_shift));
  s.write(rd::dpu::LUT_LO_SLOPE_SCALE::decode(t.lo_overflow_scale << 16));
  s.write(rd::dpu::LUT_LO_SLOPE_SHIFT::decode(t.lo_overflow_shift << 5));
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_WIDTH{.width = columns});
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_HEIGHT{});
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_CHANNEL{.channel = 8});
  s.write(rd::dpu_rdma::RDMA_SRC_BASE_ADDR{.src_base_addr = in});
  s.write(rd::dpu_rdma::RDMA_ERDMA_CFG{.erdma_disable = true});
  s.write(rd::dpu_rdma::RDMA_FEATURE_MODE_CFG::decode(0x17849));
  s.write(rd::dpu_rdma::RDMA_WEIGHT::decode(0x01010101));
  s.end(0x18);
  return s.words();
}

Halves apply(Board& board, const Tables& tables, const Halves& x) {
  constexpr std::size_t kMost = 32768;
  Halves y;
  for (std::size_t at = 0; at < x.size(); at += kMost) {
    const std::size_t n = std::min(kMost, x.size() - at), padded = (n + 7) / 8 * 8;
    const Halves part(x.begin() + static_cast<std::ptrdiff_t>(at),
                      x.begin() + static_cast<std::ptrdiff_t>(at + n));
    const std::uint32_t in = board.put(part, padded * 2), out = board.room(padded * 2);
    if (!board.run(table_program(tables, static_cast<std::uint32_t>(padded), in, out))) return {};
    const Halves got = board.get<std::uint16_t>(out, n);
    y.insert(y.end(), got.begin(), got.end());
  }
  return y;
}

}  // namespace npu::sim::programs
