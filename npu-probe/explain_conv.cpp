// SPDX-License-Identifier: MIT
// Tasks of the MAC array. What the bits mean: npu-sim/conv_config.cpp, with its sources.
#include <fmt/format.h>

#include <algorithm>

#include "npu-probe/explain_parts.hpp"
#include "npu-sim/precision_codes.hpp"
#include "regdb/registers.hpp"

namespace npu::probe::explain {
namespace {

namespace rd = npu::regdb;

// int16 is taken for a code without a type, so that the layout makes sense.
sim::Precision mac_precision(std::uint32_t code) {
  switch (code) {
    case sim::kInt8: return sim::Precision::int8;
    case sim::kInt16: return sim::Precision::int16;
    case sim::kFp16: return sim::Precision::fp16;
    case sim::kBf16: return sim::Precision::bf16;
    case sim::kInt4: return sim::Precision::int4;
    case sim::kTf32: return sim::Precision::tf32;
    default: return sim::Precision::int16;
  }
}

// The step between input positions [notes conv-transpose, HW sweep].
std::uint32_t spread(std::uint32_t field) {
  return field == 1 || field == 3 || field == 7 ? field + 1 : 1;
}

// What the windows reach beyond the input on the far side.
std::int32_t far_padding(std::uint32_t out, std::uint32_t stride, std::uint32_t kernel,
                         std::uint32_t dilation, std::uint32_t in, std::uint32_t spread,
                         std::uint32_t pad) {
  const std::int64_t reach = std::int64_t{out == 0 ? 0 : out - 1} * stride +
                             std::int64_t{kernel == 0 ? 0 : kernel - 1} * std::max(dilation, 1u) +
                             1;
  const std::int64_t size = std::int64_t{in == 0 ? 0 : in - 1} * spread + 1;
  return static_cast<std::int32_t>(reach - size - pad);
}

NpuTensor input_tensor(const TaskRegisters& r, ElementType type, Operator& op) {
  const auto con1 = get<rd::cna::CONV_CON1>(r);
  const auto size0 = get<rd::cna::DATA_SIZE0>(r);
  const auto size1 = get<rd::cna::DATA_SIZE1>(r);
  const auto cvt = get<rd::cna::CVT_CON0>(r);
  const std::int64_t line = get<rd::cna::DMA_CON1>(r).line_stride;
  const std::int64_t surface = get<rd::cna::DMA_CON2>(r).surf_stride;
  NpuTensor t;
  t.role = TensorRole::input;
  t.type = type;
  t.iova = r.address(r.cna(rd::cna::FEATURE_DATA_ADDR::offset));
  t.h = size0.datain_height, t.w = size0.datain_width;
  t.c = std::min<std::uint32_t>(size1.datain_channel_real, size1.datain_channel);
  if (size1.datain_channel_real > size1.datain_channel && con1.argb_in == 0)
    note(op, Note::Kind::contradiction, "CNA.DATA_SIZE1.datain_channel_real",
         fmt::format("{}, but the cube has {} channels", size1.datain_channel_real,
                     size1.datain_channel));
  if (con1.argb_in != 0) {
    // Codes 8 to 11: one to four elements a pixel [mesa; TRM; allbilly simple_conv_fp16.py].
    if (con1.argb_in < 8 || con1.argb_in > 11)
      note(op, Note::Kind::unknown, "CNA.CONV_CON1.argb_in",
           fmt::format("code {}: 8 to 11 are one to four channels", con1.argb_in));
    t.c = std::clamp(con1.argb_in, 8u, 11u) - 7;
    t.kind = LayoutKind::pixels;
    t.position_stride = t.c * bits_of(type) / 8;
    t.line_stride = line * t.position_stride;
    if (type == ElementType::int8 && !cvt.data_sign) t.type = ElementType::uint8;
  } else if (con1.group_line_off) {
    t.kind = LayoutKind::pixels;
    t.position_stride = std::max(1u, size1.datain_channel * bits_of(type) / 8);
    t.line_stride = line * 16;
  } else {
    t.line_stride = line * 4;
    t.plane_stride = t.group_stride = (surface + line) * 16;
  }
  return t;
}

NpuTensor weight_tensor(const TaskRegisters& r, const sim::PrecisionLayout& layout,
                        ElementType type, std::uint32_t real_in, std::uint32_t real_out,
                        bool depthwise) {
  const auto size1 = get<rd::cna::DATA_SIZE1>(r);
  const auto size2 = get<rd::cna::WEIGHT_SIZE2>(r);
  NpuTensor t;
  t.role = TensorRole::weights;
  t.type = type;
  t.iova = r.address(r.cna(rd::cna::DCOMP_ADDR0::offset));
  t.h = size2.weight_height, t.w = size2.weight_width;
  t.stored_c = size1.datain_channel;
  if (depthwise) {
    t.kind = LayoutKind::depthwise;
    t.block_c = std::max(1u, layout.depthwise_group);
    t.c = std::min(real_in, t.stored_c);
    const std::uint32_t whole = (t.stored_c + t.block_c - 1) / t.block_c * t.block_c;
    const std::uint64_t bytes = std::uint64_t{t.h} * t.w * whole * bits_of(type) / 8;
    if (r.cna(rd::cna::WEIGHT_SIZE0::offset) == bytes) t.stored_c = whole;
    return t;
  }
  t.kind = LayoutKind::kernels;
  t.block_n = layout.kernel_group, t.block_c = layout.channel_group;
  t.stored_n = size2.weight_kernels;
  t.n = std::min(real_out, t.stored_n);
  t.c = std::min(real_in, t.stored_c);
  return t;
}

void check_sizes(const TaskRegisters& r, std::uint32_t h, std::uint32_t w, Operator& op) {
  const auto dpu_w = get<rd::dpu::DATA_CUBE_WIDTH>(r).width;
  const auto dpu_h = get<rd::dpu::DATA_CUBE_HEIGHT>(r).height;
  if (dpu_w != w || dpu_h != h)
    note(op, Note::Kind::contradiction, "DPU.DATA_CUBE_WIDTH",
         fmt::format("the DPU waits for {}x{} positions, CORE makes {}x{}", dpu_h, dpu_w, h, w));
  // The windows of a task never start behind the padded input by more than a kernel.
  const auto beyond = [&](std::int32_t pad, std::uint32_t kernel, const char* which) {
    if (pad >= static_cast<std::int32_t>(std::max(kernel, 1u)) * 4 && pad > 16)
      note(op, Note::Kind::info, "CORE.DATAOUT_SIZE_0",
           fmt::format("{} {} of the output come from padding alone", pad, which));
  };
  beyond(op.pad_bottom, op.kernel_height, "rows");
  beyond(op.pad_right, op.kernel_width, "columns");
}

}  // namespace

void describe_convolution(const TaskRegisters& r, Operator& op) {
  const auto con1 = get<rd::cna::CONV_CON1>(r);
  const auto con3 = get<rd::cna::CONV_CON3>(r);
  const auto size1 = get<rd::cna::DATA_SIZE1>(r);
  const auto size2 = get<rd::cna::WEIGHT_SIZE2>(r);
  const auto cbuf = get<rd::cna::CBUF_CON0>(r);
  const auto pad = get<rd::cna::PAD_CON0>(r);
  const auto out = get<rd::core::DATAOUT_SIZE_0>(r);
  const auto channel = get<rd::dpu::DATA_CUBE_CHANNEL>(r);

  const ElementType type = element_of(con1.in_precision, "CNA.CONV_CON1.in_precision", op);
  const sim::PrecisionLayout layout = sim::layout_of(mac_precision(con1.in_precision));
  const bool depthwise = con1.conv_mode == 3;
  op.kind = depthwise ? OperatorKind::depthwise : OperatorKind::convolution;
  op.kernel_height = size2.weight_height, op.kernel_width = size2.weight_width;
  op.stride_y = con3.conv_y_stride, op.stride_x = con3.conv_x_stride;
  // 0 and 1 both mean none.
  op.dilation_y = std::max(con3.atrous_y_dilation, 1u);
  op.dilation_x = std::max(con3.atrous_x_dilation, 1u);
  op.spread_y = con1.deconv ? spread(con3.deconv_y_stride) : 1;
  op.spread_x = con1.deconv ? spread(con3.deconv_x_stride) : 1;
  op.pad_top = pad.pad_top, op.pad_left = pad.pad_left;
  op.data_banks = cbuf.data_bank, op.weight_banks = cbuf.weight_bank;
  op.data_reuse = cbuf.data_reuse, op.weight_reuse = cbuf.weight_reuse;

  const NpuTensor input = input_tensor(r, type, op);
  op.tensors.push_back(input);
  op.pad_bottom = far_padding(out.dataout_height, op.stride_y, op.kernel_height, op.dilation_y,
                              input.h, op.spread_y, op.pad_top);
  op.pad_right = far_padding(out.dataout_width, op.stride_x, op.kernel_width, op.dilation_x,
                             input.w, op.spread_x, op.pad_left);
  const std::uint32_t out_channels = channel.orig_channel;
  NpuTensor weights = weight_tensor(r, layout, type, input.c, out_channels, depthwise);
  if (depthwise) weights.c = std::min(weights.c, std::max(out_channels, 1u));
  op.tensors.push_back(weights);

  if (con1.deconv && (op.spread_x > 1 || op.spread_y > 1)) op.kind = OperatorKind::transposed;
  const bool one_tap = op.kernel_height == 1 && op.kernel_width == 1 && op.stride_x == 1 &&
                       op.stride_y == 1 && !depthwise && op.pad_top == 0 && op.pad_left == 0 &&
                       op.spread_x == 1 && op.spread_y == 1 && op.pad_bottom <= 0 &&
                       op.pad_right <= 0;
  if (one_tap) {
    op.matrix = MatrixShape{out.dataout_width * out.dataout_height, input.c, out_channels};
    // A column of positions, and int8 matrices that are a plane for the sake of whole atoms: who
    // wrote the program knows which; a convolution over one column is a matrix product.
    if (input.w == 1) op.kind = OperatorKind::gemm;
  }
  switch (op.kind) {
    case OperatorKind::gemm: op.name = "gemm"; break;
    case OperatorKind::depthwise: op.name = "dwconv"; break;
    case OperatorKind::transposed: op.name = "deconv"; break;
    default: op.name = "conv"; break;
  }
  const bool pads = op.pad_top != 0 || op.pad_left != 0 || op.pad_bottom > 0 || op.pad_right > 0;
  if (pads && bits_of(type) == 8) {
    op.quantisation = Quantisation{};
    op.quantisation->input_zero = static_cast<std::int8_t>(r.cna(rd::cna::PAD_CON1::offset) & 0xFF);
  }

  describe_stages(r, {false, type, out.dataout_height, out.dataout_width, out_channels}, op);
  if (dpu_writes_memory(r))
    op.tensors.push_back(dpu_output(r, depthwise ? layout.depthwise_group : layout.kernel_group,
                                    out.dataout_height, out.dataout_width, out_channels, op));
  op.macs = std::uint64_t{out.dataout_width} * out.dataout_height * op.kernel_width *
            op.kernel_height * size1.datain_channel * (depthwise ? 1 : size2.weight_kernels);
  check_sizes(r, out.dataout_height, out.dataout_width, op);
}

}  // namespace npu::probe::explain
