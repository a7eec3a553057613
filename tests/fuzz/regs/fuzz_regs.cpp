// SPDX-License-Identifier: MIT
// What people type for mapped registers: device specs, names, writes, dumps. Taken or refused,
// never more; what is taken means the same when it is printed and read again.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "npu-device/mmio_spec.hpp"
#include "npu-probe/regs.hpp"
#include "regdb/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace npu;
  if (size == 0) return 0;
  static const auto registers = probe::chip_registers(0, true);
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0]) {
      case 's': {
        const std::string spec = device::to_string(device::parse_mmio_spec(text));
        if (device::to_string(device::parse_mmio_spec(spec.substr(5))) != spec) std::abort();
        break;
      }
      case 'n':
        if (probe::select_registers(registers, text).registers.empty()) std::abort();
        break;
      case 'w': {
        const probe::RegisterWrite write = probe::parse_write(registers, text);
        // A field takes its own bits and no others.
        if (write.field != nullptr &&
            (write.field->extract(write.merge(~0u)) != write.bits ||
             (write.merge(~0u) | write.field->mask() << write.field->low) != ~0u))
          std::abort();
        break;
      }
      default: (void)probe::parse_dump(text, "fuzz");
    }
  } catch (const Error&) {
  }
  return 0;
}
