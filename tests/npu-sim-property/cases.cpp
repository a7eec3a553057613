// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstdlib>

#include "harness.hpp"

namespace npu::sim::property {

void for_each_case(int count, const std::function<std::optional<std::string>(Draw&)>& body) {
  const auto number = [](const char* name, std::uint64_t fallback) {
    const char* text = std::getenv(name);
    return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 0) : fallback;
  };
  const std::uint64_t seed = number("NPU_TEST_SEED", 20261121);
  const std::uint64_t cases = number("NPU_TEST_ITERATIONS", static_cast<std::uint64_t>(count));
  for (std::uint64_t i = 0; i < cases; ++i) {
    Draw draw(seed + i);
    if (const auto wrong = body(draw)) {
      FAIL() << *wrong << "\nRepeat: NPU_TEST_SEED=" << seed + i << " NPU_TEST_ITERATIONS=1";
    }
  }
}

}  // namespace npu::sim::property
