// SPDX-License-Identifier: MIT
// The smallest job with a result: C[4][32] = A[4][32] . B[32][32]^T, int8 to int32, in one task
// [compute.md 2.2, 2.3; registers that stay 0 after a reset are left out].
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "npu-device/device.hpp"
#include "regdb/regcmd.hpp"
#include "regdb/registers.hpp"

namespace npu::device::test {

constexpr std::uint32_t kM = 4, kK = 32, kN = 32;

inline std::vector<std::uint64_t> gemm_program(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  namespace cna = regdb::cna;
  namespace core = regdb::core;
  namespace dpu = regdb::dpu;
  regdb::RegcmdStream s;
  s.raw(0x1001, 0xE, dpu::S_POINTER::offset);
  s.write(cna::CONV_CON1{}).write(cna::CONV_CON2{.feature_grains = kM + 1});
  s.write(cna::CONV_CON3{.conv_y_stride = 1, .conv_x_stride = 1});
  s.write(cna::DATA_SIZE0{.datain_width = 1, .datain_height = kM});
  s.write(cna::DATA_SIZE1{.datain_channel_real = kK, .datain_channel = kK});
  s.write(cna::DATA_SIZE2{.dataout_width = 1}).write(cna::DATA_SIZE3{.dataout_atomics = kM});
  s.write(cna::WEIGHT_SIZE0{.weight_bytes = kN * kK});
  s.write(cna::WEIGHT_SIZE1{.weight_bytes_per_kernel = kK});
  s.write(cna::WEIGHT_SIZE2{.weight_width = 1, .weight_height = 1, .weight_kernels = kN});
  s.write(cna::CBUF_CON0{.weight_bank = 10, .data_bank = 2});
  s.write(cna::CBUF_CON1{.data_entries = 1});
  s.write(cna::CVT_CON0{
      .data_sign = true, .cvt_type = cna::CVT_CON0::CVT_TYPE::ADD_FIRST, .cvt_bypass = true});
  s.write(cna::PAD_CON0{}).write(cna::FEATURE_DATA_ADDR{.feature_base_addr = a});
  s.write(cna::DMA_CON0{.weight_burst_len = 15, .data_burst_len = 15});
  s.write(cna::DMA_CON1{.line_stride = 4}).write(cna::DMA_CON2{.surf_stride = kM - 4});
  s.write(cna::FC_DATA_SIZE0{.dma_width = 1, .dma_height = kM});
  s.write(cna::FC_DATA_SIZE1{.dma_channel = kK}).write(cna::DCOMP_ADDR0{.decompress_addr0 = b});
  s.write(core::MISC_CFG{});
  s.write(core::DATAOUT_SIZE_0{.dataout_height = kM, .dataout_width = 1});
  s.write(core::DATAOUT_SIZE_1{.dataout_channel = kN});
  s.write(dpu::FEATURE_MODE_CFG{.burst_len = 15,
                                .output_mode = dpu::FEATURE_MODE_CFG::OUTPUT_MODE::MEMORY});
  s.write(dpu::DATA_FORMAT{.out_precision = dpu::DATA_FORMAT::OUT_PRECISION::INT32});
  s.write(dpu::DST_BASE_ADDR{.dst_base_addr = c})
      .write(dpu::DST_SURF_STRIDE{.dst_surf_stride = kM});
  s.write(dpu::DATA_CUBE_WIDTH{.width = 1}).write(dpu::DATA_CUBE_HEIGHT{.height = kM});
  s.write(dpu::DATA_CUBE_NOTCH_ADDR{});
  s.write(dpu::DATA_CUBE_CHANNEL{.orig_channel = kN, .channel = kN});
  s.write(dpu::BS_CFG{
      .bs_relu_bypass = true, .bs_mul_bypass = true, .bs_alu_bypass = true, .bs_bypass = true});
  s.write(dpu::BS_OW_CFG{.size_e_2 = 7, .size_e_1 = 7, .size_e_0 = 7, .od_bypass = true});
  s.write(dpu::WDMA_SIZE_0{.channel_wdma = kN});
  s.write(dpu::WDMA_SIZE_1{.height_wdma = kM, .width_wdma = 1});
  s.write(dpu::BN_CFG{
      .bn_relu_bypass = true, .bn_mul_bypass = true, .bn_alu_bypass = true, .bn_bypass = true});
  s.write(dpu::EW_CFG{.ew_relu_bypass = true,
                      .ew_op_cvt_bypass = true,
                      .ew_lut_bypass = true,
                      .ew_op_bypass = true,
                      .ew_bypass = true});
  s.write(dpu::OUT_CVT_SCALE{.out_cvt_scale = 1}).write(dpu::SURFACE_ADD{.surf_add = kM * 8});
  s.end(regdb::enable_mask::cna | regdb::enable_mask::core | regdb::enable_mask::dpu);
  return s.words();
}

/// The job's buffers on one device, filled with random matrices.
struct SmallGemm {
  explicit SmallGemm(Device& device, std::uint32_t seed = 1)
      : owner(device),
        a(device.create_buffer(kM * kK)),
        b(device.create_buffer(kN * kK)),
        c(device.create_buffer(kM * kN * 4)) {
    std::mt19937 random(seed);
    for (Buffer* operand : {&a, &b}) {
      for (std::byte& byte : operand->host()) byte = static_cast<std::byte>(random());
      device.fini(*operand);
    }
    load(gemm_program(a.iova(), b.iova(), c.iova()));
  }

  void load(const std::vector<std::uint64_t>& words) {
    program = owner.create_buffer(words.size() * 8);
    std::copy(words.begin(), words.end(), program.as<std::uint64_t>().begin());
    owner.fini(program);
    task = {program.iova(), static_cast<std::uint32_t>(words.size())};
  }

  Job job(std::size_t tasks = 1) const {
    return {std::vector<Task>(tasks, task), {a.handle(), b.handle()}, {c.handle()}};
  }

  /// C as the host computes it, in the cube layout of the NPU.
  std::vector<std::int32_t> expected() const {
    const auto* left = reinterpret_cast<const std::int8_t*>(a.host().data());
    const auto* right = reinterpret_cast<const std::int8_t*>(b.host().data());
    std::vector<std::int32_t> sums(kM * kN);
    for (std::uint32_t m = 0; m < kM; ++m)
      for (std::uint32_t n = 0; n < kN; ++n)
        for (std::uint32_t k = 0; k < kK; ++k)
          sums[(n / 4 * kM + m) * 4 + n % 4] +=
              left[(k / 16 * kM + m) * 16 + k % 16] * right[n * kK + k];
    return sums;
  }

  std::vector<std::int32_t> result() const {
    const auto values = c.as<std::int32_t>();
    return {values.begin(), values.end()};
  }

  Device& owner;
  Buffer a, b, c, program;
  Task task;
};

}  // namespace npu::device::test
