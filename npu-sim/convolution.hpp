// SPDX-License-Identifier: MIT
// CNA and CORE: feature and weight tiles in CBUF, sums of products, then the DPU.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "npu-sim/address_space.hpp"
#include "npu-sim/chip.hpp"
#include "npu-sim/conv_config.hpp"
#include "npu-sim/mac_float.hpp"
#include "npu-sim/pool_feed.hpp"
#include "npu-sim/task_record.hpp"
#include "npu-sim/thread_pool.hpp"

namespace npu::sim {

/// Feature tile with its padding: [row][column][channel]. Rows and columns count from -pad_top
/// and -pad_left.
struct FeatureTile {
  ConvShape shape;
  std::uint32_t rows, columns;
  std::vector<std::uint8_t> bytes;  ///< int8, int4: one byte each, xor mac_layout().input_xor
  std::vector<std::int16_t> wide;   ///< int16
  std::vector<float> values;        ///< floating-point types
  std::vector<FloatRange> ranges;   ///< of the values: [row][column][block of channels]
  /// The same cube under the same window; the number of kernels may differ.
  bool same_window(ConvShape other) const {
    other.kernels = shape.kernels;
    return other == shape;
  }
};

/// Kernels packed for mac_int8(): [panel][kernel_height * kernel_width * channels / 4][panel][4];
/// int16: [kernel][kernel_height][kernel_width][channel];
/// depthwise: [kernel_height][kernel_width][channel]; floating-point kernels that are not depthwise
/// as they lie in memory: [panel of 16][block of channels][tap][kernel][channel].
struct WeightTile {
  Precision precision;
  std::uint32_t kernels, channels, kernel_width, kernel_height;
  bool depthwise;
  std::uint32_t panels;
  std::vector<std::int8_t> packed;
  std::vector<std::int16_t> wide;       ///< int16
  std::vector<std::int32_t> init;       ///< start of each sum: what input_xor added, negated
  std::vector<float> floats;            ///< depthwise
  std::unique_ptr<std::uint8_t[]> raw;  ///< not depthwise
  std::size_t raw_bytes = 0;
  std::vector<FloatRange> ranges;  ///< [panel][block][tap]
  bool same_size(const ConvShape& shape) const {
    return precision == shape.precision && kernels == shape.kernels && channels == shape.channels &&
           kernel_width == shape.kernel_width && kernel_height == shape.kernel_height &&
           depthwise == shape.depthwise;
  }
};

/// What a core's convolution buffer still holds after a task, for DATA_REUSE and WEIGHT_REUSE.
struct Cbuf {
  std::optional<FeatureTile> features;
  std::optional<WeightTile> weights;
};

/// Throws TaskFault(bad_program) if the task reuses what CBUF does not hold.
void check_reuse(const ConvConfig& config, const Cbuf& cbuf);

/// What the task hands to a PPU behind it. Throws TaskFault if the PPU would wait for ever.
PoolFeed feed_of(const ConvConfig& config);

struct ConvolutionInput {
  BlockRegisters registers;
  const AddressSpace& space;
  std::uint32_t dma_base;
  std::uint64_t mac_budget;  ///< a task that needs more counts as one that never ends
  const ChipOptions& options;
  ThreadPool& pool;
  const TaskHook* hook = nullptr;
  PoolFeed* feed = nullptr;  ///< with a PPU behind; `space` has to be a PortSpace then
};

/// Decodes `count` elements of a floating-point type at `in`.
void decode_floats(Precision precision, const std::uint8_t* in, std::size_t count, float* out);

/// Sums of products and the DPU behind them, for the floating-point types.
void run_float_convolution(const ConvConfig& config, const FeatureTile& tile,
                           const WeightTile& weights, const class Dpu& dpu, ThreadPool& pool);

/// Reads the tile that CNA's registers describe. Throws TaskFault(dma_read).
FeatureTile load_features(const ConvConfig& config, const AddressSpace& space, ThreadPool& pool,
                          const Quirks& quirks);
/// Reads the kernels into `slot`, which may hold those of the task before.
void load_weights(const ConvConfig& config, const AddressSpace& space, ThreadPool& pool,
                  std::optional<WeightTile>& slot);

/// Runs one task of CNA, CORE, DPU (and DPU_RDMA) to its end; returns its multiply-accumulates.
/// Throws TaskFault; nothing has been written then, except by a task that hangs in mid-output.
std::uint64_t run_convolution(const ConvolutionInput& input, Cbuf& cbuf);

}  // namespace npu::sim
