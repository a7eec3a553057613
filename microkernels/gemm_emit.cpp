// SPDX-License-Identifier: MIT
// int32 output: the cube form of compute.md 2.3 [mtx512 npu_matmul.c, rocket-userspace; both
// board-proven]. int8 output: the convolution of compute.md 3.1 with a 1x1 kernel [mesa
// rkt_regcmd.c]. Registers that are written as 0: compute.md 2.6.
#include "microkernels/gemm_emit.hpp"

#include <fmt/format.h>

#include "microkernels/layout.hpp"
#include "regdb/error.hpp"
#include "regdb/registers.hpp"

namespace npu::kernels {
namespace {

namespace cna = regdb::cna;
namespace core = regdb::core;
namespace dpu = regdb::dpu;
namespace rdma = regdb::dpu_rdma;

// A task under construction.
struct Emitter {
  const GemmTask& task;
  bool raw;  // int32 sums, no output conversion
  std::uint32_t index;
  Program& program;
  regdb::RegcmdStream stream{};

  template <class... R>
  void write(const R&... registers) {
    (stream.write(registers), ...);
  }
  template <class R>
  void address(const R& reg, GemmSlot slot, std::uint64_t offset) {
    program.relocations.push_back({index, static_cast<std::uint32_t>(stream.size()), slot, offset});
    stream.write(reg);
  }
};

void emit_cna(Emitter& e) {
  const GemmTask& t = e.task;
  const auto surf_stride =
      static_cast<std::int32_t>(t.width) * (static_cast<std::int32_t>(t.height) - 4);
  // Rows buffered before the array starts; Mesa's 50 + stride + 1 for the convolution.
  const std::uint32_t grains = e.raw ? t.height + 1 : 52;
  e.write(cna::CONV_CON1{}, cna::CONV_CON2{.feature_grains = grains},
          cna::CONV_CON3{.conv_y_stride = 1, .conv_x_stride = 1},
          cna::DATA_SIZE0{.datain_width = t.width, .datain_height = t.height},
          cna::DATA_SIZE1{.datain_channel_real = t.k_padded, .datain_channel = t.k_padded},
          cna::DATA_SIZE2{.dataout_width = t.width}, cna::DATA_SIZE3{.dataout_atomics = t.m_padded},
          cna::WEIGHT_SIZE0{.weight_bytes = t.n_padded * t.k_padded},
          cna::WEIGHT_SIZE1{.weight_bytes_per_kernel = t.k_padded},
          cna::WEIGHT_SIZE2{.weight_width = 1, .weight_height = 1, .weight_kernels = t.n_padded},
          cna::CBUF_CON0{.weight_reuse = t.weight_reuse,
                         .data_reuse = t.data_reuse,
                         .weight_bank = t.weight_banks,
                         .data_bank = t.data_banks},
          cna::CBUF_CON1{.data_entries = ceil_div(t.width * t.k_padded, 64u)});
  e.write(
      cna::CVT_CON0{
          .data_sign = true, .cvt_type = cna::CVT_CON0::CVT_TYPE::ADD_FIRST, .cvt_bypass = true},
      cna::CVT_CON1{.cvt_scale0 = 1}, cna::CVT_CON2{.cvt_scale1 = 1},
      cna::CVT_CON3{.cvt_scale2 = 1}, cna::CVT_CON4{.cvt_scale3 = 1}, cna::FC_CON0{},
      cna::FC_CON1{}, cna::PAD_CON0{});
  e.address(cna::FEATURE_DATA_ADDR{}, kGemmA, t.a_offset);
  e.write(cna::FC_CON2{}, cna::DMA_CON0{.weight_burst_len = 15, .data_burst_len = 15},
          cna::DMA_CON1{.line_stride = 4 * t.width}, cna::DMA_CON2{.surf_stride = surf_stride},
          cna::FC_DATA_SIZE0{.dma_width = t.width, .dma_height = t.height},
          cna::FC_DATA_SIZE1{.dma_channel = t.k_padded}, cna::DCOMP_CTRL{}, cna::DCOMP_REGNUM{});
  e.address(cna::DCOMP_ADDR0{}, kGemmB, t.b_offset);
  e.write(cna::DCOMP_AMOUNT0{}, cna::DCOMP_AMOUNT1{}, cna::DCOMP_AMOUNT2{}, cna::DCOMP_AMOUNT3{},
          cna::DCOMP_AMOUNT4{}, cna::DCOMP_AMOUNT5{}, cna::DCOMP_AMOUNT6{}, cna::DCOMP_AMOUNT7{},
          cna::DCOMP_AMOUNT8{}, cna::DCOMP_AMOUNT9{}, cna::DCOMP_AMOUNT10{}, cna::DCOMP_AMOUNT11{},
          cna::DCOMP_AMOUNT12{}, cna::DCOMP_AMOUNT13{}, cna::DCOMP_AMOUNT14{},
          cna::DCOMP_AMOUNT15{}, cna::CVT_CON5{}, cna::PAD_CON1{});
}

void emit_core(Emitter& e) {
  const GemmTask& t = e.task;
  e.write(core::MISC_CFG{.qd_en = !e.raw},
          core::DATAOUT_SIZE_0{.dataout_height = t.height, .dataout_width = t.width},
          core::DATAOUT_SIZE_1{.dataout_channel = t.n_padded}, core::CLIP_TRUNCATE{},
          core::UNDOC_3030{});
}

void emit_dpu(Emitter& e, const Requant& requant) {
  const GemmTask& t = e.task;
  const std::uint32_t size_e = e.raw ? 7 : 1;  // 7 for every raw integer output
  e.write(dpu::FEATURE_MODE_CFG{.burst_len = 15,
                                .output_mode = dpu::FEATURE_MODE_CFG::OUTPUT_MODE::MEMORY},
          dpu::DATA_FORMAT{.out_precision = e.raw ? dpu::DATA_FORMAT::OUT_PRECISION::INT32
                                                  : dpu::DATA_FORMAT::OUT_PRECISION::INT8},
          dpu::OFFSET_PEND{});
  e.address(dpu::DST_BASE_ADDR{}, kGemmC, t.c_offset);
  e.write(dpu::DST_SURF_STRIDE{.dst_surf_stride = t.m_padded},
          dpu::DATA_CUBE_WIDTH{.width = t.width}, dpu::DATA_CUBE_HEIGHT{.height = t.height},
          dpu::DATA_CUBE_NOTCH_ADDR{},
          dpu::DATA_CUBE_CHANNEL{.orig_channel = t.n_padded, .channel = t.n_padded});
  if (e.raw) {
    e.write(dpu::BS_CFG{
        .bs_relu_bypass = true, .bs_mul_bypass = true, .bs_alu_bypass = true, .bs_bypass = true});
  } else {  // add the bias vector
    e.write(dpu::BS_CFG{.bs_alu_algo = dpu::BS_CFG::BS_ALU_ALGO::ADD,
                        .bs_alu_src = dpu::BS_CFG::BS_ALU_SRC::MEMORY,
                        .bs_relu_bypass = true,
                        .bs_mul_bypass = true});
  }
  e.write(
      dpu::BS_ALU_CFG{}, dpu::BS_MUL_CFG{}, dpu::BS_RELUX_CMP_VALUE{},
      dpu::BS_OW_CFG{
          .size_e_2 = size_e, .size_e_1 = size_e, .size_e_0 = size_e, .od_bypass = e.raw},
      dpu::BS_OW_OP{}, dpu::WDMA_SIZE_0{.channel_wdma = t.n_padded},
      dpu::WDMA_SIZE_1{.height_wdma = t.height, .width_wdma = t.width},
      dpu::BN_CFG{
          .bn_relu_bypass = true, .bn_mul_bypass = true, .bn_alu_bypass = true, .bn_bypass = true},
      dpu::BN_ALU_CFG{}, dpu::BN_MUL_CFG{}, dpu::BN_RELUX_CMP_VALUE{},
      dpu::EW_CFG{.ew_relu_bypass = true,
                  .ew_op_cvt_bypass = true,
                  .ew_lut_bypass = true,
                  .ew_op_bypass = true,
                  .ew_bypass = true},
      dpu::EW_CVT_OFFSET_VALUE{}, dpu::EW_CVT_SCALE_VALUE{.ew_op_cvt_scale = 1},
      dpu::EW_RELUX_CMP_VALUE{}, dpu::OUT_CVT_OFFSET{.out_cvt_offset = requant.offset},
      dpu::OUT_CVT_SCALE{.out_cvt_scale = requant.scale},
      dpu::OUT_CVT_SHIFT{.out_cvt_shift = requant.shift});
  e.write(dpu::EW_OP_VALUE_0{}, dpu::EW_OP_VALUE_1{}, dpu::EW_OP_VALUE_2{}, dpu::EW_OP_VALUE_3{},
          dpu::EW_OP_VALUE_4{}, dpu::EW_OP_VALUE_5{}, dpu::EW_OP_VALUE_6{}, dpu::EW_OP_VALUE_7{},
          dpu::SURFACE_ADD{.surf_add = t.m_padded * (e.raw ? 8 : 2)}, dpu::UNDOC_40C4{},
          dpu::LUT_ACCESS_CFG{}, dpu::LUT_ACCESS_DATA{}, dpu::LUT_CFG{}, dpu::LUT_INFO{},
          dpu::LUT_LE_START{}, dpu::LUT_LE_END{}, dpu::LUT_LO_START{}, dpu::LUT_LO_END{},
          dpu::LUT_LE_SLOPE_SCALE{}, dpu::LUT_LE_SLOPE_SHIFT{}, dpu::LUT_LO_SLOPE_SCALE{},
          dpu::LUT_LO_SLOPE_SHIFT{});
}

void emit_rdma(Emitter& e) {
  const GemmTask& t = e.task;
  e.write(rdma::RDMA_DATA_CUBE_WIDTH{.width = t.width},
          rdma::RDMA_DATA_CUBE_HEIGHT{.height = t.height},
          rdma::RDMA_DATA_CUBE_CHANNEL{.channel = t.n_padded}, rdma::RDMA_SRC_BASE_ADDR{},
          rdma::RDMA_BRDMA_CFG{.brdma_data_use = e.raw ? 0u : 1u});
  if (e.raw) {
    e.write(rdma::RDMA_BS_BASE_ADDR{});
  } else {
    e.address(rdma::RDMA_BS_BASE_ADDR{}, kGemmBias, t.bias_offset);
  }
  // A main reader that is neither disabled nor fed hangs the job [notes, HW].
  e.write(rdma::RDMA_NRDMA_CFG{}, rdma::RDMA_BN_BASE_ADDR{},
          rdma::RDMA_ERDMA_CFG{.erdma_disable = true}, rdma::RDMA_EW_BASE_ADDR{},
          rdma::RDMA_EW_SURF_STRIDE{},
          rdma::RDMA_FEATURE_MODE_CFG{.burst_len = 15, .mrdma_disable = true},
          rdma::RDMA_SRC_DMA_CFG{}, rdma::RDMA_SURF_NOTCH{}, rdma::RDMA_PAD_CFG{},
          rdma::RDMA_WEIGHT{.e_weight = 1, .n_weight = 1, .b_weight = 1, .m_weight = 1},
          rdma::RDMA_EW_SURF_NOTCH{});
}

void emit_task(Emitter& e, const Requant& requant) {
  // The groups of DPU and DPU_RDMA alternate by themselves. Those of CNA and CORE are set by the
  // driver: their pointer registers also hold the core's index, so a program never writes them.
  e.write(
      dpu::S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true},
      rdma::RDMA_S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true});
  emit_cna(e);
  emit_core(e);
  emit_dpu(e, requant);
  emit_rdma(e);
  // The PC fetches pairs of words.
  if (e.stream.size() % 2 != 0) e.stream.word(0);
  namespace on = regdb::enable_mask;
  e.stream.end(on::cna | on::core | on::dpu | on::dpu_rdma);
}

}  // namespace

Program emit_gemm(const GemmPlan& plan, std::size_t core_index, std::uint32_t slice,
                  const Requant& requant) {
  if (core_index >= plan.cores.size() || slice >= plan.slices) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("core {} slice {} is not in a plan of {} core(s) and {} slice(s)",
                            core_index, slice, plan.cores.size(), plan.slices));
  }
  if (requant.shift > 63) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("a requantisation shift of {} is not possible: use 0 to 63", requant.shift));
  }
  const bool raw = plan.task_output == GemmOutput::i32;
  Program program{.slots = {"a", "b", "c", "bias"}};
  for (const GemmTask& task : plan.cores[core_index].tasks) {
    if (task.slice != slice) continue;
    Emitter e{task, raw, static_cast<std::uint32_t>(program.tasks.size()), program};
    emit_task(e, raw ? Requant{} : requant);
    program.tasks.push_back(e.stream.words());
  }
  return program;
}

}  // namespace npu::kernels
