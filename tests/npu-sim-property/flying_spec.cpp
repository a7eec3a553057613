// SPDX-License-Identifier: MIT
// Registers of compute.md 6.1 and 5.6 [allbilly elementwise.py; notes dpu-lut-activation, HW].
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "plain.hpp"
#include "pool_spec.hpp"
#include "regdb/registers.hpp"

namespace npu::sim::property {

namespace rd = npu::regdb;

namespace {

Wide floor_shift(Wide v, std::uint32_t shift) {
  const Wide unit = Wide{1} << shift;
  return (v - ((v % unit + unit) % unit)) / unit;
}

float look_up(const FlyingSpec& s, float scaled, float index) {
  const std::size_t id = scaled < 0 ? 0 : 1;
  const auto& table = s.tables[id];
  const Wide v = clamp_bits(static_cast<Wide>(std::nearbyint(static_cast<double>(index))), 32);
  Wide q;
  if (v < s.start[id]) {
    q = table[0] + floor_shift((v - s.start[id]) * s.underflow_scale[id], s.underflow_shift[id]);
  } else if (v > s.end[id]) {
    q = table[512] + floor_shift((v - s.end[id]) * s.overflow_scale[id], s.overflow_shift[id]);
  } else {
    const Wide distance = v - s.start[id], cell = Wide{1} << s.select[id];
    const auto left = static_cast<std::size_t>(std::min<Wide>(distance / cell, 512));
    const std::size_t right = std::min<std::size_t>(left + 1, 512);
    q = table[left] + floor_shift((table[right] - table[left]) * (distance % cell), s.select[id]);
  }
  return static_cast<float>(clamp_bits(q, 16));
}

float float_result(const FlyingSpec& s, const Image& m, std::uint64_t main, std::uint64_t operand) {
  auto v = static_cast<float>(fp16_value(m.load<std::uint16_t>(main)));
  if (s.bn_mul) v *= static_cast<float>(fp16_value(static_cast<std::uint16_t>(s.bn_mul_operand)));
  const float scaled = v;
  if (s.bn_alu) v += std::bit_cast<float>(s.bn_alu_operand);
  if (s.lut) v = look_up(s, scaled, v);
  if (s.ew) {
    const auto e = static_cast<float>(fp16_value(m.load<std::uint16_t>(operand)));
    if (s.multiply)
      v *= e;
    else if (s.algo == 0)
      v = v < e ? e : v;
    else if (s.algo == 1)
      v = e < v ? e : v;
    else
      v = s.algo == 2 ? v + e : s.algo == 3 ? v / e : v - e;
  }
  if (s.relu && v < 0) v = 0;
  if (s.add_first) {
    v += static_cast<float>(s.offset);
    v *= static_cast<float>(s.scale);
    v = std::ldexp(v, -static_cast<int>(s.minus_exp));
  }
  return v;
}

Wide integer(const FlyingSpec& s, const Image& m, std::uint64_t at) {
  if (s.type == kInt8) return m.load<std::int8_t>(at);
  if (s.type == kInt16) return m.load<std::int16_t>(at);
  return m.load<std::int32_t>(at);
}

Wide integer_result(const FlyingSpec& s, const Image& m, std::uint64_t main,
                    std::uint64_t operand) {
  Wide v = integer(s, m, main);
  if (s.ew) {
    const Wide e = integer(s, m, operand);
    if (s.multiply)
      // The second operand of an int32 product is read as signed int16 [notes, HW].
      v *= s.type == kInt32 ? m.load<std::int16_t>(operand) : e;
    else if (s.algo == 0)
      v = std::max(v, e);
    else if (s.algo == 1)
      v = std::min(v, e);
    else
      v += s.algo == 2 ? e : -e;
  }
  v = clamp_bits(v, 32);
  if (s.relu) v = std::max<Wide>(v, 0);
  const Tie tie = s.away ? Tie::away : Tie::even;
  return s.add_first ? shift_right((v + s.offset) * s.scale, s.shift, tie)
                     : shift_right(v * s.scale, s.shift, tie) + s.offset;
}

void flying_effect(const FlyingSpec& s, Image& m) {
  const Image before = m;
  const std::uint32_t atom = 16 / s.bytes(), out_size = s.to_fp32 ? 4 : s.bytes();
  for (std::uint32_t c = 0; c < s.channels(); ++c)
    for (std::uint32_t y = 0; y < s.height; ++y)
      for (std::uint32_t x = 0; x < s.width; ++x) {
        const std::uint64_t position = (std::uint64_t{y} * s.width + x) * 16;
        const std::uint64_t lane = position + c % atom * s.bytes();
        const std::uint64_t main = s.src + std::uint64_t{c / atom} * s.src_plane + lane;
        const std::uint64_t operand = s.operand + std::uint64_t{c / atom} * s.operand_plane + lane;
        const std::uint64_t to = s.dst + std::uint64_t{c / (16 / out_size)} * s.dst_plane +
                                 (std::uint64_t{y} * (s.width + s.dst_notch) + x) * 16 +
                                 c % (16 / out_size) * out_size;
        if (s.type == kFp16) {
          const float v = float_result(s, before, main, operand);
          if (s.to_fp32)
            m.store(to, v);
          else
            m.store(to, fp16_bits(static_cast<double>(v)));
          continue;
        }
        const Wide v = integer_result(s, before, main, operand);
        if (s.type == kInt8) m.store(to, static_cast<std::int8_t>(clamp_bits(v, 8)));
        if (s.type == kInt16) m.store(to, static_cast<std::int16_t>(clamp_bits(v, 16)));
        if (s.type == kInt32) m.store(to, static_cast<std::int32_t>(clamp_bits(v, 32)));
      }
}

// Two tables that meet at zero and cover a part of what the index register reaches.
void draw_lut(Draw& d, FlyingSpec& s) {
  s.lut = true;
  s.ew = false;
  s.bn_mul = true;
  s.bn_mul_operand = d.pick(0x5000, 0x7000);  // 32 to 8192
  s.bn_alu = d.once_in(2);
  if (d.once_in(2)) s.bn_alu_operand = std::bit_cast<std::uint32_t>(d.real(-2, 8));
  for (std::size_t id = 0; id < 2; ++id) {
    for (auto& entry : s.tables[id]) entry = static_cast<std::int16_t>(d.bits());
    s.select[id] = d.pick(0, 8);
    const std::int32_t span = 512 << s.select[id];
    s.start[id] = id == 0 ? -span : d.once_in(2) ? 0 : d.pick_signed(-100, 100);
    s.end[id] = id == 0 ? 0 : s.start[id] + (d.once_in(3) ? d.pick_signed(0, span) : span);
    s.underflow_scale[id] = d.pick_signed(-32768, 32767);
    s.overflow_scale[id] = d.pick_signed(-32768, 32767);
    s.underflow_shift[id] = d.pick(0, 31);
    s.overflow_shift[id] = d.pick(0, 31);
  }
  s.add_first = true;
  s.offset = d.pick_signed(0, 1);
  s.minus_exp = 15;
}

}  // namespace

FlyingSpec draw_flying(Draw& d, Arena& arena, std::uint32_t type, bool lut) {
  FlyingSpec s;
  s.type = type;
  s.width = d.pick(1, d.once_in(4) ? 200 : 20);
  s.height = d.pick(1, 4);
  s.planes = d.pick(1, 3);
  s.ew = !d.once_in(8);
  s.multiply = d.once_in(4);
  s.algo = d.one_of({0u, 1u, 2u, 4u});
  if (type == kFp16 && !s.multiply && d.once_in(6)) s.algo = 3;
  s.relu = d.once_in(4);
  if (type == kFp16) {
    s.bn_mul = d.once_in(4);
    s.bn_alu = d.once_in(4);
    s.bn_mul_operand = d.pick(0x3000, 0x4800) | d.pick(0, 1) << 15;
    s.bn_alu_operand = std::bit_cast<std::uint32_t>(d.real(-6, 6));
    s.to_fp32 = !(s.ew && !s.multiply && s.algo == 3) && d.once_in(4);
    if (d.once_in(5)) {
      s.add_first = true;
      s.offset = d.pick_signed(-100, 100);
      s.scale = d.pick_signed(-8, 8);
      s.minus_exp = d.pick(0, 15);
    }
  } else if (!d.once_in(3)) {
    s.scale = d.once_in(6) ? d.pick_signed(-32768, 32767) : d.pick_signed(1, 300);
    s.shift = d.pick(0, d.once_in(6) ? 63 : 16);
    s.offset = d.once_in(6) ? d.int32_any() : d.pick_signed(-128, 127);
    s.add_first = d.once_in(3);
    s.away = d.once_in(3);
  }
  if (lut) draw_lut(d, s);
  s.comb_use = s.ew ? d.one_of({0u, 4u}) : 0;
  const std::uint32_t plane = s.width * s.height * 16;
  s.src_plane = plane + (d.once_in(3) ? 16 * d.pick(1, 5) : 0);
  s.src = arena.reserve(std::size_t{s.src_plane} * s.planes);
  s.operand_plane = plane + (d.once_in(3) ? 16 * d.pick(1, 5) : 0);
  s.operand = arena.reserve(std::size_t{s.operand_plane} * s.planes);
  if (type == kFp16) {
    const int low = d.once_in(3) ? -15 : -4, high = d.once_in(3) ? 15 : 4;
    fill(d, arena, s.src, std::size_t{s.src_plane} * s.planes, Type::fp16, low, high);
    fill(d, arena, s.operand, std::size_t{s.operand_plane} * s.planes, Type::fp16, low, high);
    for (std::uint32_t at = 0; s.algo == 3 && at < s.operand_plane * s.planes; at += 2)
      if ((arena.image.load<std::uint16_t>(s.operand + at) & 0x7FFF) == 0)
        arena.image.store(s.operand + at, std::uint16_t{0x3C00});  // nothing is divided by zero
  }
  const std::uint32_t out_planes = s.planes * (s.to_fp32 ? 2 : 1);
  s.dst_notch = d.once_in(3) ? d.pick(1, 4) : 0;
  s.dst_plane = ((s.width + s.dst_notch) * s.height + (d.once_in(3) ? d.pick(1, 5) : 0)) * 16;
  s.dst = arena.reserve(std::size_t{s.dst_plane} * out_planes);
  return s;
}

namespace {

void put_lut(Task& t, const FlyingSpec& s) {
  namespace dpu = rd::dpu;
  for (std::size_t id = 0; id < 2; ++id) {
    put(t, dpu::LUT_ACCESS_CFG{.lut_access_type = true, .lut_table_id = id != 0});
    for (const std::int16_t entry : s.tables[id])
      put(t, dpu::LUT_ACCESS_DATA{.lut_access_data = static_cast<std::uint16_t>(entry)});
  }
  put(t, dpu::LUT_CFG{.lut_hybrid_priority = true, .lut_oflow_priority = true, .lut_lo_le_mux = 2});
  put(t, dpu::LUT_INFO{.lut_lo_index_select = s.select[1], .lut_le_index_select = s.select[0]});
  put(t, dpu::LUT_LE_START{.lut_le_start = s.start[0]});
  put(t, dpu::LUT_LE_END{.lut_le_end = s.end[0]});
  put(t, dpu::LUT_LO_START{.lut_lo_start = s.start[1]});
  put(t, dpu::LUT_LO_END{.lut_lo_end = s.end[1]});
  const auto half = [](std::int32_t v) { return static_cast<std::uint16_t>(v); };
  put(t, dpu::LUT_LE_SLOPE_SCALE{.lut_le_slope_oflow_scale = half(s.overflow_scale[0]),
                                 .lut_le_slope_uflow_scale = half(s.underflow_scale[0])});
  put(t, dpu::LUT_LE_SLOPE_SHIFT{.lut_le_slope_oflow_shift = s.overflow_shift[0],
                                 .lut_le_slope_uflow_shift = s.underflow_shift[0]});
  put(t, dpu::LUT_LO_SLOPE_SCALE{.lut_lo_slope_oflow_scale = half(s.overflow_scale[1]),
                                 .lut_lo_slope_uflow_scale = half(s.underflow_scale[1])});
  put(t, dpu::LUT_LO_SLOPE_SHIFT{.lut_lo_slope_oflow_shift = s.overflow_shift[1],
                                 .lut_lo_slope_uflow_shift = s.underflow_shift[1]});
}

void put_dpu(Task& t, const Arena& arena, const FlyingSpec& s) {
  namespace dpu = rd::dpu;
  put(t, dpu::FEATURE_MODE_CFG{.burst_len = 15, .output_mode = 2, .flying_mode = 1});
  put(t, dpu::DATA_FORMAT{.out_precision = s.to_fp32 ? 5 : s.type,
                          .in_precision = s.type,
                          .proc_precision = s.type});
  put(t, dpu::DST_BASE_ADDR{.dst_base_addr = arena.address(s.dst)});
  put(t, dpu::DST_SURF_STRIDE{.dst_surf_stride = s.dst_plane / 16});
  put(t, dpu::DATA_CUBE_WIDTH{.width = s.width});
  put(t, dpu::DATA_CUBE_HEIGHT{.height = s.height});
  put(t, dpu::DATA_CUBE_NOTCH_ADDR{.notch_addr_1 = s.dst_notch, .notch_addr_0 = s.dst_notch});
  put(t, dpu::DATA_CUBE_CHANNEL{.orig_channel = s.channels(), .channel = s.channels()});
  put(t, dpu::BS_CFG::decode(0x53));
  put(t, dpu::BS_ALU_CFG{});
  put(t, dpu::BS_MUL_CFG{});
  put(t, dpu::BS_RELUX_CMP_VALUE{});
  put(t, dpu::BS_OW_CFG{});
  put(t, dpu::BS_OW_OP{});
  put(t, dpu::WDMA_SIZE_0{.channel_wdma = s.channels()});
  put(t, dpu::WDMA_SIZE_1{.height_wdma = s.height, .width_wdma = s.width});
  put(t, dpu::BN_CFG{.bn_alu_algo = 2,
                     .bn_relu_bypass = true,
                     .bn_mul_bypass = !s.bn_mul,
                     .bn_alu_bypass = !s.bn_alu,
                     .bn_bypass = !s.bn_mul && !s.bn_alu});
  put(t, dpu::BN_ALU_CFG{.bn_alu_operand = s.bn_alu_operand});
  put(t, dpu::BN_MUL_CFG{.bn_mul_operand = s.bn_mul_operand});
  put(t, dpu::BN_RELUX_CMP_VALUE{});
  const bool converts = s.type == kFp16 && !s.multiply && s.algo != 3;  // an fp16 ALU needs it
  put(t, dpu::EW_CFG{.ew_data_mode = s.ew ? 1u : 0u,
                     .edata_size = !s.ew            ? 0u
                                   : s.bytes() == 1 ? 1u
                                   : s.bytes() == 2 ? 2u
                                                    : 3u,
                     .ew_alu_algo = s.algo,
                     .ew_relu_bypass = !s.relu,
                     .ew_op_cvt_bypass = !converts,
                     .ew_lut_bypass = !s.lut,
                     .ew_op_src = s.ew ? 1u : 0u,
                     .ew_op_type = s.ew && s.multiply ? 1u : 0u,
                     .ew_op_bypass = !s.ew,
                     .ew_bypass = !s.ew && !s.lut && !s.relu});
  put(t, dpu::EW_CVT_OFFSET_VALUE{});
  put(t, dpu::EW_CVT_SCALE_VALUE{.ew_op_cvt_scale = 1});
  put(t, dpu::EW_RELUX_CMP_VALUE{});
  put(t, dpu::OUT_CVT_OFFSET{.out_cvt_offset = s.offset});
  put(t,
      dpu::OUT_CVT_SCALE{.fp32tofp16_en = s.type == kFp16 && !s.to_fp32, .out_cvt_scale = s.scale});
  put(t, dpu::OUT_CVT_SHIFT{.cvt_type = s.add_first ? 1u : 0u,
                            .cvt_round = s.away,
                            .minus_exp = s.minus_exp,
                            .out_cvt_shift = s.shift});
  put(t, dpu::SURFACE_ADD{});
  put(t, dpu::UNDOC_40C4{});
  if (s.lut) put_lut(t, s);
}

void put_rdma(Task& t, const Arena& arena, const FlyingSpec& s) {
  namespace rdma = rd::dpu_rdma;
  put(t, rdma::RDMA_DATA_CUBE_WIDTH{.width = s.width});
  put(t, rdma::RDMA_DATA_CUBE_HEIGHT{.height = s.height});
  put(t, rdma::RDMA_DATA_CUBE_CHANNEL{.channel = s.channels()});
  put(t, rdma::RDMA_SRC_BASE_ADDR{.src_base_addr = arena.address(s.src)});
  put(t, rdma::RDMA_BRDMA_CFG{});
  put(t, rdma::RDMA_BS_BASE_ADDR{});
  put(t, rdma::RDMA_NRDMA_CFG{});
  put(t, rdma::RDMA_BN_BASE_ADDR{});
  if (s.ew)
    put(t, rdma::RDMA_ERDMA_CFG{.erdma_data_mode = 1,
                                .erdma_data_size = s.bytes() == 1   ? 1u
                                                   : s.bytes() == 2 ? 2u
                                                                    : 3u});
  else
    put(t, rdma::RDMA_ERDMA_CFG{.erdma_disable = true});
  put(t, rdma::RDMA_EW_BASE_ADDR{.ew_base_addr = s.ew ? arena.address(s.operand) : 0});
  put(t, rdma::RDMA_EW_SURF_STRIDE{.ew_surf_stride = s.ew ? s.operand_plane / 16 : 0});
  put(t, rdma::RDMA_FEATURE_MODE_CFG{
             .in_precision = s.type,
             .burst_len = 15,
             .comb_use = s.comb_use,
             .proc_precision = s.type,
             .mrdma_fp16tofp32_en = s.type == kFp16 && !(s.ew && !s.multiply && s.algo == 3),
             .flying_mode = 1});
  put(t, rdma::RDMA_SRC_DMA_CFG{});
  put(t, rdma::RDMA_SURF_NOTCH{.surf_notch_addr = (s.src_plane - s.width * s.height * 16) / 16});
  put(t, rdma::RDMA_PAD_CFG{});
  put(t, rdma::RDMA_WEIGHT{.e_weight = 1, .n_weight = 1, .b_weight = 1, .m_weight = 1});
  put(t, rdma::RDMA_EW_SURF_NOTCH{});
}

}  // namespace

Task flying_task(const Arena& arena, const FlyingSpec& s) {
  Task t;
  put(t, rd::dpu::S_POINTER::decode(0xE));
  put(t, rd::dpu_rdma::RDMA_S_POINTER::decode(0xE));
  put_dpu(t, arena, s);
  put_rdma(t, arena, s);
  t.enable = rd::enable_mask::dpu | rd::enable_mask::dpu_rdma;
  t.may_drop = !s.lut;
  t.text = fmt::format(
      "flying type {}{} {}x{}x{}, EW {} algo {} mul {} relu {}, BN mul {} alu {}, notch {}, "
      "OUT_CVT {} >> {} + {} {}{}",
      s.type, s.lut ? " table" : "", s.height, s.width, s.channels(), s.ew, s.algo, s.multiply,
      s.relu, s.bn_mul, s.bn_alu, s.dst_notch, s.scale, s.shift, s.offset,
      s.add_first ? "(add first)" : "", s.to_fp32 ? " to fp32" : "");
  t.effect = [s](Image& image, PlainCbuf&) { flying_effect(s, image); };
  return t;
}

}  // namespace npu::sim::property
