// SPDX-License-Identifier: MIT
// MobileNetV1 in the timing model, layer by layer: our plans beside Mesa's programs. Nothing is
// measured; the exit code is 1 if the sum of ours is above Mesa's.
//
//   plan_quality_mobilenet [--mhz=600] [--quarter=1]
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <string_view>

#include "mobilenet_quality.hpp"

namespace {

// "--name=value" with a whole number, or false.
bool flag(std::string_view argument, std::string_view name, int& value) {
  if (!argument.starts_with(name)) return false;
  char rest = 0;
  return std::sscanf(argument.data() + name.size(), "%d%c", &value, &rest) == 1;
}

bool report(double multiplier, std::uint32_t size, unsigned cores, double mhz) {
  const auto layers = npu::bench::mobilenet_quality(multiplier, size, cores, mhz * 1e6);
  fmt::print("MobileNetV1 {} {}, int8, {} core(s) at {:.0f} MHz, modelled\n", multiplier, size,
             cores, mhz);
  fmt::print("{:<16} {:<26} {:>9} {:>9} {:>6} {:>6} {:>6}\n", "layer", "shape", "ours us",
             "mesa us", "ratio", "tasks", "mesa");
  for (const auto& l : layers)
    fmt::print("{:<16} {:<26} {:>9.1f} {:>9.1f} {:>6.3f} {:>6} {:>6}\n", l.name, l.shape,
               l.ours.seconds * 1e6, l.mesa.seconds * 1e6, l.ours.seconds / l.mesa.seconds,
               l.ours.tasks, l.mesa.tasks);
  const auto all = npu::bench::sums(layers);
  fmt::print("{:<16} {:<26} {:>9.1f} {:>9.1f} {:>6.3f} {:>6} {:>6}\n\n", "all", "", all.ours * 1e6,
             all.mesa * 1e6, all.ours / all.mesa, all.our_tasks, all.mesa_tasks);
  return all.ours <= all.mesa;
}

}  // namespace

int main(int argc, char** argv) try {
  int mhz = 600, quarter = 1;
  for (int i = 1; i < argc; ++i)
    if (!(flag(argv[i], "--mhz=", mhz) || flag(argv[i], "--quarter=", quarter)) || mhz < 1 ||
        mhz > 5000) {
      fmt::print(stderr,
                 "plan_quality_mobilenet: {} is not an option. Options: --mhz=N (1 to 5000), "
                 "--quarter=0 (leaves 0.25/128 out)\n",
                 argv[i]);
      return 2;
    }
  bool good = true;
  for (const unsigned cores : {1u, 3u}) {
    good &= report(1, 224, cores, mhz);
    if (quarter != 0) good &= report(0.25, 128, cores, mhz);
  }
  return good ? 0 : 1;
} catch (const std::exception& error) {
  fmt::print(stderr, "plan_quality_mobilenet: {}\n", error.what());
  return 2;
}
