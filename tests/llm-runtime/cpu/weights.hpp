// SPDX-License-Identifier: MIT
// Random weights as a GGUF file holds them, and what they mean, read straight from the blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "llm-runtime/tensor_type.hpp"

namespace npu::llm::cpu::test {

constexpr TensorType kQuantised[] = {TensorType::q4_0, TensorType::q5_0, TensorType::q8_0,
                                     TensorType::q4_k, TensorType::q5_k, TensorType::q6_k};
constexpr TensorType kFloats[] = {TensorType::f32, TensorType::f16, TensorType::bf16};

struct Weights {
  TensorType type;
  std::uint32_t rows, columns;
  std::vector<std::byte> bytes;
  WeightView view() const { return {type, rows, columns, bytes.data()}; }
};

/// Every bit pattern of the quantised values occurs; scales are such that values are below about 1.
Weights random_weights(TensorType type, std::uint32_t rows, std::uint32_t columns,
                       std::uint32_t seed);

/// Normally distributed; `outliers` makes one value in a hundred ten times as large.
std::vector<float> random_activations(std::size_t n, std::uint32_t seed, bool outliers = false);

/// One value: d * scale * q - dmin * minimum, as [ggml-quants.c] has it.
struct Value {
  int q = 0, scale = 1, minimum = 0;
  float d = 0, dmin = 0;
  double exact() const { return double{d} * scale * q - double{dmin} * minimum; }
};
Value value_at(const WeightView& weights, std::size_t row, std::size_t column);

/// The product of a row with activations in the arithmetic that matmul() promises.
float quantised_product(const WeightView& weights, std::size_t row, const float* x);

}  // namespace npu::llm::cpu::test
