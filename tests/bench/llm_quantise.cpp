// SPDX-License-Identifier: MIT
// What the options of the NPU path's quantisation cost the host: activations of 128 tokens, the
// widths of Qwen2.5-1.5B and 0.5B, one thread, the best of some repetitions. Host times.
//
//   llm_quantise_bench [REPEATS]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <random>
#include <vector>

#include "llm-runtime/offload/npu_projector.hpp"

using namespace npu::llm;

int main(int argc, char** argv) {
  const int repeats = argc > 1 ? std::max(1, std::atoi(argv[1])) : 20;
  constexpr std::uint32_t kTokens = 128;
  cpu::ThreadPool pool(1);
  fmt::print("| columns | plain, ns per number | equalise | equalise, rotate | and wide |\n");
  fmt::print("|---:|---:|---:|---:|---:|\n");
  for (const std::uint32_t columns : {896u, 1536u, 4864u, 8960u}) {
    std::mt19937 random(1);
    std::normal_distribution<float> draw;
    std::vector<float> x(std::size_t{kTokens} * columns);
    for (float& v : x) v = draw(random);
    const auto time = [&](const QuantisationOptions& options) {
      const ColumnTransform transform =
          column_transform(std::vector<double>(columns, 1.0), options);
      double best = std::numeric_limits<double>::max();
      for (int i = 0; i < repeats; ++i) {
        const auto start = std::chrono::steady_clock::now();
        quantise_rows(x.data(), kTokens, columns, 0, transform, options.wide, pool);
        const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
        best = std::min(best, taken.count());
      }
      return best;
    };
    const double plain = time(kPlainQuantisation);
    fmt::print("| {} | {:.2f} | {:.2f} times | {:.2f} times | {:.2f} times |\n", columns,
               plain / static_cast<double>(x.size()) * 1e9, time({.rotate = false}) / plain,
               time({}) / plain, time({.wide = true}) / plain);
  }
  return 0;
}
