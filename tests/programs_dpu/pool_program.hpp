// SPDX-License-Identifier: MIT
// Programs of stand-alone pools, and a fixture that runs them and compares with a plain pool.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "board.hpp"

namespace npu::sim::programs {

inline constexpr std::uint32_t kAverage = 0, kMax = 1, kMin = 2;

struct Pool {
  std::uint32_t type = 2;  // precision code
  std::uint32_t in_h = 4, in_w = 4, channels = 8;
  std::uint32_t kernel_h = 2, kernel_w = 2, stride_y = 1, stride_x = 1;
  std::uint32_t top = 0, right = 0, bottom = 0, left = 0;
  std::uint32_t method = kMax;
  std::uint32_t fill = 0;
  std::uint32_t recip_w = 0, recip_h = 0;
  std::uint32_t line = 0, surface = 0;  // bytes; 0: packed
  std::uint32_t use_cnt = 0, notch = 0;
  bool index = false;
  std::uint32_t storage() const { return type == 0 ? 1 : type >= 4 ? 3 : 2; }
  std::uint32_t bytes() const { return type == 0 ? 1 : type >= 4 ? 4 : 2; }
  std::uint32_t lanes() const { return 16 / bytes(); }
  std::uint32_t planes() const { return (channels + lanes() - 1) / lanes(); }
  std::uint32_t out_w() const { return (in_w + left + right - kernel_w) / stride_x + 1; }
  std::uint32_t out_h() const { return (in_h + top + bottom - kernel_h) / stride_y + 1; }
  std::uint32_t area() const { return out_w() * out_h(); }
};

/// Bits of an FP17 number: 6 of exponent, 10 of fraction.
std::uint32_t fp17(double v);

/// The words of a start, its enable word included.
std::vector<std::uint64_t> program(const Pool& p, std::uint32_t in, std::uint32_t out);

using Source = std::function<double(std::uint32_t y, std::uint32_t x, std::uint32_t channel)>;

class Pools : public ::testing::Test {
 protected:
  std::uint32_t pack(const Pool& p, const Source& source, double tail = 0) {
    const std::size_t line = p.line != 0 ? p.line : p.in_w * 16;
    const std::size_t surface = p.surface != 0 ? p.surface : p.in_h * p.in_w * 16;
    std::vector<std::uint8_t> cube(p.planes() * surface);
    for (std::uint32_t ch = 0; ch < p.planes() * p.lanes(); ++ch)
      for (std::uint32_t y = 0; y < p.in_h; ++y)
        for (std::uint32_t x = 0; x < p.in_w; ++x)
          put(p, &cube[ch / p.lanes() * surface + y * line + x * 16 + ch % p.lanes() * p.bytes()],
              ch < p.channels ? source(y, x, ch) : tail);
    return board.put(cube);
  }
  static void put(const Pool& p, std::uint8_t* at, double v) {
    const auto i = static_cast<std::int32_t>(v);
    const std::uint16_t h = half(v);
    const auto f = static_cast<float>(v);
    if (p.type == 2)
      std::memcpy(at, &h, 2);
    else if (p.type == 5)
      std::memcpy(at, &f, 4);
    else
      std::memcpy(at, &i, p.bytes());
  }
  double value(const Pool& p, const std::vector<std::uint8_t>& cube, std::uint32_t y,
               std::uint32_t x, std::uint32_t ch) const {
    const std::uint8_t* at =
        &cube[(std::size_t{ch / p.lanes()} * p.area() + y * p.out_w() + x) * 16 +
              ch % p.lanes() * p.bytes()];
    std::uint16_t h;
    std::int16_t s;
    if (p.type == 0) return static_cast<std::int8_t>(*at);
    std::memcpy(&h, at, 2);
    std::memcpy(&s, at, 2);
    return p.type == 1 ? s : number(h);
  }
  // Runs; leaves the output's bytes in `out`.
  bool go(const Pool& p, std::uint32_t in) {
    const std::size_t bytes = std::size_t{p.planes()} * p.area() * 16 * (p.index ? 3 : 1);
    out_iova = board.room(bytes);
    const bool done = board.run(program(p, in, out_iova));
    out = board.get<std::uint8_t>(out_iova, bytes);
    return done;
  }
  void expect(const Pool& p, const Source& source, double pad = 0, double tolerance = 0) {
    ASSERT_TRUE(go(p, pack(p, source))) << board.message();
    for (std::uint32_t ch = 0; ch < p.channels; ++ch)
      for (std::uint32_t y = 0; y < p.out_h(); ++y)
        for (std::uint32_t x = 0; x < p.out_w(); ++x) {
          double sum = 0, low = INFINITY, high = -INFINITY;
          for (std::uint32_t ky = 0; ky < p.kernel_h; ++ky)
            for (std::uint32_t kx = 0; kx < p.kernel_w; ++kx) {
              const std::uint32_t iy = y * p.stride_y + ky - p.top;
              const std::uint32_t ix = x * p.stride_x + kx - p.left;
              const double v = iy < p.in_h && ix < p.in_w ? source(iy, ix, ch) : pad;
              sum += v;
              low = std::min(low, v);
              high = std::max(high, v);
            }
          const double want = p.method == kMax   ? high
                              : p.method == kMin ? low
                                                 : sum / (p.kernel_h * p.kernel_w);
          ASSERT_NEAR(value(p, out, y, x, ch), want, tolerance)
              << "channel " << ch << " at " << y << ", " << x;
        }
  }
  Board board;
  std::vector<std::uint8_t> out;
  std::uint32_t out_iova = 0;
};

}  // namespace npu::sim::programs
