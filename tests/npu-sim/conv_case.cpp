// SPDX-License-Identifier: MIT
#include "conv_case.hpp"

#include <algorithm>
#include <cstring>

#include "regdb/regcmd.hpp"

namespace npu::sim::test {
namespace {

constexpr std::uint16_t kCna = 0x0201, kCore = 0x0801, kDpu = 0x1001, kRdma = 0x2001;

std::int64_t round_half_even(std::int64_t value, std::uint32_t shift) {
  if (shift == 0) return value;
  const std::int64_t unit = std::int64_t{1} << shift;
  std::int64_t quotient = value / unit, rest = value % unit;
  if (rest < 0) {
    rest += unit;
    --quotient;
  }
  if (2 * rest > unit || (2 * rest == unit && quotient % 2 != 0)) ++quotient;
  return quotient;
}

template <class T>
T clamp_to(std::int64_t v, std::int64_t low, std::int64_t high) {
  return static_cast<T>(std::min(std::max(v, low), high));
}
std::int32_t sat32(std::int64_t v) { return clamp_to<std::int32_t>(v, INT32_MIN, INT32_MAX); }

// Position of weight (o, c, ky, kx) in the packed buffer, from the layout's description.
std::size_t weight_at(const ConvCase& k, std::uint32_t o, std::uint32_t c, std::uint32_t ky,
                      std::uint32_t kx) {
  const std::uint32_t taps = k.kernel_width * k.kernel_height, tap = ky * k.kernel_width + kx;
  const std::uint32_t channels = k.padded_channels();
  if (k.depthwise) {
    const std::uint32_t block = c / 64 * 64, wide = std::min(64u, channels - block);
    return std::size_t{block} * taps + std::size_t{tap} * wide + c % 64;
  }
  const std::uint32_t o_block = o / 32 * 32, o_wide = std::min(32u, k.kernels() - o_block);
  const std::uint32_t c_block = c / 32 * 32, c_wide = std::min(32u, channels - c_block);
  return std::size_t{o_block} * taps * channels +
         (std::size_t{c_block} * taps + std::size_t{tap} * c_wide) * o_wide +
         std::size_t{o - o_block} * c_wide + (c - c_block);
}

}  // namespace

ConvMemory random_memory(const ConvCase& c, std::mt19937& rng) {
  std::uniform_int_distribution<int> byte(-128, 127), word(-100000, 100000);
  const auto bytes = [&](std::size_t n) {
    std::vector<std::int8_t> v(n);
    for (auto& x : v) x = static_cast<std::int8_t>(byte(rng));
    return v;
  };
  ConvMemory m;
  m.input = bytes(std::size_t{c.padded_channels()} * c.in_width * c.in_height);
  m.weights =
      bytes(std::size_t{c.kernels()} * c.padded_channels() * c.kernel_width * c.kernel_height);
  m.bias.resize(c.out_channels);
  for (auto& b : m.bias) b = word(rng);
  m.addend = bytes((c.out_channels + 15) / 16 * std::size_t{16} * c.out_width() * c.out_height());
  return m;
}

std::vector<std::uint64_t> program(const ConvCase& c, std::uint32_t output_iova) {
  regdb::RegcmdStream s;
  const std::uint32_t ow = c.out_width(), oh = c.out_height(), channels = c.padded_channels();
  // Whole groups of kernels, as Mesa pads.
  const std::uint32_t group = c.depthwise ? 64 : 32;
  const std::uint32_t out_padded = (c.out_channels + group - 1) / group * group;
  const std::uint32_t kernel_bytes = c.kernel_width * c.kernel_height * channels;
  const bool wide = c.out_precision != 0;
  const auto cna = [&](std::uint16_t o, std::uint32_t v) { s.raw(kCna, v, o); };
  const auto core = [&](std::uint16_t o, std::uint32_t v) { s.raw(kCore, v, o); };
  const auto dpu = [&](std::uint16_t o, std::uint32_t v) { s.raw(kDpu, v, o); };
  const auto rdma = [&](std::uint16_t o, std::uint32_t v) { s.raw(kRdma, v, o); };
  dpu(0x4004, 0xE);
  rdma(0x5004, 0xE);
  cna(0x100C, c.depthwise ? 3 : 0);
  cna(0x1010, (50 + c.stride + 1) << 4);
  cna(0x1014, (c.dilation - 1) << 21 | (c.dilation - 1) << 16 | c.stride << 3 | c.stride);
  cna(0x1020, c.in_width << 16 | c.in_height);
  cna(0x1024, (c.in_channels - 1) << 16 | channels);
  cna(0x1028, ow);
  cna(0x102C, ow * oh);
  cna(0x1030, kernel_bytes * c.kernels());
  cna(0x1034, kernel_bytes);
  cna(0x1038, c.kernel_width << 24 | c.kernel_height << 16 | c.kernels());
  cna(0x1040, 0xB1 | (c.weight_reuse ? 1u << 13 : 0) | (c.data_reuse ? 1u << 12 : 0));
  cna(0x1044, c.in_width);
  cna(0x104C, 0xB);
  for (std::uint16_t o = 0x1050; o <= 0x105C; o += 4) cna(o, 0x10000);
  for (std::uint16_t o : {0x1060, 0x1064, 0x1074, 0x1100, 0x1104, 0x1180}) cna(o, 0);
  cna(0x1068, c.pad_left << 4 | c.pad_top);
  cna(0x1070, kInputIova);
  cna(0x1078, 0xF000F);
  cna(0x107C, 4 * c.in_width);
  cna(0x1080, (c.in_width * (c.in_height - 4)) & 0x0FFFFFFF);
  cna(0x1084, c.in_width << 16 | c.in_height);
  cna(0x1088, channels);
  cna(0x1110, kWeightsIova);
  cna(0x1184, static_cast<std::uint32_t>(c.pad_value));
  core(0x3010, 1u | (c.depthwise ? 2u : 0u));
  core(0x3014, (oh - 1) << 16 | (ow - 1));
  core(0x3018, out_padded - 1);
  core(0x301C, c.truncate);
  core(0x3030, 0);
  dpu(0x400C, c.depthwise ? 0x1FC : 0x1E4);
  dpu(0x4010, c.out_precision << 29);
  dpu(0x4014, 0);
  dpu(0x4020, output_iova);
  dpu(0x4024, ow * oh * 16);
  dpu(0x4030, ow - 1);
  dpu(0x4034, oh - 1);
  dpu(0x4038, 0);
  dpu(0x403C, (c.out_channels - 1) << 16 | (out_padded - 1));
  dpu(0x4040, c.relu ? 0x20110 : 0x20150);
  for (std::uint16_t o : {0x4044, 0x4048, 0x404C}) dpu(o, 0);
  const std::uint32_t surfaces = (c.depthwise ? 64u : 32u) / (wide ? 4u : 16u);  // of a group
  const std::uint32_t size_e = c.size_e < 0 ? surfaces - 1 : static_cast<std::uint32_t>(c.size_e);
  dpu(0x4050, size_e << 8 | size_e << 5 | size_e << 2 | (c.bypasses_ow() ? 2 : 0));
  dpu(0x4054, static_cast<std::uint16_t>(c.ow_op));
  dpu(0x4058, out_padded - 1);
  dpu(0x405C, (oh - 1) << 16 | (ow - 1));
  dpu(0x4060, 0x53);
  for (std::uint16_t o : {0x4064, 0x4068, 0x406C}) dpu(o, 0);
  dpu(0x4070, c.residual ? 0x904202C0 : 0x383);
  dpu(0x4074, static_cast<std::uint32_t>(c.ew_offset));
  dpu(0x4078,
      static_cast<std::uint32_t>(c.ew_shift) << 16 | static_cast<std::uint16_t>(c.ew_scale));
  dpu(0x407C, 0);
  dpu(0x4080, static_cast<std::uint32_t>(c.offset));
  dpu(0x4084, static_cast<std::uint16_t>(c.scale));
  dpu(0x4088, c.shift);
  dpu(0x40C0, surfaces * ow * oh << 4);
  dpu(0x40C4, 0);
  rdma(0x500C, ow - 1);
  rdma(0x5010, oh - 1);
  rdma(0x5014, out_padded - 1);
  rdma(0x5018, c.residual ? kAddendIova : 0);
  rdma(0x501C, 2);
  rdma(0x5020, kBiasIova);
  rdma(0x5028, 0);
  rdma(0x502C, 0);
  rdma(0x5034, c.residual ? 0x40000004 : 1);
  rdma(0x5038, c.residual ? kAddendIova + ow * oh * 16 : 0);
  rdma(0x5040, c.residual ? ow * oh * 16 : 0);
  rdma(0x5044, c.residual ? 0x7D00 : 0x7810);
  rdma(0x5048, 0);
  rdma(0x504C, c.residual ? ow * oh * 16 : 0);
  rdma(0x5064, 0);
  rdma(0x5068, 0x01010101);
  rdma(0x506C, c.residual ? ow * oh * 16 : 0);
  s.end(0x1D);
  return s.words();
}

std::vector<std::int32_t> reference(const ConvCase& c, const ConvMemory& m) {
  const std::uint32_t ow = c.out_width(), oh = c.out_height();
  std::vector<std::int32_t> out;
  out.reserve(std::size_t{c.out_channels} * ow * oh);
  for (std::uint32_t o = 0; o < c.out_channels; ++o) {
    for (std::uint32_t y = 0; y < oh; ++y) {
      for (std::uint32_t x = 0; x < ow; ++x) {
        std::int64_t sum = 0;
        for (std::uint32_t ky = 0; ky < c.kernel_height; ++ky) {
          for (std::uint32_t kx = 0; kx < c.kernel_width; ++kx) {
            const auto iy = static_cast<std::int64_t>(y * c.stride + ky * c.dilation) - c.pad_top;
            const auto ix = static_cast<std::int64_t>(x * c.stride + kx * c.dilation) - c.pad_left;
            const bool inside = iy >= 0 && iy < c.in_height && ix >= 0 && ix < c.in_width;
            const std::uint32_t first = c.depthwise ? o : 0;
            const std::uint32_t last = c.depthwise ? o + 1 : c.padded_channels();
            for (std::uint32_t ch = first; ch < last; ++ch) {
              const std::int64_t value = inside ? m.input[((std::size_t{ch / 16} * c.in_height +
                                                            static_cast<std::size_t>(iy)) *
                                                               c.in_width +
                                                           static_cast<std::size_t>(ix)) *
                                                              16 +
                                                          ch % 16]
                                                : static_cast<std::int8_t>(c.pad_value);
              sum += value *
                     (m.weights[weight_at(c, o, ch, ky, kx)] + (c.bypasses_ow() ? 0 : c.ow_op));
            }
          }
        }
        std::int64_t v = sat32(round_half_even(sum, c.truncate));
        v = sat32(v + m.bias[o]);
        if (c.relu) v = std::max<std::int64_t>(v, 0);
        if (c.residual) {
          const std::int64_t e = m.addend[((std::size_t{o / 16} * oh + y) * ow + x) * 16 + o % 16];
          v = sat32(v + round_half_even((e + c.ew_offset) * c.ew_scale, c.ew_shift));
        }
        v = round_half_even(v * c.scale, c.shift) + c.offset;
        out.push_back(c.out_precision == 0 ? clamp_to<std::int32_t>(v, -128, 127) : sat32(v));
      }
    }
  }
  return out;
}

Bench::Bench(ChipOptions options) : chip(options) {
  for (unsigned core = 0; core < chip.cores(); ++core) chip.attach(core, space);
}

void Bench::map(std::uint32_t iova, const void* data, std::size_t bytes, std::size_t room) {
  const std::size_t size = (std::max(bytes, room) + 4095) / 4096 * 4096;
  std::shared_ptr<std::byte[]> memory(new std::byte[size]());
  if (bytes != 0) std::memcpy(memory.get(), data, bytes);
  space->unmap(iova);
  space->map(iova, std::move(memory), size);
}

void Bench::load(const ConvCase& c, const ConvMemory& m) {
  map(kInputIova, m.input.data(), m.input.size());
  map(kWeightsIova, m.weights.data(), m.weights.size());
  map(kBiasIova, m.bias.data(), m.bias.size() * 4);
  map(kAddendIova, m.addend.data(), m.addend.size());
  map(kOutputIova, nullptr, 0,
      (c.out_channels + 15) / 16 * std::size_t{64} * c.out_width() * c.out_height());
}

std::byte* Bench::at(std::uint32_t iova, std::size_t bytes) {
  return space->resolve_write(iova, bytes).data();
}

bool Bench::run(const std::vector<std::uint64_t>& words, unsigned core, std::uint32_t tasks) {
  map(kProgramIova, words.data(), words.size() * 8);
  return start(kProgramIova, static_cast<std::uint32_t>(words.size()), core, tasks);
}

bool Bench::start(std::uint32_t regcmd, std::uint32_t count, unsigned core, std::uint32_t tasks) {
  // The kernel driver's ten writes, in its order [rocket_job.c].
  chip.write(core, 0x10, 1);
  chip.write(core, 0x1004, 0xE + 0x10000000 * core);
  chip.write(core, 0x3004, 0xE + 0x10000000 * core);
  chip.write(core, 0x10, regcmd);
  chip.write(core, 0x14, (count + 1) / 2 - 1);
  chip.write(core, 0x20, 0x300);
  chip.write(core, 0x24, 0x300);
  chip.write(core, 0x30, 0x7000 | tasks);
  chip.write(core, 0x34, 0);
  chip.write(core, 0x08, 1);
  return chip.irq(core);
}

std::vector<std::int32_t> Bench::output(const ConvCase& c, std::uint32_t iova) {
  const std::uint32_t ow = c.out_width(), oh = c.out_height();
  const std::uint32_t atom = c.out_precision == 0 ? 16 : 4;
  const std::size_t plane = std::size_t{ow} * oh * 16;
  const std::byte* bytes = at(iova, plane * ((c.out_channels + atom - 1) / atom));
  std::vector<std::int32_t> out;
  for (std::uint32_t o = 0; o < c.out_channels; ++o)
    for (std::size_t p = 0; p < std::size_t{ow} * oh; ++p) {
      const std::byte* element = bytes + o / atom * plane + p * 16 + o % atom * (16 / atom);
      if (c.out_precision == 0) {
        out.push_back(static_cast<std::int8_t>(*element));
      } else if (c.out_precision == 5) {
        float value;
        std::memcpy(&value, element, 4);
        out.push_back(static_cast<std::int32_t>(value));
      } else {
        std::int32_t value;
        std::memcpy(&value, element, 4);
        out.push_back(value);
      }
    }
  return out;
}

}  // namespace npu::sim::test
