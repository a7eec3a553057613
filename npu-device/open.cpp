// SPDX-License-Identifier: MIT
// From a device spec ("sim:cores=2", "rocket:/dev/accel/accel0") to a Device.
#include <fmt/format.h>

#include <charconv>
#include <cstdlib>

#include "npu-device/device.hpp"
#include "npu-device/mmio.hpp"
#include "npu-device/rocket.hpp"
#include "npu-device/sim_device.hpp"
#include "npu-sim/quirk_names.hpp"
#include "regdb/error.hpp"

namespace npu::device {
namespace {

constexpr std::string_view kSpecs =
    "\"sim\", \"sim:cores=N\" (N from 1 to 3), \"sim:quirk=NAME\" (docs/open-questions.md), "
    "\"rocket\", \"rocket:/dev/accel/accelN\" or "
    "\"mmio[:ITEM,...]\" (docs/mmio.md)";

[[noreturn]] void bad_spec(std::string_view spec, bool from_environment) {
  throw Error(ErrorCode::invalid_argument,
              fmt::format("\"{}\"{} is no device; use {}.", spec,
                          from_environment ? " (from NPU_DEVICE)" : "", kSpecs));
}

// The items behind the colon that are not "quirk=NAME[=VALUE]"; those are done with.
std::string take_quirks(std::string_view items, sim::Quirks& quirks) {
  constexpr std::string_view key = "quirk=";
  std::string others;
  while (!items.empty()) {
    const std::size_t comma = items.find(',');
    const std::string_view item = items.substr(0, comma);
    items = comma == std::string_view::npos ? std::string_view{} : items.substr(comma + 1);
    if (item.starts_with(key)) {
      sim::set_quirk(quirks, item.substr(key.size()));
      continue;
    }
    if (!others.empty() || item.empty()) others += ',';  // an empty item stays wrong
    others += item;
  }
  return others;
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
    if (has_option && (option.empty() || option.ends_with(','))) bad_spec(spec, from_environment);
    const std::string others = take_quirks(option, options.quirks);
    if (!others.empty()) {
      constexpr std::string_view key = "cores=";
      const char* last = others.data() + others.size();
      unsigned cores = 0;
      if (!others.starts_with(key)) bad_spec(spec, from_environment);
      const auto parsed = std::from_chars(others.data() + key.size(), last, cores);
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
    const std::string others = take_quirks(option, options.quirks);
    const MmioSpec mmio = parse_mmio_spec(others);
    // A chip's behaviour is no option.
    if (others != option && !mmio.sim) bad_spec(spec, from_environment);
    return open_mmio(mmio, options);
  }
  bad_spec(spec, from_environment);
}

}  // namespace npu::device
