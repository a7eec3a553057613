// SPDX-License-Identifier: MIT
// What the subcommands of npu-chat share.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "llm-runtime/engine.hpp"
#include "llm-runtime/sampler.hpp"
#include "npu-device/command_line.hpp"

namespace npu::llm {

/// Streams of a tool, and the exit code that its subcommand sets: 0 ok, 1 a check failed, 2 usage,
/// 3 no device or no permission, 4 bad input file, 5 device fault or timeout.
struct Io {
  std::istream& in;
  std::ostream& out;  ///< results
  std::ostream& err;  ///< messages and progress
  bool in_is_terminal = false, out_is_terminal = false, err_is_terminal = false;
  int status = 0;
};

/// Which model, and where and how it runs.
struct ModelOptions {
  std::string model;  ///< "": the tiny one that the project carries
  std::string device, kv_type = "f16", precision = "auto";
  unsigned threads = 0, context = 0, batch = 512;
  bool no_weight_cache = false;
  friend bool operator==(const ModelOptions&, const ModelOptions&) = default;
};

void add_model_option(cli::App& app, ModelOptions& options);
void add_weight_cache_option(cli::App& app, ModelOptions& options);
/// -m and all that an Engine wants.
void add_engine_options(cli::App& app, ModelOptions& options);

/// The file of options.model, or the tiny chat model: $NPU_CHAT_MODEL, beside the installed program
/// or in the source tree. Throws bad_file if there is none.
std::string model_path(const ModelOptions& options);
EngineOptions engine_options(const ModelOptions& options);

void add_sampler_options(cli::App& app, SamplerOptions& options);

/// "1,2,3", with blanks where one likes; "-" reads them from `in`. Throws invalid_argument for
/// anything else.
std::vector<std::int32_t> parse_ids(const std::string& text, std::istream& in);

/// All of a file. Throws bad_file.
std::string read_file(const std::string& path);

/// Replaces `path` at once or not at all; "-" is `out`. Throws permission_denied.
void write_output(const std::string& path, const void* data, std::size_t bytes, std::ostream& out);

/// A conversation, or one answer.
struct ChatOptions {
  ModelOptions model;
  SamplerOptions sampler;
  std::string prompt, file, system, prompt_cache;
  std::string chat_template = "model";
  int predict = 0;
  bool lines = false, as_json = false, stats = false, no_status = false;
  friend bool operator==(const ChatOptions&, const ChatOptions&) = default;
};
void add_chat_options(cli::App& app, ChatOptions& options);
void chat(const ChatOptions& options, Io& io);

void add_logits(cli::App& app, Io& io);
void add_run(cli::App& app, Io& io);
void add_bench(cli::App& app, Io& io);
void add_plan(cli::App& app, Io& io);
void add_eval(cli::App& app, Io& io);
void add_tokenize(cli::App& app, Io& io);
void add_template(cli::App& app, Io& io);
void add_make_random(cli::App& app, Io& io);
void add_make_outliers(cli::App& app);

/// The whole of npu-chat; argv[0] is its name. Never throws; returns the exit code.
int run(int argc, const char* const* argv, Io& io);

}  // namespace npu::llm
