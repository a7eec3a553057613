// SPDX-License-Identifier: MIT
// compute.md 2.3 and 3.1 [mtx512 npu_matmul.c, rocket-userspace, mesa rkt_regcmd.c; board-proven].
#include "microkernels/mac_task.hpp"

namespace npu::kernels {
namespace {

namespace cna = regdb::cna;
namespace core = regdb::core;
namespace dpu = regdb::dpu;
namespace rdma = regdb::dpu_rdma;

void emit_cna(TaskEmitter& e, const MacTask& t) {
  const std::uint32_t precision = mac_format(t.in).precision;
  e.write(cna::CONV_CON1{.deconv = t.spread_x != 1 || t.spread_y != 1,
                         .proc_precision = precision,
                         .in_precision = precision,
                         .conv_mode = t.depthwise ? cna::CONV_CON1::CONV_MODE::DEPTHWISE
                                                  : cna::CONV_CON1::CONV_MODE::DIRECT},
          cna::CONV_CON2{.feature_grains = t.grains},
          cna::CONV_CON3{.atrous_y_dilation = t.dilation_y,
                         .atrous_x_dilation = t.dilation_x,
                         .deconv_y_stride = t.spread_y - 1,
                         .deconv_x_stride = t.spread_x - 1,
                         .conv_y_stride = t.stride_y,
                         .conv_x_stride = t.stride_x},
          cna::DATA_SIZE0{.datain_width = t.in_width, .datain_height = t.in_height},
          cna::DATA_SIZE1{.datain_channel_real = t.channels_real, .datain_channel = t.channels},
          cna::DATA_SIZE2{.dataout_width = t.output.width},
          cna::DATA_SIZE3{.dataout_atomics = t.output.width * t.output.height},
          cna::WEIGHT_SIZE0{.weight_bytes = t.weight_bytes},
          cna::WEIGHT_SIZE1{.weight_bytes_per_kernel = t.kernel_bytes},
          cna::WEIGHT_SIZE2{.weight_width = t.kernel_width,
                            .weight_height = t.kernel_height,
                            .weight_kernels = t.kernels},
          cna::CBUF_CON0{.weight_reuse = t.weight_reuse,
                         .data_reuse = t.data_reuse,
                         .weight_bank = t.weight_banks,
                         .data_bank = t.data_banks},
          cna::CBUF_CON1{.data_entries = t.entries});
  e.write(
      cna::CVT_CON0{
          .data_sign = true, .cvt_type = cna::CVT_CON0::CVT_TYPE::ADD_FIRST, .cvt_bypass = true},
      cna::CVT_CON1{.cvt_scale0 = 1}, cna::CVT_CON2{.cvt_scale1 = 1},
      cna::CVT_CON3{.cvt_scale2 = 1}, cna::CVT_CON4{.cvt_scale3 = 1}, cna::FC_CON0{},
      cna::FC_CON1{}, cna::PAD_CON0{.pad_left = t.pad_left, .pad_top = t.pad_top});
  e.address(cna::FEATURE_DATA_ADDR{}, t.features);
  e.write(cna::FC_CON2{}, cna::DMA_CON0{.weight_burst_len = 15, .data_burst_len = 15},
          cna::DMA_CON1{.line_stride = static_cast<std::uint32_t>(t.line_stride)},
          cna::DMA_CON2{.surf_stride = t.surface_stride},
          cna::FC_DATA_SIZE0{.dma_width = t.in_width, .dma_height = t.in_height},
          cna::FC_DATA_SIZE1{.dma_channel = t.channels}, cna::DCOMP_CTRL{}, cna::DCOMP_REGNUM{});
  e.address(cna::DCOMP_ADDR0{}, t.weights);
  e.write(cna::DCOMP_AMOUNT0{}, cna::DCOMP_AMOUNT1{}, cna::DCOMP_AMOUNT2{}, cna::DCOMP_AMOUNT3{},
          cna::DCOMP_AMOUNT4{}, cna::DCOMP_AMOUNT5{}, cna::DCOMP_AMOUNT6{}, cna::DCOMP_AMOUNT7{},
          cna::DCOMP_AMOUNT8{}, cna::DCOMP_AMOUNT9{}, cna::DCOMP_AMOUNT10{}, cna::DCOMP_AMOUNT11{},
          cna::DCOMP_AMOUNT12{}, cna::DCOMP_AMOUNT13{}, cna::DCOMP_AMOUNT14{},
          cna::DCOMP_AMOUNT15{}, cna::CVT_CON5{}, cna::PAD_CON1{.pad_value = t.pad_value});
}

void emit_core(TaskEmitter& e, const MacTask& t) {
  e.write(
      core::MISC_CFG{
          .proc_precision = mac_format(t.in).precision, .dw_en = t.depthwise, .qd_en = t.quantify},
      core::DATAOUT_SIZE_0{.dataout_height = t.output.height, .dataout_width = t.output.width},
      core::DATAOUT_SIZE_1{.dataout_channel = t.output.channels},
      core::CLIP_TRUNCATE{.clip_truncate = t.clip_truncate}, core::UNDOC_3030{});
}

}  // namespace

void emit(Program& program, const MacTask& task) {
  TaskEmitter e(program);
  // The groups of DPU and DPU_RDMA alternate by themselves. Those of CNA and CORE are set by the
  // driver: their pointer registers also hold the core's index, so a program never writes them.
  e.write(
      dpu::S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true},
      rdma::RDMA_S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true});
  emit_cna(e, task);
  emit_core(e, task);
  OutputGeometry output = task.output;
  output.in_precision = output.proc_precision = mac_format(task.in).dpu_precision;
  output.out_precision = output_precision(task.out);
  output.conv_mode = task.depthwise ? dpu::FEATURE_MODE_CFG::CONV_MODE::DEPTHWISE
                                    : dpu::FEATURE_MODE_CFG::CONV_MODE::DIRECT;
  emit_dpu(e, task.dpu, output);
  namespace on = regdb::enable_mask;
  e.end(on::cna | on::core | on::dpu | on::dpu_rdma);
}

}  // namespace npu::kernels
