// SPDX-License-Identifier: MIT
// Any model through the NPU path: random shapes, types, rows, cores and quantisation, every group
// equal to the integer reference bit for bit. The seed of a failing case is printed.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "llm-runtime/make_random.hpp"
#include "npu_cases.hpp"

namespace npu::llm {
namespace {

class Draw {
 public:
  explicit Draw(std::uint32_t seed) : random_(seed) {}
  std::uint32_t from(std::uint32_t low, std::uint32_t high) {
    return low + static_cast<std::uint32_t>(random_() % (high - low + 1));
  }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[from(0, static_cast<std::uint32_t>(values.size()) - 1)];
  }

 private:
  std::mt19937 random_;
};

/// Sizes that are multiples of nothing but what a head needs, unless the type has blocks of 32.
RandomModelOptions random_options(Draw& draw) {
  RandomModelOptions options;
  options.type = file_type(draw.one_of<std::string_view>({"f32", "f16", "q8_0", "q4_0"}));
  const bool blocks = options.type.name.starts_with("q");
  RandomShape& shape = options.shape;
  shape.name = "property";
  shape.layers = 2;
  shape.kv_heads = draw.from(1, 3);
  shape.heads = shape.kv_heads * draw.from(1, 4);
  // Head sizes are multiples of 8: with four or more of them, or a size of 32, so is a block.
  shape.hidden = shape.heads * (blocks ? 32 : 8 * draw.from(1, 4));
  shape.ffn = blocks ? 32 * draw.from(1, 9) : draw.from(1, 300);
  shape.vocabulary = draw.from(259, 700);
  shape.context = 64;
  shape.tied = draw.from(0, 1) == 0;
  options.seed = draw.from(1, 1000000);
  return options;
}

Model random_model(const RandomModelOptions& options) {
  const std::string path = testing::TempDir() + "/property_" + std::to_string(::getpid()) + ".gguf";
  make_random(options, path);
  Model model = Model::load(path);
  std::filesystem::remove(path);  // it stays mapped
  return model;
}

/// Normal numbers, some rows with an outlier or of zeros, as activations have them.
std::vector<float> activations(std::uint32_t m, std::uint32_t columns, Draw& draw) {
  auto x = random_rows(std::size_t{m} * columns, draw.from(1, 1000000));
  for (std::uint32_t i = 0; i < m; ++i) {
    const auto row = std::span(x).subspan(std::size_t{i} * columns, columns);
    if (draw.from(0, 3) == 0) row[draw.from(0, columns - 1)] *= 200;
    if (draw.from(0, 9) == 0) std::ranges::fill(row, 0.0f);
  }
  return x;
}

void check_case(std::uint32_t seed, std::uint32_t cores, std::uint32_t m) {
  Draw draw(seed);
  const RandomModelOptions random = random_options(draw);
  const QuantisationOptions options{.part = draw.one_of({0u, 0u, 32u, 64u, 96u, 160u}),
                                    .equalise = draw.from(0, 1) == 0,
                                    .rotate = draw.from(0, 1) == 0,
                                    .wide = draw.from(0, 2) == 0};
  const RandomShape& s = random.shape;
  SCOPED_TRACE(
      fmt::format("seed {}: {}, hidden {}, heads {}/{}, ffn {}, vocabulary {}{}; {} rows, "
                  "{} cores, {}",
                  seed, random.type.name, s.hidden, s.heads, s.kv_heads, s.ffn, s.vocabulary,
                  s.tied ? ", tied" : "", m, cores, to_text(options)));
  const Model model = random_model(random);
  cpu::ThreadPool pool(2);
  const Npu npu(cores);
  NpuProjector projector(model, pool, npu.pointers, nullptr,
                         {.quantisation = options, .most_rows = draw.one_of({16u, 64u, 256u})});
  for (const Group group : kGroups) {
    const std::uint32_t layer = group == Group::output ? 0 : draw.from(0, 1);
    const auto x = activations(m, group_columns(model.shape(), group), draw);
    const auto want = reference(model, group, layer, x, m, options, pool);
    const auto got = project(projector, model, group, layer, x, m);
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t j = 0; j < want.size(); ++j) {
      const std::size_t rows = want[j].size() / m;
      for (std::size_t i = 0; i < want[j].size(); ++i) {
        ASSERT_EQ(got[j][i], want[j][i]) << to_string(group) << ", matrix " << j << ", row "
                                         << i / rows << ", output " << i % rows;
      }
    }
  }
}

// Other cases: ROSENBLATT_SEED=7 tests/llm_offload_property_test
TEST(NpuPath, AnyShapeEqualsTheIntegerReference) {
  const char* text = std::getenv("ROSENBLATT_SEED");
  auto seed = text == nullptr ? 1u : 1000 * static_cast<std::uint32_t>(std::stoul(text));
  for (const std::uint32_t m : {1u, 2u, 7u, 31u, 64u, 130u}) {
    for (const std::uint32_t cores : {1u, 3u}) {
      for (int round = 0; round < (m < 31 ? 6 : 3); ++round) {
        check_case(seed++, cores, m);
        if (HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace npu::llm
