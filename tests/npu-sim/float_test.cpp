// SPDX-License-Identifier: MIT
// fp16, bf16, tf32 and int4 matrix products against plain loops.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <functional>

#include "conv_case.hpp"
#include "npu-sim/float_types.hpp"
#include "npu-sim/mac_float.hpp"
#include "regdb/registers.hpp"

namespace npu::sim::test {
namespace {

namespace rd = npu::regdb;

// A GEMM program in the cube form of compute.md 2.3, for any operand type.
struct GemmTypes {
  std::uint32_t in, dpu, out;       // precision codes
  std::uint32_t bits, out_bytes;    // of an element
  std::uint32_t kernels, channels;  // of a weight block
  bool to_fp16 = false;
};
constexpr GemmTypes kFp16{2, 2, 5, 16, 4, 16, 32}, kFp16Out{2, 2, 2, 16, 2, 16, 32, true},
    kBf16{3, 3, 5, 16, 4, 16, 32}, kTf32{7, 5, 5, 32, 4, 16, 16}, kInt4{6, 6, 1, 4, 2, 64, 32};

std::vector<std::uint64_t> gemm_program(const GemmTypes& t, std::uint32_t m, std::uint32_t n,
                                        std::uint32_t k) {
  rd::RegcmdStream s;
  const std::uint32_t bytes = k * t.bits / 8, planes = t.kernels * t.out_bytes / 16;
  s.write(rd::dpu::S_POINTER::decode(0xE)).write(rd::dpu_rdma::RDMA_S_POINTER::decode(0xE));
  s.write(rd::cna::CBUF_CON0{.weight_bank = 8, .data_bank = 4});
  s.write(rd::cna::CONV_CON1{.proc_precision = t.in, .in_precision = t.in});
  s.write(rd::cna::CONV_CON3{.conv_y_stride = 1, .conv_x_stride = 1});
  s.write(rd::cna::DATA_SIZE0{.datain_width = 1, .datain_height = m});
  s.write(rd::cna::DATA_SIZE1{.datain_channel_real = k, .datain_channel = k});
  s.write(rd::cna::DATA_SIZE2{.dataout_width = 1}).write(rd::cna::DATA_SIZE3{.dataout_atomics = m});
  s.write(rd::cna::WEIGHT_SIZE0{.weight_bytes = n * bytes});
  s.write(rd::cna::WEIGHT_SIZE1{.weight_bytes_per_kernel = bytes});
  s.write(rd::cna::WEIGHT_SIZE2{.weight_width = 1, .weight_height = 1, .weight_kernels = n});
  s.write(rd::cna::CVT_CON0{.data_sign = true, .cvt_type = 1, .cvt_bypass = true});
  s.write(rd::cna::FEATURE_DATA_ADDR{.feature_base_addr = kInputIova});
  s.write(rd::cna::DMA_CON1{.line_stride = 4});
  s.write(rd::cna::DMA_CON2{.surf_stride = static_cast<std::int32_t>(m) - 4});
  s.write(rd::cna::DCOMP_ADDR0{.decompress_addr0 = kWeightsIova});
  s.write(rd::core::MISC_CFG{.proc_precision = t.in, .qd_en = t.in != 6});
  s.write(rd::core::DATAOUT_SIZE_0{.dataout_height = m, .dataout_width = 1});
  s.write(rd::core::DATAOUT_SIZE_1{.dataout_channel = n});
  s.write(rd::dpu::FEATURE_MODE_CFG{.burst_len = 15, .output_mode = 2});
  s.write(
      rd::dpu::DATA_FORMAT{.out_precision = t.out, .in_precision = t.dpu, .proc_precision = t.dpu});
  s.write(rd::dpu::DST_BASE_ADDR{.dst_base_addr = kOutputIova});
  s.write(rd::dpu::DST_SURF_STRIDE{.dst_surf_stride = m});
  s.write(rd::dpu::DATA_CUBE_WIDTH{.width = 1}).write(rd::dpu::DATA_CUBE_HEIGHT{.height = m});
  s.write(rd::dpu::DATA_CUBE_CHANNEL{.orig_channel = n, .channel = n});
  s.write(rd::dpu::BS_CFG::decode(0x53)).write(rd::dpu::BN_CFG::decode(0x53));
  s.write(rd::dpu::BS_OW_CFG{
      .size_e_2 = planes - 1, .size_e_1 = planes - 1, .size_e_0 = planes - 1, .od_bypass = true});
  s.write(rd::dpu::EW_CFG::decode(0x383));
  s.write(rd::dpu::OUT_CVT_SCALE{.fp32tofp16_en = t.to_fp16, .out_cvt_scale = 1});
  s.write(rd::dpu::SURFACE_ADD{.surf_add = m * planes});
  s.write(rd::dpu_rdma::RDMA_ERDMA_CFG{.erdma_disable = true});
  s.write(rd::dpu_rdma::RDMA_FEATURE_MODE_CFG{.burst_len = 15, .mrdma_disable = true});
  if (s.size() % 2 != 0) s.word(0);
  s.end(0x1D);
  return s.words();
}

void store_bits(std::vector<std::uint8_t>& out, std::size_t index, const GemmTypes& t, float v) {
  if (t.in == 2) {
    const std::uint16_t h = float_to_fp16(v);
    std::memcpy(out.data() + index * 2, &h, 2);
  } else if (t.in == 3) {
    const auto h = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(v) >> 16);
    std::memcpy(out.data() + index * 2, &h, 2);
  } else if (t.in == 7) {
    std::memcpy(out.data() + index * 4, &v, 4);
  } else {
    const auto nibble = static_cast<std::uint8_t>(static_cast<int>(v) & 0xF);
    out[index / 2] = static_cast<std::uint8_t>(out[index / 2] | nibble << (index % 2 * 4));
  }
}

struct Gemm {
  std::uint32_t m, n, k;
  std::vector<float> a, b;  // [m][k], [n][k]
};

// Runs on a chip; result [m][n] as double.
std::vector<double> simulate(const GemmTypes& t, const Gemm& g) {
  std::vector<std::uint8_t> a(g.a.size() * t.bits / 8), b(g.b.size() * t.bits / 8);
  const std::uint32_t c2 = 128 / t.bits, c2o = 16 / t.out_bytes;
  for (std::uint32_t m = 0; m < g.m; ++m)
    for (std::uint32_t k = 0; k < g.k; ++k)
      store_bits(a, (std::size_t{k / c2} * g.m + m) * c2 + k % c2, t, g.a[m * g.k + k]);
  for (std::uint32_t n = 0; n < g.n; ++n)
    for (std::uint32_t k = 0; k < g.k; ++k)
      store_bits(b,
                 (std::size_t{n / t.kernels} * (g.k / t.channels) + k / t.channels) * t.kernels *
                         t.channels +
                     n % t.kernels * t.channels + k % t.channels,
                 t, g.b[n * g.k + k]);
  Bench bench;
  bench.map(kInputIova, a.data(), a.size());
  bench.map(kWeightsIova, b.data(), b.size());
  bench.map(kOutputIova, nullptr, 0, std::size_t{g.m} * g.n * t.out_bytes);
  EXPECT_TRUE(bench.run(gemm_program(t, g.m, g.n, g.k)))
      << (bench.chip.fault(0) ? bench.chip.fault(0)->message : "no fault");
  std::vector<double> out(std::size_t{g.m} * g.n);
  const std::byte* c = bench.at(kOutputIova, out.size() * t.out_bytes);
  for (std::uint32_t m = 0; m < g.m; ++m)
    for (std::uint32_t n = 0; n < g.n; ++n) {
      const std::byte* e = c + ((std::size_t{n / c2o} * g.m + m) * c2o + n % c2o) * t.out_bytes;
      double value = 0;
      if (t.out == 5) {
        float f;
        std::memcpy(&f, e, 4);
        value = static_cast<double>(f);
      } else {
        std::uint16_t h;
        std::memcpy(&h, e, 2);
        value = t.out == 2 ? static_cast<double>(fp16_to_float(h)) : static_cast<std::int16_t>(h);
      }
      out[std::size_t{m} * g.n + n] = value;
    }
  return out;
}

// The board's model, with 128-bit integers for the exact sums: groups of `group` products.
float reference(const Gemm& g, std::uint32_t m, std::uint32_t n, std::uint32_t group) {
  float total = 0;
  for (std::uint32_t first = 0; first < g.k; first += group) {
    __int128 sum = 0;  // in units of 2^-60
    for (std::uint32_t k = first; k < first + group; ++k) {
      const double product =
          static_cast<double>(g.a[m * g.k + k]) * static_cast<double>(g.b[n * g.k + k]);
      sum += static_cast<__int128>(std::ldexp(product, 60));
    }
    // Round to 24 bits, ties to even.
    const bool negative = sum < 0;
    unsigned __int128 magnitude = static_cast<unsigned __int128>(negative ? -sum : sum);
    int exponent = -60;
    bool sticky = false, round = false;
    while (magnitude >> 24 != 0) {
      sticky = sticky || round;
      round = (magnitude & 1) != 0;
      magnitude >>= 1;
      ++exponent;
    }
    if (round && (sticky || (magnitude & 1) != 0)) ++magnitude;
    const float rounded =
        std::ldexp(static_cast<float>(static_cast<std::uint32_t>(magnitude)), exponent);
    total += negative ? -rounded : rounded;
  }
  return total;
}

Gemm random_gemm(std::mt19937& rng, std::uint32_t m, std::uint32_t n, std::uint32_t k,
                 const std::function<float(float)>& quantise, bool wide) {
  std::normal_distribution<float> normal;
  std::uniform_int_distribution<int> exponent(-10, 4);
  const auto draw = [&] {
    const float v = normal(rng);
    return quantise(wide ? std::ldexp(v, exponent(rng)) : v);
  };
  Gemm g{m, n, k, std::vector<float>(std::size_t{m} * k), std::vector<float>(std::size_t{n} * k)};
  for (float& v : g.a) v = draw();
  for (float& v : g.b) v = draw();
  return g;
}

float to_fp16(float v) { return fp16_to_float(float_to_fp16(v)); }

TEST(FloatGemm, Fp16EqualsTheBoardsModelBitForBit) {
  std::mt19937 rng(1);
  for (const bool wide : {false, true}) {
    const Gemm g = random_gemm(rng, 13, 48, 96, to_fp16, wide);
    const auto got = simulate(kFp16, g);
    for (std::uint32_t m = 0; m < g.m; ++m)
      for (std::uint32_t n = 0; n < g.n; ++n)
        ASSERT_EQ(got[m * g.n + n], static_cast<double>(reference(g, m, n, 32)))
            << "m " << m << " n " << n << " wide " << wide;
  }
}

TEST(FloatGemm, KernelsThatChangeBetweenTasksAreReadAgain) {
  constexpr std::uint32_t kM = 4, kN = 32, kK = 64;
  const std::vector<std::uint16_t> ones(kM * kK, 0x3C00), kernels(kN * kK, 0x3C00);
  Bench bench;
  bench.map(kInputIova, ones.data(), ones.size() * 2);
  bench.map(kWeightsIova, kernels.data(), kernels.size() * 2);
  bench.map(kOutputIova, nullptr, 0, std::size_t{kM} * kN * 4);
  const auto words = gemm_program(kFp16, kM, kN, kK);
  const auto output = [&](std::uint32_t n) {
    EXPECT_TRUE(bench.run(words));
    float v;
    std::memcpy(&v, bench.at(kOutputIova, kM * kN * 4) + (n / 4 * kM * 4 + n % 4) * 4, 4);
    return v;
  };
  EXPECT_EQ(output(31), 64.0f);
  EXPECT_EQ(output(31), 64.0f);
  // The last value of the last kernel: 1 becomes 3.
  const std::uint16_t three = 0x4200;
  std::memcpy(bench.at(kWeightsIova, kN * kK * 2) + (kN * kK - 1) * 2, &three, 2);
  EXPECT_EQ(output(31), 66.0f);
  EXPECT_EQ(output(30), 64.0f);
}

TEST(FloatGemm, Fp16OutputIsTheSumRoundedOnceMore) {
  std::mt19937 rng(2);
  const Gemm g = random_gemm(rng, 8, 32, 64, to_fp16, false);
  const auto wide = simulate(kFp16, g), narrow = simulate(kFp16Out, g);
  for (std::size_t i = 0; i < wide.size(); ++i)
    ASSERT_EQ(narrow[i], static_cast<double>(to_fp16(static_cast<float>(wide[i]))));
}

TEST(FloatGemm, SmallIntegersAreExactInEveryType) {
  std::mt19937 rng(3);
  std::uniform_int_distribution<int> small(-8, 7);
  for (const GemmTypes& t : {kFp16, kBf16, kTf32, kInt4}) {
    Gemm g{12, 64, 64, std::vector<float>(12 * 64), std::vector<float>(64 * 64)};
    for (float& v : g.a) v = static_cast<float>(small(rng));
    for (float& v : g.b) v = static_cast<float>(small(rng));
    const auto got = simulate(t, g);
    for (std::uint32_t m = 0; m < g.m; ++m)
      for (std::uint32_t n = 0; n < g.n; ++n) {
        double want = 0;
        for (std::uint32_t k = 0; k < g.k; ++k)
          want += static_cast<double>(g.a[m * g.k + k]) * static_cast<double>(g.b[n * g.k + k]);
        ASSERT_EQ(got[m * g.n + n], want) << "precision " << t.in << " m " << m << " n " << n;
      }
  }
}

TEST(FloatGemm, Bf16AndTf32StayCloseToADoubleReference) {
  std::mt19937 rng(4);
  const auto to_bf16 = [](float v) {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(v) & 0xFFFF0000);
  };
  const auto check = [](const Gemm& g, const std::vector<double>& got) {
    for (std::uint32_t m = 0; m < g.m; ++m)
      for (std::uint32_t n = 0; n < g.n; ++n) {
        double want = 0, scale = 0;
        for (std::uint32_t k = 0; k < g.k; ++k) {
          const double p =
              static_cast<double>(g.a[m * g.k + k]) * static_cast<double>(g.b[n * g.k + k]);
          want += p;
          scale += std::abs(p);
        }
        ASSERT_LE(std::abs(got[m * g.n + n] - want), 1e-6 * scale);
      }
  };
  const Gemm b = random_gemm(rng, 9, 32, 128, to_bf16, true);
  check(b, simulate(kBf16, b));
  const Gemm t = random_gemm(rng, 9, 32, 128, round_to_tf32, true);
  check(t, simulate(kTf32, t));
}

TEST(FloatGemm, Int4SaturatesToInt16) {
  Gemm g{4, 64, 1024, std::vector<float>(4 * 1024, -8.0f), std::vector<float>(64 * 1024, -8.0f)};
  for (const double v : simulate(kInt4, g)) ASSERT_EQ(v, 32767);
}

TEST(FloatTypes, EveryFp16SurvivesTheRoundTrip) {
  for (std::uint32_t h = 0; h < 0x10000; ++h) {
    const auto half = static_cast<std::uint16_t>(h);
    const float f = fp16_to_float(half);
    if (std::isnan(f)) continue;
    ASSERT_EQ(float_to_fp16(f), half);
  }
}

// One group of every lane and kernel through mac_float_groups, with the ranges of the operands.
struct OneGroup {
  explicit OneGroup(std::size_t depth_) : depth(static_cast<std::uint8_t>(depth_)) {}
  std::uint8_t depth;
  std::size_t lanes = float_lanes();
  std::vector<float> x = std::vector<float>(lanes * kFloatDepth);          // [lane][depth]
  std::vector<float> w = std::vector<float>(kFloatKernels * kFloatDepth);  // [kernel][depth]

  std::vector<float> run(std::size_t live, bool claim_wide) const {
    std::vector<double> xd(kFloatDepth * lanes), wd(w.begin(), w.end()), bound(lanes);
    FloatRange all;
    for (std::size_t p = 0; p < live; ++p) {
      const FloatRange one = float_range(x.data() + p * kFloatDepth, depth, 10, -24);
      all.merge(one);
      bound[p] = one.top < one.bottom ? 0.0 : std::ldexp(1.0, one.top);
      for (std::size_t c = 0; c < depth; ++c)
        xd[c * lanes + p] = static_cast<double>(x[p * kFloatDepth + c]);
    }
    FloatRange weights = float_range(w.data(), w.size(), 10, -24);
    if (claim_wide) weights.bottom = static_cast<std::int16_t>(weights.bottom - 60);
    std::vector<float> acc(kFloatKernels * lanes);
    mac_float_groups({1, xd.data(), wd.data(), &depth, &all, bound.data(), &weights}, live,
                     acc.data());
    return acc;
  }

  float want(std::size_t lane, std::size_t kernel) const {
    const auto row = [&](const std::vector<float>& v, std::size_t i) {
      return std::vector<float>(v.begin() + static_cast<std::ptrdiff_t>(i * kFloatDepth),
                                v.begin() + static_cast<std::ptrdiff_t>(i * kFloatDepth + depth));
    };
    return reference({1, 1, depth, row(x, lane), row(w, kernel)}, 0, 0, depth);
  }

  void check(const char* what) const {
    for (const bool claim_wide : {false, true})
      for (std::size_t live = 1; live <= lanes; ++live) {
        const auto got = run(live, claim_wide);
        for (std::size_t p = 0; p < live; ++p)
          for (std::size_t o = 0; o < kFloatKernels; ++o)
            ASSERT_EQ(got[o * lanes + p], want(p, o))
                << what << " lane " << p << " of " << live << " kernel " << o << " depth "
                << int{depth} << (claim_wide ? " (no range known)" : "");
      }
  }
};

TEST(FloatGroup, EveryWayToTheSumIsExact) {
  std::mt19937 rng(5);
  std::uniform_int_distribution<int> small(-2000, 2000), bits(0, 0x7BFF), sign(0, 1);
  std::uniform_int_distribution<int> one(-1, 1), exponent(-24, 15);
  const auto any = [&] {
    return fp16_to_float(static_cast<std::uint16_t>(bits(rng) | sign(rng) << 15));
  };
  for (const std::size_t depth : {32, 16, 8}) {
    OneGroup g(depth);
    const auto fill = [&](auto draw_x, auto draw_w) {
      for (float& v : g.x) v = draw_x();
      for (float& v : g.w) v = draw_w();
    };
    const auto integer = [&] { return static_cast<float>(small(rng)); };
    const auto unit = [&] { return static_cast<float>(one(rng)); };
    const auto power = [&] { return std::ldexp(1.0f, exponent(rng)); };
    fill(integer, integer);  // sums of up to 27 bits: ties between fp32 numbers are frequent
    g.check("integers");
    fill(unit, unit);  // many sums are 0
    g.check("units");
    fill(any, any);  // every magnitude that fp16 has
    g.check("any");
    fill(power, any);
    g.check("powers of two");
    // Ties and near ties with partners far below: 2^24 + 1 in units of the last bit, a smallest
    // number more or less, the large part cancelled again in some.
    fill([] { return 0.0f; }, any);
    for (std::size_t p = 0; p < g.lanes; ++p) {
      float* x = g.x.data() + p * kFloatDepth;
      x[0] = 4096;
      x[1] = p % 2 == 0 ? 1.0f : -1.0f;
      x[2] = p % 3 == 0 ? 0x1p-24f : p % 3 == 1 ? -0x1p-24f : 0.0f;
      x[3] = p % 4 == 0 ? -4096.0f : 0.0f;
    }
    for (std::size_t o = 0; o < kFloatKernels; ++o) {
      float* w = g.w.data() + o * kFloatDepth;
      w[0] = 4096;
      w[1] = 1;
      w[2] = o % 2 == 0 ? 0x1p-24f : 1.0f;
      w[3] = o % 3 == 0 ? 4096.0f : 2048.0f;
    }
    g.check("ties");
  }
}

TEST(FloatGroup, InfinitiesAndNansPass) {
  OneGroup g(32);
  for (float& v : g.x) v = 1.0f;
  for (float& v : g.w) v = 1.0f;
  g.x[3] = HUGE_VALF;
  g.w[kFloatDepth + 3] = -1.0f;
  g.w[2 * kFloatDepth + 3] = 0.0f;
  for (const bool claim_wide : {false, true}) {
    const auto got = g.run(g.lanes, claim_wide);
    EXPECT_EQ(got[0], HUGE_VALF);
    EXPECT_EQ(got[g.lanes], -HUGE_VALF);
    EXPECT_TRUE(std::isnan(got[2 * g.lanes]));
    EXPECT_EQ(got[1], 32.0f);
  }
}

TEST(FloatTypes, WideningEqualsTheScalarConversion) {
  std::vector<std::uint16_t> halves(0x10000 + 3);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  const auto* in = reinterpret_cast<const std::uint8_t*>(halves.data());
  std::vector<float> floats(halves.size());
  std::vector<double> doubles(halves.size());
  fp16_to_floats(in, halves.size(), floats.data());
  fp16_to_doubles(in, halves.size(), doubles.data());
  for (std::size_t i = 0; i < halves.size(); ++i) {
    const float want = fp16_to_float(halves[i]);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(floats[i]) && std::isnan(doubles[i])) << i;
      continue;
    }
    ASSERT_EQ(floats[i], want) << i;
    ASSERT_EQ(doubles[i], static_cast<double>(want)) << i;
    ASSERT_EQ(std::signbit(floats[i]), std::signbit(want)) << i;
  }
}

TEST(FloatRangeTest, BoundsEveryFp16Value) {
  for (std::uint32_t h = 0; h < 0x7C00; ++h) {
    const std::uint16_t halves[] = {0, static_cast<std::uint16_t>(h | (h & 1) << 15), 0x0000};
    const float value = std::abs(fp16_to_float(halves[1]));
    const FloatRange range = fp16_range(reinterpret_cast<const std::uint8_t*>(halves), 3);
    const FloatRange same = float_range(&value, 1, 10, -24);
    if (h == 0) {
      ASSERT_LT(range.top, range.bottom);
      ASSERT_LT(same.top, same.bottom);
      continue;
    }
    for (const FloatRange& r : {range, same}) {
      ASSERT_LT(value, std::ldexp(1.0f, r.top)) << h;
      const float units = std::ldexp(value, -r.bottom);
      ASSERT_EQ(units, std::nearbyint(units)) << h;
    }
  }
}

}  // namespace
}  // namespace npu::sim::test
