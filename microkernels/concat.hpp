// SPDX-License-Identifier: MIT
// Convolutions that hand tensors on in the NPU's memory, and concat by placement: an operator
// writes its channels where they belong in a tensor that others write to as well.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "microkernels/conv2d_plan.hpp"
#include "microkernels/elements.hpp"
#include "microkernels/executor.hpp"
#include "npu-device/device.hpp"

namespace npu::kernels {

/// Layers of one type, i8 -> i8 or f16 -> f16, on one core; the host writes the first tensor and
/// reads the last one, and touches none between. Each device has an address space of its own, so
/// tensors do not go from core to core.
///
/// Layers run in the order in which they were added. Several may write one tensor, each from the
/// channel on where the one before it ended. That has to be a multiple of 16 (i8) or 8 (f16), the
/// channels of an atom: concatenate others on the host. The order matters to the chip, too: kernels
/// are computed in groups, and whether those that only fill a group are written is not known;
/// what they would overwrite is written after them.
class ConvSequence {
 public:
  using Tensor = std::uint32_t;

  struct Layer {
    Conv2dShape shape;
    Tensor from = 0, to = 0;
    std::uint32_t first_channel = 0;  ///< of `to`
    std::int8_t input_zero = 0;
    Conv2dPost post;
    std::optional<Activation> activation;  ///< f16
    std::optional<Tensor> addend;          ///< of the size of the output; written before
  };

  /// `type`: i8 or f16. The device must outlive the sequence.
  ConvSequence(device::Device& device, DataType type);

  /// Tensor 0 is the input.
  Tensor add_tensor(std::uint32_t height, std::uint32_t width, std::uint32_t channels);
  /// Elements and layouts as those of Conv2d::set_weights(). Throws invalid_argument for a layer
  /// that does not fit its tensors, or a place that the chip cannot write to; what plan_conv2d()
  /// throws.
  void add_layer(const Layer& layer, ConstElements weights, ConstElements bias = {});

  /// From tensor 0 to tensor `result`. The first run makes the buffers; no layers after it. Throws
  /// invalid_argument for tensors of another size or channels that no layer writes; what
  /// Executor::run() throws.
  void run(ConstElements in, Tensor result, Elements out, RunStats* stats = nullptr);

  double seconds() const;  ///< modelled, of all layers

 private:
  struct Shared {
    std::uint32_t height = 0, width = 0, channels = 0;
    std::uint32_t written = 0;  ///< channels that layers write
    std::uint32_t planes = 0;   ///< with what readers and writers need behind the last channel
  };
  struct Step {
    Layer layer;
    Conv2dPlan plan;
    std::vector<std::byte> weights, bias;  ///< packed
  };
  const Shared& tensor(Tensor index, const char* what) const;
  void upload();

  device::Device* device_;
  DataType type_;
  std::vector<Shared> tensors_;
  std::vector<Step> steps_;
  std::optional<Executor> executor_;
};

}  // namespace npu::kernels
