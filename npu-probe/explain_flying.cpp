// SPDX-License-Identifier: MIT
// Tasks of the DPU alone, and of the PPU. What the bits mean: npu-sim/flying_config.cpp and
// pooling.cpp, with their sources.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "npu-probe/explain_parts.hpp"
#include "npu-sim/precision_codes.hpp"
#include "regdb/registers.hpp"

namespace npu::probe::explain {
namespace {

namespace rd = npu::regdb;

const FusedPart* part(const Operator& op, std::string_view stage) {
  const auto it = std::find_if(op.fused.begin(), op.fused.end(),
                               [&](const FusedPart& p) { return p.stage == stage; });
  return it == op.fused.end() ? nullptr : &*it;
}

// What the program is for: the table, the operation of EW, a stage's arithmetic, a rectifier, a
// conversion, in this order.
void name_flying(ElementType in, ElementType out, Operator& op) {
  if (part(op, "LUT") != nullptr) {
    op.kind = OperatorKind::activation;
    op.name = "table";
    return;
  }
  for (const char* stage : {"EW", "BS", "BN"}) {
    const FusedPart* p = part(op, stage);
    if (p == nullptr) continue;
    const bool rectifier = p->what.starts_with("relu") || p->what == "leaky relu";
    op.kind = rectifier ? OperatorKind::activation : OperatorKind::elementwise;
    op.name = p->what;
    op.detail = p->detail;
    op.fused.erase(op.fused.begin() + (p - op.fused.data()));
    return;
  }
  op.kind = OperatorKind::copy;
  op.name = part(op, "OUT_CVT") != nullptr ? "requantise" : in == out ? "copy" : "convert";
}

double fp17(std::uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 0x3F);
  const double fraction = bits & 0x3FF;
  return exponent == 0 ? std::ldexp(fraction, -40) : std::ldexp(1024 + fraction, exponent - 41);
}

// An average is the sum times two reciprocals; other factors make it another sum.
void check_average(const TaskRegisters& r, bool is_float, Operator& op) {
  const auto value = [&](std::uint32_t offset) {
    const std::uint32_t bits = r.ppu(offset) & 0x1FFFF;
    return is_float ? fp17(bits) : bits / 65536.0;
  };
  const double factor =
      value(rd::ppu::RECIP_KERNEL_WIDTH::offset) * value(rd::ppu::RECIP_KERNEL_HEIGHT::offset);
  const double area = double{1} * op.kernel_width * op.kernel_height;
  if (std::abs(factor * area - 1) > 0.01)
    note(op, Note::Kind::info, "PPU.RECIP_KERNEL_WIDTH",
         fmt::format("the sum of {:g} values is multiplied by {:g}, which is no average", area,
                     factor));
}

}  // namespace

void describe_flying(const TaskRegisters& r, Operator& op) {
  const auto format = get<rd::dpu::DATA_FORMAT>(r);
  const auto channel = get<rd::dpu::DATA_CUBE_CHANNEL>(r);
  const std::uint32_t w = get<rd::dpu::DATA_CUBE_WIDTH>(r).width;
  const std::uint32_t h = get<rd::dpu::DATA_CUBE_HEIGHT>(r).height;
  const ElementType type = element_of(format.in_precision, "DPU.DATA_FORMAT.in_precision", op);
  NpuTensor input;
  input.role = TensorRole::input;
  input.type = type;
  input.iova = r.address(r.rdma(rd::dpu_rdma::RDMA_SRC_BASE_ADDR::offset));
  input.h = h, input.w = w, input.c = channel.channel;
  input.line_stride = std::int64_t{w} * 16;
  input.plane_stride = input.group_stride =
      input.line_stride * h + (r.rdma(rd::dpu_rdma::RDMA_SURF_NOTCH::offset) & ~0xFu);
  op.tensors.push_back(input);
  describe_stages(r, {true, type, h, w, channel.channel}, op);
  ElementType out = type;
  if (dpu_writes_memory(r)) {
    op.tensors.push_back(dpu_output(r, input.atom(), h, w, channel.channel, op));
    out = op.tensors.back().type;
  }
  name_flying(type, out, op);
  if (channel.orig_channel < channel.channel && op.find(TensorRole::operand) != nullptr)
    note(op, Note::Kind::info, "DPU.DATA_CUBE_CHANNEL.orig_channel",
         fmt::format("the operand of channels from {} on counts as missing", channel.orig_channel));
}

void describe_pool(const TaskRegisters& r, bool fed, Operator& op) {
  const auto count = [&](std::uint32_t offset) { return (r.ppu(offset) & 0x1FFF) + 1; };
  const auto mode = get<rd::ppu::OPERATION_MODE_CFG>(r);
  const auto kernel = get<rd::ppu::POOLING_KERNEL_CFG>(r);
  const auto pad = get<rd::ppu::POOLING_PADDING_CFG>(r);
  const auto format = get<rd::ppu::DATA_FORMAT>(r);
  const std::uint32_t in_w = count(rd::ppu::DATA_CUBE_IN_WIDTH::offset);
  const std::uint32_t in_h = count(rd::ppu::DATA_CUBE_IN_HEIGHT::offset);
  const std::uint32_t channels = count(rd::ppu::DATA_CUBE_IN_CHANNEL::offset);
  const std::uint32_t out_w = count(rd::ppu::DATA_CUBE_OUT_WIDTH::offset);
  const std::uint32_t out_h = count(rd::ppu::DATA_CUBE_OUT_HEIGHT::offset);
  constexpr const char* kMethods[] = {"average pool", "max pool", "min pool", "unknown pool"};
  const std::string name = kMethods[mode.pooling_method & 3];
  if (mode.pooling_method > 2)
    note(op, Note::Kind::unknown, "PPU.OPERATION_MODE_CFG.pooling_method",
         fmt::format("method {}", mode.pooling_method));
  const ElementType type = element_of(format.proc_precision, "PPU.DATA_FORMAT.proc_precision", op);
  const bool is_float = type == ElementType::fp16 || type == ElementType::fp32;
  if (!fed) {
    op.kind = OperatorKind::pool;
    op.name = name;
    op.kernel_height = kernel.kernel_height, op.kernel_width = kernel.kernel_width;
    op.stride_y = kernel.kernel_stride_height, op.stride_x = kernel.kernel_stride_width;
    op.pad_top = pad.pad_top, op.pad_left = pad.pad_left;
    op.pad_bottom = static_cast<std::int32_t>(pad.pad_bottom);
    op.pad_right = static_cast<std::int32_t>(pad.pad_right);
    if (mode.pooling_method == 0) check_average(r, is_float, op);
    NpuTensor input;
    input.role = TensorRole::input;
    input.type = type;
    input.iova = r.address(r.ppu_rdma(rd::ppu_rdma::RDMA_SRC_BASE_ADDR::offset));
    input.h = in_h, input.w = in_w, input.c = channels;
    input.line_stride = r.ppu_rdma(rd::ppu_rdma::RDMA_SRC_LINE_STRIDE::offset) & ~0xFu;
    input.plane_stride = input.group_stride =
        r.ppu_rdma(rd::ppu_rdma::RDMA_SRC_SURF_STRIDE::offset) & ~0xFu;
    op.tensors.push_back(input);
  } else {
    op.fused.push_back(
        {"PPU", name,
         fmt::format("{}x{} s{}, {}x{} -> {}x{}", kernel.kernel_height, kernel.kernel_width,
                     kernel.kernel_stride_height, in_h, in_w, out_h, out_w)});
  }
  NpuTensor output;
  output.role = TensorRole::output;
  output.type = type;
  output.iova = r.address(r.ppu(rd::ppu::DST_BASE_ADDR::offset) & ~0xFu);
  output.h = out_h, output.w = out_w, output.c = channels;
  output.line_stride = (std::int64_t{out_w} + mode.notch_addr) * 16;
  output.plane_stride = output.group_stride = r.ppu(rd::ppu::DST_SURF_STRIDE::offset) & ~0xFu;
  op.tensors.push_back(output);
  if (mode.index_en) {
    output.role = TensorRole::index;
    output.iova += r.ppu(rd::ppu::DATA_FORMAT::offset) & ~0xFu;
    output.type = ElementType::int16;
    op.tensors.push_back(output);
  }
}

}  // namespace npu::probe::explain
