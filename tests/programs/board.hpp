// SPDX-License-Identifier: MIT
// A simulated board for whole programs: buffers, jobs as the mainline driver runs them, layouts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "lint_agrees.hpp"
#include "npu-sim/chip.hpp"

namespace npu::sim::test {

class Board {
 public:
  explicit Board(ChipOptions options = {});

  struct Buffer {
    std::uint32_t iova = 0;
    std::byte* data = nullptr;
    std::size_t bytes = 0;
    template <class T>
    T* as() const {
      return reinterpret_cast<T*>(data);
    }
    void fill(std::uint8_t value) const { std::memset(data, value, bytes); }
  };
  Buffer alloc(std::size_t bytes, std::uint8_t fill = 0);
  template <class T>
  Buffer upload(const std::vector<T>& values) {
    const Buffer b = alloc(values.size() * sizeof(T));
    std::memcpy(b.data, values.data(), values.size() * sizeof(T));
    return b;
  }

  /// One task started the way the driver does it; true if a DPU interrupt came, false if the
  /// 500 ms watchdog has to retire it (the core is then reset, as the driver does).
  bool run(const std::vector<std::uint64_t>& words, unsigned core = 0);
  /// All programs in one buffer, each linked to the next, started once [userspace rocket_chain.c].
  bool run_chained(std::vector<std::vector<std::uint64_t>> programs, unsigned core = 0);

  /// "hang: DPU.BS_OW_CFG.size_e_0" of the last run, or "" if it had no fault.
  std::string fault() const { return fault_; }
  /// Interrupts that run() and run_chained() saw.
  unsigned interrupts() const { return interrupts_; }

  Chip chip;

 private:
  bool start(std::uint32_t regcmd, std::size_t words, unsigned tasks, unsigned core);
  std::shared_ptr<AddressSpace> space_ = std::make_shared<AddressSpace>();
  std::uint32_t next_ = 0x10000000;
  std::string fault_;
  std::optional<Fault> chip_fault_;
  unsigned interrupts_ = 0;
  LintAgrees lint_;
};

/// Element (channel, row, column) of a cube [C/atom][H][W][atom].
inline std::size_t cube_at(std::uint32_t height, std::uint32_t width, std::uint32_t atom,
                           std::uint32_t c, std::uint32_t y, std::uint32_t x) {
  return ((std::size_t{c / atom} * height + y) * width + x) * atom + c % atom;
}

/// Element of a weight cube [O/og][C/cg][KH][KW][og][cg].
inline std::size_t weight_at(std::uint32_t og, std::uint32_t cg, std::uint32_t channels,
                             std::uint32_t kh, std::uint32_t kw, std::uint32_t o, std::uint32_t c,
                             std::uint32_t ky, std::uint32_t kx) {
  const std::size_t groups = (channels + cg - 1) / cg;
  return ((((o / og * groups + c / cg) * kh + ky) * kw + kx) * og + o % og) * cg + c % cg;
}

/// Element of a depthwise weight cube [C/g][KH][KW][g].
inline std::size_t depthwise_at(std::uint32_t g, std::uint32_t kh, std::uint32_t kw,
                                std::uint32_t c, std::uint32_t ky, std::uint32_t kx) {
  return ((std::size_t{c / g} * kh + ky) * kw + kx) * g + c % g;
}

}  // namespace npu::sim::test
