// SPDX-License-Identifier: MIT
// DPU programs without a MAC array: element-wise operations and tables.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "conv_case.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/registers.hpp"

namespace npu::sim::test {
namespace {

namespace rd = npu::regdb;

// The program of compute.md 6.1 on flat vectors of `n` elements.
struct Flying {
  std::uint32_t type = 2;             // 0 int8, 1 int16, 2 fp16, 4 int32
  std::uint32_t ew_cfg = 0x108202C0;  // fp16 addition
  std::uint32_t comb_use = 0;
  std::uint32_t n = 64;
  bool operand = true;
  std::uint32_t bytes() const { return type == 0 ? 1 : type == 4 ? 4 : 2; }
  std::uint32_t atom() const { return 16 / bytes(); }
  std::uint32_t columns() const { return (n + atom() - 1) / atom(); }
};

rd::RegcmdStream body(const Flying& f) {
  rd::RegcmdStream s;
  const std::uint32_t size = f.type == 0 ? 1 : f.type == 4 ? 3 : 2;
  s.write(rd::dpu::S_POINTER::decode(0xE)).write(rd::dpu_rdma::RDMA_S_POINTER::decode(0xE));
  s.write(rd::dpu::FEATURE_MODE_CFG{.burst_len = 15, .output_mode = 2, .flying_mode = 1});
  s.write(rd::dpu::DATA_FORMAT{
      .out_precision = f.type, .in_precision = f.type, .proc_precision = f.type});
  s.write(rd::dpu::DST_BASE_ADDR{.dst_base_addr = kOutputIova});
  s.write(rd::dpu::DATA_CUBE_WIDTH{.width = f.columns()}).write(rd::dpu::DATA_CUBE_HEIGHT{});
  s.write(rd::dpu::DATA_CUBE_CHANNEL{.orig_channel = f.atom(), .channel = f.atom()});
  s.write(rd::dpu::BS_CFG::decode(0x53)).write(rd::dpu::BN_CFG::decode(0x53));
  s.write(rd::dpu::EW_CFG::decode(f.ew_cfg));
  s.write(rd::dpu::EW_CVT_SCALE_VALUE{.ew_op_cvt_scale = 1});
  s.write(rd::dpu::OUT_CVT_SCALE{.fp32tofp16_en = f.type == 2, .out_cvt_scale = 1});
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_WIDTH{.width = f.columns()});
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_HEIGHT{});
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_CHANNEL{.channel = f.atom()});
  s.write(rd::dpu_rdma::RDMA_SRC_BASE_ADDR{.src_base_addr = kInputIova});
  s.write(rd::dpu_rdma::RDMA_EW_BASE_ADDR{.ew_base_addr = kAddendIova});
  s.write(f.operand ? rd::dpu_rdma::RDMA_ERDMA_CFG{.erdma_data_mode = 1, .erdma_data_size = size}
                    : rd::dpu_rdma::RDMA_ERDMA_CFG{.erdma_disable = true});
  s.write(rd::dpu_rdma::RDMA_FEATURE_MODE_CFG{.in_precision = f.type,
                                              .burst_len = 15,
                                              .comb_use = f.comb_use,
                                              .proc_precision = f.type,
                                              .mrdma_fp16tofp32_en = f.type == 2,
                                              .flying_mode = 1});
  return s;
}

class FlyingTest : public ::testing::Test {
 protected:
  template <class T>
  std::vector<T> run(const Flying& f, const std::vector<T>& a, const std::vector<T>& b) {
    rd::RegcmdStream s = body(f);
    s.end(0x18);
    return run(f, s.words(), a, b);
  }
  template <class T>
  std::vector<T> run(const Flying& f, const std::vector<std::uint64_t>& words,
                     const std::vector<T>& a, const std::vector<T>& b) {
    bench.map(kInputIova, a.data(), a.size() * sizeof(T));
    bench.map(kAddendIova, b.data(), b.size() * sizeof(T), 1);
    bench.map(kOutputIova, nullptr, 0, std::size_t{f.columns()} * 16);
    done = bench.run(words);
    std::vector<T> out(f.n);
    std::memcpy(out.data(), bench.at(kOutputIova, out.size() * sizeof(T)), out.size() * sizeof(T));
    return out;
  }
  std::string fault() { return bench.chip.fault(0) ? bench.chip.fault(0)->where : "none"; }
  Bench bench;
  bool done = false;
};

std::vector<std::uint16_t> halves(std::mt19937& rng, std::size_t n) {
  std::normal_distribution<float> normal(0, 2);
  std::vector<std::uint16_t> out(n);
  for (auto& h : out) h = float_to_fp16(normal(rng));
  return out;
}

TEST_F(FlyingTest, Fp16OperationsAreExact) {
  std::mt19937 rng(1);
  const struct {
    std::uint32_t ew_cfg;
    float (*op)(float, float);
  } cases[] = {{0x108202C0, [](float a, float b) { return a + b; }},
               {0x108402C0, [](float a, float b) { return a - b; }},
               {0x108002C0, [](float a, float b) { return std::max(a, b); }},
               {0x108102C0, [](float a, float b) { return std::min(a, b); }},
               {0x108003C4, [](float a, float b) { return a * b; }}};
  for (const auto& c : cases) {
    Flying f;
    f.n = 1000;
    f.ew_cfg = c.ew_cfg;
    const auto a = halves(rng, f.n), b = halves(rng, f.n);
    const auto got = run(f, a, b);
    ASSERT_TRUE(done) << fault();
    for (std::size_t i = 0; i < f.n; ++i)
      ASSERT_EQ(got[i], float_to_fp16(c.op(fp16_to_float(a[i]), fp16_to_float(b[i])))) << i;
  }
}

// EW_CFG: per pixel, converter bypassed, operand from memory.
std::uint32_t int_cfg(std::uint32_t size, std::uint32_t algo, bool mul) {
  return 1u << 28 | size << 22 | algo << 16 | 1u << 9 | 1u << 8 | 1u << 7 | 1u << 6 |
         (mul ? 4u : 0u);
}

template <class T>
std::vector<T> random_integers(std::mt19937& rng, std::size_t n) {
  std::vector<T> out(n);
  for (auto& v : out) v = static_cast<T>(rng());
  return out;
}

class IntegerFlying : public FlyingTest {
 protected:
  template <class T>
  void expect_operations(std::uint32_t type, std::uint32_t size) {
    std::mt19937 rng(type + 10);
    const auto a = random_integers<T>(rng, 200), b = random_integers<T>(rng, 200);
    const std::int64_t low = std::numeric_limits<T>::min(), high = std::numeric_limits<T>::max();
    for (const std::uint32_t algo : {0u, 1u, 2u, 4u, 16u}) {
      const Flying f{.type = type, .ew_cfg = int_cfg(size, algo % 16, algo == 16), .n = 200};
      const auto got = run(f, a, b);
      ASSERT_TRUE(done) << fault();
      for (std::size_t i = 0; i < a.size(); ++i) {
        const std::int64_t x = a[i], y = b[i];
        // Boards read the second operand of an int32 product as signed int16.
        const std::int64_t factor = type == 4 ? static_cast<std::int16_t>(y) : y;
        const std::int64_t want = algo == 0   ? std::max(x, y)
                                  : algo == 1 ? std::min(x, y)
                                  : algo == 2 ? x + y
                                  : algo == 4 ? x - y
                                              : x * factor;
        ASSERT_EQ(got[i], std::clamp(want, low, high))
            << "type " << type << " algo " << algo << " at " << i;
      }
    }
  }
};

TEST_F(IntegerFlying, OperationsSaturateInEveryWidth) {
  expect_operations<std::int8_t>(0, 1);
  expect_operations<std::int16_t>(1, 2);
  expect_operations<std::int32_t>(4, 3);
}

// Table program of compute.md 5.6: sigmoid over +-6.31.
std::vector<std::uint64_t> sigmoid_program(const Flying& f) {
  rd::RegcmdStream s = body(f);
  const auto entry = [](double y) {
    return static_cast<std::uint32_t>(std::clamp(std::lround(y * 32768), 1l, 32767l));
  };
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  for (std::uint32_t id = 0; id < 2; ++id) {
    s.write(rd::dpu::LUT_ACCESS_CFG{.lut_access_type = true, .lut_table_id = id != 0});
    for (int i = 0; i <= 512; ++i)
      s.write(rd::dpu::LUT_ACCESS_DATA{.lut_access_data =
                                           entry(sigmoid((id == 0 ? i - 512 : i) * 32.0 / 2596))});
  }
  s.write(rd::dpu::BN_CFG::decode(0x20040));
  s.write(rd::dpu::BN_ALU_CFG::decode(0x80000000));
  s.write(rd::dpu::BN_MUL_CFG::decode(0x6912u << 16));
  s.write(rd::dpu::EW_CFG::decode(0x302));
  s.write(rd::dpu::OUT_CVT_OFFSET{.out_cvt_offset = 1});
  s.write(rd::dpu::OUT_CVT_SHIFT::decode(0x8000F000));
  s.write(rd::dpu::LUT_CFG::decode(0x68)).write(rd::dpu::LUT_INFO::decode(0x00050500));
  s.write(rd::dpu::LUT_LE_START{.lut_le_start = -16384}).write(rd::dpu::LUT_LE_END{});
  s.write(rd::dpu::LUT_LO_START{}).write(rd::dpu::LUT_LO_END{.lut_lo_end = 16384});
  s.write(rd::dpu::LUT_LE_SLOPE_SCALE::decode(23107))
      .write(rd::dpu::LUT_LE_SLOPE_SHIFT::decode(22));
  s.end(0x18);
  return s.words();
}

TEST_F(FlyingTest, SigmoidTableReachesTheAccuracySeenOnABoard) {
  Flying f;
  f.operand = false;
  f.n = 1024;
  std::vector<std::uint16_t> x(f.n);  // what the tables cover
  for (std::size_t i = 0; i < f.n; ++i) x[i] = float_to_fp16(static_cast<float>(i) / 82.0f - 6.24f);
  const auto got = run(f, sigmoid_program(f), x, {});
  ASSERT_TRUE(done) << fault();
  for (std::size_t i = 0; i < f.n; ++i) {
    const double v = static_cast<double>(fp16_to_float(x[i]));
    ASSERT_NEAR(static_cast<double>(fp16_to_float(got[i])), 1 / (1 + std::exp(-v)), 0.00146) << v;
  }
}

TEST_F(FlyingTest, SigmoidOfOneIsTheWorkedExample) {
  Flying f;
  f.operand = false;
  f.n = 8;
  const auto got = run(f, sigmoid_program(f), std::vector<std::uint16_t>(8, 0x3C00), {});
  ASSERT_TRUE(done) << fault();
  EXPECT_EQ(got[0], float_to_fp16(23956.0f / 32768.0f));  // compute.md 5.7 d
}

TEST_F(FlyingTest, ProgramsThatHangOnABoardHang) {
  const std::vector<std::uint16_t> a(64), b(64);
  Flying f;
  f.comb_use = 5;
  (void)run(f, a, b);
  EXPECT_EQ(fault(), "DPU_RDMA.RDMA_FEATURE_MODE_CFG.comb_use");
  bench.chip.reset(0);
  f = {};
  f.ew_cfg = 0x108002C4;  // multiplication with the converter live
  (void)run(f, a, b);
  EXPECT_EQ(fault(), "DPU.EW_CFG.ew_op_cvt_bypass");
  bench.chip.reset(0);
  f = {};
  f.operand = false;
  (void)run(f, a, b);
  EXPECT_EQ(fault(), "DPU_RDMA.RDMA_ERDMA_CFG.erdma_disable");
}

TEST_F(FlyingTest, LanesAboveOrigChannelAreNotRight) {
  Flying f;
  rd::RegcmdStream s = body(f);
  s.write(rd::dpu::DATA_CUBE_CHANNEL{.orig_channel = 1, .channel = 8});
  s.end(0x18);
  const std::vector<std::uint16_t> one(64, 0x3C00);
  const auto got = run(f, s.words(), one, one);
  ASSERT_TRUE(done) << fault();
  EXPECT_EQ(got[0], 0x4000);
  EXPECT_EQ(got[8], 0x4000);
  EXPECT_NE(got[1], 0x4000);
}

}  // namespace
}  // namespace npu::sim::test
