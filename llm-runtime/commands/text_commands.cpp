// SPDX-License-Identifier: MIT
#include "llm-runtime/commands/text_commands.hpp"

#include <fmt/format.h>

#include <functional>
#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "regdb/error.hpp"

namespace npu::llm {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void fail(const std::string& reason) { throw Error(ErrorCode::bad_file, reason); }

/// Calls `answer` with each line as JSON and writes what it returns; errors get the line's number.
void answer_lines(std::istream& in, std::ostream& out,
                  const std::function<Json(const Json&)>& answer) {
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    try {
      const Json question = Json::parse(line);
      // One answer for one line, at once: a script may wait for it before it asks again.
      out << answer(question).dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
    } catch (const Json::exception& error) {
      fail(fmt::format("line {}: not JSON: {}", number, error.what()));
    } catch (const Error& error) {
      fail(fmt::format("line {}: {}", number, error.what()));
    }
  }
}

Json encoded(const Tokenizer& tokenizer, const Json& line) {
  if (!line.is_object() || !line.contains("text") || !line["text"].is_string())
    fail("expected {\"text\": \"...\", \"special\": true|false}");
  bool special = true;
  if (line.contains("special")) {
    if (!line["special"].is_boolean()) fail("\"special\" must be true or false");
    special = line["special"].get<bool>();
  }
  return tokenizer.encode(line["text"].get_ref<const std::string&>(), special);
}

Json decoded(const Tokenizer& tokenizer, const Json& line) {
  if (!line.is_array()) fail("expected an array of ids");
  std::string bytes;
  for (const Json& id : line) {
    if (!id.is_number_integer()) fail("expected an array of ids");
    const auto value = id.get<std::int64_t>();
    if (value < 0 || static_cast<std::uint64_t>(value) >= tokenizer.size())
      fail(fmt::format("token {} is not in the vocabulary of {}", value, tokenizer.size()));
    bytes += tokenizer.piece(static_cast<TokenId>(value));
  }
  Json answer = Json::object();
  answer["text"] = take_valid_utf8(bytes, true);
  return answer;
}

}  // namespace

void tokenize_lines(const Tokenizer& tokenizer, const TokenizeOptions& options, std::istream& in,
                    std::ostream& out) {
  answer_lines(in, out, [&](const Json& line) {
    return options.decode ? decoded(tokenizer, line) : encoded(tokenizer, line);
  });
}

void template_lines(const ChatTemplate& chat_template, std::istream& in, std::ostream& out) {
  answer_lines(in, out, [&](const Json& line) -> Json { return chat_template.render(line); });
}

}  // namespace npu::llm
