// SPDX-License-Identifier: MIT
#include "mobilenet.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>

#include "regdb/registers.hpp"

namespace npu::bench {
namespace {

namespace rd = npu::regdb;
using Kind = Layer::Kind;

constexpr std::uint32_t ceil_div(std::uint32_t a, std::uint32_t b) { return (a + b - 1) / b; }

Layer convolution(std::string name, Kind kind, std::uint32_t size, std::uint32_t in,
                  std::uint32_t out, std::uint32_t kernel, std::uint32_t stride,
                  std::mt19937& rng) {
  Layer l{std::move(name), kind, size, in, (size + stride - 1) / stride, out, kernel, stride};
  const std::uint32_t reach = (l.out_size - 1) * stride + kernel;
  const std::uint32_t pad = reach > size ? reach - size : 0;
  l.pad_before = pad / 2;
  l.pad_after = pad - l.pad_before;
  l.pad_value = kind == Kind::convolution && kernel > 1 ? 0 : -128;  // the image is centred
  l.ow_op = 3;
  std::uniform_int_distribution<int> weight(-64, 63), bias(-2000, 2000);
  const bool depthwise = kind == Kind::depthwise;
  l.weights.resize(std::size_t{kernel} * kernel * out * (depthwise ? 1 : in));
  for (auto& w : l.weights) w = static_cast<std::int8_t>(weight(rng));
  l.bias.resize(out);
  for (auto& b : l.bias) b = bias(rng);
  // A factor that spreads the outputs over the bytes, in the 15 bits that Mesa keeps.
  const double products = kernel * kernel * (depthwise ? 1.0 : in);
  const double factor = 60 / (std::sqrt(products) * 37 * 90);
  l.shift = static_cast<std::uint32_t>(std::floor(std::log2(32767 / factor)));
  l.scale = static_cast<std::uint32_t>(factor * std::ldexp(1.0, static_cast<int>(l.shift)));
  l.offset = out == 1001 ? 0 : -64;
  return l;
}

struct Slice {
  std::uint32_t top, rows, pad_top, out_first, out_rows;
};

struct CbufPlan {
  std::uint32_t data_banks, weight_banks;
  bool reuse;
  std::vector<Slice> slices;
};

CbufPlan plan_cbuf(const Layer& l) {
  const std::uint32_t atoms = ceil_div(l.in_channels, 16);
  const std::uint32_t tail = atoms % 8 == 3 ? l.in_size : ceil_div(atoms % 8 * l.in_size, 8);
  const std::uint32_t row_entries = atoms / 8 * l.in_size + tail;
  const std::uint32_t kernels = l.kind == Kind::depthwise ? 1 : l.out_channels;
  const std::uint32_t weight_banks =
      ceil_div(ceil_div(l.kernel * l.kernel * l.in_channels * kernels, 128), 256) + 1;
  CbufPlan p{12 - weight_banks, weight_banks, true, {}};
  if (weight_banks + 1 >= 12) p = {7, 5, false, {}};
  const std::uint32_t input_banks = ceil_div(row_entries * l.in_size, 256);
  std::uint32_t most = l.in_size;
  if (input_banks <= p.data_banks) {
    p.data_banks = input_banks;
    p.weight_banks = 12 - input_banks;
  } else {
    most = 256 * p.data_banks / row_entries;
  }
  for (std::uint32_t done = 0; done < l.out_size;) {
    const std::uint32_t pad_top = done == 0 ? l.pad_before : 0;
    const std::uint32_t top = done * l.stride - (done == 0 ? 0 : l.pad_before);
    const std::uint32_t rows = std::min(most, l.in_size - top);
    const std::uint32_t below = top + rows == l.in_size ? l.pad_after : 0;
    const std::uint32_t out_rows = (rows + pad_top + below - l.kernel) / l.stride + 1;
    p.slices.push_back({top, rows, pad_top, done, out_rows});
    done += out_rows;
  }
  return p;
}

std::vector<std::uint64_t> convolution_task(const Layer& l, const LayerBuffers& at,
                                            const CbufPlan& plan, const Slice& slice) {
  rd::RegcmdStream s;
  const bool depthwise = l.kind == Kind::depthwise, first = slice.out_first == 0;
  const std::uint32_t channels = l.padded_channels(), in = l.in_size, out = l.out_size;
  const std::uint32_t kernels = depthwise ? 1 : (l.out_channels + 1) / 2 * 2;
  const std::uint32_t out_channels = depthwise ? ceil_div(std::max(l.out_channels, 64u), 64) * 64
                                               : ceil_div(l.out_channels, 32) * 32;
  const std::uint32_t surfaces = depthwise ? 4 : 2;
  const std::uint32_t kernel_bytes = l.kernel * l.kernel * channels;
  const std::uint32_t mode = depthwise ? 3 : 0;
  s.write(rd::dpu::S_POINTER::decode(0xE)).write(rd::dpu_rdma::RDMA_S_POINTER::decode(0xE));
  s.write(rd::cna::CONV_CON1{.conv_mode = mode});
  s.write(rd::cna::CONV_CON2{.feature_grains = 50 + l.stride + 1});
  s.write(rd::cna::CONV_CON3{.conv_y_stride = l.stride, .conv_x_stride = l.stride});
  s.write(rd::cna::DATA_SIZE0{.datain_width = in, .datain_height = slice.rows});
  s.write(rd::cna::DATA_SIZE1{.datain_channel_real = l.in_channels, .datain_channel = channels});
  s.write(rd::cna::DATA_SIZE2{.dataout_width = out});
  s.write(rd::cna::DATA_SIZE3{.dataout_atomics = out * slice.out_rows});
  s.write(rd::cna::WEIGHT_SIZE0{.weight_bytes = kernel_bytes * kernels});
  s.write(rd::cna::WEIGHT_SIZE1{.weight_bytes_per_kernel = kernel_bytes});
  s.write(rd::cna::WEIGHT_SIZE2{
      .weight_width = l.kernel, .weight_height = l.kernel, .weight_kernels = kernels});
  s.write(rd::cna::CBUF_CON0{.weight_reuse = plan.reuse && !first,
                             .weight_bank = plan.weight_banks,
                             .data_bank = plan.data_banks});
  s.write(rd::cna::CBUF_CON1{.data_entries = ceil_div(2 * in * ceil_div(l.in_channels, 16), 8)});
  s.write(rd::cna::CVT_CON0{.data_sign = true, .cvt_type = 1, .cvt_bypass = true});
  s.write(rd::cna::CVT_CON1{.cvt_scale0 = 1}).write(rd::cna::CVT_CON2{.cvt_scale1 = 1});
  s.write(rd::cna::CVT_CON3{.cvt_scale2 = 1}).write(rd::cna::CVT_CON4{.cvt_scale3 = 1});
  s.write(rd::cna::PAD_CON0{.pad_left = l.pad_before, .pad_top = slice.pad_top});
  s.write(rd::cna::FEATURE_DATA_ADDR{.feature_base_addr = at.input + slice.top * in * 16});
  s.write(rd::cna::DMA_CON0{.weight_burst_len = 15, .data_burst_len = 15});
  s.write(rd::cna::DMA_CON1{.line_stride = 4 * in});
  s.write(rd::cna::DMA_CON2{.surf_stride = static_cast<std::int32_t>(in * in) -
                                           4 * static_cast<std::int32_t>(in)});
  s.write(rd::cna::FC_DATA_SIZE0{.dma_width = in, .dma_height = slice.rows});
  s.write(rd::cna::FC_DATA_SIZE1{.dma_channel = channels});
  s.write(rd::cna::DCOMP_ADDR0{.decompress_addr0 = at.weights});
  s.write(rd::cna::PAD_CON1::decode(static_cast<std::uint32_t>(l.pad_value)));
  s.write(rd::core::MISC_CFG{.dw_en = depthwise, .qd_en = true});
  s.write(rd::core::DATAOUT_SIZE_0{.dataout_height = slice.out_rows, .dataout_width = out});
  s.write(rd::core::DATAOUT_SIZE_1{.dataout_channel = out_channels});
  s.write(rd::core::CLIP_TRUNCATE{});
  s.write(rd::dpu::FEATURE_MODE_CFG{.burst_len = 15, .conv_mode = mode, .output_mode = 2});
  s.write(rd::dpu::DATA_FORMAT{});
  s.write(rd::dpu::DST_BASE_ADDR{.dst_base_addr = at.output + slice.out_first * out * 16});
  s.write(rd::dpu::DST_SURF_STRIDE{.dst_surf_stride = out * out});
  s.write(rd::dpu::DATA_CUBE_WIDTH{.width = out});
  s.write(rd::dpu::DATA_CUBE_HEIGHT{.height = slice.out_rows});
  s.write(rd::dpu::DATA_CUBE_CHANNEL{.orig_channel = l.out_channels, .channel = out_channels});
  s.write(rd::dpu::BS_CFG::decode(0x20150));  // bias added from memory, the rest bypassed
  s.write(rd::dpu::BS_OW_CFG{
      .size_e_2 = surfaces - 1, .size_e_1 = surfaces - 1, .size_e_0 = surfaces - 1});
  s.write(rd::dpu::BS_OW_OP::decode(static_cast<std::uint16_t>(l.ow_op)));
  s.write(rd::dpu::WDMA_SIZE_0{.channel_wdma = out_channels});
  s.write(rd::dpu::WDMA_SIZE_1{.height_wdma = slice.out_rows, .width_wdma = out});
  s.write(rd::dpu::BN_CFG::decode(0x53)).write(rd::dpu::EW_CFG::decode(0x383));
  s.write(rd::dpu::EW_CVT_SCALE_VALUE{.ew_op_cvt_scale = 1});
  s.write(rd::dpu::OUT_CVT_OFFSET::decode(static_cast<std::uint32_t>(l.offset)));
  s.write(rd::dpu::OUT_CVT_SCALE::decode(l.scale)).write(rd::dpu::OUT_CVT_SHIFT::decode(l.shift));
  s.write(rd::dpu::SURFACE_ADD{.surf_add = out * out * surfaces});
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_WIDTH{.width = out});
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_HEIGHT{.height = slice.out_rows});
  s.write(rd::dpu_rdma::RDMA_DATA_CUBE_CHANNEL{.channel = out_channels});
  s.write(rd::dpu_rdma::RDMA_BRDMA_CFG{.brdma_data_use = 1});
  s.write(rd::dpu_rdma::RDMA_BS_BASE_ADDR{.bs_base_addr = at.bias});
  s.write(rd::dpu_rdma::RDMA_ERDMA_CFG{.erdma_disable = true});
  s.write(rd::dpu_rdma::RDMA_FEATURE_MODE_CFG{
      .burst_len = 15, .mrdma_disable = true, .conv_mode = mode});
  s.write(rd::dpu_rdma::RDMA_WEIGHT{.e_weight = 1, .n_weight = 1, .b_weight = 1, .m_weight = 1});
  if (s.size() % 2 != 0) s.word(0);
  s.end(0x1D);
  return s.words();
}

// Mesa leaves pools to the CPU; this is the PPU's own program [compute.md 7].
std::vector<std::uint64_t> pool_task(const Layer& l, const LayerBuffers& at) {
  rd::RegcmdStream s;
  const std::uint32_t in = l.in_size, out = l.out_size, recip = 0x10000 / l.kernel;
  s.write(rd::ppu::S_POINTER::decode(0xE)).write(rd::ppu_rdma::RDMA_S_POINTER::decode(0xE));
  s.write(rd::ppu::DATA_CUBE_IN_WIDTH{.cube_in_width = in});
  s.write(rd::ppu::DATA_CUBE_IN_HEIGHT{.cube_in_height = in});
  s.write(rd::ppu::DATA_CUBE_IN_CHANNEL{.cube_in_channel = l.in_channels});
  s.write(rd::ppu::DATA_CUBE_OUT_WIDTH{.cube_out_width = out});
  s.write(rd::ppu::DATA_CUBE_OUT_HEIGHT{.cube_out_height = out});
  s.write(rd::ppu::DATA_CUBE_OUT_CHANNEL{.cube_out_channel = l.in_channels});
  s.write(rd::ppu::OPERATION_MODE_CFG{.flying_mode = true, .pooling_method = 0});
  s.write(rd::ppu::POOLING_KERNEL_CFG{.kernel_stride_height = l.stride,
                                      .kernel_stride_width = l.stride,
                                      .kernel_height = l.kernel,
                                      .kernel_width = l.kernel});
  s.write(rd::ppu::RECIP_KERNEL_WIDTH{.recip_kernel_width = recip});
  s.write(rd::ppu::RECIP_KERNEL_HEIGHT{.recip_kernel_height = recip});
  s.write(rd::ppu::DST_BASE_ADDR{.dst_base_addr = at.output});
  s.write(rd::ppu::DST_SURF_STRIDE{.dst_surf_stride = out * out});
  s.write(rd::ppu::DATA_FORMAT{.index_add = out * out, .proc_precision = 0});
  s.write(rd::ppu::MISC_CTRL{.burst_len = 3});
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_WIDTH{.cube_in_width = in});
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_HEIGHT{.cube_in_height = in});
  s.write(rd::ppu_rdma::RDMA_CUBE_IN_CHANNEL{.cube_in_channel = l.in_channels});
  s.write(rd::ppu_rdma::RDMA_SRC_BASE_ADDR{.src_base_addr = at.input});
  s.write(rd::ppu_rdma::RDMA_SRC_LINE_STRIDE{.src_line_stride = in});
  s.write(rd::ppu_rdma::RDMA_SRC_SURF_STRIDE{.src_surf_stride = in * in});
  s.write(rd::ppu_rdma::RDMA_DATA_FORMAT{.in_precision = 1});
  if (s.size() % 2 != 0) s.word(0);
  s.end(0x60);
  return s.words();
}

}  // namespace

double Layer::macs() const {
  const double windows = static_cast<double>(out_size) * out_size * out_channels;
  return windows * kernel * kernel * (kind == Kind::convolution ? in_channels : 1);
}

std::vector<Layer> mobilenet_v1(double multiplier, std::uint32_t size) {
  std::mt19937 rng(1);
  std::vector<Layer> layers;
  const auto scaled = [&](std::uint32_t channels) {
    return static_cast<std::uint32_t>(channels * multiplier);
  };
  layers.push_back(convolution("conv 3x3", Kind::convolution, size, 3, scaled(32), 3, 2, rng));
  const struct {
    std::uint32_t stride, channels;
  } kBlocks[] = {{1, 64},  {2, 128}, {1, 128}, {2, 256}, {1, 256},  {2, 512}, {1, 512},
                 {1, 512}, {1, 512}, {1, 512}, {1, 512}, {2, 1024}, {1, 1024}};
  for (const auto& block : kBlocks) {
    const Layer& before = layers.back();
    const std::uint32_t channels = before.out_channels;
    layers.push_back(convolution("depthwise 3x3", Kind::depthwise, before.out_size, channels,
                                 channels, 3, block.stride, rng));
    layers.push_back(convolution("conv 1x1", Kind::convolution, layers.back().out_size, channels,
                                 scaled(block.channels), 1, 1, rng));
  }
  const std::uint32_t last = size / 32, features = scaled(1024);
  layers.push_back({"average pool", Kind::average_pool, last, features, 1, features, last, 1});
  layers.push_back(convolution("fully connected", Kind::convolution, 1, features, 1001, 1, 1, rng));
  return layers;
}

std::vector<std::int8_t> npu_weights(const Layer& l) {
  const std::uint32_t taps = l.kernel * l.kernel, channels = l.padded_channels();
  if (l.kind == Kind::depthwise) {
    std::vector<std::int8_t> packed;
    for (std::uint32_t block = 0; block < channels; block += 64)
      for (std::uint32_t tap = 0; tap < taps; ++tap)
        for (std::uint32_t c = block; c < std::min(block + 64, channels); ++c)
          packed.push_back(l.weights[std::size_t{tap} * l.in_channels + c]);
    return packed;
  }
  const std::uint32_t kernels = (l.out_channels + 1) / 2 * 2;
  std::vector<std::int8_t> packed;
  packed.reserve(std::size_t{kernels} * taps * channels);
  for (std::uint32_t o_block = 0; o_block < kernels; o_block += 32)
    for (std::uint32_t c_block = 0; c_block < channels; c_block += 32)
      for (std::uint32_t tap = 0; tap < taps; ++tap)
        for (std::uint32_t o = o_block; o < std::min(o_block + 32, kernels); ++o)
          for (std::uint32_t c = c_block; c < std::min(c_block + 32, channels); ++c) {
            // Padding channels of the image hold its zero, so their weights do not matter.
            const bool real = o < l.out_channels && c < l.in_channels;
            const std::size_t index = (std::size_t{o} * taps + tap) * l.in_channels + c;
            packed.push_back(real ? l.weights[index] : std::int8_t{0});
          }
  return packed;
}

std::vector<std::vector<std::uint64_t>> layer_programs(const Layer& layer, const LayerBuffers& at) {
  if (layer.kind == Kind::average_pool) return {pool_task(layer, at)};
  const CbufPlan plan = plan_cbuf(layer);
  std::vector<std::vector<std::uint64_t>> programs;
  for (const Slice& slice : plan.slices)
    programs.push_back(convolution_task(layer, at, plan, slice));
  return programs;
}

}  // namespace npu::bench
