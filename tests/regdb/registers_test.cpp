// SPDX-License-Identifier: MIT
#include "regdb/registers.hpp"

#include <gtest/gtest.h>

#include <random>

#include "regdb/tables.hpp"

namespace npu::regdb {
namespace {

// Values from programs that ran on boards [compute.md 2.3, 3.1, 3.4].
static_assert(cna::DATA_SIZE0{.datain_width = 224, .datain_height = 224}.encode() == 0x00E000E0);
static_assert(cna::CONV_CON1{.proc_precision = cna::CONV_CON1::PROC_PRECISION::FP16,
                             .in_precision = cna::CONV_CON1::IN_PRECISION::FP16}
                  .encode() == 0x120);
static_assert(dpu::DATA_FORMAT{.out_precision = 5, .in_precision = 2, .proc_precision = 2}
                  .encode() == 0xA8000002);
static_assert(cna::DATA_SIZE1{.datain_channel_real = 32, .datain_channel = 32}.encode() ==
              0x001F0020);
static_assert(cna::DMA_CON2{.surf_stride = -3}.encode() == 0x0FFFFFFD);
static_assert(cna::DMA_CON2::decode(0x0FFFFFFD).surf_stride == -3);
static_assert(dpu::EW_CFG{.ew_cvt_type = dpu::EW_CFG::EW_CVT_TYPE::ADD_FIRST,
                          .ew_data_mode = dpu::EW_CFG::EW_DATA_MODE::PER_PIXEL,
                          .edata_size = dpu::EW_CFG::EDATA_SIZE::BITS_8,
                          .ew_alu_algo = dpu::EW_CFG::EW_ALU_ALGO::ADD,
                          .ew_relu_bypass = true,
                          .ew_lut_bypass = true,
                          .ew_op_src = dpu::EW_CFG::EW_OP_SRC::MEMORY}
                  .encode() == 0x904202C0);
static_assert(dpu::DATA_CUBE_CHANNEL{.orig_channel = 8, .channel = 32}.encode() == 0x0007001F);
static_assert(dpu::FEATURE_MODE_CFG{.burst_len = 15, .output_mode = 2}.encode() == 0x1E4);
static_assert(dpu_rdma::RDMA_FEATURE_MODE_CFG{.burst_len = 15, .mrdma_disable = true}.encode() ==
              0x7810);
static_assert(pc::TASK_CON::offset == 0x30 && dpu::S_POINTER::offset == 0x4004);
static_assert(dpu::S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true}
                  .encode() == 0xE);
static_assert(pc::VERSION::reset == 0x46495245 && pc::INTERRUPT_MASK::reset == 0x1FFFF);

std::string message(auto action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Registers, ValueOutsideItsFieldIsRefusedByName) {
  EXPECT_EQ(message([] { (void)cna::DATA_SIZE0{.datain_width = 2048}.encode(); }),
            "CNA.DATA_SIZE0.datain_width = 2048 is outside 0..2047");
  EXPECT_EQ(message([] { (void)dpu::DATA_CUBE_WIDTH{.width = 0}.encode(); }),
            "DPU.DATA_CUBE_WIDTH.width = 0 is outside 1..8192");
  EXPECT_EQ(message([] { (void)dpu::DATA_CUBE_WIDTH{.width = 8193}.encode(); }),
            "DPU.DATA_CUBE_WIDTH.width = 8193 is outside 1..8192");
  EXPECT_EQ(message([] { (void)cna::DMA_CON2{.surf_stride = 1 << 27}.encode(); }),
            "CNA.DMA_CON2.surf_stride = 134217728 is outside -134217728..134217727");
  EXPECT_EQ(message([] { (void)pc::BASE_ADDRESS{.pc_source_addr = 0x1008}.encode(); }),
            "PC.BASE_ADDRESS.pc_source_addr = 4104 is not aligned to 16 bytes");
}

// Every generated register: decode and encode are inverse on the bits that are not reserved.
template <class R>
void expect_round_trip(std::mt19937& rng) {
  const RegisterInfo* info = find_register(R::block, R::offset);
  ASSERT_NE(info, nullptr);
  std::uint32_t named = 0;
  for (const FieldInfo& field : info->fields)
    if (!field.reserved()) named |= field.mask() << field.low;
  for (int i = 0; i < 200; ++i) {
    const std::uint32_t value = rng();
    ASSERT_EQ(R::decode(value).encode(), value & named) << info->name;
    ASSERT_EQ(R::decode(R::decode(value).encode()), R::decode(value)) << info->name;
  }
}

TEST(Registers, DecodeAndEncodeAreInverse) {
  std::mt19937 rng(7);
  expect_round_trip<cna::CONV_CON1>(rng);
  expect_round_trip<cna::CONV_CON3>(rng);
  expect_round_trip<cna::DATA_SIZE1>(rng);
  expect_round_trip<cna::DMA_CON2>(rng);
  expect_round_trip<cna::CVT_CON1>(rng);
  expect_round_trip<cna::FEATURE_DATA_ADDR>(rng);
  expect_round_trip<core::DATAOUT_SIZE_0>(rng);
  expect_round_trip<dpu::DATA_FORMAT>(rng);
  expect_round_trip<dpu::DST_SURF_STRIDE>(rng);
  expect_round_trip<dpu::EW_CFG>(rng);
  expect_round_trip<dpu::OUT_CVT_OFFSET>(rng);
  expect_round_trip<dpu::OUT_CVT_SHIFT>(rng);
  expect_round_trip<dpu_rdma::RDMA_ERDMA_CFG>(rng);
  expect_round_trip<ppu::POOLING_KERNEL_CFG>(rng);
  expect_round_trip<ppu::DST_BASE_ADDR>(rng);
  expect_round_trip<pc::BASE_ADDRESS>(rng);
  expect_round_trip<global::OPERATION_ENABLE>(rng);
}

TEST(Tables, FieldsCoverEveryRegisterOnce) {
  EXPECT_GE(registers().size(), 200u);
  std::uint16_t last = 0;
  for (const RegisterInfo& r : registers()) {
    std::uint64_t seen = 0;
    for (const FieldInfo& field : r.fields) {
      const std::uint64_t bits = std::uint64_t{field.mask()} << field.low;
      EXPECT_EQ(seen & bits, 0u) << r.name << "." << field.name;
      seen |= bits;
      EXPECT_FALSE(field.source.empty());
    }
    EXPECT_EQ(seen, 0xFFFFFFFFu) << r.name;
    EXPECT_TRUE(&r == registers().data() || r.offset > last);
    last = r.offset;
    EXPECT_EQ(find_register(r.block, r.offset), &r);
    EXPECT_EQ(find_register(info(r.block).name, r.name), &r);
  }
}

TEST(Tables, TargetsAndBlocksAreInverse) {
  EXPECT_EQ(target_of(Block::cna), Target::cna);
  EXPECT_EQ(target_of(Block::sdma), Target::none);
  EXPECT_EQ(block_of_target(0x8001), Block::ppu_rdma);
  EXPECT_EQ(block_of_target(0x0041), std::nullopt);
  EXPECT_EQ(block_of_target(0), std::nullopt);
  EXPECT_EQ(find_register(Block::cna, 0x4004), nullptr);
  EXPECT_EQ(find_register("CNA", "NO_SUCH"), nullptr);
  EXPECT_EQ(find_register("XYZ", "DATA_SIZE0"), nullptr);
}

}  // namespace
}  // namespace npu::regdb
