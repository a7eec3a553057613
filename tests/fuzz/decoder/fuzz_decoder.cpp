// SPDX-License-Identifier: MIT
// Words to JSON and back are the identity; arbitrary JSON is taken or refused, never more.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "regdb/decoder.hpp"
#include "regdb/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using nlohmann::json;
  if (size > 0 && data[0] == '{') {
    const json object = json::parse(data, data + size, nullptr, false);
    if (object.is_discarded()) return 0;
    try {
      (void)npu::regdb::word_from_json(object, 0);
    } catch (const npu::Error&) {
    }
    return 0;
  }
  std::vector<std::uint64_t> words;
  try {
    words = npu::regdb::parse_regcmd_bytes(std::as_bytes(std::span(data, size)));
  } catch (const npu::Error&) {
    return 0;
  }
  std::size_t split = 0;
  for (const auto task : npu::regdb::split_tasks(words)) split += task.size();
  if (split != words.size()) std::abort();
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto decoded = npu::regdb::decode(words[i]);
    (void)npu::regdb::to_line(decoded, i, {.colour = (i & 1) != 0});
    json object = npu::regdb::to_json(decoded, i);
    object.erase("word");
    if (npu::regdb::word_from_json(object, i) != words[i]) std::abort();
  }
  return 0;
}
