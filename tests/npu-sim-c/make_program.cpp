// SPDX-License-Identifier: MIT
// Writes a C header with register programs for the tests in C: an int8 matrix product, and the same
// with DPU_RDMA's main reader enabled and unfed, which never ends on the chip.
#include <cstdio>

#include "regdb/registers.hpp"

namespace {

namespace rd = npu::regdb;

// C[m][n] (int32) = sum over k of A[m][k] * B[n][k], all planes as the chip has them: A in planes
// of 16 k, B in one block of 32 n by 32 k after the other, C in planes of 4 n.
constexpr std::uint32_t kM = 36, kN = 64, kK = 96;
constexpr std::uint32_t kProgram = 0x00010000, kA = 0x00401000, kB = 0x00812000, kC = 0x00C03000;

std::vector<std::uint64_t> matmul(bool hangs) {
  rd::RegcmdStream s;
  s.write(rd::dpu::S_POINTER::decode(0xE)).write(rd::dpu_rdma::RDMA_S_POINTER::decode(0xE));
  s.write(rd::cna::CBUF_CON0{.weight_bank = 10, .data_bank = 2});
  s.write(rd::cna::CONV_CON1{}).write(rd::cna::CONV_CON2{.feature_grains = kM + 1});
  s.write(rd::cna::CONV_CON3{.conv_y_stride = 1, .conv_x_stride = 1});
  s.write(rd::cna::DATA_SIZE0{.datain_width = 1, .datain_height = kM});
  s.write(rd::cna::DATA_SIZE1{.datain_channel_real = kK, .datain_channel = kK});
  s.write(rd::cna::DATA_SIZE2{.dataout_width = 1});
  s.write(rd::cna::DATA_SIZE3{.dataout_atomics = kM});
  s.write(rd::cna::WEIGHT_SIZE0{.weight_bytes = kN * kK});
  s.write(rd::cna::WEIGHT_SIZE1{.weight_bytes_per_kernel = kK});
  s.write(rd::cna::WEIGHT_SIZE2{.weight_width = 1, .weight_height = 1, .weight_kernels = kN});
  s.write(rd::cna::CBUF_CON1{.data_entries = (kK + 63) / 64});
  s.write(rd::cna::CVT_CON0{.data_sign = true, .cvt_type = 1, .cvt_bypass = true});
  s.write(rd::cna::FEATURE_DATA_ADDR{.feature_base_addr = kA});
  s.write(rd::cna::DMA_CON1{.line_stride = 4});
  s.write(rd::cna::DMA_CON2{.surf_stride = kM - 4});
  s.write(rd::cna::DCOMP_ADDR0{.decompress_addr0 = kB});
  s.write(rd::core::MISC_CFG{});
  s.write(rd::core::DATAOUT_SIZE_0{.dataout_height = kM, .dataout_width = 1});
  s.write(rd::core::DATAOUT_SIZE_1{.dataout_channel = kN});
  s.write(rd::dpu::FEATURE_MODE_CFG{.burst_len = 15, .output_mode = 2});
  s.write(rd::dpu::DATA_FORMAT{.out_precision = 4});
  s.write(rd::dpu::DST_BASE_ADDR{.dst_base_addr = kC});
  s.write(rd::dpu::DST_SURF_STRIDE{.dst_surf_stride = kM});
  s.write(rd::dpu::DATA_CUBE_WIDTH{.width = 1}).write(rd::dpu::DATA_CUBE_HEIGHT{.height = kM});
  s.write(rd::dpu::DATA_CUBE_CHANNEL{.orig_channel = kN, .channel = kN});
  s.write(rd::dpu::BS_CFG::decode(0x53)).write(rd::dpu::BN_CFG::decode(0x53));
  s.write(rd::dpu::BS_OW_CFG{.size_e_2 = 7, .size_e_1 = 7, .size_e_0 = 7, .od_bypass = true});
  s.write(rd::dpu::WDMA_SIZE_0{.channel_wdma = kN});
  s.write(rd::dpu::WDMA_SIZE_1{.height_wdma = kM, .width_wdma = 1});
  s.write(rd::dpu::EW_CFG::decode(0x383)).write(rd::dpu::OUT_CVT_SCALE{.out_cvt_scale = 1});
  s.write(rd::dpu::SURFACE_ADD{.surf_add = kM * 8});
  s.write(rd::dpu_rdma::RDMA_ERDMA_CFG{.erdma_disable = true});
  s.write(rd::dpu_rdma::RDMA_FEATURE_MODE_CFG{.burst_len = 15, .mrdma_disable = !hangs});
  if (s.size() % 2 != 0) s.word(0);
  s.end(0x1D);
  return s.words();
}

void array(const char* name, const std::vector<std::uint64_t>& words) {
  std::printf("static const uint64_t %s[] = {\n", name);
  for (const std::uint64_t word : words)
    std::printf("  UINT64_C(0x%016llx),\n", static_cast<unsigned long long>(word));
  std::printf("};\n");
}

}  // namespace

int main() {
  std::printf("/* Written by make_program. */\n#include <stdint.h>\n");
  std::printf("enum { M = %u, N = %u, K = %u };\n", kM, kN, kK);
  std::printf("enum { PROGRAM = 0x%x, A = 0x%x, B = 0x%x, C = 0x%x };\n", kProgram, kA, kB, kC);
  const struct {
    const char* name;
    std::uint32_t offset;
  } registers[] = {{"PC_VERSION", rd::pc::VERSION::offset},
                   {"PC_OPERATION_ENABLE", rd::pc::OPERATION_ENABLE::offset},
                   {"PC_BASE_ADDRESS", rd::pc::BASE_ADDRESS::offset},
                   {"PC_REGISTER_AMOUNTS", rd::pc::REGISTER_AMOUNTS::offset},
                   {"PC_INTERRUPT_MASK", rd::pc::INTERRUPT_MASK::offset},
                   {"PC_INTERRUPT_CLEAR", rd::pc::INTERRUPT_CLEAR::offset},
                   {"PC_INTERRUPT_STATUS", rd::pc::INTERRUPT_STATUS::offset},
                   {"PC_INTERRUPT_RAW_STATUS", rd::pc::INTERRUPT_RAW_STATUS::offset},
                   {"PC_TASK_CON", rd::pc::TASK_CON::offset},
                   {"PC_TASK_DMA_BASE_ADDR", rd::pc::TASK_DMA_BASE_ADDR::offset},
                   {"CNA_S_POINTER", rd::cna::S_POINTER::offset},
                   {"CNA_FEATURE_DATA_ADDR", rd::cna::FEATURE_DATA_ADDR::offset},
                   {"CORE_S_POINTER", rd::core::S_POINTER::offset}};
  std::printf("enum {\n");
  for (const auto& r : registers) std::printf("  %s = 0x%x,\n", r.name, r.offset);
  std::printf("};\n");
  array("matmul_words", matmul(false));
  array("hanging_words", matmul(true));
}
