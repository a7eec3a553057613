// SPDX-License-Identifier: MIT
#include "regdb/registers.hpp"

#include <gtest/gtest.h>

#include <random>

#include "regdb/all_registers.hpp"
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
// Dilation and counts are written as what they are, the field holds one less.
static_assert(cna::CONV_CON3{.atrous_x_dilation = 2, .conv_y_stride = 1, .conv_x_stride = 1}
                  .encode() == 0x00010009);
static_assert(ppu::POOLING_KERNEL_CFG{.kernel_stride_height = 2,
                                      .kernel_stride_width = 2,
                                      .kernel_height = 3,
                                      .kernel_width = 3}
                  .encode() == 0x00110202);
// Bit 15 of the output factor is its sign on a board.
static_assert(dpu::OUT_CVT_SCALE{.out_cvt_scale = -32768}.encode() == 0x8000);
static_assert(dpu::OUT_CVT_SCALE{.fp32tofp16_en = true, .out_cvt_scale = 1}.encode() == 0x10001);
static_assert(dpu::DST_SURF_STRIDE{.dst_surf_stride = 196}.encode() == 196u << 4);
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

// Every generated struct against the run-time tables, which the decoder uses: same place, same
// reset, and decode and encode are inverse on the bits that are not reserved.
struct RoundTrip {
  std::mt19937 rng{7};
  std::size_t structs = 0;

  template <class R>
  void operator()() {
    ++structs;
    const RegisterInfo* entry = find_register(R::block, R::offset);
    ASSERT_NE(entry, nullptr) << R::offset;
    EXPECT_EQ(entry->reset, R::reset) << entry->name;
    EXPECT_EQ(target_of(entry->block), R::target) << entry->name;
    std::uint32_t named = 0;
    for (const FieldInfo& field : entry->fields)
      if (!field.reserved()) named |= field.mask() << field.low;
    std::uint32_t value = 0xFFFFFFFF;
    for (int i = 0; i < 100; ++i, value = static_cast<std::uint32_t>(rng())) {
      ASSERT_EQ(R::decode(value).encode(), value & named) << entry->name;
      ASSERT_EQ(R::decode(R::decode(value).encode()), R::decode(value)) << entry->name;
    }
    EXPECT_EQ(R{}.encode(), 0u) << entry->name << ": a default is not the field's zero";
  }
};

TEST(Registers, EveryStructAgreesWithTheTablesAndItsEncodeIsTheInverseOfDecode) {
  RoundTrip check;
  for_each_register(check);
  EXPECT_EQ(check.structs, registers().size());
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
