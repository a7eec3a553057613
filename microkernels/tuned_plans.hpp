// SPDX-License-Identifier: MIT
// Plans that were found better than the planner's own on some machine: a file that
// `npu-probe tune` writes and programs load.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "microkernels/gemm_choice.hpp"
#include "npu-device/device.hpp"

namespace npu::kernels {

/// What a plan was tuned on. Plans are valid everywhere, but the best ones differ.
struct TunedMachine {
  std::string backend, driver, version;  ///< as DeviceInfo has them
  unsigned cores = 0;
  double npu_mhz = 0;       ///< 0: not known
  std::string calibration;  ///< of the timing model; empty on a chip
  std::string provenance;   ///< of the times: "measured" or "modelled"
  friend bool operator==(const TunedMachine&, const TunedMachine&) = default;
};
/// `npu_mhz` is used where the device does not tell its clock.
TunedMachine machine_of(const device::DeviceInfo& info, double npu_mhz = 0);
std::string to_string(const TunedMachine& machine);  ///< one line

struct TunedGemm {
  GemmShape shape;
  GemmTypes types;
  unsigned cores = 1;         ///< that the caller offers
  bool on_chip_sums = false;  ///< GemmOptions::on_chip_sums: another arithmetic
  GemmChoice choice;          ///< the fastest one
  double seconds = 0;         ///< of it
  /// Of what the planner picks by itself; never less than `seconds`, and the same where that plan
  /// does not work.
  double usual_seconds = 0;
  friend bool operator==(const TunedGemm&, const TunedGemm&) = default;
};

struct TunedPlans {
  TunedMachine machine;
  std::vector<TunedGemm> gemms;
  friend bool operator==(const TunedPlans&, const TunedPlans&) = default;
};

/// Adds an entry, or takes the place of the one for the same product.
void store(TunedPlans& plans, const TunedGemm& gemm);

/// `options` with the tuned choice, if there is one for this product; unchanged else. A chained
/// choice is taken only if `options` allow it.
GemmOptions tuned(const TunedPlans& plans, const GemmShape& shape, const GemmTypes& types,
                  unsigned cores, GemmOptions options = {});

/// Why times of `plans` say little about this device, in a sentence; empty: the same machine.
std::string other_machine(const TunedPlans& plans, const TunedMachine& here);

std::string to_json(const TunedPlans& plans);
/// Throws bad_file that names `where` and the entry. Every choice is checked against the chip.
TunedPlans parse_tuned_plans(std::string_view json, std::string_view where);
TunedPlans load_tuned_plans(const std::filesystem::path& path);

}  // namespace npu::kernels
