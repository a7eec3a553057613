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
  bool as_json = false;
};

/// A way of computing, by the name that the user gives it.
struct Way {
  std::string name;
  EngineOptions engine;
};

struct Score {
  std::string way;
  std::size_t tokens = 0;
  double nll = 0, nll_squared = 0;  ///< sums of -log p(next token)
  double kl = 0;                    ///< sum of KL(f32 || this)
  std::size_t top_agrees = 0;
  double perplexity() const { return std::exp(nll / static_cast<double>(tokens)); }
  /// Standard error of the perplexity.
  double uncertainty() const {
    const auto n = static_cast<double>(tokens);
    const double mean = nll / n, variance = std::max(0.0, nll_squared / n - mean * mean);
    return n < 2 ? 0 : perplexity() * std::sqrt(variance / (n - 1));
  }
};

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!in) throw Error(ErrorCode::bad_file, fmt::format("{}: cannot be read", path));
  return text;
}

/// "cpu", "f32", "npu[:SPEC][,part=N][,rotate]".
Way parse_way(const std::string& text, const ModelOptions& options) {
  Way way{text, engine_options(options)};
  const auto refuse = [&] {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("'{}' is no way of computing: use f32, cpu or npu[,part=N][,rotate]", text));
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
  for (std::size_t i = 1; i < parts.size(); ++i) {
    if (parts[i] == "rotate") {
      way.engine.offload.quantisation.rotate = true;
    } else if (parts[i].starts_with("part=") && parts[i].size() < 12 &&
               parts[i].find_first_not_of("0123456789", 5) == std::string::npos &&
               parts[i].size() > 5) {
      way.engine.offload.quantisation.part =
          static_cast<std::uint32_t>(std::stoul(parts[i].substr(5)));
    } else {
      refuse();
    }
  }
  return way;
}

std::vector<double> log_softmax(std::span<const float> logits) {
  const float top = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - top);
  std::vector<double> result(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    result[i] = static_cast<double>(logits[i]) - top - std::log(sum);
  }
  return result;
}

void score_window(Engine& reference, std::vector<std::unique_ptr<Engine>>& engines,
                  std::span<const std::int32_t> tokens, Score& exact, std::vector<Score>& scores) {
  // Logits behind token i speak of token i + 1.
  std::vector<Engine::Append> rows;
  const std::size_t first = tokens.size() / 2;
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) rows.push_back({0, tokens[i], i >= first});
  const std::size_t vocabulary = reference.model().shape().vocabulary;
  const auto evaluate = [&](Engine& engine) {
    engine.truncate(0, 0);
    return engine.append(rows);
  };
  const auto add = [](Score& score, double nll) {
    ++score.tokens;
    score.nll += nll;
    score.nll_squared += nll * nll;
  };
  const std::span<const float> want = evaluate(reference);
  std::vector<std::span<const float>> got;
  for (const auto& engine : engines) got.push_back(evaluate(*engine));
  for (std::size_t at = 0, i = first; i + 1 < tokens.size(); ++i, at += vocabulary) {
    const std::span<const float> logits = want.subspan(at, vocabulary);
    const auto p = log_softmax(logits);
    const auto next = static_cast<std::size_t>(tokens[i + 1]);
    add(exact, -p[next]);
    const std::int32_t best = argmax(logits);
    for (std::size_t w = 0; w < engines.size(); ++w) {
      const std::span<const float> other = got[w].subspan(at, vocabulary);
      const auto q = log_softmax(other);
      add(scores[w], -q[next]);
      double kl = 0;
      for (std::size_t t = 0; t < vocabulary; ++t) kl += std::exp(p[t]) * (p[t] - q[t]);
      scores[w].kl += kl;
      scores[w].top_agrees += argmax(other) == best;
    }
  }
}

void print_scores(const EvalOptions& o, const Score& exact, const std::vector<Score>& scores,
                  Io& io) {
  if (o.as_json) {
    json rows = json::array();
    for (const Score& s : scores) {
      rows.push_back(
          {{"way", s.way},
           {"tokens", s.tokens},
           {"perplexity", s.perplexity()},
           {"perplexity_error", s.uncertainty()},
           {"perplexity_f32", exact.perplexity()},
           {"kl_divergence", s.kl / static_cast<double>(s.tokens)},
           {"top1_agreement", static_cast<double>(s.top_agrees) / static_cast<double>(s.tokens)}});
    }
    fmt::print(io.out, "{}\n", rows.dump(2));
    return;
  }
  fmt::print(io.out, "{} tokens scored; against f32 on the CPU, perplexity {:.4f} ± {:.4f}\n\n",
             exact.tokens, exact.perplexity(), exact.uncertainty());
  fmt::print(io.out, "| {:24} | {:>10} | {:>8} | {:>12} | {:>9} |\n", "way", "perplexity", "ratio",
             "KL (nats)", "same top");
  fmt::print(io.out, "| {:-<24} | {:->9}: | {:->7}: | {:->11}: | {:->8}: |\n", "", "", "", "", "");
  for (const Score& s : scores) {
    const auto n = static_cast<double>(s.tokens);
    fmt::print(io.out, "| {:24} | {:>10.4f} | {:>8.4f} | {:>12.6f} | {:>7.2f} % |\n", s.way,
               s.perplexity(), s.perplexity() / exact.perplexity(), s.kl / n,
               100 * static_cast<double>(s.top_agrees) / n);
  }
}

void eval_text(const EvalOptions& o, const Model& model, const std::vector<Way>& ways, Io& io) {
  if (o.window < 4) throw Error(ErrorCode::invalid_argument, "--window must be at least 4");
  const Tokenizer tokenizer(model.file());
  const auto tokens = tokenizer.encode(read_file(o.text), false);
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
  Score exact;
  std::vector<Score> scores;
  for (const Way& way : ways) {
    engines.push_back(make(way.engine));
    scores.push_back({.way = way.name});
  }
  std::size_t count = tokens.size() / window;
  if (o.windows != 0) count = std::min<std::size_t>(count, o.windows);
  for (std::size_t i = 0; i < count; ++i) {
    if (io.err_is_terminal) fmt::print(io.err, "\rwindow {}/{}", i + 1, count);
    score_window(*reference, engines, std::span(tokens).subspan(i * window, window), exact, scores);
  }
  if (io.err_is_terminal) fmt::print(io.err, "\r\x1b[K");
  print_scores(o, exact, scores, io);
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

void eval_questions(const EvalOptions& o, const Model& model, const std::vector<Way>& ways,
                    Io& io) {
  const Tokenizer tokenizer(model.file());
  struct Question {
    std::vector<std::int32_t> prompt;
    std::string answer;
    bool held_out = true;
  };
  std::vector<Question> questions;
  try {
    const json file = json::parse(read_file(o.questions));
    for (const json& q : file.at("questions")) {
      questions.push_back({tokenizer.encode(q.at("prompt").get<std::string>(), true),
                           q.at("answer").get<std::string>(), q.value("held_out", true)});
    }
  } catch (const json::exception& error) {
    throw Error(
        ErrorCode::bad_file,
        fmt::format("{}: an object with \"questions\", each with \"prompt\" and \"answer\", "
                    "is expected: {}",
                    o.questions, error.what()));
  }
  if (questions.empty()) {
    throw Error(ErrorCode::bad_file, fmt::format("{}: there is no question", o.questions));
  }
  json rows = json::array();
  std::vector<std::string> first;
  if (!o.as_json) {
    fmt::print(io.out, "| {:24} | {:>17} | {:>9} | {:>17} |\n", "way", "right, held out", "share",
               "as the first way");
    fmt::print(io.out, "| {:-<24} | {:->16}: | {:->8}: | {:->16}: |\n", "", "", "", "");
  }
  for (const Way& way : ways) {
    Engine engine(model, way.engine);
    std::size_t right = 0, held_out = 0, same = 0;
    std::vector<std::string> answers;
    for (const Question& q : questions) {
      answers.push_back(answer(engine, tokenizer, q.prompt, o.answer_tokens));
      held_out += q.held_out;
      right += q.held_out && answers.back() == q.answer;
    }
    if (first.empty()) first = answers;
    for (std::size_t i = 0; i < answers.size(); ++i) same += answers[i] == first[i];
    const double share =
        held_out == 0 ? 0 : static_cast<double>(right) / static_cast<double>(held_out);
    if (o.as_json) {
      rows.push_back({{"way", way.name},
                      {"right", right},
                      {"held_out", held_out},
                      {"accuracy", share},
                      {"same_as_first", same},
                      {"questions", questions.size()}});
    } else {
      fmt::print(io.out, "| {:24} | {:>17} | {:>7.2f} % | {:>17} |\n", way.name,
                 fmt::format("{}/{}", right, held_out), 100 * share,
                 fmt::format("{}/{}", same, questions.size()));
      io.out.flush();
    }
  }
  if (o.as_json) fmt::print(io.out, "{}\n", rows.dump(2));
}

void eval(const EvalOptions& o, Io& io) {
  std::vector<Way> ways;
  for (const std::string& way : o.ways) ways.push_back(parse_way(way, o.model));
  if (ways.empty()) {
    for (const char* way : {"cpu", "npu", "npu,part=256", "npu,rotate"}) {
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
                   "f32, cpu or npu[,part=N][,rotate]; several times (default: cpu and each of "
                   "the NPU's)")
      ->allow_extra_args(false);
  command->add_option("--window", o->window, "tokens of a window; its second half is scored")
      ->capture_default_str();
  command->add_option("--windows", o->windows, "how many, from the start; 0: all")
      ->capture_default_str();
  command->add_option("-n,--predict", o->answer_tokens, "longest answer to a question")
      ->capture_default_str();
  command->add_flag("--json", o->as_json, "JSON");
  command->footer(
      "npu: int8, weights by output row, activations by token; part=N: scales for every N "
      "columns;\n"
      "rotate: a Hadamard rotation before rounding. On --device, or else on sim.\n"
      "Exit codes: 0 ok, 2 usage, 3 no device or no permission, 4 bad file, 5 device fault.\n"
      "Example: npu-chat eval -m model.gguf --text notes.txt --way cpu --way npu,rotate");
  command->callback([o, &io] { eval(*o, io); });
}

}  // namespace npu::llm
