// SPDX-License-Identifier: MIT
// npu-chat as a shell sees it: arguments, streams, exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "llm-runtime/commands/options.hpp"
#include "llm-runtime/make_random.hpp"

namespace npu::llm {
namespace {

using nlohmann::json;
using testing::HasSubstr;

struct Outcome {
  int status;
  std::string out, err;
};

Outcome npu_chat(std::vector<std::string> arguments, const std::string& input = "") {
  std::istringstream in(input);
  std::ostringstream out, err;
  Io io{in, out, err};
  std::vector<const char*> argv{"npu-chat"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  const int status = run(static_cast<int>(argv.size()), argv.data(), io);
  return {status, out.str(), err.str()};
}

std::string vectors(const std::string& name) {
  return std::string(ROSENBLATT_VECTORS_DIR) + "/llm/" + name;
}

std::vector<float> floats(const std::string& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

const std::string kModel = vectors("tinyA-Q8_0.gguf");

TEST(LogitsCommand, WritesFloatsOfTheLastOrOfAllTokens) {
  const std::string ids = "129,522, 241,1014,920,967,777,429,192";
  const std::string path = testing::TempDir() + "/logits_" + std::to_string(::getpid()) + ".f32";
  const auto last =
      npu_chat({"logits", "-m", kModel, "--ids", ids, "-o", path, "--precision", "f32"});
  ASSERT_EQ(last.status, 0) << last.err;
  const std::string from_file = read(path);
  std::filesystem::remove(path);
  // From stdin to stdout.
  const auto all = npu_chat(
      {"logits", "-m", kModel, "--ids", "-", "-o", "-", "--all", "--precision", "f32"}, ids + "\n");
  ASSERT_EQ(all.status, 0) << all.err;
  ASSERT_EQ(all.out.size(), 9u * 1024 * 4);
  EXPECT_EQ(all.out.substr(8 * 1024 * 4), from_file);
  // The second prompt of the reference file.
  const auto want = floats(read(vectors("tinyA-logits-Q8_0-exact.f32")));
  const auto got = floats(all.out);
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[1024 + i], 1e-3) << i;
}

TEST(RunCommand, GreedyIdsAreLlamaCpps) {
  // F16 weights: llama.cpp's answers of the tiny chat model, end of text included.
  const std::string folder = std::string(ROSENBLATT_SOURCE_DIR) + "/models/tiny-chat/";
  const json eval = json::parse(std::ifstream(folder + "eval.json"));
  std::size_t compared = 0;
  for (std::size_t i = 0; i < eval.at("questions").size(); i += 40, ++compared) {
    const json& question = eval.at("questions")[i];
    const auto prompt = question.at("prompt_tokens").get<std::vector<int>>();
    const json& want = question.at("llama_cpp_tokens_F16");
    std::string ids;
    for (const int id : prompt) ids += (ids.empty() ? "" : ",") + std::to_string(id);
    const auto result = npu_chat({"run", "-m", folder + "tiny-chat-F16.gguf", "--ids", ids, "-n",
                                  std::to_string(want.size()), "--greedy", "--json", "-t", "2"});
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(json::parse(result.out), want) << question.at("prompt");
  }
  EXPECT_GE(compared, 10u);
}

TEST(RunCommand, TheSeedDecides) {
  auto draw = [](const char* seed) {
    return npu_chat({"run", "-m", kModel, "--ids", "1", "-n", "12", "--temp", "2", "--seed", seed})
        .out;
  };
  EXPECT_EQ(draw("1"), draw("1"));
  EXPECT_NE(draw("1"), draw("2"));
}

TEST(RunCommand, SaysWhenTheContextIsFull) {
  const auto result =
      npu_chat({"run", "-m", kModel, "--ids", "1,2,3", "-n", "9", "-c", "6", "--greedy", "--json"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(json::parse(result.out).size(), 4u);  // the last one does not need room
  EXPECT_THAT(result.err, HasSubstr("full after 4"));
}

TEST(BenchCommand, JsonHasTheNamesOfLlamaBench) {
  const auto result =
      npu_chat({"bench", "-p", "8", "-n", "2", "-r", "2", "-t", "1,2", "--json", "-m", kModel});
  ASSERT_EQ(result.status, 0) << result.err;
  const json rows = json::parse(result.out);
  ASSERT_EQ(rows.size(), 4u);
  for (const json& row : rows) {
    EXPECT_EQ(row.at("n_prompt").get<int>() + row.at("n_gen").get<int>(),
              row.at("n_gen") == 0 ? 8 : 2);
    EXPECT_EQ(row.at("samples_ts").size(), 2u);
    EXPECT_GT(row.at("avg_ts").get<double>(), 0);
    EXPECT_GT(row.at("peak_memory_bytes").get<double>(), 1e6);
    EXPECT_EQ(row.at("source"), "host");
  }
  EXPECT_EQ(rows[0].at("n_threads"), 1);
  EXPECT_EQ(rows[3].at("n_threads"), 2);
  EXPECT_THAT(npu_chat({"bench", "-p", "4", "-n", "0", "-r", "1", "-m", kModel}).out,
              testing::AllOf(HasSubstr("pp4"), testing::Not(HasSubstr("tg"))));
}

TEST(BenchCommand, KeepsModelledFiguresApartAndTheyAgreeWithTheSimulatedClock) {
  const auto result =
      npu_chat({"bench", "--device", "sim:mhz=1000", "-p", "40", "-n", "3", "-r", "1", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const json rows = json::parse(result.out);
  ASSERT_EQ(rows.size(), 4u);
  for (const std::size_t i : {0u, 2u}) {
    EXPECT_EQ(rows[i].at("source"), "host");
    const json& board = rows[i + 1];
    EXPECT_EQ(board.at("source"), "modelled");
    EXPECT_EQ(board.at("npu_mhz"), 1000);
    EXPECT_EQ(board.at("n_prompt"), rows[i].at("n_prompt"));
    EXPECT_EQ(board.count("load_s"), 0u);
    double sum = 0;
    for (const auto& [name, seconds] : board.at("seconds").items())
      if (name != "total") sum += seconds.get<double>();
    const double total = board.at("seconds").at("total").get<double>();
    EXPECT_NEAR(sum, total, 1e-12);
    EXPECT_NEAR(board.at("avg_ts").get<double>(), (i == 0 ? 40 : 3) / total, 1e-6 / total);
    // What ran counts as much as what was planned; the planner knows each job's longest core only.
    const double planned = board.at("seconds").at("npu_mac").get<double>() +
                           board.at("seconds").at("npu_memory").get<double>() +
                           board.at("seconds").at("npu_dispatch").get<double>();
    EXPECT_NEAR(board.at("npu_clock_s").get<double>() / planned, 1, 0.2);
    // Four layers of four groups and the output, on three cores at most.
    EXPECT_GT(rows[i].at("npu_submits_per_token").get<double>() * (i == 0 ? 40 : 1), 16);
  }
  EXPECT_LE(rows[2].at("npu_submits_per_token").get<double>(), 17 * 3);
}

TEST(PlanCommand, PrintsEveryTensorWithItsDeviceForBothKindsOfWork) {
  const auto result = npu_chat({"plan", "--npu-mhz", "200,1000", "--json", "-m", kModel});
  ASSERT_EQ(result.status, 0) << result.err;
  const json plans = json::parse(result.out);
  ASSERT_EQ(plans.size(), 2u);
  for (const json& plan : plans) {
    std::map<std::string, double> bytes;
    for (const json& tensor : plan.at("tensors")) {
      for (const char* kind : {"prefill", "decode"}) {
        EXPECT_THAT(tensor.at(kind).at("device"), testing::AnyOf("npu", "cpu"));
        EXPECT_GT(tensor.at(kind).at("npu_modelled_s").get<double>(), 0);
        EXPECT_GT(tensor.at(kind).at("cpu_s").get<double>(), 0);
      }
      EXPECT_TRUE(bytes.emplace(tensor.at("name"), tensor.at("bytes").get<double>()).second);
    }
    // Seven matrices of each layer and the output.
    EXPECT_EQ(bytes.size() % 7, 1u);
    EXPECT_EQ(bytes.count("blk.0.ffn_down.weight"), 1u);
    EXPECT_EQ(plan.at("npu_source"), "modelled");
  }
  EXPECT_GT(plans[0].at("summary").at("npu").at("prefill").at("seconds"),
            plans[1].at("summary").at("npu").at("prefill").at("seconds"));
  EXPECT_EQ(npu_chat({"plan", "--npu-mhz", "0"}).status, 2);
  EXPECT_EQ(npu_chat({"plan", "-p", "0"}).status, 2);
}

TEST(Chat, AnswersAMessageOfThePromptAFileOrStdin) {
  const std::string question = "What is the capital of Japan?";
  const std::string answer = "The capital of Japan is Tokyo.\n";
  EXPECT_EQ(npu_chat({"-p", question, "--temp", "0"}).out, answer);
  EXPECT_EQ(npu_chat({"--temp", "0"}, question + "\n").out, answer);
  EXPECT_EQ(npu_chat({"--temp", "0", "-f", "-"}, question).out, answer);
  EXPECT_EQ(npu_chat({"-p", question, "--temp", "0", "--device", "sim"}).out, answer);
  EXPECT_EQ(npu_chat({"-p", question, "--temp", "0"}, "not read").out, answer);
  EXPECT_EQ(npu_chat({"-p", question, "--temp", "0", "-n", "-1"}).out, answer);
}

TEST(Chat, JsonTellsWhatItTookAndLinesAreOneConversation) {
  const auto result =
      npu_chat({"--lines", "--json", "--temp", "0"}, "Who are you?\n\nSpell cat.\n");
  ASSERT_EQ(result.status, 0) << result.err;
  std::istringstream lines(result.out);
  std::string line;
  std::vector<json> answers;
  while (std::getline(lines, line)) answers.push_back(json::parse(line));
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[1].at("text"), "c-a-t");
  EXPECT_EQ(answers[1].at("finish"), "stop");
  // The first question and answer are in the cache and are not evaluated again.
  EXPECT_EQ(answers[1].at("cached_tokens").get<int>(),
            answers[0].at("prompt_tokens").get<int>() + answers[0].at("tokens").get<int>() - 1);
  EXPECT_EQ(
      json::parse(npu_chat({"-p", "Hi", "--json", "-n", "2", "--temp", "0"}).out).at("finish"),
      "length");
}

TEST(Chat, ItTellsWhatTheNpuDid) {
  const auto result =
      npu_chat({"--lines", "--json", "--stats", "--temp", "0", "--device", "sim", "-n", "4"},
               "Who are you?\nSpell cat.\n");
  ASSERT_EQ(result.status, 0) << result.err;
  std::istringstream lines(result.out);
  std::string line;
  for (int answers = 0; answers < 2; ++answers) {
    ASSERT_TRUE(std::getline(lines, line));
    const json answer = json::parse(line);
    EXPECT_EQ(answer.at("device"), "sim");
    EXPECT_EQ(answer.at("npu").at("source"), "modelled");
    // Four groups in each of four layers and the output, for the prompt and three of the tokens;
    // and of this answer only.
    EXPECT_EQ(answer.at("npu").at("products"), (4 * 4 + 1) * 4);
  }
  EXPECT_THAT(result.err, testing::AllOf(HasSubstr("answers 2, tokens made 8"),
                                         HasSubstr("NPU: 136 matrix products")));
  EXPECT_FALSE(json::parse(npu_chat({"-p", "Hi", "--json", "-n", "1"}).out).contains("npu"));
}

TEST(Chat, AFullContextIsToldAndTheTalkGoesOn) {
  std::string talk;
  for (int i = 0; i < 12; ++i) talk += "What is the capital of Japan?\n";
  const auto result = npu_chat({"--lines", "--temp", "0", "-c", "96"}, talk);
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.err, HasSubstr("oldest"));
  std::string want;
  for (int i = 0; i < 12; ++i) want += "The capital of Japan is Tokyo.\n";
  EXPECT_EQ(result.out, want);
  // An answer that outgrows the context goes on too: this model never ends its text.
  const auto longest = npu_chat({"-m", kModel, "-p", "a", "--chat-template", "chatml", "-c", "64",
                                 "-n", "150", "--temp", "0", "--json"});
  EXPECT_EQ(longest.status, 0) << longest.err;
  EXPECT_THAT(longest.err, HasSubstr("oldest"));
  EXPECT_EQ(json::parse(longest.out).at("tokens"), 150);
}

TEST(Chat, ThePromptCacheSparesThePrefill) {
  const std::string cache = testing::TempDir() + "/cache_" + std::to_string(::getpid());
  const std::vector<std::string> arguments{"-p",     "Explain attention.", "--temp", "0",
                                           "--json", "--prompt-cache",     cache};
  const json first = json::parse(npu_chat(arguments).out);
  const json second = json::parse(npu_chat(arguments).out);
  EXPECT_EQ(first.at("text"), second.at("text"));
  EXPECT_EQ(first.at("cached_tokens"), 0);
  EXPECT_EQ(second.at("cached_tokens").get<int>(), second.at("prompt_tokens").get<int>() - 1);
  // A damaged one is told of and made anew.
  std::ofstream(cache) << "RBKV";
  const auto third = npu_chat(arguments);
  EXPECT_EQ(json::parse(third.out).at("text"), first.at("text"));
  EXPECT_THAT(third.err, HasSubstr("cut short"));
  std::filesystem::remove(cache);
}

TEST(EvalCommand, TheNpuPathIsScoredAgainstF32) {
  const std::string folder = std::string(ROSENBLATT_SOURCE_DIR) + "/models/tiny-chat/";
  const std::string text = testing::TempDir() + "/text_" + std::to_string(::getpid());
  std::ofstream(text) << read(folder + "corpus.py").substr(0, 3000);
  const auto result =
      npu_chat({"eval", "-m", folder + "tiny-chat-Q8_0.gguf", "--text", text, "--window", "64",
                "--windows", "2", "--json", "--way", "f32", "--way", "npu", "--way",
                "npu,part=128,rotate", "--way", "npu,rotate,wide,only=down"});
  std::filesystem::remove(text);
  ASSERT_EQ(result.status, 0) << result.err;
  const json rows = json::parse(result.out);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].at("kl_divergence"), 0);
  EXPECT_EQ(rows[0].at("top1_agreement"), 1);
  for (const json& row : rows) {
    EXPECT_EQ(row.at("tokens"), 2 * 31);
    EXPECT_GE(row.at("kl_divergence").get<double>(), 0);
    EXPECT_LT(row.at("kl_divergence").get<double>(), 0.1);
  }
  EXPECT_GT(rows[3].at("kl_divergence").get<double>(), 0);
  EXPECT_GT(rows[1].at("kl_divergence").get<double>(),
            rows[3].at("kl_divergence").get<double>());  // one group and finer steps
  EXPECT_EQ(npu_chat({"eval", "--text", text, "--way", "gpu"}).status, 2);
  EXPECT_EQ(npu_chat({"eval", "--text", text, "--way", "npu,part="}).status, 2);
  EXPECT_EQ(npu_chat({"eval", "--text", text, "--way", "npu,only=q"}).status, 2);
  EXPECT_EQ(npu_chat({"eval", "--text", "/nonexistent"}).status, 4);
}

TEST(EvalCommand, ATokenBeyondTheModelsVocabularyIsRefused) {
  // A tokenizer of 300 tokens and an embedding of 280.
  const std::string path = testing::TempDir() + "/short_" + std::to_string(::getpid());
  const RandomModelOptions options{{"short", 64, 1, 2, 1, 64, 300, 64, true}, file_type("f32")};
  const std::vector<std::byte> bytes = gguf_bytes(
      random_model_header(options),
      [&](const auto& tensor, const TensorSink& sink) { random_tensor(options, tensor, sink); });
  const GgufFile whole = GgufFile::parse(bytes, "whole");
  GgufWriter writer;
  for (const std::string_view key : whole.keys()) writer.put_value(key, *whole.value(key));
  for (const TensorInfo& tensor : whole.tensors()) {
    std::vector<std::uint64_t> dims(tensor.dims.begin(), tensor.dims.begin() + tensor.n_dims);
    if (tensor.name == "token_embd.weight") dims[1] = 280;
    writer.add_tensor(tensor.name, dims, TensorType::f32);
  }
  write_gguf(path + ".gguf", writer, [&](const GgufWriter::Tensor& tensor, const TensorSink& sink) {
    sink({whole.find(tensor.name)->data, tensor.bytes});
  });
  std::ofstream(path) << "abc<|im_end|>";
  const auto result = npu_chat(
      {"eval", "-m", path + ".gguf", "--text", path, "--special", "--window", "4", "--way", "f32"});
  EXPECT_EQ(result.status, 4) << result.err;
  EXPECT_THAT(result.err, HasSubstr("token 299"));
  std::filesystem::remove(path);
  std::filesystem::remove(path + ".gguf");
}

TEST(NpuChat, BadInputHasItsExitCode) {
  const std::string text = testing::TempDir() + "/not_a_model_" + std::to_string(::getpid());
  std::ofstream(text) << "GGUT";
  const struct {
    std::vector<std::string> arguments;
    int status;
    const char* message;
  } cases[] = {
      {{}, 2, "no message"},
      {{"--temp", "1", "logits", "--ids", "1", "-o", "-"}, 2, "behind the subcommand"},
      {{"-p", "Hello", "--temp", "-1"}, 2, "--temp"},
      {{"-f", "/nonexistent.txt"}, 4, "/nonexistent.txt"},
      {{"-p", "Hello", "-m", kModel, "-c", "8"}, 2, "larger context"},
      {{"logits", "--ids", "1"}, 2, "--output"},
      {{"logits", "-m", kModel, "--ids", "1,x", "-o", "-"}, 2, "'x' is no token id"},
      {{"logits", "-m", kModel, "--ids", "1,,2", "-o", "-"}, 2, "no token id"},
      {{"logits", "-m", kModel, "--ids", "1,", "-o", "-"}, 2, "no token id"},
      {{"logits", "-m", kModel, "--ids", "", "-o", "-"}, 2, "no token id"},
      {{"logits", "-m", kModel, "--ids", "99999999999", "-o", "-"}, 2, "no token id"},
      {{"logits", "-m", kModel, "--ids", "1024", "-o", "-"}, 2, "vocabulary"},
      {{"logits", "-m", kModel, "--ids", "1", "-o", "/nonexistent/x"}, 3, "cannot be written"},
      {{"logits", "-m", text, "--ids", "1", "-o", "-"}, 4, "not_a_model"},
      {{"run", "-m", "/nonexistent.gguf", "--ids", "1"}, 4, "/nonexistent.gguf"},
      {{"run", "-m", kModel, "--ids", "1", "--top-p", "2"}, 2, "--top-p"},
      {{"run", "-m", kModel, "--ids", "1", "-t", "5000"}, 2, "--threads"},
      {{"run", "-m", kModel, "--ids", "1", "--kv-type", "q4_0"}, 2, "--kv-type"},
      {{"run", "-m", kModel, "--ids", "1,2,3", "-c", "2"}, 2, "full"},
      {{"bench", "-m", kModel, "-r", "0"}, 2, "-r"},
  };
  for (const auto& [arguments, status, message] : cases) {
    const auto result = npu_chat(arguments);
    EXPECT_EQ(result.status, status) << message << ": " << result.err;
    EXPECT_THAT(result.err, HasSubstr(message));
    EXPECT_EQ(result.out, "") << message;
  }
  std::filesystem::remove(text);
}

TEST(NpuChat, LostOutputIsTold) {
  for (std::vector<const char*> argv :
       {std::vector{"npu-chat", "-p", "Hi", "-n", "2"}, std::vector{"npu-chat", "--help"}}) {
    std::istringstream in;
    std::ofstream full("/dev/full");
    std::ostringstream err;
    Io io{in, full, err};
    EXPECT_EQ(run(static_cast<int>(argv.size()), argv.data(), io), 3);
    EXPECT_THAT(err.str(), HasSubstr("could not be written"));
  }
}

TEST(NpuChat, HelpNamesExitCodesAndAnExample) {
  for (const char* command : {"logits", "run", "bench"}) {
    const auto help = npu_chat({command, "--help"});
    EXPECT_EQ(help.status, 0);
    EXPECT_THAT(help.out, testing::AllOf(HasSubstr("Exit codes:"), HasSubstr("Example: npu-chat"),
                                         HasSubstr("--model")));
  }
}

}  // namespace
}  // namespace npu::llm
