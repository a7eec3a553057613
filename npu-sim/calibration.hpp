// SPDX-License-Identifier: MIT
// The constants of the timing model, each with where it comes from.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace npu::sim {

/// Plain numbers; units in the names. The default values come with the library
/// (calibration/rk3588-default.json), see load_calibration().
struct Calibration {
  // NPU, per core
  double mac_int4 = 0, mac_int8 = 0, mac_int16 = 0, mac_fp16 = 0, mac_bf16 = 0, mac_tf32 = 0;
  double depthwise_int8 = 0, depthwise_fp16 = 0;
  double read_bytes_per_cycle = 0, write_bytes_per_cycle = 0;
  double feature_overlap = 0;
  double dpu_bytes_per_cycle = 0, table_elements_per_cycle = 0, ppu_elements_per_cycle = 0;
  double task_start_cycles = 0;
  double cbuf_banks = 0, cbuf_bank_bytes = 0;
  // memory, all cores together
  double dram_bytes_per_second = 0;
  // kernel
  double job_little_us = 0, job_big_floating_us = 0, job_big_other_us = 0, job_big_same_us = 0;
  double iommu_us = 0;
  double task_interrupt_little_us = 0, task_interrupt_big_us = 0;
  double vendor_job_us = 0;
  // the programs around the NPU whose speed was published
  double host_pack_ns = 0, host_pack_cold_ns = 0, host_read_ns = 0, host_read_fast_ns = 0;
  double host_tall_ns = 0, host_call_ms = 0;
  double host_sync_bytes_per_second = 0, host_sync_alone_bytes_per_second = 0;
  double host_parallelism = 0;
  double mesa_invoke_ms = 0, mesa_element_ns = 0;
  double vendor_invoke_ms = 0, vendor_share_us = 0;
  double cpu_bytes_per_second = 0, cpu_ops_per_second = 0, cpu_layer_ms = 0, host_unpack_ns = 0;
  double driver_timeout_ms = 0;
  double llm_layer_us = 0, llm_activation_ns = 0, llm_attention_flops = 0;
};

/// How a constant came about.
struct ConstantNote {
  std::string name;
  double value = 0;
  std::string unit;
  std::string origin;     ///< "document", "derived" or "fitted"
  std::string source;     ///< document or reasoning
  std::string fitted_on;  ///< rows of measurements.csv; empty unless fitted
};

struct CalibrationFile {
  std::string name;
  Calibration values;
  std::vector<ConstantNote> notes;  ///< one for each constant, in the order of the struct
};

/// Parses and checks: every constant once, none unknown, each in its range, with unit, origin and
/// source. Throws npu::Error(bad_file) that names `where` and the constant.
CalibrationFile parse_calibration(std::string_view json, std::string_view where);
std::string to_json(const CalibrationFile& file);

/// The constants that come with the library.
const CalibrationFile& default_calibration();
CalibrationFile load_calibration(const std::filesystem::path& path);

}  // namespace npu::sim
