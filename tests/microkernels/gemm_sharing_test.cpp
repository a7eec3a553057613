// SPDX-License-Identifier: MIT
// Products of several heights that share weights and take turns with the other buffers.
#include <gmock/gmock.h>

#include "gemm_cases.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

struct Family {
  Family(const Cores& cores, std::uint32_t n, std::uint32_t k, unsigned seed,
         std::vector<std::uint32_t> heights, BufferPool* pool) {
    std::mt19937 random(seed);
    b = random_i8(std::size_t{n} * k, random);
    for (const std::uint32_t m : heights) {
      GemmOptions options;
      GemmSharing sharing{.pool = pool};
      if (!members.empty()) {
        options = like_weights_of(members[0]->plan());
        sharing.weights = members[0].get();
      }
      members.push_back(
          std::make_unique<Gemm>(cores.first(cores.devices.size()), GemmShape{m, n, k},
                                 GemmTypes{DataType::i8, DataType::i32}, options, sharing));
      if (members.size() == 1) members[0]->set_weights(b);
    }
  }

  testing::AssertionResult right(std::size_t member, std::mt19937& random) {
    const GemmShape& shape = members[member]->plan().shape;
    const auto a = random_i8(std::size_t{shape.m} * shape.k, random);
    std::vector<std::int32_t> c(std::size_t{shape.m} * shape.n), want(c.size());
    members[member]->run(a, c);
    ref_gemm_i8i32(shape, a, b, want);
    return same(c, want, shape.n);
  }

  std::vector<std::int8_t> b;
  std::vector<std::unique_ptr<Gemm>> members;
};

TEST(GemmSharing, HeightsShareWeightsAndFamiliesTakeTurnsWithTheRest) {
  for (const std::size_t count : {1u, 3u}) {
    const Cores cores(count);
    BufferPool pool;
    std::mt19937 random(9);
    // Of one size, of another one, and with K in slices.
    std::vector<Family> families;
    families.emplace_back(cores, 200, 320, 1, std::vector<std::uint32_t>{130, 4, 17, 64}, &pool);
    families.emplace_back(cores, 200, 320, 2, std::vector<std::uint32_t>{130, 4, 17, 64}, &pool);
    families.emplace_back(cores, 70, 9500, 3, std::vector<std::uint32_t>{40, 1, 12}, &pool);
    EXPECT_GT(families[2].members[0]->plan().slices, 1u);
    for (int round = 0; round < 2; ++round) {
      for (std::size_t member = 0; member < 4; ++member) {
        for (std::size_t f = 0; f < families.size(); ++f) {
          if (member >= families[f].members.size()) continue;
          ASSERT_TRUE(families[f].right(member, random))
              << "family " << f << ", member " << member << ", " << count << " cores";
        }
      }
    }
  }
}

TEST(GemmSharing, TheWeightsAreThereOnceAndFamiliesOfOneSizeNeedNoMore) {
  const Cores cores(1);
  auto allocated = [&](std::size_t families) {
    BufferPool pool;
    std::vector<Family> all;
    std::uint64_t weights = 0;
    for (std::size_t i = 0; i < families; ++i) {
      all.emplace_back(cores, 256, 1024, static_cast<unsigned>(i),
                       std::vector<std::uint32_t>{64, 16}, &pool);
      weights += all.back().members[0]->weight_bytes();
    }
    // What the next buffer's address says of all that is allocated before it.
    return std::pair{cores.devices[0]->create_buffer(4096).iova(), weights};
  };
  const auto one = allocated(1), five = allocated(5);
  EXPECT_GE(one.second, 256u * 1024);
  EXPECT_EQ(five.second, 5 * one.second);
  // Four more copies of the weights, and programs; not four more of everything.
  EXPECT_LT(five.first - one.first, 4 * one.second + 4 * one.second / 4);
}

TEST(GemmSharing, RefusesWhatDoesNotFit) {
  const Cores cores(1);
  const GemmTypes types{DataType::i8, DataType::i32};
  Gemm base(cores.first(cores.devices.size()), {16, 64, 9500}, types);
  const GemmOptions like = like_weights_of(base.plan());
  const GemmSharing sharing{.weights = &base};
  auto refusal = [&](const GemmShape& shape, const GemmOptions& options) -> std::string {
    try {
      Gemm other(cores.first(cores.devices.size()), shape, types, options, sharing);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      return error.what();
    }
    return "none";
  };
  EXPECT_THAT(refusal({4, 64, 9500}, like), testing::HasSubstr("has none yet"));
  std::mt19937 random(1);
  base.set_weights(random_i8(64 * 9500, random));
  EXPECT_EQ(refusal({4, 64, 9500}, like), "none");
  EXPECT_THAT(refusal({4, 96, 9500}, like), testing::HasSubstr("different ways"));
  GemmOptions other_k;
  other_k.most_k = like.k.value() / 2;
  EXPECT_THAT(refusal({4, 64, 9500}, other_k), testing::HasSubstr("different ways"));
  EXPECT_THAT(refusal({4, 64, 320}, like), testing::HasSubstr("no way to cut"));
}

// Block by block is what run() gives as a whole, and every element comes once.
TEST(GemmConsumer, IsToldOfEveryElementOnceWithItsSum) {
  struct Case {
    GemmShape shape;
    bool slices;
  };
  std::mt19937 random(4);
  for (const auto& [shape, slices] : {Case{{1, 32, 32}, false}, Case{{37, 333, 96}, false},
                                      Case{{260, 700, 512}, false}, Case{{12, 70, 9500}, true}}) {
    const auto a = random_i8(std::size_t{shape.m} * shape.k, random);
    const auto b = random_i8(std::size_t{shape.n} * shape.k, random);
    std::vector<std::int32_t> want(std::size_t{shape.m} * shape.n);
    ref_gemm_i8i32(shape, a, b, want);
    for (const std::size_t count : {1u, 3u}) {
      const Cores cores(count);
      // Costly conversion makes the planner cut into passes that overlap with it.
      for (const double convert_ns : {0.0, 50.0}) {
        Gemm gemm(cores.first(count), shape, GemmTypes{DataType::i8, DataType::i32},
                  {.convert_ns = convert_ns});
        EXPECT_EQ(gemm.plan().slices > 1, slices);
        gemm.set_weights(b);
        std::vector<std::int32_t> c(want.size());
        std::vector<std::uint8_t> told(want.size());
        GemmStats stats;
        gemm.run(
            a,
            [&](const Range& rows, const Range& columns, const std::byte* block,
                std::size_t stride) {
              for (std::uint32_t i = 0; i < rows.size; ++i) {
                for (std::uint32_t j = 0; j < columns.size; ++j) {
                  const std::size_t at = std::size_t{rows.begin + i} * shape.n + columns.begin + j;
                  c[at] = reinterpret_cast<const std::int32_t*>(block)[i * stride + j];
                  ++told[at];
                }
              }
            },
            &stats);
        EXPECT_TRUE(same(c, want, shape.n)) << count << " cores, " << convert_ns << " ns";
        EXPECT_THAT(told, testing::Each(1));
        EXPECT_EQ(stats.macs, std::uint64_t{shape.m} * shape.n * shape.k);
      }
    }
  }
}

TEST(GemmConsumer, IsRefusedWhereTheHostCompletesTheResult) {
  const Cores cores(1);
  Gemm gemm(cores.first(1), GemmShape{4, 32, 32}, GemmTypes{DataType::i8, DataType::i8});
  gemm.set_weights(std::vector<std::int8_t>(32 * 32));
  gemm.set_requant({});
  const std::vector<std::int8_t> a(4 * 32);
  EXPECT_THROW(gemm.run(a, [](const Range&, const Range&, const std::byte*, std::size_t) {}),
               Error);
}

}  // namespace
}  // namespace npu::kernels
