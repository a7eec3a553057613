// SPDX-License-Identifier: MIT
#include "microkernels/tuned_plans.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFormat = "rosenblatt-tuned-plans";
constexpr int kVersion = 1;

bool same_product(const TunedGemm& a, const GemmShape& shape, const GemmTypes& types,
                  unsigned cores, bool on_chip_sums) {
  return a.shape == shape && a.types == types && a.cores == cores && a.on_chip_sums == on_chip_sums;
}

GemmTypes parse_types(const std::string& text) {
  using enum DataType;
  for (const DataType in : {i4, i8, i16, f16, bf16, tf32})
    for (const DataType out : {i8, i16, i32, f16, f32})
      if (to_string(GemmTypes{in, out}) == text) return {in, out};
  throw Error(ErrorCode::bad_file, fmt::format("\"{}\" names no types, as \"i8->i32\" does", text));
}

// Reads members and complains of those that nobody asked for.
class Members {
 public:
  Members(const Json& json, std::string what) : json_(json), what_(std::move(what)) {
    if (!json.is_object()) fail("is no object");
  }
  [[noreturn]] void fail(const std::string& why) const {
    throw Error(ErrorCode::bad_file, fmt::format("{} {}", what_, why));
  }
  const Json& at(const char* key) {
    ++read_;
    const auto found = json_.find(key);
    if (found == json_.end()) fail(fmt::format("has no \"{}\"", key));
    return *found;
  }
  std::string text(const char* key) {
    const Json& value = at(key);
    if (!value.is_string()) fail(fmt::format("has a \"{}\" that is no text", key));
    return value.get<std::string>();
  }
  double number(const char* key) {
    const Json& value = at(key);
    if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() < 0)
      fail(fmt::format("has a \"{}\" that is no number from 0", key));
    return value.get<double>();
  }
  std::uint32_t whole(const char* key) {
    const Json& value = at(key);
    constexpr std::uint32_t most = std::numeric_limits<std::uint32_t>::max();
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > most)
      fail(fmt::format("has a \"{}\" that is no whole number from 0 to {}", key, most));
    return value.get<std::uint32_t>();
  }
  bool flag(const char* key) {
    const Json& value = at(key);
    if (!value.is_boolean()) fail(fmt::format("has a \"{}\" that is neither true nor false", key));
    return value.get<bool>();
  }
  void end() const {
    if (json_.size() != read_) fail("has members that this version does not know");
  }

 private:
  const Json& json_;
  std::string what_;
  std::size_t read_ = 0;
};

TunedGemm parse_gemm(const Json& json, const std::string& what) {
  Members m(json, what);
  TunedGemm gemm;
  gemm.shape = {m.whole("m"), m.whole("n"), m.whole("k")};
  gemm.types = parse_types(m.text("types"));
  gemm.cores = m.whole("cores");
  gemm.on_chip_sums = m.flag("on_chip_sums");
  gemm.choice = parse_gemm_choice(m.at("choice").dump());
  gemm.seconds = m.number("seconds");
  gemm.usual_seconds = m.number("usual_seconds");
  m.end();
  gemm_choices(gemm.shape, gemm.types, std::max(1u, gemm.cores),
               {.choice = gemm.choice, .on_chip_sums = gemm.on_chip_sums});
  return gemm;
}

}  // namespace

TunedMachine machine_of(const device::DeviceInfo& info, double npu_mhz) {
  return {.backend = info.backend,
          .driver = info.driver,
          .version = info.version,
          .cores = info.cores,
          .npu_mhz = info.npu_mhz != 0 ? info.npu_mhz : npu_mhz,
          .calibration = info.calibration,
          .provenance = std::string(to_string(info.time_base))};
}

std::string to_string(const TunedMachine& m) {
  std::string text = fmt::format("{}, {} {}, {} core(s)", m.backend, m.driver, m.version, m.cores);
  if (m.npu_mhz != 0) text += fmt::format(", {:g} MHz", m.npu_mhz);
  if (!m.calibration.empty()) text += ", calibration " + m.calibration;
  return text + ", times " + m.provenance;
}

void store(TunedPlans& plans, const TunedGemm& gemm) {
  const auto same = std::ranges::find_if(plans.gemms, [&](const TunedGemm& other) {
    return same_product(other, gemm.shape, gemm.types, gemm.cores, gemm.on_chip_sums);
  });
  if (same == plans.gemms.end())
    plans.gemms.push_back(gemm);
  else
    *same = gemm;
}

GemmOptions tuned(const TunedPlans& plans, const GemmShape& shape, const GemmTypes& types,
                  unsigned cores, GemmOptions options) {
  for (const TunedGemm& gemm : plans.gemms) {
    if (!same_product(gemm, shape, types, cores, options.on_chip_sums) ||
        (gemm.choice.chained && !options.chained))
      continue;
    options.choice = gemm.choice;
    options.chained = gemm.choice.chained;
  }
  return options;
}

std::string other_machine(const TunedPlans& plans, const TunedMachine& here) {
  if (plans.machine == here) return "";
  return fmt::format("the plans were tuned on another machine ({}; this is {}): tune again",
                     to_string(plans.machine), to_string(here));
}

std::string to_json(const TunedPlans& plans) {
  const TunedMachine& m = plans.machine;
  Json json = {{"format", kFormat},
               {"version", kVersion},
               {"machine",
                {{"backend", m.backend},
                 {"driver", m.driver},
                 {"version", m.version},
                 {"cores", m.cores},
                 {"npu_mhz", m.npu_mhz},
                 {"calibration", m.calibration},
                 {"provenance", m.provenance}}},
               {"gemm", Json::array()}};
  for (const TunedGemm& gemm : plans.gemms)
    json["gemm"].push_back({{"m", gemm.shape.m},
                            {"n", gemm.shape.n},
                            {"k", gemm.shape.k},
                            {"types", to_string(gemm.types)},
                            {"cores", gemm.cores},
                            {"on_chip_sums", gemm.on_chip_sums},
                            {"choice", Json::parse(to_json(gemm.choice))},
                            {"seconds", gemm.seconds},
                            {"usual_seconds", gemm.usual_seconds}});
  return json.dump(2) + "\n";
}

TunedPlans parse_tuned_plans(std::string_view text, std::string_view where) {
  std::string what = "the file";
  try {
    const Json json = Json::parse(text);
    Members file(json, what);
    if (file.text("format") != kFormat) file.fail(fmt::format("is no {}", kFormat));
    if (file.whole("version") != kVersion)
      file.fail(fmt::format("has another version than {}", kVersion));
    TunedPlans plans;
    Members machine(file.at("machine"), "machine");
    plans.machine = {machine.text("backend"),   machine.text("driver"),
                     machine.text("version"),   machine.whole("cores"),
                     machine.number("npu_mhz"), machine.text("calibration"),
                     machine.text("provenance")};
    machine.end();
    const Json& list = file.at("gemm");
    file.end();
    if (!list.is_array()) file.fail("has a \"gemm\" that is no list");
    for (const Json& entry : list) {
      what = fmt::format("gemm[{}]", plans.gemms.size());
      store(plans, parse_gemm(entry, what));
    }
    return plans;
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorCode::bad_file, fmt::format("{}: {}", where, error.what()));
  } catch (const Error& error) {
    throw Error(ErrorCode::bad_file, fmt::format("{}: {}: {}", where, what, error.what()));
  }
}

TunedPlans load_tuned_plans(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in || std::filesystem::is_directory(path))
    throw Error(ErrorCode::bad_file, fmt::format("{} cannot be read", path.string()));
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  return parse_tuned_plans(text, path.string());
}

}  // namespace npu::kernels
