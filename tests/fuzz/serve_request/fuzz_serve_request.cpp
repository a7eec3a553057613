// SPDX-License-Identifier: MIT
// The body of a request is refused with 400 and a sentence, or what came out of it is in range.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "llm-runtime/serve/request.hpp"
#include "llm-runtime/serve/response.hpp"
#include "regdb/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace npu::llm;
  using namespace npu::llm::serve;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const Kind kind : {Kind::chat, Kind::completion}) {
    const auto result = parse_request(body, kind, {});
    if (const auto* refusal = std::get_if<Refusal>(&result)) {
      if (refusal->status != 400 || refusal->message.empty()) std::abort();
      if (!nlohmann::json::accept(error_json(*refusal))) std::abort();
      continue;
    }
    const CompletionRequest& r = std::get<CompletionRequest>(result);
    check(r.sampler);  // throws for what the sampler would refuse
    if (r.kind != kind || r.stop.size() > kMostStops || r.prompts.size() > kMostPrompts ||
        r.messages.empty() != (kind == Kind::completion)) {
      std::abort();
    }
  }
  return 0;
}
