// SPDX-License-Identifier: MIT
#include "npu-probe/timing_setting.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>

namespace npu::probe {

using sim::MacType;

bool has(const std::string& text, std::string_view word) {
  const auto it = std::search(
      text.begin(), text.end(), word.begin(), word.end(),
      [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
  return it != text.end();
}

std::optional<unsigned> count_before(const std::string& text, std::string_view word) {
  const auto at = text.find(word);
  if (at == std::string::npos) return std::nullopt;
  std::size_t end = at;
  while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '-')) --end;
  std::size_t begin = end;
  while (begin > 0 && std::isdigit(static_cast<unsigned char>(text[begin - 1])) != 0) --begin;
  unsigned value = 0;
  const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, value);
  if (error != std::errc() || stop != text.data() + end || value == 0 || value > 4096)
    return std::nullopt;
  return value;
}

std::optional<unsigned> number_after(const std::string& text, std::string_view word) {
  const auto at = text.find(word);
  if (at == std::string::npos) return std::nullopt;
  const std::size_t begin = text.find_first_not_of(" =:(", at + word.size());
  if (begin == std::string::npos) return std::nullopt;
  unsigned value = 0;
  const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + text.size(), value);
  if (error != std::errc() || value == 0 || value > (1u << 20)) return std::nullopt;
  return value;
}

bool is_decode(const Measurement& row) {
  return has(row.shape, "decode") || has(row.shape, " tg") || has(row.metric, "decode");
}

std::optional<std::uint64_t> prompt_tokens(const Measurement& row) {
  for (const char* word : {"prefill", "Prefill", " pp", "TTFT", "prompt"})
    if (const auto tokens = number_after(row.shape, word)) return *tokens;
  if (!has(row.shape, "prefill") && !has(row.metric, "first token") && !has(row.metric, "prefill"))
    return std::nullopt;
  for (const char* word : {" tokens", " tok"})
    if (const auto tokens = count_before(row.conditions, word)) return *tokens;
  return std::nullopt;
}

MacType mac_type(const std::string& dtype) {
  std::string name;
  for (const char c : dtype) name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (name == "int4" || name == "w4a4" || name == "i4") return MacType::int4;
  if (name == "int8" || name == "uint8" || name == "w8a8" || name == "i8" || name == "u8")
    return MacType::int8;
  if (name == "fp16" || name == "f16" || name == "float16" || name == "half") return MacType::fp16;
  if (name == "bf16" || name == "bfloat16") return MacType::bf16;
  if (name == "tf32") return MacType::tf32;
  if (name == "int16" || name == "i16") return MacType::int16;
  throw Inexpressible{fmt::format("the NPU has no operand type {}", dtype)};
}

unsigned active(const Measurement& row, unsigned files) {
  return std::max(1u, std::min(row.cores, files));
}

Modelled from_job(const sim::JobTime& job) {
  Modelled r;
  r.device = job.device;
  r.dispatch = job.dispatch();
  r.mac = job.mac;
  r.bytes = job.bytes;
  r.macs = job.macs;
  r.tasks = job.tasks;
  r.jobs = 1;
  r.seconds = job.total;
  return r;
}

}  // namespace npu::probe
