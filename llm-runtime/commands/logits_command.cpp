// SPDX-License-Identifier: MIT
// npu-chat logits and npu-chat run: tokens in, numbers out. For scripts and comparisons.
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <memory>

#include "llm-runtime/commands/options.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

struct LogitsOptions {
  ModelOptions model;
  std::string ids, output;
  bool all = false;
};

struct RunOptions {
  ModelOptions model;
  SamplerOptions sampler;
  std::string ids;
  unsigned count = 32;
  bool greedy = false, as_json = false;
};

void logits(const LogitsOptions& o, Io& io) {
  const auto ids = parse_ids(o.ids, io.in);
  const Model model = Model::load(model_path(o.model));
  Engine engine(model, engine_options(o.model));
  std::vector<Engine::Append> rows;
  for (const std::int32_t id : ids) rows.push_back({0, id, o.all});
  rows.back().logits = true;
  const std::span<const float> values = engine.append(rows);
  write_output(o.output, values.data(), values.size_bytes(), io.out);
}

void generate(const RunOptions& o, Io& io) {
  const auto ids = parse_ids(o.ids, io.in);
  SamplerOptions sampling = o.sampler;
  if (o.greedy) sampling.temperature = 0;
  Sampler sampler(sampling);
  const Model model = Model::load(model_path(o.model));
  Engine engine(model, engine_options(o.model));
  for (const std::int32_t id : ids) sampler.accept(id);
  std::vector<std::int32_t> made;
  std::span<const float> logits = engine.append(0, ids);
  while (made.size() < o.count) {
    made.push_back(sampler.sample(logits));
    sampler.accept(made.back());
    if (made.size() == o.count || engine.tokens(0).size() == engine.context()) break;
    logits = engine.append(0, std::span(&made.back(), 1));
  }
  const std::string list = fmt::format("{}", fmt::join(made, ","));
  fmt::print(io.out, "{}\n", o.as_json ? "[" + list + "]" : list);
  if (made.size() < o.count) {
    fmt::print(io.err, "npu-chat: the context of {} tokens is full after {} new ones\n",
               engine.context(), made.size());
  }
}

}  // namespace

void add_logits(cli::App& app, Io& io) {
  const auto o = std::make_shared<LogitsOptions>();
  cli::App* command = app.add_subcommand("logits", "What the model says behind given tokens");
  add_engine_options(*command, o->model);
  command->add_option("--ids", o->ids, "tokens: 1,2,3; -: from stdin")->required();
  command->add_flag("--all", o->all, "behind every token, not only the last one");
  command->add_option("-o,--output", o->output, "little-endian f32, [token][vocabulary]; -: stdout")
      ->required();
  command->footer(
      "Exit codes: 0 ok, 2 usage or a token outside the vocabulary, 3 no device or no permission,\n"
      "4 bad model file, 5 device fault.\n"
      "Example: npu-chat logits -m model.gguf --ids 9707,11 -o out.f32");
  command->callback([o, &io] { logits(*o, io); });
}

void add_run(cli::App& app, Io& io) {
  const auto o = std::make_shared<RunOptions>();
  cli::App* command = app.add_subcommand("run", "Goes on behind given tokens, ids in and out");
  add_engine_options(*command, o->model);
  add_sampler_options(*command, o->sampler);
  command->add_option("--ids", o->ids, "tokens: 1,2,3; -: from stdin")->required();
  command->add_option("-n,--predict", o->count, "tokens to make; goes on behind an end of text")
      ->capture_default_str();
  command->add_flag("--greedy", o->greedy, "always the best token; as --temp 0");
  command->add_flag("--json", o->as_json, "a JSON array");
  command->footer(
      "Exit codes: 0 ok, 2 usage or a token outside the vocabulary, 3 no device or no permission,\n"
      "4 bad model file, 5 device fault.\n"
      "Example: npu-chat run -m model.gguf --ids 9707,11 -n 32 --greedy --json");
  command->callback([o, &io] { generate(*o, io); });
}

}  // namespace npu::llm
