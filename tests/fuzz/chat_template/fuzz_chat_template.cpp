// SPDX-License-Identifier: MIT
// A template is refused with a sentence, or renders a conversation.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "llm-runtime/chat_template.hpp"
#include "regdb/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace npu::llm;
  static const auto variables = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": "a b"}, {"role": "user", "content": "c\n"},
                 {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}],
    "add_generation_prompt": true, "n": 3, "f": 0.5, "d": {"x": [1, null, true]}})");
  try {
    ChatTemplate({reinterpret_cast<const char*>(data), size}, "<s>", "</s>").render(variables);
  } catch (const npu::Error&) {
  }
  return 0;
}
