// SPDX-License-Identifier: MIT
// A hostile case.json: loaded and replayed, or refused; never more. Files of the case are made up
// with the size that the loader asks for.
#include <cstdint>
#include <string_view>

#include "npu-device/sim_device.hpp"
#include "npu-probe/case.hpp"
#include "npu-probe/replay.hpp"
#include "regdb/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace npu;
  static const auto device = [] {
    sim::ChipOptions options;
    options.cores = 1;
    options.threads = 1;
    options.task_mac_budget = 1'000'000;
    return device::open_sim(options);
  }();
  const auto read = [](const std::string& name, std::size_t max_bytes) {
    if (max_bytes > std::size_t{1} << 20 && name != "regcmd.bin")
      throw Error(ErrorCode::bad_file, "too large for a fuzzer");
    std::vector<std::byte> bytes(name == "regcmd.bin" ? 260 * 8 : max_bytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 37);
    return bytes;
  };
  try {
    const probe::Case c = probe::parse_case({reinterpret_cast<const char*>(data), size}, read);
    std::uint64_t total = 0;
    for (const auto& submit : c.submits)
      for (const auto& bo : submit.bos) total += bo.size;
    if (total < 16u << 20) (void)probe::replay_case(*device, c, false);
  } catch (const Error&) {
  }
  return 0;
}
