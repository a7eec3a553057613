// SPDX-License-Identifier: MIT
// The matrix products of a forward pass. Those that share their input form a group: what the CPU
// quantises once and the NPU takes in one submit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "llm-runtime/model.hpp"

namespace npu::llm {

enum class Group : std::uint8_t { qkv, o, gate_up, down, output };
inline constexpr std::array kGroups{Group::qkv, Group::o, Group::gate_up, Group::down,
                                    Group::output};
std::string_view to_string(Group group);  ///< "qkv", "o", "gate+up", "down", "output"

/// A matrix of a group.
struct GroupWeight {
  std::string_view name;  ///< of the tensor within its layer: "attn_q"
  WeightView view;
  std::span<const float> bias;  ///< empty, or one for each row
};

/// In the order of the outputs of Projector::project(). `layer` means nothing for the output.
std::vector<GroupWeight> group_weights(const Model& model, Group group, std::uint32_t layer);
/// Rows of all its matrices together, and what they share.
std::uint32_t group_rows(const ModelShape& shape, Group group);
std::uint32_t group_columns(const ModelShape& shape, Group group);

/// Where the products are computed.
class Projector {
 public:
  virtual ~Projector() = default;

  /// outs[j][i][r] = sum over k of W_j[r][k] x[i][k], plus the bias: i < m, rows of x and of every
  /// output one behind the other. Throws what the device throws.
  virtual void project(Group group, std::uint32_t layer, const float* x, std::size_t m,
                       std::span<float* const> outs) = 0;
};

}  // namespace npu::llm
