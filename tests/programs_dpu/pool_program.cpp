// SPDX-License-Identifier: MIT
#include "pool_program.hpp"

#include "regdb/registers.hpp"

namespace npu::sim::programs {

namespace rd = npu::regdb;

std::uint32_t fp17(double v) {
  int exponent = 0;
  const double f = std::frexp(v, &exponent);
  auto fraction = static_cast<std::uint32_t>(std::lround((2 * f - 1) * 1024));
  if (fraction == 1024) {
    fraction = 0;
    ++exponent;
  }
  return static_cast<std::uint32_t>(exponent + 30) << 10 | fraction;
}

std::vector<std::uint64_t> program(const Pool& p, std::uint32_t in, std::uint32_t out) {
  rd::RegcmdStream s;
  const std::uint32_t line = p.line != 0 ? p.line : p.in_w * 16;
  const std::uint32_t surface = p.surface != 0 ? p.surface : p.in_h * p.in_w * 16;
  s.write(rd::ppu::S_POINTER::decode(0xE)).write(rd::ppu_rdma::RDMA_S_POINTER::decode(0xE));
  s.write(rd::ppu::DATA_CUBE_IN_WIDTH{.cube_in_width = p.in_w});
  s.write(rd::ppu::DATA_CUBE_IN_HEIGHT{.cube_in_height = p.in_h});
  s.write(rd::ppu::DATA_CUBE_IN_CHANNEL{.cube_in_channel = p.channels});
  s.write(rd::ppu::DATA_CUBE_OUT_WIDTH{.cube_out_width = p.out_w()});
  s.write(rd::ppu::DATA_CUBE_OUT_HEIGHT{.cube_out_height = p.out_h()});
  s.write(rd::ppu::DATA_CUBE_OUT_CHANNEL{.cube_out_channel = p.channels});
  s.write(rd::ppu::OPERATION_MODE_CFG{.index_en = p.index,
                                      .notch_addr = p.notch,
                                      .use_cnt = p.use_cnt,
                                      .flying_mode = true,
                                      .pooling_method = p.method});
  s.write(rd::ppu::POOLING_KERNEL_CFG{.kernel_stride_height = p.stride_y,
                                      .kernel_stride_width = p.stride_x,
                                      .kernel_height = p.kernel_h,
                                      .kernel_width = p.kernel_w});
  s.write(rd::ppu::RECIP_KERNEL_WIDTH{.recip_kernel_width = p.recip_w});
  s.write(rd::ppu::RECIP_KERNEL_HEIGHT{.recip_kernel_height = p.recip_h});
  s.write(rd::ppu::POOLING_PADDING_CFG{
      .pad_bottom = p.bottom, .pad_right = p.right, .pad_top = p.top, .pad_left = p.left});
  s.write(rd::ppu::PADDING_VALUE_1_CFG::decode(p.fill)).write(rd::ppu::PADDING_VALUE_2_CFG{});
  s.write(rd::ppu::DST_BASE_ADDR::decode(out));
  s.write(rd::ppu::DST_SURF_STRIDE::decode(p.area() * 16));
  s.write(rd::ppu::DATA_FORMAT::decode((p.area() * (p.index ? 2u : 1u)) << 4 | p.type));
  s.write(rd::ppu::MISC_CTRL::decode(3));
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_WIDTH{.cube_in_width = p.in_w});
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_HEIGHT{.cube_in_height = p.in_h});
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_CHANNEL{.cube_in_channel = p.channels});
  s.write(rd::ppu_rdma::RDMA_SRC_BASE_ADDR{.src_base_addr = in});
  s.write(rd::ppu_rdma::RDMA_SRC_LINE_STRIDE::decode(line));
  s.write(rd::ppu_rdma::RDMA_SRC_SURF_STRIDE::decode(surface));
  s.write(rd::ppu_rdma::RDMA_DATA_FORMAT{.in_precision = p.storage()});
  s.write(rd::ppu_rdma::RDMA_OPERATION_ENABLE::decode(1));
  s.raw(0x0081, 0x60, 0x0008);
  return s.words();
}

}  // namespace npu::sim::programs
