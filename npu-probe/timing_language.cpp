// SPDX-License-Identifier: MIT
// Language models: shapes as their published configurations give them.
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "npu-probe/timing_workloads.hpp"

namespace npu::probe {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

constexpr std::array kModels = {
    //           name               layers width  ff    q     kv    vocabulary
    LanguageModel{"smolvlm-256m", 30, 576, 1536, 576, 192, 49280},
    LanguageModel{"smolvlm2-2.2b", 24, 2048, 8192, 2048, 2048, 49280},
    LanguageModel{"smollm2-1.7b", 24, 2048, 8192, 2048, 2048, 49152},
    LanguageModel{"qwen2-0.5b", 24, 896, 4864, 896, 128, 151936},
    LanguageModel{"qwen2.5-0.5b", 24, 896, 4864, 896, 128, 151936},
    LanguageModel{"qwen2-1.5b", 28, 1536, 8960, 1536, 256, 151936},
    LanguageModel{"qwen2.5-1.5b", 28, 1536, 8960, 1536, 256, 151936},
    LanguageModel{"deepseek-r1-distill-qwen-1.5b", 28, 1536, 8960, 1536, 256, 151936},
    LanguageModel{"qwen2-vl-2b", 28, 1536, 8960, 1536, 256, 151936},
    LanguageModel{"qwen2.5-3b", 36, 2048, 11008, 2048, 256, 151936},
    LanguageModel{"qwen2.5-vl-3b", 36, 2048, 11008, 2048, 256, 151936},
    LanguageModel{"qwen2-7b", 28, 3584, 18944, 3584, 512, 152064},
    LanguageModel{"qwen2.5-7b", 28, 3584, 18944, 3584, 512, 152064},
    LanguageModel{"deepseek-r1-distill-qwen-7b", 28, 3584, 18944, 3584, 512, 152064},
    LanguageModel{"minicpm-v-2.6", 28, 3584, 18944, 3584, 512, 151666},
    LanguageModel{"qwen3-0.6b", 28, 1024, 3072, 2048, 1024, 151936},
    LanguageModel{"qwen3-1.7b", 28, 2048, 6144, 2048, 1024, 151936},
    LanguageModel{"qwen3-vl-2b", 28, 2048, 6144, 2048, 1024, 151936},
    LanguageModel{"qwen3-4b", 36, 2560, 9728, 4096, 1024, 151936},
    LanguageModel{"qwen3-8b", 36, 4096, 12288, 4096, 1024, 151936},
    LanguageModel{"minicpm4-0.5b", 24, 1024, 4096, 1024, 128, 73448},
    LanguageModel{"tinyllama-1.1b", 22, 2048, 5632, 2048, 256, 32000},
    LanguageModel{"llama-3.2-1b", 16, 2048, 8192, 2048, 512, 128256},
    LanguageModel{"llama-3.2-3b", 28, 3072, 8192, 3072, 1024, 128256},
    LanguageModel{"llama-3-8b", 32, 4096, 14336, 4096, 1024, 128256},
    LanguageModel{"llama-3.1-8b", 32, 4096, 14336, 4096, 1024, 128256},
    LanguageModel{"llama-2-7b", 32, 4096, 11008, 4096, 4096, 32000},
    LanguageModel{"mistral-7b", 32, 4096, 14336, 4096, 1024, 32000},
    LanguageModel{"ministral-3-3b", 26, 3072, 9216, 4096, 1024, 131072},
    LanguageModel{"ministral-3-8b", 34, 4096, 14336, 4096, 1024, 131072},
    LanguageModel{"internlm2-1.8b", 24, 2048, 8192, 2048, 1024, 92544},
    LanguageModel{"telechat2-3b", 36, 2048, 6144, 2048, 1024, 131072},
    LanguageModel{"gemma-2b", 18, 2048, 16384, 2048, 256, 256000},
    LanguageModel{"gemma2-2b", 26, 2304, 9216, 2048, 1024, 256000},
    LanguageModel{"gemma-3-1b", 26, 1152, 6912, 1024, 256, 262144},
    LanguageModel{"gemma-4-12b", 48, 3840, 15360, 4096, 2048, 262144},
    LanguageModel{"phi3-3.8b", 32, 3072, 8192, 3072, 3072, 32064},
    LanguageModel{"phi-4-mini", 32, 3072, 8192, 3072, 1024, 200064},
    LanguageModel{"phi-4-14b", 40, 5120, 17920, 5120, 1280, 100352},
    LanguageModel{"chatglm3-6b", 28, 4096, 13696, 4096, 256, 65024},
};

// Letters, digits and points; spelling differs in the rest.
std::string key(std::string_view text) {
  std::string result;
  for (const char c : lower(text))
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.') result += c;
  return result;
}

}  // namespace

std::uint64_t LanguageModel::layer_weights() const {
  return width * (query + 2 * key_value) + query * width + 3 * width * feed_forward;
}

std::uint64_t LanguageModel::weights() const {
  return layers * layer_weights() + width * vocabulary;
}

const LanguageModel* find_language_model(std::string_view text) {
  const std::string name = key(text);
  const LanguageModel* best = nullptr;
  for (const LanguageModel& model : kModels) {
    const std::string known = key(model.name);
    if (name.find(known) == std::string::npos) continue;
    if (best == nullptr || model.name.size() > best->name.size()) best = &model;
  }
  return best;
}

const LanguageModel* similar_language_model(std::string_view text) {
  const std::string name = key(text);
  // Other attention, experts, or weights that not every token reads.
  for (const char* word : {"qwen3.5", "qwen3.6", "gemma3n", "gemma4e", "rwkv", "mamba", "moe",
                           "oss", "deepseekv", "deepseekocr", "a3b", "minicpm3", "mixtral"})
    if (name.find(word) != std::string::npos) return nullptr;
  // The size is the number in front of a "b" that ends a word: "Foo-1.5B-chat".
  const std::string all = lower(text);
  double billions = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (std::isdigit(static_cast<unsigned char>(all[i])) == 0 ||
        (i != 0 &&
         (std::isalnum(static_cast<unsigned char>(all[i - 1])) != 0 || all[i - 1] == '.')))
      continue;
    double value = 0;
    const auto [stop, error] = std::from_chars(all.data() + i, all.data() + all.size(), value);
    const auto end = static_cast<std::size_t>(stop - all.data());
    if (error == std::errc() && end < all.size() && all[end] == 'b' &&
        (end + 1 == all.size() || std::isalnum(static_cast<unsigned char>(all[end + 1])) == 0))
      billions = value;
  }
  const LanguageModel* best = nullptr;
  double nearest = 0.25;  // of the logarithm: at most 28 % off
  for (const LanguageModel& model : kModels) {
    if (!(billions > 0)) break;
    const double off = std::abs(std::log(static_cast<double>(model.weights()) * 1e-9 / billions));
    if (off >= nearest) continue;
    nearest = off;
    best = &model;
  }
  return best;
}

}  // namespace npu::probe
