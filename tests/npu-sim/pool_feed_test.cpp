// SPDX-License-Identifier: MIT
// A pool on the fly: the DPU's output goes to the PPU, in the same task.
#include <gtest/gtest.h>

#include <cstring>

#include "conv_case.hpp"
#include "regdb/registers.hpp"

namespace npu::sim::test {
namespace {

namespace rd = npu::regdb;

constexpr std::uint32_t kPooledIova = 0x6000000;

ConvCase layer() {
  ConvCase c;
  c.in_width = 9;
  c.in_height = 8;
  c.in_channels = 32;
  c.out_channels = 64;
  c.pad_left = c.pad_top = c.pad_right = c.pad_bottom = 1;
  c.scale = 77;
  c.shift = 14;
  return c;
}

// The PPU's part: windows of 2x2, step 2, over the layer's output.
void write_pool(rd::RegcmdStream& s, const ConvCase& c, std::uint32_t method, bool flyin = false,
                bool from_memory = false) {
  const std::uint32_t ow = (c.out_width() - 2) / 2 + 1, oh = (c.out_height() - 2) / 2 + 1;
  s.write(rd::ppu::S_POINTER::decode(0xE));
  s.write(rd::ppu::DATA_CUBE_IN_WIDTH{.cube_in_width = c.out_width()});
  s.write(rd::ppu::DATA_CUBE_IN_HEIGHT{.cube_in_height = c.out_height()});
  s.write(rd::ppu::DATA_CUBE_IN_CHANNEL{.cube_in_channel = c.out_channels});
  s.write(rd::ppu::DATA_CUBE_OUT_WIDTH{.cube_out_width = ow});
  s.write(rd::ppu::DATA_CUBE_OUT_HEIGHT{.cube_out_height = oh});
  s.write(rd::ppu::DATA_CUBE_OUT_CHANNEL{.cube_out_channel = c.out_channels});
  s.write(rd::ppu::OPERATION_MODE_CFG{.flying_mode = from_memory, .pooling_method = method});
  s.write(rd::ppu::POOLING_KERNEL_CFG{
      .kernel_stride_height = 2, .kernel_stride_width = 2, .kernel_height = 2, .kernel_width = 2});
  s.write(rd::ppu::RECIP_KERNEL_WIDTH{.recip_kernel_width = 0x8000});
  s.write(rd::ppu::RECIP_KERNEL_HEIGHT{.recip_kernel_height = 0x8000});
  s.write(rd::ppu::DST_BASE_ADDR{.dst_base_addr = kPooledIova});
  s.write(rd::ppu::DST_SURF_STRIDE{.dst_surf_stride = ow * oh});
  s.write(rd::ppu::DATA_FORMAT{.dpu_flyin = flyin});
  if (!from_memory) return;
  s.write(rd::ppu_rdma::RDMA_S_POINTER::decode(0xE));
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_WIDTH{.cube_in_width = c.out_width()});
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_HEIGHT{.cube_in_height = c.out_height()});
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_CHANNEL{.cube_in_channel = c.out_channels});
  s.write(rd::ppu_rdma::RDMA_SRC_BASE_ADDR{.src_base_addr = kOutputIova});
  s.write(rd::ppu_rdma::RDMA_SRC_LINE_STRIDE{.src_line_stride = c.out_width()});
  s.write(rd::ppu_rdma::RDMA_SRC_SURF_STRIDE{.src_surf_stride = c.out_width() * c.out_height()});
  s.write(rd::ppu_rdma::RDMA_DATA_FORMAT{.in_precision = 1});
}

// The layer's program with its OUTPUT_MODE changed and the PPU's registers before its trailer.
std::vector<std::uint64_t> fused(const ConvCase& c, std::uint32_t output_mode, std::uint32_t method,
                                 bool flyin = false) {
  std::vector<std::uint64_t> words = program(c);
  words.resize(words.size() - 4);
  for (std::uint64_t& word : words) {
    rd::Regcmd command = rd::Regcmd::unpack(word);
    if (command.target != static_cast<std::uint16_t>(rd::Target::dpu) ||
        command.offset != rd::dpu::FEATURE_MODE_CFG::offset)
      continue;
    auto mode = rd::dpu::FEATURE_MODE_CFG::decode(command.value);
    mode.output_mode = output_mode;
    command.value = mode.encode();
    word = command.pack();
  }
  rd::RegcmdStream s;
  for (const std::uint64_t word : words) s.word(word);
  write_pool(s, c, method, flyin);
  s.end(0x3D);
  return s.words();
}

class PoolFeed : public ::testing::Test {
 protected:
  PoolFeed() {
    std::mt19937 rng(5);
    memory = random_memory(c, rng);
    bench.load(c, memory);
    clear();
  }
  void clear() {
    const std::vector<std::uint8_t> sentinel(kBytes, 0xA5);
    bench.map(kPooledIova, sentinel.data(), kBytes);
  }
  std::vector<std::uint8_t> pooled() {
    std::vector<std::uint8_t> out(kBytes);
    std::memcpy(out.data(), bench.at(kPooledIova, kBytes), kBytes);
    return out;
  }
  // In two tasks, through memory.
  std::vector<std::uint8_t> apart(std::uint32_t method) {
    EXPECT_TRUE(bench.run(program(c)));
    rd::RegcmdStream s;
    write_pool(s, c, method, false, true);
    s.end(0x60);
    bench.run(s.words());
    EXPECT_FALSE(bench.chip.fault(0)) << bench.chip.fault(0)->message;
    auto out = pooled();
    clear();
    return out;
  }
  void expect_hang(const std::vector<std::uint64_t>& words, const char* where) {
    EXPECT_FALSE(bench.run(words));
    ASSERT_TRUE(bench.chip.fault(0));
    EXPECT_EQ(bench.chip.fault(0)->kind, FaultKind::hang);
    EXPECT_EQ(bench.chip.fault(0)->where, where);
    bench.chip.reset(0);
  }
  static constexpr std::size_t kBytes = 4 * 4 * 4 * 16;  // 4 surfaces of 4 x 4
  ConvCase c = layer();
  ConvMemory memory;
  Bench bench;
};

TEST_F(PoolFeed, EqualsTheTwoTasksByThemselves) {
  for (const std::uint32_t method : {0u, 1u, 2u}) {
    const auto want = apart(method);
    EXPECT_NE(want, std::vector<std::uint8_t>(kBytes, 0xA5));
    bench.map(kOutputIova, nullptr, 0, 9 * 8 * 64);
    ASSERT_TRUE(bench.run(fused(c, 1, method))) << bench.chip.fault(0)->message;
    EXPECT_EQ(pooled(), want) << method;
    // Nothing of the layer's own output reaches memory.
    const std::byte* untouched = bench.at(kOutputIova, 9 * 8 * 64);
    for (std::size_t i = 0; i < 9 * 8 * 64; ++i) ASSERT_EQ(untouched[i], std::byte{0}) << i;
    clear();
  }
}

TEST_F(PoolFeed, OutputModeThreeAlsoWritesMemory) {
  const auto want = apart(1);
  bench.map(kOutputIova, nullptr, 0, 9 * 8 * 64);
  ASSERT_TRUE(bench.run(fused(c, 3, 1)));
  EXPECT_EQ(pooled(), want);
  EXPECT_EQ(bench.output(c), reference(c, memory));
}

TEST_F(PoolFeed, RaisesTheBitsOfBothBlocks) {
  ASSERT_TRUE(bench.run(fused(c, 1, 1)));
  EXPECT_EQ(bench.chip.read(0, rd::pc::INTERRUPT_RAW_STATUS::offset) & 0xF00, 0x500u);
}

TEST_F(PoolFeed, TheTriedSettingEndsAndWritesNothing) {
  ASSERT_TRUE(bench.run(fused(c, 1, 1, true)));
  EXPECT_EQ(pooled(), std::vector<std::uint8_t>(kBytes, 0xA5));
}

TEST_F(PoolFeed, BlocksThatWaitForEachOtherHang) {
  expect_hang(fused(c, 2, 1), "DPU.FEATURE_MODE_CFG.output_mode");  // nothing comes to the PPU
  auto words = fused(c, 1, 1);
  words.back() = rd::Regcmd{static_cast<std::uint16_t>(rd::Target::enable), 0x1D,
                            rd::Regcmd::unpack(words.back()).offset}
                     .pack();
  expect_hang(words, "DPU.FEATURE_MODE_CFG.output_mode");  // nobody takes the DPU's output
  words = fused(c, 1, 1);
  rd::RegcmdStream s;  // the PPU waits for half of the channels
  for (std::size_t i = 0; i + 4 < words.size(); ++i) s.word(words[i]);
  s.write(rd::ppu::DATA_CUBE_IN_CHANNEL{.cube_in_channel = 32});
  s.write(rd::ppu::DATA_CUBE_OUT_CHANNEL{.cube_out_channel = 32});
  s.end(0x3D);
  expect_hang(s.words(), "PPU.DATA_CUBE_IN_WIDTH");
  EXPECT_EQ(pooled(), std::vector<std::uint8_t>(kBytes, 0xA5));
}

}  // namespace
}  // namespace npu::sim::test
