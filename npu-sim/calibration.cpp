// SPDX-License-Identifier: MIT
#include "npu-sim/calibration.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "npu-sim/default_calibration.hpp"
#include "regdb/error.hpp"

namespace npu::sim {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

struct Entry {
  std::string_view name, unit;
  double Calibration::*member;
  double lowest, highest;  // outside: surely a slip of the unit
};

constexpr std::array kEntries = {
    Entry{"mac_int4", "MAC/cycle", &Calibration::mac_int4, 1, 1e6},
    Entry{"mac_int8", "MAC/cycle", &Calibration::mac_int8, 1, 1e6},
    Entry{"mac_int16", "MAC/cycle", &Calibration::mac_int16, 1, 1e6},
    Entry{"mac_fp16", "MAC/cycle", &Calibration::mac_fp16, 1, 1e6},
    Entry{"mac_bf16", "MAC/cycle", &Calibration::mac_bf16, 1, 1e6},
    Entry{"mac_tf32", "MAC/cycle", &Calibration::mac_tf32, 1, 1e6},
    Entry{"depthwise_int8", "MAC/cycle", &Calibration::depthwise_int8, 1, 1e6},
    Entry{"depthwise_fp16", "MAC/cycle", &Calibration::depthwise_fp16, 1, 1e6},
    Entry{"read_bytes_per_cycle", "B/cycle", &Calibration::read_bytes_per_cycle, 0.1, 1e4},
    Entry{"write_bytes_per_cycle", "B/cycle", &Calibration::write_bytes_per_cycle, 0.1, 1e4},
    Entry{"feature_overlap", "share", &Calibration::feature_overlap, 0, 1},
    Entry{"dpu_bytes_per_cycle", "B/cycle", &Calibration::dpu_bytes_per_cycle, 0.1, 1e4},
    Entry{"table_elements_per_cycle", "elements/cycle", &Calibration::table_elements_per_cycle, 0.1,
          1e3},
    Entry{"ppu_elements_per_cycle", "elements/cycle", &Calibration::ppu_elements_per_cycle, 0.1,
          1e4},
    Entry{"task_start_cycles", "cycles", &Calibration::task_start_cycles, 0, 1e6},
    Entry{"cbuf_banks", "banks", &Calibration::cbuf_banks, 1, 1024},
    Entry{"cbuf_bank_bytes", "B", &Calibration::cbuf_bank_bytes, 1, 1e9},
    Entry{"dram_bytes_per_second", "B/s", &Calibration::dram_bytes_per_second, 1e6, 1e13},
    Entry{"job_little_us", "us", &Calibration::job_little_us, 0, 1e6},
    Entry{"job_big_floating_us", "us", &Calibration::job_big_floating_us, 0, 1e6},
    Entry{"job_big_other_us", "us", &Calibration::job_big_other_us, 0, 1e6},
    Entry{"job_big_same_us", "us", &Calibration::job_big_same_us, 0, 1e6},
    Entry{"iommu_us", "us", &Calibration::iommu_us, 0, 1e6},
    Entry{"task_interrupt_little_us", "us", &Calibration::task_interrupt_little_us, 0, 1e6},
    Entry{"task_interrupt_big_us", "us", &Calibration::task_interrupt_big_us, 0, 1e6},
    Entry{"vendor_job_us", "us", &Calibration::vendor_job_us, 0, 1e6},
    Entry{"host_pack_ns", "ns/element", &Calibration::host_pack_ns, 0, 1e4},
    Entry{"host_pack_cold_ns", "ns/element", &Calibration::host_pack_cold_ns, 0, 1e4},
    Entry{"host_read_ns", "ns/element", &Calibration::host_read_ns, 0, 1e4},
    Entry{"host_read_fast_ns", "ns/element", &Calibration::host_read_fast_ns, 0, 1e4},
    Entry{"host_tall_ns", "ns/element", &Calibration::host_tall_ns, 0, 1e4},
    Entry{"host_call_ms", "ms", &Calibration::host_call_ms, 0, 1e4},
    Entry{"host_sync_bytes_per_second", "B/s", &Calibration::host_sync_bytes_per_second, 1e6, 1e13},
    Entry{"host_sync_alone_bytes_per_second", "B/s", &Calibration::host_sync_alone_bytes_per_second,
          1e6, 1e15},
    Entry{"host_parallelism", "threads", &Calibration::host_parallelism, 1, 8},
    Entry{"mesa_invoke_ms", "ms", &Calibration::mesa_invoke_ms, 0, 1e4},
    Entry{"mesa_element_ns", "ns/element", &Calibration::mesa_element_ns, 0, 1e4},
    Entry{"vendor_share_us", "us", &Calibration::vendor_share_us, 0, 1e6},
    Entry{"vendor_invoke_ms", "ms", &Calibration::vendor_invoke_ms, 0, 1e4},
    Entry{"cpu_bytes_per_second", "B/s", &Calibration::cpu_bytes_per_second, 1e6, 1e15},
    Entry{"cpu_ops_per_second", "op/s", &Calibration::cpu_ops_per_second, 1e6, 1e15},
    Entry{"cpu_layer_ms", "ms", &Calibration::cpu_layer_ms, 0, 1e4},
    Entry{"host_unpack_ns", "ns/element", &Calibration::host_unpack_ns, 0, 1e4},
    Entry{"driver_timeout_ms", "ms", &Calibration::driver_timeout_ms, 0, 1e6},
    Entry{"llm_layer_us", "us", &Calibration::llm_layer_us, 0, 1e6},
    Entry{"llm_activation_ns", "ns/element", &Calibration::llm_activation_ns, 0, 1e4},
    Entry{"llm_attention_flops", "FLOP/s", &Calibration::llm_attention_flops, 1e6, 1e14},
};

[[noreturn]] void bad(std::string_view where, const std::string& what) {
  throw Error(ErrorCode::bad_file, fmt::format("{}: {}", where, what));
}

std::string text_member(const json& entry, const char* key, std::string_view where,
                        std::string_view name) {
  const auto found = entry.find(key);
  if (found == entry.end()) return {};
  if (!found->is_string()) bad(where, fmt::format("{}.{} is not a string", name, key));
  return found->get<std::string>();
}

}  // namespace

CalibrationFile parse_calibration(std::string_view text, std::string_view where) {
  const json root = json::parse(text, nullptr, false);
  if (root.is_discarded() || !root.is_object()) bad(where, "is not a JSON object");
  const auto constants = root.find("constants");
  if (constants == root.end() || !constants->is_object()) bad(where, "has no object \"constants\"");
  std::set<std::string_view> known;
  for (const Entry& entry : kEntries) known.insert(entry.name);
  for (const auto& [name, value] : constants->items())
    if (known.count(name) == 0)
      bad(where, fmt::format("unknown constant {}; docs/timing.md lists them", name));

  CalibrationFile file;
  file.name = text_member(root, "name", where, "the file");
  for (const Entry& entry : kEntries) {
    const auto found = constants->find(entry.name);
    if (found == constants->end()) bad(where, fmt::format("constant {} is missing", entry.name));
    if (!found->is_object()) bad(where, fmt::format("constant {} is not an object", entry.name));
    const auto value = found->find("value");
    if (value == found->end() || !value->is_number())
      bad(where, fmt::format("constant {} has no numeric \"value\"", entry.name));
    ConstantNote note;
    note.name = entry.name;
    note.value = value->get<double>();
    if (!std::isfinite(note.value) || note.value < entry.lowest || note.value > entry.highest)
      bad(where, fmt::format("constant {} is {}, not between {} and {} {}", entry.name, note.value,
                             entry.lowest, entry.highest, entry.unit));
    note.unit = text_member(*found, "unit", where, entry.name);
    if (note.unit != entry.unit)
      bad(where, fmt::format("constant {} has the unit \"{}\"; it must be \"{}\"", entry.name,
                             note.unit, entry.unit));
    note.origin = text_member(*found, "origin", where, entry.name);
    if (note.origin != "document" && note.origin != "derived" && note.origin != "fitted")
      bad(where,
          fmt::format("constant {} needs an origin: document, derived or fitted", entry.name));
    note.source = text_member(*found, "source", where, entry.name);
    if (note.source.empty()) bad(where, fmt::format("constant {} has no source", entry.name));
    note.fitted_on = text_member(*found, "fitted_on", where, entry.name);
    if ((note.origin == "fitted") == note.fitted_on.empty())
      bad(where, fmt::format("constant {}: \"fitted_on\" belongs to fitted constants, and to "
                             "all of them",
                             entry.name));
    file.values.*entry.member = note.value;
    file.notes.push_back(std::move(note));
  }
  return file;
}

std::string to_json(const CalibrationFile& file) {
  ordered_json constants = ordered_json::object();
  for (std::size_t i = 0; i < kEntries.size(); ++i) {
    const ConstantNote& note = file.notes.at(i);
    ordered_json entry = {{"value", file.values.*kEntries[i].member},
                          {"unit", note.unit},
                          {"origin", note.origin},
                          {"source", note.source}};
    if (!note.fitted_on.empty()) entry["fitted_on"] = note.fitted_on;
    constants[note.name] = std::move(entry);
  }
  return ordered_json{{"name", file.name}, {"constants", constants}}.dump(2) + "\n";
}

const CalibrationFile& default_calibration() {
  static const CalibrationFile file =
      parse_calibration(kDefaultCalibrationJson, "rk3588-default.json");
  return file;
}

CalibrationFile load_calibration(const std::filesystem::path& path) {
  constexpr std::uintmax_t kMostBytes = 1 << 20;
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    bad(path.string(), "no such file, or not a regular one");
  const auto size = std::filesystem::file_size(path, error);
  if (error || size > kMostBytes) bad(path.string(), "is larger than a calibration can be");
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!in) bad(path.string(), "cannot be read");
  return parse_calibration(text, path.string());
}

}  // namespace npu::sim
