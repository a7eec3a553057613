// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <utility>

#include "npu-probe/timing_setting.hpp"

namespace npu::probe {
namespace {

void add(Modelled& sum, const Modelled& part, double times) {
  sum.seconds += part.seconds * times;
  sum.device += part.device * times;
  sum.host += part.host * times;
  sum.dispatch += part.dispatch * times;
  sum.mac += part.mac * times;
  sum.mac_share += part.mac_share * part.seconds * times;  // seconds until the end
  const auto n = static_cast<std::uint64_t>(times);
  sum.bytes += part.bytes * n;
  sum.macs += part.macs * n;
  sum.tasks += part.tasks * n;
  sum.jobs += part.jobs * n;
}

struct Product {
  std::uint64_t k, n;
};
std::vector<Product> products(const LanguageModel& m) {
  return {{m.width, m.query},       {m.width, m.key_value},    {m.width, m.key_value},
          {m.query, m.width},       {m.width, m.feed_forward}, {m.width, m.feed_forward},
          {m.feed_forward, m.width}};
}

Modelled vendor_decode(const Setting& s, const LanguageModel& model) {
  Modelled r;
  const double bytes =
      static_cast<double>(model.weights()) * sim::bits_of(mac_type(s.row.dtype)) / 8;
  const double ports = s.c.read_bytes_per_cycle * s.clock.npu_hz * s.row.cores;
  r.bytes = static_cast<std::uint64_t>(bytes);
  r.macs = model.weights();
  r.device = bytes / std::min(s.c.dram_bytes_per_second, ports);
  r.dispatch = static_cast<double>(model.layers) * s.c.llm_layer_us * 1e-6;
  r.seconds = r.device + r.dispatch;
  return r;
}

// Bits of a weight in llama.cpp's files, block scales included.
std::optional<double> packed_bits(const std::string& dtype) {
  static constexpr std::pair<std::string_view, double> kFormats[] = {
      {"q4_k_m", 4.87}, {"q4_0", 4.5}, {"q4", 4.87},  {"q5", 5.7},    {"q6", 6.56},
      {"q8_0", 8.5},    {"q8", 8.5},   {"iq4", 4.25}, {"mxfp4", 4.25}};
  for (const auto& [name, bits] : kFormats)
    if (has(dtype, name)) return bits;
  return std::nullopt;
}

// A token on the CPU cores: all weights once over their share of the memory.
Modelled cpu_decode(const Setting& s, const LanguageModel& model) {
  const double bits = packed_bits(s.row.dtype).value_or(16);
  Modelled r;
  r.bytes = static_cast<std::uint64_t>(static_cast<double>(model.weights()) * bits / 8);
  r.host = static_cast<double>(r.bytes) / s.c.cpu_bytes_per_second +
           static_cast<double>(model.layers) * s.c.cpu_layer_ms * 1e-3;
  r.seconds = r.host;
  return r;
}

Modelled vendor_prefill(Setting& s, const LanguageModel& model, std::uint64_t tokens) {
  GemmRun run;
  run.type = mac_type(s.row.dtype);
  run.cores = s.row.cores;
  run.m = tokens;
  run.files = s.row.cores;
  run.data_reuse = run.resident = run.device_only = true;
  Modelled r;
  double activations = 0;
  for (const Product& p : products(model)) {
    run.k = p.k;
    run.n = p.n;
    add(r, gemm_time(run, s.c, s.clock, s.dispatch), static_cast<double>(model.layers));
    activations += static_cast<double>((p.k + p.n) * tokens * model.layers);
  }
  r.host = activations * s.c.llm_activation_ns * 1e-9;
  r.seconds += r.host + vendor_decode(s, model).seconds;
  r.mac_share /= r.seconds;
  return r;
}

// llama.cpp with the open library: the products of a micro-batch on the NPU, the rest on the CPU.
Modelled open_prefill(Setting& s, const LanguageModel& model, std::uint64_t tokens) {
  const std::string& text = s.row.conditions;
  const bool packed = packed_bits(s.row.dtype).has_value();
  GemmRun run;
  run.type = packed ? sim::MacType::fp16 : mac_type(s.row.dtype);
  if (run.type != sim::MacType::fp16 && run.type != sim::MacType::bf16)
    throw Inexpressible{"rotating and quantising activations on the host is not modelled"};
  run.cores = s.row.cores;
  // llama.cpp's default, and what the notes recommend for packed weights.
  const std::uint64_t batch =
      number_after(text, "micro-batch")
          .value_or(number_after(text, "-ub").value_or(packed ? 2048 : 512));
  run.m = std::min(tokens, batch);
  run.files = 5;
  run.resident = has(text, "resident") && !has(text, "not resident");
  run.accumulate = run.data_reuse = run.type == sim::MacType::fp16;
  run.asymmetric = run.output_right_sized = run.fast_read = true;
  const double batches = static_cast<double>(tokens) / static_cast<double>(run.m);
  Modelled r;
  for (const Product& p : products(model)) {
    run.k = p.k;
    run.n = p.n;
    add(r, gemm_time(run, s.c, s.clock, s.dispatch), static_cast<double>(model.layers) * batches);
  }
  const double t = static_cast<double>(tokens);
  double host =
      2 * t * t * static_cast<double>(model.query * model.layers) / s.c.llm_attention_flops;
  // Every weight is unpacked to fp16 for every micro-batch.
  if (packed && !run.resident)
    host += static_cast<double>(model.layers * model.layer_weights()) * batches *
            s.c.host_unpack_ns * 1e-9;
  r.host += host;
  r.seconds += host;
  r.mac_share /= r.seconds;
  return r;
}

struct WhisperModel {
  std::string_view name;
  std::uint64_t layers, width;
};

}  // namespace

Modelled predict_llm(Setting& s) {
  const Measurement& row = s.row;
  const LanguageModel* model = find_language_model(row.shape);
  if (model == nullptr) {
    model = similar_language_model(row.shape);
    if (model != nullptr) s.assumed.push_back("shapes of " + std::string(model->name));
  }
  if (model == nullptr)
    throw Inexpressible{
        "unknown language model: its shapes are not in npu-probe/timing_language.cpp"};
  if (has(row.dtype, "_g"))
    throw Inexpressible{"sums between groups of quantised weights are not modelled"};
  s.clock.active_cores = std::max(1u, row.cores);
  if (is_decode(row)) return s.vendor ? vendor_decode(s, *model) : cpu_decode(s, *model);
  const auto tokens = prompt_tokens(row);
  if (!tokens) throw Inexpressible{"the row is neither decode nor prefill of a number of tokens"};
  return s.vendor ? vendor_prefill(s, *model, *tokens) : open_prefill(s, *model, *tokens);
}

// The encoder of whisper.cpp: 1500 positions for 30 s, products on the NPU with weights packed for
// every call, attention and the rest on the CPU.
Modelled predict_whisper(Setting& s) {
  if (s.vendor) throw Inexpressible{"the vendor's fused attention is not modelled"};
  static constexpr WhisperModel kModels[] = {{"tiny", 4, 384},
                                             {"base", 6, 512},
                                             {"small", 12, 768},
                                             {"medium", 24, 1024},
                                             {"large", 32, 1280}};
  for (const WhisperModel& w : kModels) {
    if (!has(s.row.shape, w.name)) continue;
    constexpr std::uint64_t kPositions = 1500;
    s.clock.active_cores = std::max(1u, s.row.cores);
    GemmRun run;
    run.type = mac_type(s.row.dtype);
    run.cores = s.row.cores;
    run.m = kPositions;
    run.files = 5;
    run.accumulate = run.data_reuse = run.type == sim::MacType::fp16;
    run.asymmetric = run.output_right_sized = run.fast_read = true;
    Modelled r;
    const auto layers = static_cast<double>(w.layers);
    for (const auto& [k, n, count] : {std::array<std::uint64_t, 3>{w.width, w.width, 4},
                                      {w.width, w.width * 4, 1},
                                      {w.width * 4, w.width, 1}}) {
      run.k = k;
      run.n = n;
      add(r, gemm_time(run, s.c, s.clock, s.dispatch), layers * static_cast<double>(count));
    }
    // Attention over all positions, and two convolutions in front.
    const double positions = kPositions, width = static_cast<double>(w.width);
    const double flops =
        4 * positions * positions * width * layers + 2 * 3 * positions * width * (2 * 80 + width);
    const double host = flops / s.c.llm_attention_flops;
    r.host += host;
    r.seconds += host;
    r.mac_share /= r.seconds;
    return r;
  }
  throw Inexpressible{"unknown speech model"};
}

}  // namespace npu::probe
