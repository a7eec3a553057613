// SPDX-License-Identifier: MIT
// DPU: per-element stages and the write DMA.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "npu-sim/address_space.hpp"
#include "npu-sim/conv_config.hpp"
#include "npu-sim/dpu_lanes.hpp"
#include "npu-sim/quirks.hpp"

namespace npu::sim {

/// Sums of kernels for positions one after the other, in rows of the output.
struct SumBlock {
  std::size_t first_position, count;
  std::uint32_t first_channel, channels;  ///< the first is a multiple of 16
  const std::int32_t* sums;               ///< [position * stride + channel - first_channel]
  std::size_t stride;                     ///< at least `channels`, made a multiple of 16
  /// Sums of the input under the windows, if needs_window_sum(): laid out as `sums` (depthwise) or
  /// one for each position (dense).
  const std::int32_t* windows;
  bool window_per_channel;
};

/// Operands and destination of one task, with every address resolved before the first write.
class Dpu {
 public:
  /// Throws TaskFault for operands or outputs outside the mapped buffers.
  Dpu(const ConvConfig& config, const AddressSpace& space, const Quirks& quirks);

  /// Takes integer sums through the stages and writes them. Thread safe for different positions
  /// or channel groups.
  void store(const SumBlock& block) const;

  /// The same for sums in floating point.
  void store_float(std::uint32_t y, std::uint32_t x, std::uint32_t first_channel,
                   std::uint32_t channels, const float* sums) const;

  bool needs_window_sum() const { return add_window_; }

  /// Planes of the output share bytes: the last write counts, so one thread has to make them all.
  bool overlaps() const { return overlaps_; }

 private:
  void resolve_output(const AddressSpace& space);
  void resolve_operand(const AddressSpace& space);
  void store_run(const SumBlock& block, std::size_t from, std::size_t count, std::uint32_t y,
                 std::uint32_t x) const;
  void store_one(std::uint32_t y, std::uint32_t x, std::uint32_t channel, std::uint32_t count,
                 const std::int32_t* sums, const std::int32_t* windows,
                 bool window_per_channel) const;
  void put_integers(std::uint32_t y, std::uint32_t x, std::uint32_t channel, std::uint32_t count,
                    const std::int32_t* v) const;
  void put_transposed(std::uint32_t y, std::uint32_t channel, std::uint32_t count,
                      const std::int32_t* v) const;
  void float_stages(std::uint32_t y, std::uint32_t x, std::uint32_t channel, std::uint32_t count,
                    float* v) const;
  const std::uint8_t* operand(std::uint32_t channel, std::uint32_t y, std::uint32_t x) const;
  void stages(std::uint32_t y, std::uint32_t x, std::uint32_t channel, std::uint32_t count,
              std::int64_t* v) const;
  // Writes the 16 bytes of an atom; planes that the chip leaves alone are null.
  void put(std::uint32_t plane, std::uint32_t y, std::uint32_t x, const void* atom) const {
    if (first_only_ && (y | x) != 0) return;
    if (planes_[plane] != nullptr)
      std::memcpy(planes_[plane] + y * config_.dst_line + std::uint64_t{x} * 16, atom, 16);
  }

  const ConvConfig& config_;
  const Quirks& quirks_;
  std::uint32_t atom_channels_;  // of an output atom
  bool add_window_ = false;
  bool first_only_ = false;          // the writer stops after one position
  std::byte* transposed_ = nullptr;  // TP_ORG_EN: start of the output
  bool overlaps_ = false;
  bool raw_ = false;                                   // no stage does anything
  std::vector<std::int32_t> bias_, mul_, ow_;          // per channel
  std::optional<IntegerLanes> lanes_;                  // the stages for vectors of channels
  std::vector<double> lane_alu_, lane_mul_, lane_ow_;  // per channel, whole strips
  std::vector<std::uint8_t*> planes_;                  // of the output
  std::vector<const std::uint8_t*> operand_;           // planes of the EW operand
  std::vector<std::uint8_t> operand_copy_;             // where the output lies over them
};

}  // namespace npu::sim
