// SPDX-License-Identifier: MIT
#include "npu-sim/pool_feed.hpp"

#include "npu-sim/fault.hpp"
#include "npu-sim/known_bits.hpp"

namespace npu::sim {

std::span<const std::byte> PortSpace::resolve(std::uint64_t iova, std::size_t bytes) const {
  if (iova < kWire) return below_.resolve(iova, bytes);
  const auto it = surfaces_.find(iova);
  if (it == surfaces_.end() || it->second.bytes < bytes) return {};
  return {it->second.data.get(), bytes};
}

std::span<std::byte> PortSpace::resolve_write(std::uint64_t iova, std::size_t bytes) const {
  if (iova < kWire) return below_.resolve_write(iova, bytes);
  Surface& surface = surfaces_[iova];
  if (surface.data == nullptr) surface = {std::make_unique<std::byte[]>(bytes), bytes};
  if (surface.bytes < bytes) return {};
  return {surface.data.get(), bytes};
}

bool PortSpace::read(std::uint64_t iova, void* out, std::size_t bytes,
                     std::uint64_t* fault_iova) const {
  return below_.read(iova, out, bytes, fault_iova);
}

bool PortSpace::write(std::uint64_t iova, const void* in, std::size_t bytes,
                      std::uint64_t* fault_iova) const {
  return below_.write(iova, in, bytes, fault_iova);
}

void place_output(std::uint32_t output_mode, bool feeds, const OutputPlace& place) {
  if (!feeds) {
    if (output_mode == 1 || output_mode == 3)
      hang("DPU.FEATURE_MODE_CFG.output_mode",
           "the DPU's output goes to a PPU that is not enabled");
    require(output_mode == 2, "DPU.FEATURE_MODE_CFG.output_mode", output_mode);
    return;
  }
  if ((output_mode & 1) == 0)
    hang("DPU.FEATURE_MODE_CFG.output_mode", "the PPU is enabled, but the DPU does not feed it");
  if (output_mode == 3) return;
  *place.dst = PortSpace::kWire;
  *place.dst_line = std::uint64_t{place.width} * 16;
  *place.dst_plane = *place.dst_line * place.height;
  *place.dst_group = *place.dst_plane * place.group_surfaces;
}

}  // namespace npu::sim
