// SPDX-License-Identifier: MIT
// The wire from the DPU to the PPU: a pool behind a convolution or an element-wise operation, in
// one task and without memory between [TRM 36.4.3: OUTPUT_MODE, PPU's FLYING_MODE, DPU_FLYIN].
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "npu-sim/address_space.hpp"
#include "npu-sim/conv_config.hpp"

namespace npu::sim {

/// What the DPU hands on: its output cube, surface by surface.
struct PoolFeed {
  /// Out: where the surfaces lie in the space that the DPU wrote to; lines are `line` bytes apart.
  std::vector<std::uint64_t> surfaces;
  std::uint64_t line = 0;
  std::uint32_t width = 0, height = 0, channels = 0;
  OutputType type = OutputType::int8;
  bool flying = false;  ///< the DPU itself read from memory
};

/// The space that the DPU writes to while it feeds the PPU: everything but the wire's surfaces is
/// the space below. Used by one thread at a time except for reads of the wire.
class PortSpace final : public AddressSpace {
 public:
  /// Addresses of the wire lie above all that a register can hold.
  static constexpr std::uint64_t kWire = std::uint64_t{1} << 40;

  explicit PortSpace(const AddressSpace& below) : below_(below) {}

  std::span<const std::byte> resolve(std::uint64_t iova, std::size_t bytes) const override;
  std::span<std::byte> resolve_write(std::uint64_t iova, std::size_t bytes) const override;
  bool read(std::uint64_t iova, void* out, std::size_t bytes,
            std::uint64_t* fault_iova) const override;
  bool write(std::uint64_t iova, const void* in, std::size_t bytes,
             std::uint64_t* fault_iova) const override;

 private:
  struct Surface {
    std::unique_ptr<std::byte[]> data;
    std::size_t bytes;
  };
  const AddressSpace& below_;
  mutable std::map<std::uint64_t, Surface> surfaces_;
};

/// OUTPUT_MODE: bit 0 to the PPU, bit 1 to memory. Lays the output on the wire if memory gets none.
/// Throws TaskFault if the mode does not fit whether there is somebody to feed.
struct OutputPlace {
  std::uint64_t *dst, *dst_plane, *dst_group, *dst_line;
  std::uint32_t width, height, group_surfaces;
};
void place_output(std::uint32_t output_mode, bool feeds, const OutputPlace& place);

}  // namespace npu::sim
