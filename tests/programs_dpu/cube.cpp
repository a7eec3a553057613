// SPDX-License-Identifier: MIT
#include "cube.hpp"

#include "regdb/registers.hpp"

namespace npu::sim::programs {

namespace rd = npu::regdb;

std::vector<std::uint64_t> cube_program(const Cube& c, const Operands& in, std::uint32_t out) {
  rd::RegcmdStream s;
  const std::uint32_t last = c.channels - 1;
  if (!c.bare) {
    s.write(rd::dpu::S_POINTER::decode(0xE)).write(rd::dpu_rdma::RDMA_S_POINTER::decode(0xE));
    s.raw(0x2001, c.brdma, rd::dpu_rdma::RDMA_BRDMA_CFG::offset);
    s.raw(0x2001, c.nrdma, rd::dpu_rdma::RDMA_NRDMA_CFG::offset);
    s.write(rd::dpu::DST_SURF_STRIDE::decode(c.row()));
    s.write(rd::dpu::DATA_CUBE_HEIGHT{.height = c.height}).write(rd::dpu::DATA_CUBE_NOTCH_ADDR{});
    s.write(rd::dpu::BS_CFG::decode(c.bs_cfg)).write(rd::dpu::BS_ALU_CFG::decode(c.bs_alu));
    s.write(rd::dpu::BS_MUL_CFG::decode(c.bs_mul));
    s.write(rd::dpu::BS_RELUX_CMP_VALUE::decode(c.bs_relux));
    s.write(rd::dpu::BS_OW_CFG::decode(c.bs_ow));
    s.write(rd::dpu::WDMA_SIZE_0::decode(last))
        .write(rd::dpu::WDMA_SIZE_1::decode((c.height - 1) << 16 | (c.width - 1)));
    s.write(rd::dpu::BN_CFG::decode(c.bn_cfg)).write(rd::dpu::BN_ALU_CFG::decode(c.bn_alu));
    s.write(rd::dpu::BN_MUL_CFG::decode(c.bn_mul));
    s.write(rd::dpu::BN_RELUX_CMP_VALUE::decode(c.bn_relux));
    s.write(rd::dpu::EW_CVT_OFFSET_VALUE{});
    s.write(rd::dpu::EW_CVT_SCALE_VALUE::decode(c.ew_scale));
    for (std::uint16_t i = 0; i < 8; ++i)
      s.raw(0x1001, c.ew_value, static_cast<std::uint16_t>(rd::dpu::EW_OP_VALUE_0::offset + 4 * i));
    s.write(rd::dpu::OUT_CVT_OFFSET{}).write(rd::dpu::OUT_CVT_SHIFT{});
    const std::uint32_t wide = element_bytes(c.out_type) / element_bytes(c.type);
    s.write(rd::dpu::SURFACE_ADD::decode(c.surface_add.value_or(c.row() * wide)));
    s.write(rd::dpu_rdma::RDMA_BS_BASE_ADDR::decode(in.bs));
    s.write(rd::dpu_rdma::RDMA_BN_BASE_ADDR::decode(in.bn));
    s.write(rd::dpu_rdma::RDMA_EW_SURF_STRIDE::decode(c.ew_stride.value_or(c.row())));
    s.write(rd::dpu_rdma::RDMA_SRC_DMA_CFG{}).write(rd::dpu_rdma::RDMA_SURF_NOTCH{});
    s.write(rd::dpu_rdma::RDMA_EW_SURF_NOTCH{});
    s.write(rd::dpu_rdma::RDMA_WEIGHT::decode(0x01010101));
  }
  s.write(rd::dpu::FEATURE_MODE_CFG::decode(0x1E5));
  s.write(rd::dpu::DATA_FORMAT{
      .out_precision = c.out_type, .in_precision = c.type, .proc_precision = c.type});
  s.write(rd::dpu::DATA_CUBE_WIDTH{.width = c.width});
  s.write(rd::dpu::DATA_CUBE_CHANNEL{.orig_channel = c.orig_channels.value_or(c.channels),
                                     .channel = c.channels});
  s.write(rd::dpu::EW_CFG::decode(c.ew));
  s.write(
      rd::dpu::OUT_CVT_SCALE::decode(c.out_scale.value_or(c.out_type == kFp16 ? 0x10001u : 1u)));
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_WIDTH{.width = c.width});
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_HEIGHT{.height = c.height});
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_CHANNEL{.channel = c.channels});
  const bool reads = (c.ew & kFromRegister) != 0 && (c.ew & 3) == 0;
  s.write(rd::dpu_rdma::RDMA_ERDMA_CFG::decode(
      c.erdma.value_or((c.ew >> 28 & 3) << 30 | size_code(c.type) << 2 | (reads ? 0u : 1u))));
  s.write(rd::dpu::DST_BASE_ADDR::decode(out));
  s.write(rd::dpu_rdma::RDMA_SRC_BASE_ADDR::decode(in.main));
  s.write(rd::dpu_rdma::RDMA_EW_BASE_ADDR::decode(in.ew));
  s.write(rd::dpu_rdma::RDMA_FEATURE_MODE_CFG{.in_precision = c.type,
                                              .burst_len = 15,
                                              .comb_use = c.comb_use,
                                              .proc_precision = c.type,
                                              .mrdma_fp16tofp32_en = c.type == kFp16 && c.widen,
                                              .flying_mode = 1});
  // These projects end a list with the enable word alone.
  s.raw(0x0081, 0x18, 0x0008);
  return s.words();
}

std::vector<std::uint8_t> run(Board& board, const Cube& c, const Operands& in, std::size_t bytes) {
  const std::uint32_t out = board.room(bytes);
  if (!board.run(cube_program(c, in, out))) return {};
  return board.get<std::uint8_t>(out, bytes);
}

}  // namespace npu::sim::programs
