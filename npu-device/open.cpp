// SPDX-License-Identifier: MIT
// From a device spec ("sim:cores=2", "rocket:/dev/accel/accel0") to a Device.
#include <fmt/format.h>

#include <charconv>
#include <cstdlib>

#include "npu-device/device.hpp"
#include "npu-device/mmio.hpp"
#include "npu-device/rocket.hpp"
#include "npu-device/sim_device.hpp"
#include "regdb/error.hpp"

namespace npu::device {
namespace {

constexpr std::string_view kSpecs =
    "\"sim\", \"sim:cores=N\" (N from 1 to 3), \"rocket\", \"rocket:/dev/accel/accelN\" or "
    "\"mmio[:ITEM,...]\" (docs/mmio.md)";

[[noreturn]] void bad_spec(std::string_view spec, bool from_environment) {
  throw Error(ErrorCode::invalid_argument,
              fmt::format("\"{}\"{} is no device; use {}.", spec,
                          from_environment ? " (from NPU_DEVICE)" : "", kSpecs));
}

}  // namespace

std::unique_ptr<Device> open_device(std::string_view spec) { return open_device(spec, {}); }

std::unique_ptr<Device> open_device(std::string_view spec, sim::ChipOptions options) {
  bool from_environment = false;
  if (spec.empty()) {
    const char* environment = std::getenv("NPU_DEVICE");
    from_environment = environment && *environment;
    spec = from_environment ? std::string_view(environment) : "sim";
  }
  const std::size_t colon = spec.find(':');
  const std::string_view backend = spec.substr(0, colon);
  const bool has_option = colon != std::string_view::npos;
  const std::string_view option = has_option ? spec.substr(colon + 1) : std::string_view{};

  if (backend == "sim") {
    if (has_option) {
      constexpr std::string_view key = "cores=";
      const char* last = option.data() + option.size();
      unsigned cores = 0;
      if (!option.starts_with(key)) bad_spec(spec, from_environment);
      const auto parsed = std::from_chars(option.data() + key.size(), last, cores);
      if (parsed.ec != std::errc() || parsed.ptr != last || cores < 1 || cores > 3) {
        bad_spec(spec, from_environment);
      }
      options.cores = cores;
    }
    return open_sim(options);
  }
  if (backend == "rocket") {
    if (has_option && option.empty()) bad_spec(spec, from_environment);
    return open_rocket(option, system_ioctl());
  }
  if (backend == "mmio") {
    if (has_option && option.empty()) bad_spec(spec, from_environment);
    return open_mmio(parse_mmio_spec(option), options);
  }
  bad_spec(spec, from_environment);
}

}  // namespace npu::device
