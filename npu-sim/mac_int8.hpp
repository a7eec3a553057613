// SPDX-License-Identifier: MIT
// The MAC array's arithmetic on the host: int8 dot products of windows with packed kernels.
#pragma once

#include <cstddef>
#include <cstdint>

namespace npu::sim {

/// How the kernels of this CPU want their operands.
struct MacLayout {
  std::uint32_t panel;     ///< kernels side by side in a panel
  std::uint8_t input_xor;  ///< input bytes are stored xor this (0x80 where the CPU wants uint8)
};
MacLayout mac_layout();

/// Windows of an input tensor: window p starts at windows[p] and consists of `segments` runs of
/// `segment_bytes` (a multiple of 4) at distance `segment_pitch`.
struct MacWindows {
  const std::uint8_t* const* windows;
  std::size_t count;
  std::size_t segments;
  std::size_t segment_bytes;
  std::ptrdiff_t segment_pitch;
};

/// acc[p * acc_stride + o] = init[o] + sum over the window of input * panel, modulo 2^32, for the
/// `panel` kernels of one panel. The panel is packed as [segments * segment_bytes / 4][panel][4].
void mac_int8(const MacWindows& in, const std::int8_t* panel, const std::int32_t* init,
              std::int32_t* acc, std::size_t acc_stride);

/// One window of a depthwise convolution: sums[c] = sum over taps of in[tap][c] * w[tap][c], and
/// the sums of the inputs alone if `windows` is not null. `in` is stored xor input_xor; `w` is
/// [tap][channel]; `channels` is a multiple of 16.
void mac_depthwise_int8(const std::uint8_t* const* in, const std::int8_t* w, std::size_t taps,
                        std::size_t channels, std::int32_t* sums, std::int32_t* windows);

/// sums[p] = sum of the `channels` inputs (a multiple of 16, stored xor input_xor) of position p.
void sum_channels_int8(const std::uint8_t* in, std::size_t positions, std::size_t channels,
                       std::int32_t* sums);

}  // namespace npu::sim
