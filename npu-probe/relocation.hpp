// SPDX-License-Identifier: MIT
// Register programs where a device placed the buffers elsewhere than the recording did.
#pragma once

#include <cstdint>
#include <map>
#include <span>

namespace npu::probe {

/// Where the buffers of a recorded file lie on a device.
class IovaMap {
 public:
  void add(std::uint64_t recorded, std::uint64_t size, std::uint64_t placed);
  void remove(std::uint64_t recorded);
  /// Whether any buffer lies elsewhere.
  bool moves() const { return moved_ != 0; }

  /// Where the device has what the recording had at `iova`; unchanged if that is in no buffer. The
  /// end of a buffer (whole pages) belongs to it unless another one starts there: some addresses
  /// point one plane past the last one.
  std::uint32_t to_device(std::uint32_t iova) const;
  /// The way back.
  std::uint32_t to_recording(std::uint32_t iova) const;

 private:
  struct Range {
    std::uint64_t size, other;
  };
  static std::uint32_t follow(const std::map<std::uint64_t, Range>& ranges, std::uint32_t iova);
  std::map<std::uint64_t, Range> recorded_, placed_;
  std::size_t moved_ = 0;
};

/// Whether a program's word writes a DMA address.
bool writes_address(std::uint64_t word);

/// The link to the next program that a program ends with [TRM 36.5; mesa rkt_regcmd.c].
struct ChainLink {
  std::uint32_t iova = 0;  ///< as it stands there
  std::uint32_t words = 0;
};

/// Rewrites every address in a program: operands, outputs, the link to the next program; relative
/// to TASK_DMA_BASE_ADDR where the program (or the one before in its chain) sets that: `dma_base`
/// is its value before and, on return, after the program. A link to 0 is none.
/// Returns the link as it stood before; no words if there is none.
ChainLink relocate_program(std::span<std::uint64_t> words, const IovaMap& map,
                           std::uint32_t& dma_base);

}  // namespace npu::probe
