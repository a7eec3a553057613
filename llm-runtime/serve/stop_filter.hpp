// SPDX-License-Identifier: MIT
// Ends an answer before any of some strings, also where a string comes in pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace npu::llm::serve {

class StopFilter {
 public:
  /// None of them empty.
  explicit StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// What can be said now: all that came so far but for an end that may be the front of a string.
  /// Once one is complete stopped() holds, and nothing more comes out.
  std::string push(std::string_view text);
  /// What was held back, if it turned out to be no string.
  std::string flush();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace npu::llm::serve
