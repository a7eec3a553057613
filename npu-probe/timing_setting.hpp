// SPDX-License-Identifier: MIT
// What the rules that turn a row into a workload share. Every rule is about conditions that a row
// states; there are no constants of single rows.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "npu-probe/timing_report.hpp"

namespace npu::probe {

/// Thrown for rows that are not about the NPU, or leave out what the figure depends on.
struct Inexpressible {
  std::string why;
};

/// How a row was run.
struct Setting {
  const Measurement& row;
  sim::Calibration c;
  sim::Operating clock;
  sim::Dispatch dispatch;
  bool vendor;
  std::vector<std::string> assumed = {};  ///< what the row leaves open
};

bool has(const std::string& text, std::string_view word);  ///< whatever the case
/// The number in front of `word`: "5 files".
std::optional<unsigned> count_before(const std::string& text, std::string_view word);
/// The number behind `word`: "micro-batch 512".
std::optional<unsigned> number_after(const std::string& text, std::string_view word);
/// Of a row about a language model: decoding, or how many tokens go in at once.
bool is_decode(const Measurement& row);
std::optional<std::uint64_t> prompt_tokens(const Measurement& row);
sim::MacType mac_type(const std::string& dtype);
/// Cores that several files keep busy share the memory.
unsigned active(const Measurement& row, unsigned files);
Modelled from_job(const sim::JobTime& job);

Modelled predict_network(Setting& s);
Modelled predict_llm(Setting& s);
Modelled predict_whisper(Setting& s);
Modelled predict_operator(Setting& s);  ///< one convolution, pool or element-wise operation

}  // namespace npu::probe
