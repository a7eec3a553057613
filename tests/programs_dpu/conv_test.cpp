// SPDX-License-Identifier: MIT
// fp16 convolutions as allbilly's examples/kernel_6_18/simple_conv_fp16.py programs them: pixels of
// one to four channels as they lie in an image, cubes of 16 channels and more, depthwise and
// grouped ones; its 217 shapes have run on a board with a tolerance of 0.2.
#include <gtest/gtest.h>

#include <random>

#include "board.hpp"
#include "regdb/registers.hpp"

namespace npu::sim::programs {
namespace {

namespace rd = npu::regdb;

struct Conv {
  std::uint32_t in_c, in_h, in_w, out_c, kh, kw, groups = 1;
  bool depthwise() const { return groups == in_c && groups == out_c; }
  bool spatial() const { return kh != 1 || kw != 1; }
  bool pixels() const {
    return in_c <= 4 && !depthwise() && !(groups > 1 && spatial()) && !(groups > 1);
  }
  std::uint32_t out_h() const { return in_h - kh + 1; }
  std::uint32_t out_w() const { return in_w - kw + 1; }
  // Channels that the program counts.
  std::uint32_t block() const {
    if (!spatial() && groups == 1 && in_c >= 64) return 32;
    if (!depthwise() && (groups > 1 || in_c > 4)) return 16;
    std::uint32_t n = 8;
    while (n < in_c && n < (depthwise() ? 32u : 16u)) n *= 2;
    return n;
  }
  std::uint32_t channels() const { return (in_c + block() - 1) / block() * block(); }
  std::uint32_t columns() const {
    const std::uint32_t unit = (16 + block() - 1) / block();
    return (in_w + unit - 1) / unit * unit;
  }
  std::uint32_t out_stride() const {
    const std::uint32_t atoms = out_h() * out_w();
    return !spatial() && atoms < 4 ? atoms : (atoms + 3) / 4 * 4;
  }
  bool half_out() const { return spatial() || depthwise() || out_stride() > 992; }
};

constexpr std::uint32_t up(std::uint32_t v, std::uint32_t unit) {
  return (v + unit - 1) / unit * unit;
}

std::vector<std::uint64_t> program(const Conv& c, std::uint32_t in, std::uint32_t weights,
                                   std::uint32_t out) {
  rd::RegcmdStream s;
  const bool dw = c.depthwise();
  const std::uint32_t kernel = c.kh * c.kw * c.channels() * 2;
  const std::uint32_t row = c.columns() * c.channels() * 2;
  const std::uint32_t two_banks = up((65536 + row - 1) / row, 2);
  std::uint32_t grains = std::min(c.in_h + c.kh, two_banks);
  if (c.pixels() && c.spatial()) grains = c.in_h + c.kh;
  if (dw && c.spatial()) grains = std::min(13u, c.in_h + c.kh);
  const std::uint32_t banks =
      c.spatial() && (c.pixels() || dw)
          ? 11
          : std::clamp((c.columns() * grains * c.channels() * 2 + 32767) / 32768, 1u, 11u);
  const std::uint32_t lines = std::max(1u, (c.columns() * c.channels() + 31) / 32);
  const std::uint32_t out_c = dw ? up(up(c.out_c, 16), 32) : std::max(16u, up(c.out_c, 16));
  const std::uint32_t size_e = dw ? 3 : c.half_out() ? 1 : 3;
  s.write(rd::dpu::S_POINTER::decode(0xE));
  s.raw(0x2001, 0, rd::dpu_rdma::RDMA_S_POINTER::offset);
  s.raw(0x2001, 0, rd::dpu_rdma::RDMA_ERDMA_CFG::offset);
  s.raw(0x2001, 0, rd::dpu_rdma::RDMA_FEATURE_MODE_CFG::offset);
  s.write(rd::cna::CONV_CON1::decode(
      0x120 | (c.pixels() ? 1u << 30 | 1u << 29 | (7 + c.in_c) << 12 : 0u) | (dw ? 3u : 0u)));
  s.write(rd::cna::CONV_CON2::decode(grains << 4)).write(rd::cna::CONV_CON3::decode(9));
  s.write(rd::cna::DATA_SIZE0::decode(c.columns() << 16 | c.in_h));
  s.write(rd::cna::DATA_SIZE1::decode((c.in_c - 1) << 16 | c.channels()));
  s.write(rd::cna::DATA_SIZE2::decode(c.out_w()));
  s.write(rd::cna::DATA_SIZE3::decode(c.out_w() * c.out_h()));
  s.write(rd::cna::WEIGHT_SIZE0::decode(dw ? kernel : kernel * c.out_c));
  s.write(rd::cna::WEIGHT_SIZE1::decode(kernel));
  s.write(rd::cna::WEIGHT_SIZE2::decode(c.kw << 24 | c.kh << 16 | (dw ? 1 : c.out_c)));
  s.write(rd::cna::CBUF_CON0::decode((12 - banks) << 4 | banks));
  s.write(rd::cna::CBUF_CON1::decode(c.channels() >= 16 || dw ? lines : lines * c.in_h * 4));
  s.write(rd::cna::CVT_CON0::decode(c.pixels() ? 0xB : 1));
  s.write(rd::cna::CVT_CON1::decode(1 << 16)).write(rd::cna::CVT_CON2::decode(1 << 16));
  s.write(rd::cna::CVT_CON3::decode(1 << 16)).write(rd::cna::CVT_CON4::decode(1 << 16));
  s.write(rd::cna::FEATURE_DATA_ADDR::decode(in)).write(rd::cna::DMA_CON0::decode(0xF000F));
  s.write(rd::cna::DMA_CON1::decode(c.pixels() ? c.columns() : c.columns() * 4));
  s.write(rd::cna::DMA_CON2::decode(c.pixels()   ? c.columns() * (c.in_h - 1)
                                    : c.in_h > 4 ? c.columns() * (c.in_h - 4)
                                                 : 0));
  s.write(rd::cna::FC_DATA_SIZE0::decode(c.in_w << 16 | c.in_h));
  s.write(rd::cna::FC_DATA_SIZE1::decode(c.channels()));
  s.write(rd::cna::DCOMP_ADDR0::decode(weights));
  s.write(rd::cna::CVT_CON5::decode(c.pixels() ? (1u << c.in_c) - 1 : 7));
  s.write(rd::core::MISC_CFG::decode(2u << 8 | (dw ? 2u : 0u) | (c.spatial() ? 1u : 0u)));
  s.write(rd::core::DATAOUT_SIZE_0::decode((c.out_h() - 1) << 16 | (c.out_w() - 1)));
  s.write(rd::core::DATAOUT_SIZE_1::decode(out_c - 1));
  s.raw(0x0801, 0, 0x3030);
  s.write(rd::dpu::FEATURE_MODE_CFG::decode(0x1E4 | (dw ? 3u << 3 : 0u)));
  s.write(rd::dpu::DATA_FORMAT::decode((c.half_out() ? 2u : 5u) << 29 | 2u << 26 | 2u));
  s.write(rd::dpu::DST_BASE_ADDR::decode(out));
  s.write(rd::dpu::DST_SURF_STRIDE::decode(c.out_stride() << 4));
  s.write(rd::dpu::DATA_CUBE_WIDTH::decode(c.out_w() - 1));
  s.write(rd::dpu::DATA_CUBE_HEIGHT::decode(c.out_h() - 1));
  s.write(rd::dpu::DATA_CUBE_NOTCH_ADDR{});
  s.write(rd::dpu::DATA_CUBE_CHANNEL::decode((c.out_c - 1) << 16 | (out_c - 1)));
  s.write(rd::dpu::BS_CFG::decode(0x53));
  s.write(rd::dpu::BS_OW_CFG::decode(size_e << 8 | size_e << 5 | size_e << 2 | 2));
  s.write(rd::dpu::WDMA_SIZE_0::decode(out_c - 1));
  s.write(rd::dpu::WDMA_SIZE_1::decode((c.out_h() - 1) << 16 | (c.out_w() - 1)));
  s.write(rd::dpu::BN_CFG::decode(0x53)).write(rd::dpu::EW_CFG::decode(0x383));
  s.write(rd::dpu::EW_CVT_SCALE_VALUE::decode(1));
  s.write(rd::dpu::OUT_CVT_SCALE::decode(c.half_out() ? 0x10001 : 0));
  const std::uint32_t effective =
      c.groups > 1 && !dw ? std::max(16u, up((c.out_c + c.groups - 1) / c.groups, 16)) : out_c;
  s.write(rd::dpu::SURFACE_ADD::decode((c.out_stride() * std::max(2u, effective / 16)) << 4));
  s.end(0x0D);
  return s.words();
}

class Convs : public ::testing::Test {
 protected:
  void check(const Conv& c) {
    SCOPED_TRACE(testing::Message() << c.in_c << "x" << c.in_h << "x" << c.in_w << " -> " << c.out_c
                                    << " k" << c.kh << "x" << c.kw << " g" << c.groups);
    std::mt19937 rng(c.in_c * 1000 + c.out_c * 100 + c.kh * 10 + c.kw);
    std::uniform_real_distribution<double> uniform(-2, 2);
    const std::uint32_t per_group = c.in_c / c.groups;
    std::vector<double> x(c.in_c * c.in_h * c.in_w), w(c.out_c * per_group * c.kh * c.kw);
    for (auto* v : {&x, &w})
      for (double& e : *v) e = number(half(uniform(rng)));
    const auto weight = [&](std::uint32_t o, std::uint32_t i, std::uint32_t y, std::uint32_t z) {
      const std::uint32_t first = o / (c.out_c / c.groups) * per_group;
      if (i < first || i >= first + per_group || i >= c.in_c) return 0.0;
      return w[((o * per_group + i - first) * c.kh + y) * c.kw + z];
    };
    const std::uint32_t channels = c.channels(), columns = c.columns();
    Halves in(std::size_t{c.pixels() ? c.in_c : channels} * c.in_h * columns);
    for (std::uint32_t i = 0; i < c.in_c; ++i)
      for (std::uint32_t y = 0; y < c.in_h; ++y)
        for (std::uint32_t z = 0; z < c.in_w; ++z)
          in[c.pixels() ? (y * columns + z) * c.in_c + i
                        : ((i / 8 * c.in_h + y) * columns + z) * 8 + i % 8] =
              half(x[(i * c.in_h + y) * c.in_w + z]);
    Halves packed;
    if (c.depthwise()) {
      for (std::uint32_t y = 0; y < c.kh; ++y)
        for (std::uint32_t z = 0; z < c.kw; ++z)
          for (std::uint32_t i = 0; i < channels; ++i)
            packed.push_back(i < c.in_c ? half(weight(i, i, y, z)) : 0);
    } else {
      const std::uint32_t wide = channels % 32 == 0 ? 32 : channels;
      for (std::uint32_t o = 0; o < c.out_c; o += 16)
        for (std::uint32_t b = 0; b < channels; b += wide)
          for (std::uint32_t y = 0; y < c.kh; ++y)
            for (std::uint32_t z = 0; z < c.kw; ++z)
              for (std::uint32_t k = o; k < std::min(o + 16, c.out_c); ++k)
                for (std::uint32_t i = b; i < b + wide; ++i)
                  packed.push_back(half(weight(k, i, y, z)));
    }
    const std::uint32_t lanes = c.half_out() ? 8 : 4, bytes = 16 / lanes;
    const std::size_t out_bytes = std::size_t{up(c.out_c, 64)} * c.out_stride() * bytes;
    const std::uint32_t out = board.room(out_bytes);
    ASSERT_TRUE(board.run(program(c, board.put(in), board.put(packed), out))) << board.message();
    const auto got = board.get<std::uint8_t>(out, out_bytes);
    for (std::uint32_t o = 0; o < c.out_c; ++o)
      for (std::uint32_t y = 0; y < c.out_h(); ++y)
        for (std::uint32_t z = 0; z < c.out_w(); ++z) {
          double want = 0;
          for (std::uint32_t i = 0; i < c.in_c; ++i)
            for (std::uint32_t ky = 0; ky < c.kh; ++ky)
              for (std::uint32_t kz = 0; kz < c.kw; ++kz)
                want +=
                    x[(i * c.in_h + y + ky) * c.in_w + z + kz] *
                    (c.depthwise() ? (i == o ? weight(o, o, ky, kz) : 0.0) : weight(o, i, ky, kz));
          const std::uint8_t* at =
              &got[((std::size_t{o / lanes} * c.out_stride() + y * c.out_w() + z) * lanes +
                    o % lanes) *
                   bytes];
          std::uint16_t h;
          float f;
          std::memcpy(&h, at, 2);
          std::memcpy(&f, at, bytes);
          const double value = lanes == 8 ? number(h) : static_cast<double>(f);
          ASSERT_NEAR(value, want, lanes == 8 ? 0.001 * std::abs(want) + 1e-3 : 1e-4)
              << "channel " << o << " at " << y << ", " << z;
        }
  }
  Board board;
};

TEST_F(Convs, PixelsOfOneToFourChannels) {
  for (const Conv& c : {Conv{1, 4, 4, 6, 1, 1}, Conv{3, 4, 4, 3, 1, 1}, Conv{4, 4, 4, 2, 1, 1},
                        Conv{4, 9, 9, 4, 1, 1}, Conv{3, 52, 18, 6, 1, 1}, Conv{2, 5, 5, 4, 3, 3},
                        Conv{4, 9, 9, 4, 3, 3}, Conv{1, 5, 7, 6, 3, 3}, Conv{3, 5, 5, 6, 1, 3},
                        Conv{3, 5, 7, 6, 2, 1}, Conv{3, 5, 7, 6, 2, 5}, Conv{3, 5, 7, 6, 3, 5},
                        Conv{1, 5, 7, 6, 2, 1}, Conv{1, 5, 7, 6, 3, 5}, Conv{1, 1, 11, 6, 1, 5}})
    check(c);
}

TEST_F(Convs, CubesOfSixteenChannelsAndMore) {
  for (const Conv& c :
       {Conv{16, 8, 8, 16, 1, 1}, Conv{16, 32, 32, 16, 1, 1}, Conv{16, 18, 18, 16, 3, 3},
        Conv{8, 9, 9, 6, 3, 3}, Conv{64, 7, 7, 16, 1, 1}, Conv{96, 14, 14, 16, 1, 1},
        Conv{32, 10, 10, 16, 3, 3}})
    check(c);
}

TEST_F(Convs, DepthwiseAndGrouped) {
  for (const Conv& c :
       {Conv{3, 11, 28, 3, 3, 3, 3}, Conv{3, 5, 7, 3, 3, 3, 3}, Conv{16, 9, 9, 16, 3, 3, 16},
        Conv{32, 15, 15, 32, 3, 3, 32}, Conv{15, 5, 5, 35, 3, 3, 5}, Conv{4, 1, 1, 2, 1, 1, 2},
        Conv{4, 1, 1, 4, 1, 1, 2}})
    check(c);
}

}  // namespace
}  // namespace npu::sim::programs
