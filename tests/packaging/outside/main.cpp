// SPDX-License-Identifier: MIT
// Uses each installed library once: a register is encoded, read back from a simulated chip, and a
// buffer of a simulated device is written.
#include <cstddef>
#include <cstdio>

#include "npu-device/device.hpp"
#include "npu-sim/chip.hpp"
#include "regdb/regcmd.hpp"
#include "regdb/registers.hpp"

int main() {
  constexpr npu::regdb::cna::DATA_SIZE0 size{.datain_width = 224, .datain_height = 192};
  static_assert(npu::regdb::cna::DATA_SIZE0::decode(size.encode()) == size);

  npu::sim::Chip chip({.cores = 2, .threads = 1});
  chip.write(1, size.offset, size.encode());
  const auto seen = npu::regdb::cna::DATA_SIZE0::decode(chip.read(1, size.offset));

  const auto device = npu::device::open_device("sim");
  const auto buffer = device->create_buffer(4096);
  device->fini(buffer);

  std::printf("%ux%u %zu %s\n", seen.datain_width, seen.datain_height, buffer.size(),
              device->info().backend.c_str());
  return seen == size && chip.cores() == 2 ? 0 : 1;
}
