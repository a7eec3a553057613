// SPDX-License-Identifier: MIT
// The input is a vocabulary and a text: lines of tokens (their type first), an empty line, lines of
// merges, an empty line, the text. It is refused, or the text can be encoded and decoded.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "llm-runtime/gguf_writer.hpp"
#include "llm-runtime/tokenizer.hpp"
#include "regdb/error.hpp"

namespace {

std::vector<std::string_view> take_lines(std::string_view& input) {
  std::vector<std::string_view> lines;
  while (!input.empty()) {
    const std::size_t end = input.find('\n');
    const std::string_view line = input.substr(0, end);
    input.remove_prefix(end == input.npos ? input.size() : end + 1);
    if (line.empty()) break;
    lines.push_back(line);
  }
  return lines;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace npu::llm;
  std::string_view input(reinterpret_cast<const char*>(data), size);
  std::vector<std::string_view> tokens = take_lines(input);
  const std::vector<std::string_view> merges = take_lines(input);
  std::vector<std::int32_t> types;
  for (std::string_view& token : tokens) {
    types.push_back(token[0] - '0');
    token.remove_prefix(1);
  }
  GgufWriter writer;
  writer.put_string("tokenizer.ggml.model", "gpt2");
  writer.put_string("tokenizer.ggml.pre", "qwen2");
  writer.put_strings("tokenizer.ggml.tokens", tokens);
  writer.put_ints("tokenizer.ggml.token_type", types);
  writer.put_strings("tokenizer.ggml.merges", merges);
  const auto bytes = gguf_bytes(writer, {});
  try {
    const Tokenizer tokenizer(GgufFile::parse(bytes, "input"));
    for (const bool special : {false, true}) {
      const auto ids = tokenizer.encode(input, special);
      const std::string text = tokenizer.decode(ids, special);
      StreamDecoder stream(tokenizer, special);
      std::string streamed;
      for (const TokenId id : ids) {
        tokenizer.is_eog(id);
        streamed += stream.push(id);
      }
      streamed += stream.flush();
      std::string repaired = text;
      if (take_valid_utf8(repaired, true) != streamed) std::abort();
    }
  } catch (const npu::Error& error) {
    if (error.code() != npu::ErrorCode::bad_file) std::abort();
  }
  return 0;
}
