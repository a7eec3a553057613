// SPDX-License-Identifier: MIT
#include "microkernels/pool.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "microkernels/layout_convert.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

Pool2dPlan checked_plan(std::span<device::Device* const> devices, const Pool2dShape& shape,
                        DataType type, const Pool2dOptions& options) {
  if (devices.empty())
    throw Error(ErrorCode::invalid_argument,
                "a pool needs one open device per core: open one and pass it");
  return plan_pool2d(shape, type, options, static_cast<unsigned>(devices.size()));
}

void check(const char* what, std::size_t count, std::size_t element, std::uint64_t want,
           DataType type) {
  if (count != want || element != host_bytes(type))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} has {} elements of {} bytes; the shape asks for {} of {}", what,
                            count, element, want, to_string(type)));
}

// A core's channels.
struct Channels {
  std::size_t first = 0, count = 0;
};
Channels channels(const Pool2dPlan& plan, const PoolCore& core) {
  const std::size_t lanes = atom_elements(plan.type), first = core.surfaces.begin * lanes;
  return {first, std::min<std::size_t>(core.surfaces.size * lanes, plan.shape.channels - first)};
}

// The conversion's atoms of 16 bytes of one value.
void fill_atoms(DataType type, std::uint32_t bits, std::byte* to, std::size_t atoms) {
  for (std::size_t i = 0; i < atoms * kAtomBytes; ++i)
    to[i] = static_cast<std::byte>(type == DataType::i8 ? bits : bits >> (i % 2 * 8));
}

bool whole_columns(const Pool2dPlan& plan) {
  return plan.columns.size() == plan.shape.in_width && plan.columns.front() == 0 &&
         plan.columns.back() + 1 == static_cast<std::int32_t>(plan.shape.in_width);
}

}  // namespace

Pool2d::~Pool2d() = default;

Pool2d::Pool2d(std::span<device::Device* const> devices, const Pool2dShape& shape, DataType type,
               const Pool2dOptions& options)
    : plan_(checked_plan(devices, shape, type, options)) {
  if (plan_.options.path == PoolPath::convolution) {
    for (const Pool2dShape& pass : plan_.passes) {
      const std::uint32_t taps = pass.kernel_height * pass.kernel_width;
      const std::size_t weights = std::size_t{taps} * pass.channels;
      auto& conv = *convolutions_.emplace_back(
          std::make_unique<Conv2d>(devices, pool_convolution(pass), Conv2dTypes{type, type}));
      if (type == DataType::i8) {
        conv.set_weights(std::vector<std::int8_t>(weights, 1), {}, plan_.options.zero);
        conv.set_post({.requant = average_scale(taps, plan_.options.zero)});
      } else {
        conv.set_weights(std::vector<std::uint16_t>(
            weights, sim::float_to_fp16(1.0f / static_cast<float>(taps))));
      }
    }
    return;
  }
  if (plan_.options.path == PoolPath::matrix) {
    const GemmShape product = pool_product(shape);
    gemm_ = std::make_unique<Gemm>(devices, product, pool_product_types(type));
    if (type == DataType::i8)
      gemm_->set_weights(std::vector<std::int8_t>(product.k, 1));
    else
      gemm_->set_weights(std::vector<std::uint16_t>(product.k, sim::float_to_fp16(1)));
    return;
  }
  std::vector<std::vector<Slot>> slots;
  std::vector<std::vector<Stage>> stages;
  for (const PoolCore& core : plan_.cores) {
    PoolProgram program = plan_.options.path == PoolPath::ppu ? emit_ppu_pool(plan_, core)
                                                              : emit_shifted_pool(plan_, core);
    out_slots_.push_back(static_cast<std::uint32_t>(program.slots.size() - 1));
    in_rows_.push_back(program.in_rows);
    slots.push_back(std::move(program.slots));
    stages.push_back({std::move(program.stage)});
  }
  executor_ = std::make_unique<Executor>(devices, std::move(slots));
  executor_->set_programs(stages);
}

void Pool2d::run(ConstElements in, Elements out, RunStats* stats) {
  const Pool2dShape& s = plan_.shape;
  check("the input", in.size(), in.element_bytes(),
        std::uint64_t{s.in_height} * s.in_width * s.channels, plan_.type);
  check("the output", out.size(), out.element_bytes(),
        std::uint64_t{s.out_height()} * s.out_width() * s.channels, plan_.type);
  RunStats run;
  switch (plan_.options.path) {
    case PoolPath::ppu: run_ppu(in.data(), out.data(), run); break;
    case PoolPath::shifted: run_shifted(in.data(), out.data(), run); break;
    case PoolPath::convolution: run_convolution(in.data(), out.data(), run); break;
    case PoolPath::matrix: run_matrix(in.data(), out.data(), run); break;
    case PoolPath::automatic: break;
  }
  if (plan_.options.method == PoolMethod::average && !plan_.options.count_padding)
    pool_borders(plan_, in.data(), out.data());
  if (stats != nullptr) *stats = run;
}

void Pool2d::run_ppu(const std::byte* in, std::byte* out, RunStats& stats) {
  const Pool2dShape& s = plan_.shape;
  const std::size_t size = host_bytes(plan_.type), all = s.channels;
  // The image as it is, or as the host has to lay it out.
  const bool direct = whole_columns(plan_) && plan_.rows.front() == 0 &&
                      plan_.rows.back() + 1 == static_cast<std::int32_t>(plan_.rows.size());
  const std::vector<std::byte> copy = direct ? std::vector<std::byte>{} : pool_input(plan_, in);
  const std::size_t width = plan_.columns.size();
  const std::span<const std::byte> image =
      direct ? std::span(in, plan_.rows.size() * width * all * size) : std::span(copy);
  for (std::size_t i = 0; i < executor_->cores(); ++i) {
    const Channels c = channels(plan_, plan_.cores[i]);
    nhwc_to_cube(plan_.type, {in_rows_[i].size, width, c.count, width * all, all},
                 image.subspan((in_rows_[i].begin * width * all + c.first) * size),
                 executor_->host(i, 0));
    executor_->written(i, 0);
  }
  executor_->run(0, stats);
  const std::size_t columns = s.out_width();
  const std::span to(out, s.out_height() * columns * all * size);
  for (std::size_t i = 0; i < executor_->cores(); ++i) {
    const Channels c = channels(plan_, plan_.cores[i]);
    const Range& rows = plan_.cores[i].rows;
    cube_to_nhwc(plan_.type, {rows.size, columns, c.count, columns * all, all},
                 executor_->host(i, out_slots_[i]),
                 to.subspan((rows.begin * columns * all + c.first) * size));
  }
}

void Pool2d::run_shifted(const std::byte* in, std::byte* out, RunStats& stats) {
  const Pool2dShape& s = plan_.shape;
  const std::size_t size = host_bytes(plan_.type), pixel = s.channels * size;
  // Infinities are for the PPU, which is known to take them; inputs are finite.
  const std::uint32_t infinite = pool_padding(plan_.type, plan_.options);
  const std::uint32_t fill = plan_.type == DataType::i8 ? infinite : infinite - 1;
  for (std::size_t i = 0; i < executor_->cores(); ++i) {
    const ShiftLayout l = shift_layout(plan_, plan_.cores[i]);
    const Channels c = channels(plan_, plan_.cores[i]);
    const std::size_t atoms = l.surfaces, bytes = atoms * kAtomBytes, count = c.count * size;
    std::byte* to = executor_->host(i, 0).data();
    for (std::uint32_t xp = 0; xp < l.x_phases; ++xp)
      for (std::uint32_t yp = 0; yp < l.y_phases; ++yp)
        for (std::uint32_t r = 0; r < l.rows; ++r) {
          const std::uint32_t y = l.first_row + r * l.y_phases + yp;
          const bool row = y >= s.pad_top && y - s.pad_top < s.in_height;
          for (std::uint32_t k = 0; k < l.columns; ++k, to += bytes) {
            const std::uint32_t x = k * l.x_phases + xp;
            if (!row || x < s.pad_left || x - s.pad_left >= s.in_width) {
              fill_atoms(plan_.type, fill, to, atoms);
              continue;
            }
            const std::byte* from =
                in + (std::size_t{y - s.pad_top} * s.in_width + (x - s.pad_left)) * pixel;
            std::memcpy(to, from + c.first * size, count);
            std::memset(to + count, 0, bytes - count);
          }
        }
    executor_->written(i, 0);
  }
  executor_->run(0, stats);
  for (std::size_t i = 0; i < executor_->cores(); ++i) {
    const PoolCore& core = plan_.cores[i];
    const ShiftLayout l = shift_layout(plan_, core);
    const Channels c = channels(plan_, core);
    const std::byte* from = executor_->host(i, out_slots_[i]).data();
    for (std::uint32_t y = 0; y < core.rows.size; ++y)
      for (std::uint32_t x = 0; x < s.out_width(); ++x) {
        const std::size_t at =
            std::size_t{y} * l.out_row_step * l.columns + std::size_t{x} * l.out_column_step;
        const std::size_t to = std::size_t{core.rows.begin + y} * s.out_width() + x;
        std::memcpy(out + to * pixel + c.first * size, from + at * l.surfaces * kAtomBytes,
                    c.count * size);
      }
  }
}

void Pool2d::run_convolution(const std::byte* in, std::byte* out, RunStats& stats) {
  const Pool2dShape& s = plan_.shape;
  const auto run = [&](Conv2d& conv, const Pool2dShape& pass, const std::byte* from, auto element) {
    using T = decltype(element);
    std::vector<T> to(std::size_t{pass.out_height()} * pass.out_width() * pass.channels);
    RunStats one;
    conv.run(std::span(reinterpret_cast<const T*>(from),
                       std::size_t{pass.in_height} * pass.in_width * pass.channels),
             to, &one);
    stats += one;
    std::vector<std::byte> bytes(to.size() * sizeof(T));
    std::memcpy(bytes.data(), to.data(), bytes.size());
    return bytes;
  };
  std::vector<std::byte> image;
  const Pool2dShape& first = plan_.passes.front();
  if (first.in_height != s.in_height || first.in_width != s.in_width) image = pool_input(plan_, in);
  for (std::size_t i = 0; i < convolutions_.size(); ++i) {
    const std::byte* from = i == 0 && image.empty() ? in : image.data();
    image = plan_.type == DataType::i8
                ? run(*convolutions_[i], plan_.passes[i], from, std::int8_t{})
                : run(*convolutions_[i], plan_.passes[i], from, std::uint16_t{});
  }
  // Strides wider than a convolution's: some of the results are left out.
  const Pool2dShape& last = plan_.passes.back();
  const std::size_t pixel = s.channels * host_bytes(plan_.type);
  const auto factor = [](std::uint32_t wide, std::uint32_t narrow) {
    return std::max(wide / narrow, 1u);
  };
  const bool one_pass = convolutions_.size() == 1;
  const std::uint32_t fy = one_pass ? factor(s.stride_y, last.stride_y) : 1;
  const std::uint32_t fx = one_pass ? factor(s.stride_x, last.stride_x) : 1;
  for (std::uint32_t y = 0; y < s.out_height(); ++y)
    for (std::uint32_t x = 0; x < s.out_width(); ++x)
      std::memcpy(out + (std::size_t{y} * s.out_width() + x) * pixel,
                  image.data() + (std::size_t{y} * fy * last.out_width() + x * fx) * pixel, pixel);
}

namespace {

// [pixels][channels] -> [channels][pixels], in squares, so that both sides stay in the caches.
template <class T>
std::vector<T> transposed(const std::byte* in, std::size_t pixels, std::size_t channels) {
  constexpr std::size_t kSquare = 32;
  std::vector<T> planes(pixels * channels);
  for (std::size_t p0 = 0; p0 < pixels; p0 += kSquare)
    for (std::size_t c0 = 0; c0 < channels; c0 += kSquare)
      for (std::size_t c = c0; c < std::min(channels, c0 + kSquare); ++c)
        for (std::size_t p = p0; p < std::min(pixels, p0 + kSquare); ++p)
          std::memcpy(&planes[c * pixels + p], in + (p * channels + c) * sizeof(T), sizeof(T));
  return planes;
}

}  // namespace

void Pool2d::run_matrix(const std::byte* in, std::byte* out, RunStats& stats) {
  const Pool2dShape& s = plan_.shape;
  const std::size_t pixels = std::size_t{s.in_height} * s.in_width, channels = s.channels;
  GemmStats product;
  if (plan_.type == DataType::i8) {
    std::vector<std::int32_t> sums(channels);
    gemm_->run(transposed<std::int8_t>(in, pixels, channels), sums, &product);
    for (std::size_t c = 0; c < channels; ++c)
      out[c] = static_cast<std::byte>(divide_even(sums[c], static_cast<std::int64_t>(pixels)));
  } else {
    std::vector<float> sums(channels);
    gemm_->run(transposed<std::uint16_t>(in, pixels, channels), sums, &product);
    for (std::size_t c = 0; c < channels; ++c) {
      const std::uint16_t mean = sim::float_to_fp16(sums[c] / static_cast<float>(pixels));
      std::memcpy(out + c * 2, &mean, 2);
    }
  }
  stats += product.run;
}

}  // namespace npu::kernels
