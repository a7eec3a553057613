// SPDX-License-Identifier: MIT
#include "llm-runtime/commands/options.hpp"

#include <fmt/format.h>

#include <cctype>
#include <cerrno>  // program_invocation_short_name
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>

#include "regdb/error.hpp"

namespace npu::llm {
namespace fs = std::filesystem;
namespace {

constexpr const char* kTinyModel = "models/tiny-chat/tiny-chat-Q4_K_M.gguf";

}  // namespace

void add_model_option(cli::App& app, ModelOptions& options) {
  app.add_option("-m,--model", options.model,
                 "GGUF file (default: the tiny chat model that comes with the project)");
}

void add_weight_cache_option(cli::App& app, ModelOptions& options) {
  app.add_flag("--no-weight-cache", options.no_weight_cache,
               "neither use nor write MODEL.npu-cache, the weights as the CPU reads them (written "
               "for models above 64 MiB)");
}

void add_engine_options(cli::App& app, ModelOptions& options) {
  add_model_option(app, options);
  app.add_option("--device", options.device,
                 "cpu, auto (CPU and NPU), or an NPU: sim, rocket[:PATH], mmio (default: "
                 "$NPU_DEVICE, else cpu)");
  app.add_option("-t,--threads", options.threads, "threads of the CPU (default: one for each CPU)");
  app.add_option("-c,--ctx-size", options.context,
                 "tokens of context (default: the model's, at most 4096)");
  app.add_option("-b,--batch-size", options.batch, "tokens evaluated at a time")
      ->capture_default_str();
  app.add_option("--kv-type", options.kv_type, "type of the KV cache")
      ->check(cli::IsMember({"f16", "q8_0", "f32"}))
      ->capture_default_str();
  app.add_option("--precision", options.precision,
                 "auto: activations quantised as the weights' type asks for; f32: weights and "
                 "activations in f32, slow, for comparisons")
      ->check(cli::IsMember({"auto", "f32"}))
      ->capture_default_str();
  add_weight_cache_option(app, options);
}

std::string model_path(const ModelOptions& options) {
  if (!options.model.empty()) return options.model;
  if (const char* path = std::getenv("NPU_CHAT_MODEL"); path != nullptr && *path != '\0') {
    return path;
  }
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  for (const fs::path& root : {program.parent_path().parent_path() / "share/rosenblatt",
                               fs::path(ROSENBLATT_SOURCE_DIR)}) {
    if (fs::exists(root / kTinyModel, ignored)) return (root / kTinyModel).string();
  }
  throw Error(ErrorCode::bad_file,
              "the tiny chat model is not installed: name a GGUF file with -m, for example "
              "qwen2.5-1.5b-instruct-q4_k_m.gguf");
}

EngineOptions engine_options(const ModelOptions& options) {
  EngineOptions engine;
  engine.device = options.device;
  if (engine.device.empty()) {
    const char* device = std::getenv("NPU_DEVICE");
    engine.device = device != nullptr && *device != '\0' ? device : "cpu";
  }
  engine.threads = options.threads;
  engine.context = options.context;
  engine.batch = options.batch;
  engine.kv_type = options.kv_type == "f32"    ? cpu::KvType::f32
                   : options.kv_type == "q8_0" ? cpu::KvType::q8_0
                                               : cpu::KvType::f16;
  engine.exact = options.precision == "f32";
  engine.weight_cache.enabled = !options.no_weight_cache;
  engine.weight_cache.notice = [](std::string_view text) {
    fmt::print(stderr, "{}: {}\n", program_invocation_short_name, text);
  };
  return engine;
}

void add_sampler_options(cli::App& app, SamplerOptions& options) {
  app.add_option("--temp", options.temperature, "temperature; 0: greedy")
      ->capture_default_str()
      ->group("Sampling");
  app.add_option("--top-k", options.top_k, "the best K tokens; 0: all")
      ->capture_default_str()
      ->group("Sampling");
  app.add_option("--top-p", options.top_p, "the best tokens that have this mass together; 1: all")
      ->capture_default_str()
      ->group("Sampling");
  app.add_option("--min-p", options.min_p,
                 "tokens with this share of the best one's probability; 0: all")
      ->capture_default_str()
      ->group("Sampling");
  app.add_option("--repeat-penalty", options.repeat_penalty, "against repetition; 1: none")
      ->capture_default_str()
      ->group("Sampling");
  app.add_option("--repeat-last-n", options.repeat_last_n, "tokens that the penalty looks back")
      ->capture_default_str()
      ->group("Sampling");
  app.add_option("-s,--seed", options.seed, "of the random numbers")
      ->capture_default_str()
      ->group("Sampling");
}

std::vector<std::int32_t> parse_ids(const std::string& text, std::istream& in) {
  const std::string source =
      text == "-" ? std::string(std::istreambuf_iterator<char>(in), {}) : text;
  const auto refuse = [](std::string_view item) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("'{}' is no token id: give them as 1,2,3", item.substr(0, 40)));
  };
  std::vector<std::int32_t> ids;
  const char* at = source.data();
  const char* const end = at + source.size();
  const auto skip_blanks = [&] {
    while (at != end && std::isspace(static_cast<unsigned char>(*at)) != 0) ++at;
  };
  skip_blanks();
  while (at != end) {
    std::int32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc() || id < 0) refuse({at, static_cast<std::size_t>(end - at)});
    ids.push_back(id);
    at = next;
    skip_blanks();
    if (at == end) break;
    if (*at != ',') refuse({at, static_cast<std::size_t>(end - at)});
    ++at;
    skip_blanks();
    if (at == end) refuse("");
  }
  if (ids.empty()) refuse(source);
  return ids;
}

std::string read_file(const std::string& path) {
  try {
    std::ifstream in(path, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(in), {}};
    if (in) return text;
  } catch (const std::ios_base::failure&) {  // a folder, for one
  }
  throw Error(ErrorCode::bad_file, fmt::format("{}: cannot be read", path));
}

void write_output(const std::string& path, const void* data, std::size_t bytes, std::ostream& out) {
  const auto write = [&](std::ostream& to) {
    to.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
    to.flush();
    return static_cast<bool>(to);
  };
  if (path == "-") {
    write(out);
    return;
  }
  const std::string part = path + ".part";
  std::error_code error;
  {
    std::ofstream file(part, std::ios::binary | std::ios::trunc);
    if (write(file))
      fs::rename(part, path, error);
    else
      error = std::make_error_code(std::errc::io_error);
  }
  if (error) {
    std::error_code ignored;
    fs::remove(part, ignored);
    throw Error(ErrorCode::permission_denied,
                fmt::format("{}: cannot be written: check the folder and the free space", path));
  }
}

}  // namespace npu::llm
