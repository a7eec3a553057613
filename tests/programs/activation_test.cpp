// SPDX-License-Identifier: MIT
// A table behind a convolution gives what the same table gives on the convolution's output in a
// second job [userspace tests/conv_act_rocket.c, HW: at most 0.02 apart, the fault at zero alike].
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "board.hpp"
#include "cube_task.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/registers.hpp"

namespace npu::sim::test {
namespace {

namespace rd = npu::regdb;

// Tables of f over [-16384, 16384] steps of the index, 2^14 standing for 1. `offset` keeps the
// entries above zero: what the element-wise unit does behind a table cuts negative ones off.
LutEpilogue tables(const std::function<double(double)>& f, double scale, std::int32_t offset) {
  LutEpilogue l;
  const auto entry = [&](double index) {
    return static_cast<std::int16_t>(
        std::clamp(std::nearbyint(f(index / scale) * 16384.0) - offset, -32768.0, 32767.0));
  };
  for (int i = 0; i <= 512; ++i) {
    l.le.push_back(entry((i - 512) * 32.0));
    l.lo.push_back(entry(i * 32.0));
  }
  l.bn_mul_operand = float_to_fp16(static_cast<float>(scale));
  l.out_cvt_offset = static_cast<std::uint32_t>(offset);
  l.minus_exp = 14;
  return l;
}

// The library's stand-alone table program for `n` fp16 elements, a multiple of 8.
std::vector<std::uint64_t> flying_program(const LutEpilogue& l, std::uint32_t n, std::uint32_t in,
                                          std::uint32_t out) {
  rd::RegcmdStream s;
  const auto dpu = [&](std::uint16_t offset, std::uint32_t value) { s.raw(0x1001, value, offset); };
  const auto rdma = [&](std::uint16_t offset, std::uint32_t value) {
    s.raw(0x2001, value, offset);
  };
  const std::uint32_t columns = n / 8;
  dpu(rd::dpu::S_POINTER::offset, 0xE);
  rdma(rd::dpu_rdma::RDMA_S_POINTER::offset, 0xE);
  for (const bool lo : {false, true}) {
    dpu(rd::dpu::LUT_ACCESS_CFG::offset, 1u << 17 | (lo ? 1u << 16 : 0u));
    for (const std::int16_t entry : lo ? l.lo : l.le)
      dpu(rd::dpu::LUT_ACCESS_DATA::offset, static_cast<std::uint16_t>(entry));
  }
  dpu(rd::dpu::FEATURE_MODE_CFG::offset, 0x1E5);
  dpu(rd::dpu::DATA_FORMAT::offset, 0x48000002);
  dpu(rd::dpu::DST_BASE_ADDR::offset, out);
  dpu(rd::dpu::DST_SURF_STRIDE::offset, columns << 4);
  dpu(rd::dpu::DATA_CUBE_WIDTH::offset, columns - 1);
  dpu(rd::dpu::DATA_CUBE_HEIGHT::offset, 0);
  dpu(rd::dpu::DATA_CUBE_CHANNEL::offset, 0x00070007);
  dpu(rd::dpu::BS_CFG::offset, 0x53);
  dpu(rd::dpu::BS_OW_CFG::offset, 2);
  dpu(rd::dpu::WDMA_SIZE_0::offset, 7);
  dpu(rd::dpu::WDMA_SIZE_1::offset, columns - 1);
  dpu(rd::dpu::BN_CFG::offset, 0x20040);
  dpu(rd::dpu::BN_ALU_CFG::offset, l.bn_alu_cfg);
  dpu(rd::dpu::BN_MUL_CFG::offset, std::uint32_t{l.bn_mul_operand} << 16);
  dpu(rd::dpu::EW_CFG::offset, 0x300);
  dpu(rd::dpu::EW_CVT_SCALE_VALUE::offset, 1);
  dpu(rd::dpu::OUT_CVT_OFFSET::offset, l.out_cvt_offset);
  dpu(rd::dpu::OUT_CVT_SCALE::offset, 1u << 16 | l.out_cvt_scale);
  dpu(rd::dpu::OUT_CVT_SHIFT::offset, 1u << 31 | l.minus_exp << 12);
  dpu(rd::dpu::SURFACE_ADD::offset, columns << 4);
  dpu(rd::dpu::UNDOC_40C4::offset, 0);
  dpu(rd::dpu::LUT_CFG::offset, 0x68);
  dpu(rd::dpu::LUT_INFO::offset, l.index_select << 16 | l.index_select << 8);
  dpu(rd::dpu::LUT_LE_START::offset, l.le_start);
  dpu(rd::dpu::LUT_LO_END::offset, l.lo_end);
  dpu(rd::dpu::LUT_LE_SLOPE_SCALE::offset, l.le_slope_scale);
  dpu(rd::dpu::LUT_LE_SLOPE_SHIFT::offset, l.le_slope_shift);
  dpu(rd::dpu::LUT_LO_SLOPE_SCALE::offset, l.lo_slope_scale);
  dpu(rd::dpu::LUT_LO_SLOPE_SHIFT::offset, l.lo_slope_shift);
  rdma(rd::dpu_rdma::RDMA_DATA_CUBE_WIDTH::offset, columns - 1);
  rdma(rd::dpu_rdma::RDMA_DATA_CUBE_HEIGHT::offset, 0);
  rdma(rd::dpu_rdma::RDMA_DATA_CUBE_CHANNEL::offset, 7);
  rdma(rd::dpu_rdma::RDMA_SRC_BASE_ADDR::offset, in);
  rdma(rd::dpu_rdma::RDMA_ERDMA_CFG::offset, 1);
  rdma(rd::dpu_rdma::RDMA_FEATURE_MODE_CFG::offset, 0x17849);
  rdma(rd::dpu_rdma::RDMA_WEIGHT::offset, 0x01010101);
  s.end(0x18);
  return s.words();
}

struct Case {
  Board board;
  CubeTask task;
  Board::Buffer plain, fused;
  std::uint32_t elements = 0;
};

// Operands are multiples of 1/16, so that the sums are exact in fp16 as well as in fp32.
void prepare(Case& c, const ConvShape2d& s, unsigned seed) {
  std::mt19937 rng(seed);
  std::uniform_int_distribution<int> draw(-2, 2);
  c.task = conv_fp16(s, code::fp16);
  const auto in = c.board.alloc(std::size_t{s.channels} * s.in_height * s.in_width * 2);
  const auto w =
      c.board.alloc(std::size_t{s.kernels} * s.channels * s.kernel_height * s.kernel_width * 2);
  for (std::size_t i = 0; i < std::size_t{s.channels} * s.in_height * s.in_width; ++i)
    in.as<std::uint16_t>()[i] = float_to_fp16(static_cast<float>(draw(rng)));
  for (std::size_t i = 0;
       i < std::size_t{s.kernels} * s.channels * s.kernel_height * s.kernel_width; ++i)
    w.as<std::uint16_t>()[i] = float_to_fp16(static_cast<float>(draw(rng)) / 16);
  c.elements = s.kernels * c.task.out_height * c.task.out_width;
  c.plain = c.board.alloc(c.elements * 2, 0xAA);
  c.fused = c.board.alloc(c.elements * 2, 0xAA);
  c.task.input = in.iova;
  c.task.weights = w.iova;
}

double tanh_of(double x) { return std::tanh(x); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST(ConvActivation, AddsExactlyTheTablesToTheProgram) {
  CubeTask plain = conv_fp16({32, 8, 8, 16, 3, 3, 1, 1, 1, 1}, code::fp16);
  CubeTask fused = plain;
  fused.lut = tables(tanh_of, 2596, -16384);
  EXPECT_EQ(emit(fused).size(), emit(plain).size() + 1026);
}

TEST(ConvActivation, EqualsTheTableOnTheStoredOutput) {
  const ConvShape2d shapes[] = {
      {64, 8, 8, 64, 1, 1}, {32, 8, 8, 16, 3, 3, 1, 1, 1, 1}, {64, 10, 12, 32, 3, 3, 2, 2, 1, 1}};
  for (const ConvShape2d& s : shapes)
    for (const bool signed_table : {false, true}) {
      Case c;
      prepare(c, s, s.kernels);
      const LutEpilogue l =
          signed_table ? tables(tanh_of, 2596, -16384) : tables(sigmoid, 1298, -1);
      c.task.output = c.plain.iova;
      ASSERT_TRUE(c.board.run(emit(c.task))) << c.board.fault();
      c.task.output = c.fused.iova;
      c.task.lut = l;
      ASSERT_TRUE(c.board.run(emit(c.task))) << c.board.fault();
      const auto second = c.board.alloc(c.elements * 2, 0xAA);
      ASSERT_TRUE(c.board.run(flying_program(l, c.elements, c.plain.iova, second.iova)))
          << c.board.fault();
      std::size_t spikes = 0;
      for (std::uint32_t i = 0; i < c.elements; ++i) {
        const float x = fp16_to_float(c.plain.as<std::uint16_t>()[i]);
        const float got = fp16_to_float(c.fused.as<std::uint16_t>()[i]);
        ASSERT_EQ(c.fused.as<std::uint16_t>()[i], second.as<std::uint16_t>()[i]) << "x = " << x;
        const double want = signed_table ? std::tanh(x) : sigmoid(x);
        const bool spike = std::abs(got - want) > 0.5;
        // A table value of zero decodes as 2^17, here 8: at x = 0 of a signed function.
        if (spike) {
          EXPECT_EQ(got, 8.0f);
          EXPECT_EQ(x, 0.0f);
        } else {
          ASSERT_NEAR(got, want, 0.01) << "x = " << x;
        }
        spikes += spike;
      }
      EXPECT_EQ(spikes > 0, signed_table);
    }
}

TEST(ConvActivation, TablesOfAnEarlierStartAreNotThere) {
  Case c;
  prepare(c, {64, 8, 8, 64, 1, 1}, 1);
  c.task.output = c.fused.iova;
  c.task.lut = tables(sigmoid, 1298, -1);
  ASSERT_TRUE(c.board.run(emit(c.task))) << c.board.fault();
  c.task.lut->le.clear();
  c.task.lut->lo.clear();
  EXPECT_FALSE(c.board.run(emit(c.task)));
  EXPECT_NE(c.board.fault().find("LUT_ACCESS_DATA"), std::string::npos);
}

}  // namespace
}  // namespace npu::sim::test
