// SPDX-License-Identifier: MIT
// Table programs on int8 cubes, with the registers of the vendor's programs and the gates that they
// pass on a board [iree-rocket activation.rs, tests lut_hw, ew_square_hw, lut_multi_surface_hw].
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>

#include "board.hpp"
#include "regdb/registers.hpp"

namespace npu::sim::programs {
namespace {

namespace rd = npu::regdb;

// 16 bits of multiplier and the shift that makes them `v`.
struct Multiplier {
  explicit Multiplier(double v)
      : shift(static_cast<std::uint32_t>(14 - static_cast<int>(std::floor(std::log2(v))))),
        operand(static_cast<std::int32_t>(std::lround(std::ldexp(v, static_cast<int>(shift))))) {}
  std::uint32_t shift;
  std::int32_t operand;
};

struct Curve {
  double (*f)(double);
  double steps;  // index units for an input of 1
  bool floored = false;
};

struct Shape {
  std::uint32_t width = 4, height = 4, channels = 16;
  double in_scale = 1.0 / 32, out_scale = 1.0 / 128;
  std::int32_t zero_point = 0;
  std::uint32_t bytes() const { return width * height * ((channels + 15) / 16 * 16); }
};

std::vector<std::uint64_t> program(const Curve& curve, const Shape& p, std::uint32_t in,
                                   std::uint32_t out) {
  rd::RegcmdStream s;
  const std::uint32_t channels = (p.channels + 15) / 16 * 16, area = p.width * p.height;
  const Multiplier bn(p.in_scale * curve.steps), cvt(1 / (32768 * p.out_scale));
  s.write(rd::dpu::S_POINTER::decode(0xE)).write(rd::dpu_rdma::RDMA_S_POINTER::decode(0xE));
  s.write(rd::dpu::FEATURE_MODE_CFG{.burst_len = 15, .output_mode = 2, .flying_mode = 1});
  s.write(rd::dpu::DATA_FORMAT{.bn_mul_shift_value_neg = bn.shift});
  s.write(rd::dpu::DST_BASE_ADDR{.dst_base_addr = out});
  s.write(rd::dpu::DST_SURF_STRIDE{.dst_surf_stride = area});
  s.write(rd::dpu::DATA_CUBE_WIDTH{.width = p.width});
  s.write(rd::dpu::DATA_CUBE_HEIGHT{.height = p.height});
  s.write(rd::dpu::DATA_CUBE_CHANNEL{.orig_channel = p.channels, .channel = channels});
  s.write(rd::dpu::BS_CFG::decode(0x53)).write(rd::dpu::BS_OW_CFG::decode(2));
  s.write(rd::dpu::WDMA_SIZE_0::decode(channels - 1));
  s.write(rd::dpu::WDMA_SIZE_1::decode((p.height - 1) << 16 | (p.width - 1)));
  s.write(rd::dpu::BN_CFG::decode(0x20040));
  s.write(rd::dpu::BN_ALU_CFG::decode(static_cast<std::uint32_t>(-p.zero_point * bn.operand)));
  s.write(
      rd::dpu::BN_MUL_CFG::decode(static_cast<std::uint32_t>(bn.operand) << 16 | bn.shift << 8));
  s.write(rd::dpu::EW_CFG::decode(curve.floored ? 0x300 : 0x302));
  s.write(rd::dpu::EW_CVT_SCALE_VALUE{.ew_op_cvt_scale = 1});
  s.write(rd::dpu::OUT_CVT_SCALE{.out_cvt_scale = cvt.operand});
  s.write(rd::dpu::OUT_CVT_SHIFT{.out_cvt_shift = cvt.shift});
  s.write(rd::dpu::SURFACE_ADD{.surf_add = area});
  for (std::uint32_t id = 0; id < 2; ++id) {
    s.write(rd::dpu::LUT_ACCESS_CFG{.lut_access_type = true, .lut_table_id = id != 0});
    for (int i = 0; i <= 512; ++i) {
      const double y = curve.f((32 * i - (id == 0 ? 16384 : 0)) / curve.steps);
      s.write(rd::dpu::LUT_ACCESS_DATA{.lut_access_data = static_cast<std::uint16_t>(
                                           std::clamp(std::lround(y * 32768), -32768L, 32767L))});
    }
  }
  s.write(rd::dpu::LUT_CFG::decode(0x68)).write(rd::dpu::LUT_INFO::decode(0x00050500));
  s.write(rd::dpu::LUT_LE_START{.lut_le_start = -16384});
  s.write(rd::dpu::LUT_LO_END{.lut_lo_end = 16384});
  s.write(rd::dpu::LUT_LE_SLOPE_SCALE::decode(curve.floored ? 23107 : 0));
  s.write(rd::dpu::LUT_LE_SLOPE_SHIFT::decode(curve.floored ? 22 : 0));
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_WIDTH{.width = p.width});
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_HEIGHT{.height = p.height});
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_CHANNEL{.channel = channels});
  s.write(rd::dpu_rdma::RDMA_SRC_BASE_ADDR{.src_base_addr = in});
  s.write(rd::dpu_rdma::RDMA_ERDMA_CFG{.erdma_disable = true});
  s.write(rd::dpu_rdma::RDMA_FEATURE_MODE_CFG{.burst_len = 15, .flying_mode = 1});
  s.write(rd::dpu_rdma::RDMA_WEIGHT::decode(0x01010101));
  s.end(0x18);
  return s.words();
}

// Every code in turn; errors in units of the output's last place.
void expect_within(const Curve& curve, const Shape& p, double most) {
  std::vector<std::int8_t> x(p.bytes());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<std::int8_t>(i * 37);
  Board board;
  const std::uint32_t in = board.put(x), out = board.room(x.size());
  ASSERT_TRUE(board.run(program(curve, p, in, out))) << board.message();
  const auto y = board.get<std::int8_t>(out, x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double want =
        std::clamp(curve.f((x[i] - p.zero_point) * p.in_scale) / p.out_scale, -128.0, 127.0);
    ASSERT_NEAR(y[i], want, most) << "code " << int{x[i]} << " at " << i;
  }
}

constexpr auto kTanh = [](double x) { return std::tanh(x); };
constexpr auto kErf = [](double x) { return std::erf(x); };
constexpr auto kSquare = [](double x) { return x * x; };
constexpr auto kSigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
constexpr auto kExp = [](double x) { return std::exp(std::min(x, 0.0)); };

TEST(Int8Tables, CurvesStayWithinTheirGates) {
  expect_within({kTanh, 5425.193}, {}, 2);
  expect_within({kErf, 4096}, {}, 2);
  expect_within({kSquare, 16384}, {.in_scale = 1.0 / 128}, 2);
  expect_within({kSigmoid, 2596.513, true}, {}, 2);
  expect_within({kExp, 3276.7184}, {}, 2);
}

TEST(Int8Tables, SurfacesFollowEachOther) {
  const std::uint32_t shapes[][3] = {{4, 4, 32}, {3, 5, 48}, {14, 14, 64}};
  for (const auto& s : shapes)
    expect_within({kTanh, 5425.193}, {.width = s[0], .height = s[1], .channels = s[2]}, 2);
}

TEST(Int8Tables, TheAddendOfAZeroPointIsInUnitsOfTheProduct) {
  for (const std::int32_t zero_point : {-128, -2, 42, 127})
    expect_within({kTanh, 5425.193}, {.in_scale = 0.0125490196, .zero_point = zero_point}, 2);
}

}  // namespace
}  // namespace npu::sim::programs
