// SPDX-License-Identifier: MIT
// npu-chat eval: what quantisation and the NPU cost in quality. A text is cut into windows, and
// the second half of each is scored, as llama-perplexity does; every way of computing is compared
// with the CPU in f32.
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "llm-runtime/commands/options.hpp"
#include "llm-runtime/score.hpp"
#include "llm-runtime/tokenizer.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

using nlohmann::json;

struct EvalOptions {
  ModelOptions model;
  std::string text, questions;
  unsigned window = 512, windows = 0, answer_tokens = 48;
  std::vector<std::string> ways;
  bool special = false, as_json = false;
};

/// A way of computing, by the name that the user gives it.
struct Way {
  std::string name;
  EngineOptions engine;
};

/// False if there is no such group.
bool leave_all_but(std::string_view group, OffloadPlan& plan) {
  bool found = false;
  for (std::size_t i = 0; i < kGroups.size(); ++i) {
    const bool is = to_string(kGroups[i]) == group;
    found |= is;
    plan.from_rows[i] = is ? 1 : OffloadPlan::kNever;
  }
  return found;
}

/// "f32", "cpu" or "npu", this with options: see the help. Those named stand alone, so that
/// "npu,rotate" is comparable with "npu,plain"; without any they are the default ones.
Way parse_way(const std::string& text, const ModelOptions& options) {
  Way way{text, engine_options(options)};
  const auto refuse = [&] {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("'{}' is no way of computing: use f32, cpu or npu, this with any of "
                    "plain, part=N, equalise, rotate, wide, only=GROUP, separated by commas",
                    text));
  };
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  way.engine.exact = parts[0] == "f32";
  if (parts[0] == "f32" || parts[0] == "cpu") {
    way.engine.device = "cpu";
    if (parts.size() > 1) refuse();
    return way;
  }
  if (parts[0] != "npu") refuse();
  if (way.engine.device == "cpu") way.engine.device = "sim";
  QuantisationOptions& quantisation = way.engine.offload.quantisation;
  if (parts.size() > 1) quantisation = kPlainQuantisation;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const std::string& part = parts[i];
    if (part == "equalise") {
      quantisation.equalise = true;
    } else if (part == "rotate") {
      quantisation.rotate = true;
    } else if (part == "wide") {
      quantisation.wide = true;
    } else if (part.starts_with("only=")) {
      if (!leave_all_but(part.substr(5), way.engine.offload.plan)) refuse();
      way.engine.exact = true;  // the rest: what is seen is the group's own error
    } else if (part.starts_with("part=") && part.size() > 5 && part.size() < 12 &&
               part.find_first_not_of("0123456789", 5) == std::string::npos) {
      quantisation.part = static_cast<std::uint32_t>(std::stoul(part.substr(5)));
    } else if (part != "plain") {
      refuse();
    }
  }
  return way;
}

/// Logits behind tokens[i] speak of tokens[i + 1]; those from `first` on are scored.
void score_tokens(Engine& reference, std::span<const std::unique_ptr<Engine>> engines,
                  std::span<const std::int32_t> tokens, std::size_t first, Score& exact,
                  std::span<Score> scores) {
  std::vector<Engine::Append> rows;
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) rows.push_back({0, tokens[i], i >= first});
  const auto evaluate = [&](Engine& engine) {
    engine.truncate(0, 0);
    return engine.append(rows);
  };
  const std::size_t vocabulary = reference.model().shape().vocabulary;
  if (static_cast<std::size_t>(tokens.back()) >= vocabulary) {  // the others go through the engine
    throw Error(ErrorCode::bad_file,
                fmt::format("token {} of the tokenizer is outside the model's vocabulary of {}",
                            tokens.back(), vocabulary));
  }
  const std::span<const float> want = evaluate(reference);
  std::vector<std::span<const float>> got;
  for (const auto& engine : engines) got.push_back(evaluate(*engine));
  for (std::size_t at = 0, i = first; i + 1 < tokens.size(); ++i, at += vocabulary) {
    const std::span<const float> logits = want.subspan(at, vocabulary);
    add_score(exact, logits, logits, tokens[i + 1]);
    for (std::size_t w = 0; w < engines.size(); ++w) {
      add_score(scores[w], logits, got[w].subspan(at, vocabulary), tokens[i + 1]);
    }
  }
}

/// Columns of the longest name in a table.
std::size_t name_width(const std::vector<Way>& ways) {
  std::size_t width = 12;
  for (const Way& way : ways) width = std::max(width, way.name.size());
  return width;
}

json to_json(const std::string& way, const Score& score, const Score& exact) {
  return {{"way", way},
          {"tokens", score.tokens},
          {"perplexity", score.perplexity()},
          {"perplexity_error", score.perplexity_error()},
          {"perplexity_f32", exact.perplexity()},
          {"kl_divergence", score.mean_kl()},
          {"top1_agreement", score.agreement()}};
}

void print_scores(const EvalOptions& o, const Score& exact, const std::vector<Way>& ways,
                  const std::vector<Score>& scores, Io& io) {
  if (o.as_json) {
    json rows = json::array();
    for (std::size_t i = 0; i < ways.size(); ++i) {
      rows.push_back(to_json(ways[i].name, scores[i], exact));
    }
    fmt::print(io.out, "{}\n", rows.dump(2));
    return;
  }
  fmt::print(io.out, "{} tokens scored; against f32 on the CPU, perplexity {:.4f} ± {:.4f}\n\n",
             exact.tokens, exact.perplexity(), exact.perplexity_error());
  const std::size_t width = name_width(ways);
  fmt::print(io.out, "| {:{}} | {:>10} | {:>8} | {:>12} | {:>9} |\n", "way", width, "perplexity",
             "ratio", "KL (nats)", "same top");
  fmt::print(io.out, "| {:-<{}} | {:->9}: | {:->7}: | {:->11}: | {:->8}: |\n", "", width, "", "",
             "", "");
  for (std::size_t i = 0; i < ways.size(); ++i) {
    const Score& s = scores[i];
    fmt::print(io.out, "| {:{}} | {:>10.4f} | {:>8.4f} | {:>12.6f} | {:>7.2f} % |\n", ways[i].name,
               width, s.perplexity(), s.perplexity() / exact.perplexity(), s.mean_kl(),
               100 * s.agreement());
  }
}

void eval_text(const EvalOptions& o, const Model& model, const std::vector<Way>& ways, Io& io) {
  if (o.window < 4) throw Error(ErrorCode::invalid_argument, "--window must be at least 4");
  const Tokenizer tokenizer(model.file());
  const auto tokens = tokenizer.encode(read_file(o.text), o.special);
  if (tokens.size() < 4) {
    throw Error(ErrorCode::bad_file,
                fmt::format("{}: {} tokens are too few", o.text, tokens.size()));
  }
  const std::size_t window = std::min<std::size_t>(o.window, tokens.size());
  const auto make = [&](EngineOptions engine) {
    engine.context = static_cast<std::uint32_t>(window);
    return std::make_unique<Engine>(model, engine);
  };
  const auto reference = make(parse_way("f32", o.model).engine);
  std::vector<std::unique_ptr<Engine>> engines;
  for (const Way& way : ways) engines.push_back(make(way.engine));
  Score exact;
  std::vector<Score> scores(ways.size());
  std::size_t count = tokens.size() / window;
  if (o.windows != 0) count = std::min<std::size_t>(count, o.windows);
  for (std::size_t i = 0; i < count; ++i) {
    if (io.err_is_terminal) fmt::print(io.err, "\rwindow {}/{}", i + 1, count);
    score_tokens(*reference, engines, std::span(tokens).subspan(i * window, window), window / 2,
                 exact, scores);
  }
  if (io.err_is_terminal) fmt::print(io.err, "\r\x1b[K");
  print_scores(o, exact, ways, scores, io);
}

/// Greedy, up to an end of text.
std::string answer(Engine& engine, const Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
                   unsigned most) {
  std::vector<std::int32_t> made;
  std::span<const float> logits = engine.set(0, prompt);
  while (made.size() < most) {
    const std::int32_t token = argmax(logits);
    if (token < 0 || tokenizer.is_eog(token)) break;
    made.push_back(token);
    if (engine.tokens(0).size() == engine.context()) break;
    logits = engine.append(0, std::span(&made.back(), 1));
  }
  std::string text = tokenizer.decode(made, false);
  const auto blank = [](unsigned char c) { return std::isspace(c) != 0; };
  text.erase(text.begin(), std::ranges::find_if_not(text, blank));
  while (!text.empty() && blank(static_cast<unsigned char>(text.back()))) text.pop_back();
  return text;
}

struct Question {
  std::vector<std::int32_t> prompt;
  std::string answer;
  std::vector<std::int32_t> answer_tokens;  ///< with the end of the turn
  bool held_out = true;
};

std::vector<Question> read_questions(const std::string& path, const Tokenizer& tokenizer) {
  std::vector<Question> questions;
  try {
    const json file = json::parse(read_file(path));
    for (const json& q : file.at("questions")) {
      questions.push_back({tokenizer.encode(q.at("prompt").get<std::string>(), true),
                           q.at("answer").get<std::string>(),
                           {},
                           q.value("held_out", true)});
      Question& question = questions.back();
      question.answer_tokens = tokenizer.encode(question.answer, false, false);
      if (const auto end = tokenizer.eos()) question.answer_tokens.push_back(*end);
      if (question.prompt.empty() || question.answer_tokens.empty()) {
        throw Error(ErrorCode::bad_file, fmt::format("{}: question {} has no prompt or no answer",
                                                     path, questions.size()));
      }
    }
  } catch (const json::exception& error) {
    throw Error(
        ErrorCode::bad_file,
        fmt::format("{}: an object with \"questions\", each with \"prompt\" and \"answer\", "
                    "is expected: {}",
                    path, error.what()));
  }
  if (questions.empty()) {
    throw Error(ErrorCode::bad_file, fmt::format("{}: there is no question", path));
  }
  return questions;
}

/// What a way made of the questions.
struct Answers {
  std::vector<std::string> texts;
  std::size_t right = 0, held_out = 0, same = 0;
  Score exact, score;  ///< of the right answers to the questions held out
};

Answers answer_all(const std::vector<Question>& questions, const Tokenizer& tokenizer,
                   Engine& reference, const std::unique_ptr<Engine>& engine, unsigned most,
                   Io& io) {
  Answers result;
  for (const Question& q : questions) {
    if (io.err_is_terminal) {
      fmt::print(io.err, "\rquestion {}/{}", result.texts.size() + 1, questions.size());
    }
    result.texts.push_back(answer(*engine, tokenizer, q.prompt, most));
    if (!q.held_out) continue;
    ++result.held_out;
    result.right += result.texts.back() == q.answer;
    std::vector<std::int32_t> tokens = q.prompt;
    tokens.insert(tokens.end(), q.answer_tokens.begin(), q.answer_tokens.end());
    score_tokens(reference, std::span(&engine, 1), tokens, q.prompt.size() - 1, result.exact,
                 std::span(&result.score, 1));
  }
  if (io.err_is_terminal) fmt::print(io.err, "\r\x1b[K");
  return result;
}

void eval_questions(const EvalOptions& o, const Model& model, const std::vector<Way>& ways,
                    Io& io) {
  const Tokenizer tokenizer(model.file());
  const auto questions = read_questions(o.questions, tokenizer);
  Engine reference(model, parse_way("f32", o.model).engine);
  json rows = json::array();
  std::vector<std::string> first;
  const std::size_t width = name_width(ways);
  if (!o.as_json) {
    fmt::print(io.out, "| {:{}} | {:>15} | {:>8} | {:>8} | {:>10} | {:>8} | {:>9} | {:>8} |\n",
               "way", width, "right, held out", "share", "as first", "perplexity", "ratio",
               "KL (nats)", "same top");
    fmt::print(io.out,
               "| {:-<{}} | {:->14}: | {:->7}: | {:->7}: | {:->9}: | {:->7}: | {:->8}: | "
               "{:->7}: |\n",
               "", width, "", "", "", "", "", "", "");
  }
  for (const Way& way : ways) {
    const auto engine = std::make_unique<Engine>(model, way.engine);
    Answers a = answer_all(questions, tokenizer, reference, engine, o.answer_tokens, io);
    if (first.empty()) first = a.texts;
    for (std::size_t i = 0; i < first.size(); ++i) a.same += a.texts[i] == first[i];
    const double share =
        a.held_out == 0 ? 0 : static_cast<double>(a.right) / static_cast<double>(a.held_out);
    if (o.as_json) {
      json row = to_json(way.name, a.score, a.exact);
      row.update({{"right", a.right},
                  {"held_out", a.held_out},
                  {"accuracy", share},
                  {"same_as_first", a.same},
                  {"questions", questions.size()}});
      rows.push_back(row);
    } else {
      fmt::print(io.out,
                 "| {:{}} | {:>15} | {:>6.2f} % | {:>8} | {:>10.4f} | {:>8.4f} | {:>9.6f} | "
                 "{:>6.2f} % |\n",
                 way.name, width, fmt::format("{}/{}", a.right, a.held_out), 100 * share,
                 fmt::format("{}/{}", a.same, first.size()), a.score.perplexity(),
                 a.score.perplexity() / a.exact.perplexity(), a.score.mean_kl(),
                 100 * a.score.agreement());
      io.out.flush();
    }
  }
  if (o.as_json) fmt::print(io.out, "{}\n", rows.dump(2));
}

void eval(const EvalOptions& o, Io& io) {
  std::vector<Way> ways;
  for (const std::string& way : o.ways) ways.push_back(parse_way(way, o.model));
  if (ways.empty()) {
    for (const char* way : {"cpu", "npu", "npu,plain"}) {
      ways.push_back(parse_way(way, o.model));
    }
  }
  const Model model = Model::load(model_path(o.model));
  if (o.questions.empty()) {
    eval_text(o, model, ways, io);
  } else {
    eval_questions(o, model, ways, io);
  }
}

}  // namespace

void add_eval(cli::App& app, Io& io) {
  const auto o = std::make_shared<EvalOptions>();
  cli::App* command = app.add_subcommand("eval", "What quantisation and the NPU cost in quality");
  add_engine_options(*command, o->model);
  cli::App* input = command->add_option_group("Input");
  input->add_option("--text", o->text, "text file: perplexity, KL divergence, same best token");
  input->add_option("--questions", o->questions,
                    "JSON file: \"questions\" with \"prompt\" and \"answer\"; share of exact ones");
  input->require_option(1, 1);
  command
      ->add_option("--way", o->ways,
                   "f32, cpu or npu[,OPTION...]; several times (default: cpu, npu and npu,plain)")
      ->allow_extra_args(false);
  command->add_flag("--special", o->special,
                    "read <|im_end|> and such in the text as control tokens");
  command->add_option("--window", o->window, "tokens of a window; its second half is scored")
      ->capture_default_str();
  command->add_option("--windows", o->windows, "how many, from the start; 0: all")
      ->capture_default_str();
  command->add_option("-n,--predict", o->answer_tokens, "longest answer to a question")
      ->capture_default_str();
  command->add_flag("--json", o->as_json, "JSON");
  command->footer(
      "f32: weights, activations and cache in f32 on the CPU; cpu: its usual kernels; npu: int8 "
      "on\n"
      "--device, or else on sim: weights by output row, activations by token, as the chat uses "
      "it.\n"
      "With options: only what they name.\n"
      "  plain     nothing          part=N  scales for every N columns\n"
      "  equalise  columns of the weights nearer to one size\n"
      "  rotate    a Hadamard rotation before rounding\n"
      "  wide      activations of 16 bits, as two rows\n"
      "  only=G    just qkv, o, gate+up, down or output on the NPU, the rest in f32 on the CPU\n"
      "Of --questions: the share that is answered exactly, and how the right answers score.\n"
      "Exit codes: 0 ok, 2 usage, 3 no device or no permission, 4 bad file, 5 device fault.\n"
      "Example: npu-chat eval -m model.gguf --text notes.txt --way cpu --way npu --way npu,plain");
  command->callback([o, &io] { eval(*o, io); });
}

}  // namespace npu::llm
