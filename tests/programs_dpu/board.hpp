// SPDX-License-Identifier: MIT
// A simulated board for programs that other projects have proven on real ones: buffers, a start as
// the kernel driver makes it, fp16 helpers.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "../programs/lint_agrees.hpp"
#include "npu-sim/chip.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/regcmd.hpp"

namespace npu::sim::programs {

using Halves = std::vector<std::uint16_t>;

inline std::uint16_t half(double v) { return float_to_fp16(static_cast<float>(v)); }
inline double number(std::uint16_t h) { return static_cast<double>(fp16_to_float(h)); }

class Board {
 public:
  explicit Board(ChipOptions options = {});

  /// A new buffer with these elements, and at least `room` bytes; returns its address.
  template <class T>
  std::uint32_t put(const std::vector<T>& elements, std::size_t room = 0) {
    return buffer(elements.data(), elements.size() * sizeof(T), room, std::byte{0});
  }
  /// A new buffer in which every byte is 0xAA, so that what nothing wrote shows.
  std::uint32_t room(std::size_t bytes) { return buffer(nullptr, 0, bytes, std::byte{0xAA}); }
  template <class T>
  std::vector<T> get(std::uint32_t iova, std::size_t elements) const {
    std::vector<T> out(elements);
    std::uint64_t bad = 0;
    if (!space_->read(iova, out.data(), elements * sizeof(T), &bad)) out.clear();
    return out;
  }
  template <class T>
  void set(std::uint32_t iova, const std::vector<T>& elements) {
    std::uint64_t bad = 0;
    (void)space_->write(iova, elements.data(), elements.size() * sizeof(T), &bad);
  }

  /// One start; true if the program ended (its DPU or PPU raised a bit). The words need no trailer.
  bool run(const std::vector<std::uint64_t>& words);
  bool run(const regdb::RegcmdStream& stream) { return run(stream.words()); }
  std::string fault() const { return chip.fault(0) ? chip.fault(0)->where : "none"; }
  std::string message() const { return chip.fault(0) ? chip.fault(0)->message : "no fault"; }

  Chip chip;

 private:
  std::uint32_t buffer(const void* data, std::size_t bytes, std::size_t room, std::byte fill);
  std::shared_ptr<AddressSpace> space_ = std::make_shared<AddressSpace>();
  std::uint32_t next_ = 0x10000;
  std::uint32_t program_ = 0;
  test::LintAgrees lint_;
};

}  // namespace npu::sim::programs
