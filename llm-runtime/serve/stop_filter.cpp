// SPDX-License-Identifier: MIT
#include "llm-runtime/serve/stop_filter.hpp"

#include <algorithm>
#include <utility>

namespace npu::llm::serve {

std::string StopFilter::push(std::string_view text) {
  if (stopped_) return {};
  if (stops_.empty()) return std::string(text);
  held_ += text;
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
  if (first != std::string::npos) {
    stopped_ = true;
    std::string said = held_.substr(0, first);
    held_.clear();
    return said;
  }
  // The longest end of the text with which a string begins.
  std::size_t keep = 0;
  for (const std::string& stop : stops_) {
    std::size_t n = std::min(stop.size() - 1, held_.size());
    while (n > keep && !held_.ends_with(std::string_view(stop).substr(0, n))) --n;
    keep = std::max(keep, n);
  }
  std::string said = held_.substr(0, held_.size() - keep);
  held_.erase(0, said.size());
  return said;
}

std::string StopFilter::flush() { return std::exchange(held_, {}); }

}  // namespace npu::llm::serve
