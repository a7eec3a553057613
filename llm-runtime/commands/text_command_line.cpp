// SPDX-License-Identifier: MIT
// npu-chat tokenize, template, make-random and make-outliers.
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <memory>
#include <optional>

#include "llm-runtime/commands/options.hpp"
#include "llm-runtime/commands/text_commands.hpp"
#include "llm-runtime/make_outliers.hpp"
#include "llm-runtime/make_random.hpp"

namespace npu::llm {
namespace {

struct TextOptions {
  ModelOptions model;
  TokenizeOptions tokenize;
  std::string chat_template = "model";
};

void tokenize(const TextOptions& o, Io& io) {
  const GgufFile file = GgufFile::open(model_path(o.model));
  tokenize_lines(Tokenizer(file), o.tokenize, io.in, io.out);
}

void render(const TextOptions& o, Io& io) {
  if (o.chat_template == "chatml") return template_lines(ChatTemplate::chatml(), io.in, io.out);
  const GgufFile file = GgufFile::open(model_path(o.model));
  template_lines(ChatTemplate::of_model(file, Tokenizer(file)), io.in, io.out);
}

struct RandomOptions {
  std::string shape, type = "q4_k_m", output, tokenizer;
  std::uint64_t seed = 1;
};

void make_random(const RandomOptions& o, Io& io) {
  RandomModelOptions options{random_shape(o.shape), file_type(o.type), o.seed};
  std::optional<GgufFile> tokenizer;
  if (!o.tokenizer.empty()) {
    tokenizer.emplace(GgufFile::open(o.tokenizer));
    options.tokenizer = &*tokenizer;
  }
  std::uint64_t shown = 0;
  make_random(options, o.output, [&](std::uint64_t done, std::uint64_t total) {
    if (!io.err_is_terminal || (done - shown < total / 100 && done != total)) return;
    shown = done;
    fmt::print(io.err, "\r{} of {} MB{}", done / 1000000, total / 1000000,
               done == total ? "\n" : "");
    io.err.flush();
  });
}

struct MakeOutliersOptions {
  ModelOptions model;
  OutlierOptions outliers;
  std::string output;
};

std::string names(const auto& table) {
  std::string list;
  for (const auto& entry : table) list += (list.empty() ? "" : ", ") + std::string(entry.name);
  return list;
}

constexpr const char* kExitCodes =
    "Exit codes: 0 ok, 2 usage, 4 bad model file or a line of stdin that is not as above.\n";

}  // namespace

void add_tokenize(cli::App& app, Io& io) {
  const auto o = std::make_shared<TextOptions>();
  cli::App* command = app.add_subcommand("tokenize", "Text to token ids and back, line by line");
  add_model_option(*command, o->model);
  command->add_flag("--decode", o->tokenize.decode, "ids to text");
  command->footer(
      std::string("stdin:  {\"text\": \"...\", \"special\": true|false} per line\n"
                  "stdout: a JSON array of ids per line; the other way with --decode\n") +
      kExitCodes + "Example: echo '{\"text\": \"Hello\"}' | npu-chat tokenize");
  command->callback([o, &io] { tokenize(*o, io); });
}

void add_template(cli::App& app, Io& io) {
  const auto o = std::make_shared<TextOptions>();
  cli::App* command = app.add_subcommand("template", "Conversations to the text the model reads");
  add_model_option(*command, o->model);
  command
      ->add_option("--chat-template", o->chat_template,
                   "model: the one in the file; chatml: the built-in one")
      ->check(cli::IsMember({"model", "chatml"}))
      ->capture_default_str();
  command->footer(
      std::string("stdin:  {\"messages\": [{\"role\": \"user\", \"content\": \"...\"}],\n"
                  "         \"add_generation_prompt\": true|false} per line\n"
                  "stdout: a JSON string per line\n") +
      kExitCodes +
      "Example: echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}' | npu-chat "
      "template");
  command->callback([o, &io] { render(*o, io); });
}

void add_make_random(cli::App& app, Io& io) {
  const auto o = std::make_shared<RandomOptions>();
  cli::App* command = app.add_subcommand("make-random", "A model of a true shape, random weights");
  command->add_option("--shape", o->shape, names(kRandomShapes))->required();
  command
      ->add_option("--type", o->type,
                   "types of the tensors as llama-quantize chooses them: " + names(kFileTypes))
      ->capture_default_str();
  command->add_option("-o,--output", o->output, "GGUF file to write")->required();
  command->add_option("--tokenizer", o->tokenizer,
                      "GGUF file whose tokenizer and template to take (default: single bytes)");
  command->add_option("--seed", o->seed, "other weights")->capture_default_str();
  command->footer(
      "Exit codes: 0 ok, 2 usage, 3 the output cannot be written, 4 bad tokenizer file.\n"
      "Example: npu-chat make-random --shape qwen2.5-0.5b --type q4_k_m -o random.gguf");
  command->callback([o, &io] { make_random(*o, io); });
}

void add_make_outliers(cli::App& app) {
  const auto o = std::make_shared<MakeOutliersOptions>();
  cli::App* command = app.add_subcommand(
      "make-outliers", "The same model with a few channels far larger, to test quantisation");
  add_model_option(*command, o->model);
  command->add_option("--channels", o->outliers.channels, "of each input of the matrix products")
      ->capture_default_str();
  command->add_option("--factor", o->outliers.factor, "a power of two")->capture_default_str();
  command->add_option("-o,--output", o->output, "GGUF file to write, all in F32")->required();
  command->footer(
      "Norms, up and v of some channels become larger and the columns that read them smaller: in\n"
      "F32 the model computes what it did before.\n"
      "Exit codes: 0 ok, 2 usage, 3 the output cannot be written, 4 bad model file.\n"
      "Example: npu-chat make-outliers --factor 64 -o outliers.gguf");
  command->callback(
      [o] { make_outliers(Model::load(model_path(o->model)), o->outliers, o->output); });
}

}  // namespace npu::llm
