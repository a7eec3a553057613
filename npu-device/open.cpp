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
    "\"sim\", \"sim:cores=N,mhz=N,calibration=FILE,chain,timing-only,quirk=NAME\" or some of these "
    "(N from 1 to 3 and 1 to 4000; docs/open-questions.md has the quirks), \"rocket\", "
    "\"rocket:/dev/accel/accelN\" or \"mmio[:ITEM,...]\" (docs/mmio.md)";

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

template <class T>
bool read_number(std::string_view text, T least, T most, T& value) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && value >= least &&
         value <= most;
}

// The items of "sim:"; false if one of them is none.
bool read_items(std::string_view items, SimOptions& options) {
  for (;;) {
    const std::size_t comma = items.find(',');
    const std::string_view item = items.substr(0, comma);
    const std::size_t equals = item.find('=');
    const std::string_view key = item.substr(0, equals);
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view{} : item.substr(equals + 1);
    double mhz = 0;
    if (key == "cores" && read_number(value, 1u, 3u, options.chip.cores)) {
    } else if (key == "mhz" && read_number(value, 1.0, 4000.0, mhz)) {
      options.timing.npu_hz = mhz * 1e6;
    } else if (key == "calibration" && !value.empty()) {
      const sim::CalibrationFile file = sim::load_calibration(value);
      options.timing.calibration = file.values;
      options.timing.calibration_name = file.name;
    } else if (item == "chain") {
      options.chains = true;
    } else if (item == "timing-only") {
      options.computes = false;
    } else {
      return false;
    }
    if (comma == std::string_view::npos) return true;
    items.remove_prefix(comma + 1);
  }
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
    SimOptions all{.chip = std::move(options)};
    const std::string others = take_quirks(option, all.chip.quirks);
    if (!others.empty() && !read_items(others, all)) bad_spec(spec, from_environment);
    return open_sim(all);
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
