// SPDX-License-Identifier: MIT
// A product on simulated cores beside the CPU reference.
#pragma once

#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "microkernels/gemm.hpp"
#include "microkernels/reference.hpp"
#include "random_matrix.hpp"

namespace npu::kernels {

struct Cores {
  explicit Cores(std::size_t count) {
    devices.push_back(device::open_device("sim"));
    while (devices.size() < count) devices.push_back(devices.front()->open_another());
    for (const auto& device : devices) pointers.push_back(device.get());
  }
  std::span<device::Device* const> first(std::size_t count) const {
    return std::span(pointers).first(count);
  }
  std::vector<std::unique_ptr<device::Device>> devices;
  std::vector<device::Device*> pointers;
};

struct GemmCase {
  GemmCase(const GemmShape& s, std::uint32_t seed) : shape(s), random(seed) {
    a = random_i8(std::size_t{s.m} * s.k, random);
    b = random_i8(std::size_t{s.n} * s.k, random);
    sums.resize(std::size_t{s.m} * s.n);
    ref_gemm_i8i32(s, a, b, sums);
  }

  testing::AssertionResult sums_equal(std::span<device::Device* const> devices,
                                      GemmStats* stats = nullptr) const {
    std::vector<std::int32_t> c(sums.size(), 0x5A5A5A5A);
    gemm_i8i32(devices, shape, a, b, c, stats);
    return same(c, sums, shape.n);
  }

  /// With a random bias and a requantisation under which most results do not saturate.
  testing::AssertionResult requantised_equal(std::span<device::Device* const> devices,
                                             bool with_bias = true) {
    std::vector<std::int32_t> bias(with_bias ? shape.n : 0);
    for (auto& value : bias) value = static_cast<std::int32_t>(random() % 20001) - 10000;
    std::uint32_t shift = 14 + 6;  // scale 2^14..2^15; random sums grow with sqrt(k)
    for (std::uint32_t k = shape.k; k > 1; k /= 4) ++shift;
    const Requant requant{static_cast<std::int16_t>(pick(random, 0x4000, 0x7FFF)),
                          static_cast<std::uint8_t>(shift),
                          static_cast<std::int32_t>(pick(random, 0, 100)) - 50};
    std::vector<std::int8_t> c(sums.size(), 0x5A), want(sums.size());
    ref_requantise(shape, requant, bias, sums, want);
    gemm_i8i8(devices, shape, requant, bias, a, b, c);
    return same(c, want, shape.n);
  }

  GemmShape shape;
  std::mt19937 random;
  std::vector<std::int8_t> a, b;
  std::vector<std::int32_t> sums;
};

inline std::string describe(const GemmShape& s) {
  std::ostringstream text;
  text << "m " << s.m << " n " << s.n << " k " << s.k;
  return text.str();
}

}  // namespace npu::kernels
