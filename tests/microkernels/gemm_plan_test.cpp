// SPDX-License-Identifier: MIT
#include "microkernels/gemm_plan.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <set>

#include "microkernels/layout.hpp"
#include "random_matrix.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

std::uint32_t element_bytes(GemmOutput output) { return output == GemmOutput::i32 ? 4 : 1; }

// Adds up the volume of the tiles and checks that no two of them meet: then they cover the whole
// box exactly once.
void expect_exact_cover(const GemmPlan& plan) {
  std::vector<const GemmTask*> tasks;
  for (const GemmCore& core : plan.cores) {
    for (const GemmTask& task : core.tasks) tasks.push_back(&task);
  }
  std::uint64_t volume = 0;
  const auto meet = [](Range a, Range b) { return a.begin < b.end() && b.begin < a.end(); };
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const GemmTask& t = *tasks[i];
    ASSERT_LE(t.m.end(), plan.shape.m);
    ASSERT_LE(t.n.end(), plan.shape.n);
    ASSERT_LE(t.k.end(), plan.shape.k);
    volume += std::uint64_t{t.m.size} * t.n.size * t.k.size;
    for (std::size_t j = 0; j < i && tasks.size() < 500; ++j) {
      ASSERT_FALSE(meet(t.m, tasks[j]->m) && meet(t.n, tasks[j]->n) && meet(t.k, tasks[j]->k));
    }
  }
  ASSERT_EQ(volume, std::uint64_t{plan.shape.m} * plan.shape.n * plan.shape.k);
}

void expect_limits(const GemmPlan& plan, const GemmTask& t) {
  ASSERT_GE(std::min({t.m.size, t.n.size, t.k.size}), 1u);
  ASSERT_GE(t.m_padded, t.m.size);
  ASSERT_EQ(t.n_padded, align_up(t.n.size, 32u));
  ASSERT_EQ(t.k_padded, align_up(t.k.size, 32u));
  ASSERT_EQ(t.width * t.height, t.m_padded);
  ASSERT_LE(t.height, 1020u);
  ASSERT_GE(t.height, 4u);
  ASSERT_LE(t.n_padded, 4096u);
  if (plan.task_output == GemmOutput::i32) {
    ASSERT_EQ(t.width, 1u);
    ASSERT_EQ(t.m_padded % 4, 0u);
  } else {
    ASSERT_GT(t.width, 1u);
  }
  // CBUF: features with their spare bank, and room for a group of 32 kernels.
  const std::uint32_t banks = ceil_div(t.m_padded * t.k_padded, 32768u) + 1;
  ASSERT_TRUE(t.data_banks == banks ||
              (plan.choice.order == TaskOrder::weights && t.data_banks > banks));
  ASSERT_LE(t.data_banks, 11u);
  ASSERT_EQ(t.data_banks + t.weight_banks, 12u);
  ASSERT_LE(32 * t.k_padded, t.weight_banks * 32768);
  ASSERT_LE(t.macs(), std::uint64_t{1} << 30);
  ASSERT_FALSE(t.data_reuse);  // no board has shown it for int8
  ASSERT_TRUE(!t.weight_reuse || t.n_padded * t.k_padded <= t.weight_banks * 32768);
  ASSERT_EQ(t.a_offset % 64, 0u);
  ASSERT_EQ(t.b_offset % 64, 0u);
  ASSERT_EQ(t.c_offset % 64, 0u);
  ASSERT_EQ(t.bias_offset % 64, 0u);
}

// Buffers are big enough, tiles of a stage do not overlap in C, and different features or weights
// never share bytes.
void expect_buffers(const GemmPlan& plan) {
  for (const GemmCore& core : plan.cores) {
    using Key = std::array<std::uint32_t, 4>;
    using Places = std::map<std::pair<std::uint32_t, std::uint64_t>,  // buffer and offset
                            std::pair<Key, std::uint64_t>>;           // content, size
    Places a, b;
    std::map<std::uint32_t, Places> c;  // by stage
    for (const GemmTask& t : core.tasks) {
      const std::uint64_t a_bytes = std::uint64_t{t.m_padded} * t.k_padded;
      const std::uint64_t b_bytes = std::uint64_t{t.n_padded} * t.k_padded;
      const std::uint64_t c_bytes =
          std::uint64_t{t.m_padded} * t.n_padded * element_bytes(plan.task_output);
      ASSERT_LE(t.a_offset + a_bytes, core.a_bytes.at(t.a_part));
      ASSERT_LE(t.b_offset + b_bytes, core.b_bytes);
      ASSERT_LE(t.c_offset + c_bytes, core.c_bytes.at(t.c_part));
      if (plan.task_output == GemmOutput::i8) {
        ASSERT_LE(t.bias_offset + t.n_padded * 4u, core.bias_bytes);
        ASSERT_EQ(t.bias_offset, (t.n.begin - core.n.begin) * 4u);
      }
      const std::pair<Key, std::uint64_t> features{{t.m.begin, t.m.size, t.k.begin, t.k.size},
                                                   a_bytes};
      const std::pair<Key, std::uint64_t> weights{{t.n.begin, t.n.size, t.k.begin, t.k.size},
                                                  b_bytes};
      ASSERT_EQ(a.emplace(std::pair{t.a_part, t.a_offset}, features).first->second, features);
      ASSERT_EQ(b.emplace(std::pair{0u, t.b_offset}, weights).first->second, weights);
      ASSERT_TRUE(
          c[t.stage].emplace(std::pair{t.c_part, t.c_offset}, std::pair{Key{}, c_bytes}).second);
    }
    const auto disjoint = [](const Places& places) {
      std::map<std::uint32_t, std::uint64_t> end;
      for (const auto& [at, content] : places) {
        if (at.second < end[at.first]) return false;
        end[at.first] = at.second + content.second;
      }
      return true;
    };
    EXPECT_TRUE(disjoint(a));
    EXPECT_TRUE(disjoint(b));
    for (const auto& [stage, tiles] : c) EXPECT_TRUE(disjoint(tiles)) << stage;
  }
}

void expect_valid(const GemmPlan& plan, unsigned cores) {
  ASSERT_GE(plan.cores.size(), 1u);
  ASSERT_LE(plan.cores.size(), cores);
  ASSERT_EQ(plan.task_output, plan.slices > 1 ? GemmOutput::i32 : plan.types.out);
  std::uint64_t features = 0, weights = 0, outputs = 0;
  for (const GemmCore& core : plan.cores) {
    ASSERT_FALSE(core.tasks.empty());
    ASSERT_TRUE(
        std::is_sorted(core.tasks.begin(), core.tasks.end(), [](const auto& x, const auto& y) {
          return std::pair(x.stage, x.slice) < std::pair(y.stage, y.slice);
        }));
    ASSERT_EQ(core.tasks.back().slice, plan.slices - 1);
    ASSERT_LT(core.tasks.back().stage, plan.stages.size());
    for (const GemmTask& task : core.tasks) {
      ASSERT_NO_FATAL_FAILURE(expect_limits(plan, task));
      features += std::uint64_t{task.m_padded} * task.k_padded;
      if (!task.weight_reuse) weights += std::uint64_t{task.n_padded} * task.k_padded;
      outputs += std::uint64_t{task.m_padded} * task.n_padded * element_bytes(plan.task_output);
    }
  }
  EXPECT_EQ(plan.feature_bytes, features);
  EXPECT_EQ(plan.weight_bytes, weights);
  EXPECT_EQ(plan.output_bytes, outputs);
  ASSERT_NO_FATAL_FAILURE(expect_exact_cover(plan));
  ASSERT_NO_FATAL_FAILURE(expect_buffers(plan));
}

std::uint32_t random_size(std::mt19937& random, std::uint32_t largest) {
  // As many small sizes as large ones.
  const std::uint32_t limit = pick(random, 0, 1) == 0 ? 80 : largest;
  return pick(random, 1, limit);
}

TEST(GemmPlan, RandomShapesAreCoveredOnceWithinAllLimits) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    const GemmShape shape{random_size(random, 5000), random_size(random, 9000),
                          random_size(random, 12000)};
    const unsigned cores = pick(random, 1, 3);
    const GemmOutput output = pick(random, 0, 1) == 0 ? GemmOutput::i32 : GemmOutput::i8;
    SCOPED_TRACE(testing::Message() << "m " << shape.m << " n " << shape.n << " k " << shape.k
                                    << " " << to_string(output) << " cores " << cores);
    ASSERT_NO_FATAL_FAILURE(expect_valid(plan_gemm(shape, output, cores), cores));
  }
}

TEST(GemmPlan, EverySizeAroundAMultipleIsCovered) {
  for (const std::uint32_t k : {1u, 31u, 32u, 33u, 8160u, 8192u, 8193u, 9216u, 9217u, 131071u}) {
    for (const std::uint32_t m : {1u, 3u, 4u, 5u, 8u, 9u, 16u, 17u, 31u, 1020u, 1021u, 4097u}) {
      for (const GemmOutput output : {GemmOutput::i32, GemmOutput::i8}) {
        SCOPED_TRACE(testing::Message() << "m " << m << " k " << k << " " << to_string(output));
        ASSERT_NO_FATAL_FAILURE(expect_valid(plan_gemm({m, 70, k}, output, 1), 1));
      }
    }
  }
}

TEST(GemmPlan, SmallestShapeIsOneTask) {
  const GemmPlan plan = plan_gemm({1, 1, 1}, GemmOutput::i32);
  ASSERT_EQ(plan.cores.size(), 1u);
  ASSERT_EQ(plan.cores[0].tasks.size(), 1u);
  const GemmTask& t = plan.cores[0].tasks[0];
  EXPECT_EQ(t.m_padded, 4u);
  EXPECT_EQ(t.n_padded, 32u);
  EXPECT_EQ(t.k_padded, 32u);
}

TEST(GemmPlan, CoresShareTheWorkEvenlyAndNotTheOutput) {
  const auto work = [](const GemmCore& core) {
    std::uint64_t macs = 0;
    for (const GemmTask& task : core.tasks) macs += task.macs();
    return macs;
  };
  for (const GemmShape shape : {GemmShape{512, 512, 512}, {1, 4096, 4096}, {900, 20, 640}}) {
    const GemmPlan plan = plan_gemm(shape, GemmOutput::i32, 3);
    ASSERT_EQ(plan.cores.size(), 3u);
    const auto [low, high] =
        std::minmax({work(plan.cores[0]), work(plan.cores[1]), work(plan.cores[2])});
    EXPECT_LE(static_cast<double>(high), 1.25 * static_cast<double>(low));
  }
  // Decoding of one token: no weight is stored on two cores.
  const GemmPlan decode = plan_gemm({1, 4096, 1024}, GemmOutput::i32, 3);
  std::uint64_t weights = 0;
  for (const GemmCore& core : decode.cores) weights += core.b_bytes;
  EXPECT_EQ(weights, 4096u * 1024u);
  // One group of kernels and one of rows cannot be shared.
  EXPECT_EQ(plan_gemm({4, 32, 4096}, GemmOutput::i32, 3).cores.size(), 1u);
}

TEST(GemmPlan, SlicesAreUsedOnlyWhenTheyPay) {
  EXPECT_EQ(plan_gemm({1, 4096, 4096}, GemmOutput::i32).slices, 1u);
  EXPECT_EQ(plan_gemm({512, 512, 512}, GemmOutput::i32).slices, 1u);
  EXPECT_EQ(plan_gemm({64, 64, 20000}, GemmOutput::i8).task_output, GemmOutput::i32);
  EXPECT_GT(plan_gemm({1, 32, 20000}, GemmOutput::i32).slices, 1u);
}

TEST(GemmPlan, PlansCompareAndPrint) {
  const GemmPlan plan = plan_gemm({70, 70, 70}, GemmOutput::i8, 2);
  EXPECT_EQ(plan, plan_gemm({70, 70, 70}, GemmOutput::i8, 2));
  EXPECT_NE(plan, plan_gemm({70, 70, 70}, GemmOutput::i32, 2));
  EXPECT_THAT(to_string(plan), testing::StartsWith("gemm m=70 n=70 k=70 i8->i8: 2 core(s)"));
}

TEST(GemmPlan, EveryChoiceIsPossibleAndCanBePinned) {
  for (const GemmTypes types : {GemmTypes{DataType::i8, DataType::i32},
                                {DataType::i8, DataType::i8},
                                {DataType::i4, DataType::i32},
                                {DataType::f16, DataType::f16},
                                {DataType::tf32, DataType::f32}}) {
    const GemmShape shape{300, 700, 2000};
    GemmOptions options;
    options.on_chip_sums = true;
    const std::vector<GemmChoice> choices = gemm_choices(shape, types, 3, options);
    ASSERT_GT(choices.size(), 4u) << to_string(types);
    const GemmPlan best = plan_gemm(shape, types, 3, options);
    EXPECT_NE(std::ranges::find(choices, best.choice), choices.end());
    for (std::size_t i = 0; i < choices.size(); i += choices.size() / 16 + 1) {
      GemmOptions pinned;
      pinned.choice = choices[i];
      const GemmPlan plan = plan_gemm(shape, types, 3, pinned);
      SCOPED_TRACE(testing::Message() << to_string(types) << " " << to_string(choices[i]));
      EXPECT_EQ(plan.choice, choices[i]);
      EXPECT_GE(plan.seconds, 0.9 * best.seconds);
      if (!plan.cores[0].tasks.back().adds) {
        ASSERT_NO_FATAL_FAILURE(expect_exact_cover(plan));
      }
    }
  }
}

// The rough time only has to rank: the plan taken is close to the best of all.
TEST(GemmPlan, NoOtherChoiceIsMuchFaster) {
  for (const GemmShape shape : {GemmShape{128, 2048, 1536}, {512, 1536, 1536}, {1, 1536, 8960}}) {
    GemmOptions options;
    options.on_chip_sums = true;
    const GemmTypes types{DataType::f16, DataType::f16};
    const double taken = plan_gemm(shape, types, 3, options).seconds;
    for (const GemmChoice& choice : gemm_choices(shape, types, 3, options)) {
      GemmOptions pinned;
      pinned.choice = choice;
      ASSERT_GE(plan_gemm(shape, types, 3, pinned).seconds, 0.95 * taken) << to_string(choice);
    }
  }
}

TEST(GemmPlan, ChoicesGoToJsonAndBack) {
  const GemmChoice choice{.cores = 3,
                          .split = CoreSplit::rows,
                          .rows = 128,
                          .columns = 256,
                          .k = 512,
                          .order = TaskOrder::weights,
                          .row_passes = 2,
                          .column_passes = 3,
                          .reuse = true,
                          .sums = SliceSums::chip,
                          .chained = true};
  EXPECT_EQ(parse_gemm_choice(to_json(choice)), choice);
  const auto refused = [](std::string_view text) {
    try {
      parse_gemm_choice(text);
    } catch (const Error& error) {
      return error.code() == ErrorCode::bad_file;
    }
    return false;
  };
  EXPECT_TRUE(refused(""));
  EXPECT_TRUE(refused("[]"));
  EXPECT_TRUE(refused("{}"));
  std::string text = to_json(choice);
  EXPECT_TRUE(refused(std::string(text).replace(text.find("rows\""), 4, "cows")));
  EXPECT_TRUE(refused(std::string(text).replace(text.find("128"), 3, "-12")));
  EXPECT_TRUE(refused(std::string(text).replace(text.find("128"), 3, "\"x\"")));
  EXPECT_TRUE(refused(std::string(text).replace(text.find("chip"), 4, "ship")));
  EXPECT_TRUE(refused(std::string(text).replace(text.find("512"), 3, "99999999999")));
}

TEST(GemmPlan, ImpossibleChoicesAreRefusedWithTheReason) {
  const GemmShape shape{512, 4096, 3840};
  const GemmTypes half{DataType::f16, DataType::f16};
  const auto message = [&](auto change) -> std::string {
    GemmOptions options;
    options.choice = GemmChoice{.rows = 256,
                                .columns = 128,
                                .k = 512,
                                .row_passes = 2,
                                .column_passes = 4,
                                .sums = SliceSums::chip};
    change(*options.choice);
    try {
      plan_gemm(shape, half, 3, options);
    } catch (const Error& error) {
      return std::string(to_string(error.code())) + ": " + error.what();
    }
    return "no error";
  };
  using testing::HasSubstr;
  EXPECT_EQ(message([](GemmChoice&) {}), "no error");
  EXPECT_THAT(message([](GemmChoice& c) { c.k = 500; }), HasSubstr("multiple of 32"));
  EXPECT_THAT(message([](GemmChoice& c) { c.k = 1024; }), HasSubstr("at most"));
  EXPECT_THAT(message([](GemmChoice& c) { c.columns = 100; }), HasSubstr("multiple of 16"));
  EXPECT_THAT(message([](GemmChoice& c) { c.columns = 512; }), HasSubstr("at most 384"));
  EXPECT_THAT(message([](GemmChoice& c) { c.rows = 0; }), HasSubstr("multiple of 4"));
  EXPECT_THAT(message([](GemmChoice& c) { c.cores = 4; }), HasSubstr("4 core(s) of 3"));
  EXPECT_THAT(message([](GemmChoice& c) { c.column_passes = 0; }), HasSubstr("one pass"));
  EXPECT_THAT(message([](GemmChoice& c) { c.column_passes = 1; }), HasSubstr("a job at most"));
  EXPECT_THAT(message([](GemmChoice& c) { c.sums = SliceSums::host; }), HasSubstr("one pass"));
  EXPECT_THAT(message([](GemmChoice& c) {
                c.order = TaskOrder::weights;
                c.reuse = true;
                c.columns = 384;
              }),
              HasSubstr("do not stay in CBUF"));
}

TEST(GemmPlan, ImpossibleShapesAreRefusedWithTheReason) {
  const auto message = [](const GemmShape& shape, unsigned cores) -> std::string {
    try {
      plan_gemm(shape, GemmOutput::i32, cores);
    } catch (const Error& error) {
      return std::string(to_string(error.code())) + ": " + error.what();
    }
    return "no error";
  };
  EXPECT_THAT(message({0, 1, 1}, 1), testing::HasSubstr("invalid-argument"));
  EXPECT_THAT(message({1, 0, 1}, 1), testing::HasSubstr("at least 1"));
  EXPECT_THAT(message({1, 1, 0}, 1), testing::HasSubstr("at least 1"));
  EXPECT_THAT(message({1, 1, kMaxGemmK + 1}, 1), testing::HasSubstr("131071"));
  EXPECT_THAT(message({1, 1, 1}, 0), testing::HasSubstr("core"));
  EXPECT_THAT(message({0xFFFFFFFF, 1, 1}, 1), testing::HasSubstr("out-of-memory"));
  EXPECT_THAT(message({1, 0xFFFFFFFF, 1}, 3), testing::HasSubstr("out-of-memory"));
  EXPECT_THAT(message({100000, 100000, 100000}, 3), testing::HasSubstr("out-of-memory"));
}

}  // namespace
}  // namespace npu::kernels
