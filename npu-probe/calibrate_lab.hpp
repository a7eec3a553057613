// SPDX-License-Identifier: MIT
// Running small programs on a device to see what it makes of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "microkernels/program.hpp"
#include "npu-device/device.hpp"

namespace npu::probe::calibrate {

/// The memory of one slot of a program, before and after a run.
using Bytes = std::vector<std::byte>;
/// What nobody wrote.
inline constexpr std::byte kSentinel{0x5A};

inline Bytes blank(std::size_t bytes) { return Bytes(bytes, kSentinel); }
template <class T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}
template <class T>
std::vector<T> values_of(const Bytes& bytes, std::size_t offset, std::size_t count) {
  std::vector<T> values(count);
  std::memcpy(values.data(), bytes.data() + offset, count * sizeof(T));
  return values;
}

struct RunEnd {
  bool ended = false;    ///< the driver saw the end of every task
  bool refused = false;  ///< the simulated chip does not know what the silicon would do
  std::string why;       ///< unless it ended
};

class Lab {
 public:
  explicit Lab(device::Device& device) : device_(device) {}

  /// Submits the program's tasks as one job; `slots[i]` are uploaded before and read back after it.
  RunEnd run(const kernels::Program& program, std::vector<Bytes>& slots);

 private:
  device::Device& device_;
};

}  // namespace npu::probe::calibrate
