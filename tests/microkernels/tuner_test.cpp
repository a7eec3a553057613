// SPDX-License-Identifier: MIT
// The search for faster plans, and the file that keeps them.
#include <gmock/gmock.h>

#include <random>

#include "microkernels/gemm_plan.hpp"
#include "microkernels/tuner.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using ::testing::HasSubstr;

constexpr GemmTypes kI8{DataType::i8, DataType::i32};
constexpr GemmTypes kF16{DataType::f16, DataType::f16};

const GemmShape kShapes[] = {{1, 1536, 1536}, {128, 1536, 8960}, {37, 300, 2000}, {512, 256, 96}};

TEST(Tuner, IsNeverSlowerThanTheUsualPlanAndOftenTheSame) {
  for (const GemmShape& shape : kShapes)
    for (const GemmTypes& types : {kI8, kF16})
      for (const unsigned cores : {1u, 3u}) {
        const GemmOptions options{.on_chip_sums = types == kF16};
        const TuneResult r = tune_gemm(shape, types, cores, options, {.beam = 0},
                                       modelled_timer(shape, types, cores, options));
        EXPECT_LE(r.gemm.seconds, r.gemm.usual_seconds);
        EXPECT_EQ(r.timed, r.choices);
        EXPECT_EQ(r.gemm.usual_seconds, plan_gemm(shape, types, cores, options).seconds);
        // What was found can be planned, and takes what was said.
        GemmOptions pinned = options;
        pinned.choice = r.gemm.choice;
        pinned.chained = r.gemm.choice.chained;
        EXPECT_EQ(plan_gemm(shape, types, cores, pinned).seconds, r.gemm.seconds);
        EXPECT_EQ(plan_gemm(shape, types, cores, pinned).choice, r.gemm.choice);
      }
}

// A machine on which one choice is faster than all others.
GemmTimer best_is(const GemmChoice& wanted, std::size_t* calls = nullptr) {
  return [=](const GemmChoice& choice) {
    if (calls != nullptr) ++*calls;
    return choice == wanted ? 1.0 : 2.0;
  };
}

TEST(Tuner, FindsTheFastestChoiceWhateverTheModelSays) {
  const GemmShape shape{128, 1536, 1536};
  const std::vector<GemmChoice> all = gemm_choices(shape, kI8, 2);
  for (std::size_t i = 0; i < all.size(); i += 1 + all.size() / 7) {
    const TuneResult r = tune_gemm(shape, kI8, 2, {}, {.beam = 0}, best_is(all[i]));
    EXPECT_EQ(r.gemm.choice, all[i]);
    EXPECT_EQ(r.gemm.seconds, 1.0);
  }
}

TEST(Tuner, ABeamTimesFewAndClimbsToWhatIsFaster) {
  const GemmShape shape{512, 4096, 4096};
  // The fewer rows the faster, against the model's belief.
  const auto timer = [](const GemmChoice& c) { return 1.0 + c.rows; };
  const TuneResult all = tune_gemm(shape, kI8, 3, {}, {.beam = 0}, timer);
  const TuneResult beam = tune_gemm(shape, kI8, 3, {}, {.beam = 2}, timer);
  EXPECT_LT(beam.timed, all.timed);
  EXPECT_LE(all.gemm.seconds, beam.gemm.seconds);
  EXPECT_LT(beam.gemm.seconds, beam.gemm.usual_seconds);
  std::size_t calls = 0;
  const TuneResult few = tune_gemm(shape, kI8, 3, {}, {.beam = 2, .most = 5},
                                   [&](const GemmChoice& c) { return ++calls, timer(c); });
  EXPECT_EQ(calls, 5u);
  EXPECT_EQ(few.timed, 5u);
}

TEST(Tuner, EqualTimesKeepTheUsualPlan) {
  const GemmShape shape{64, 512, 512};
  const TuneResult r =
      tune_gemm(shape, kI8, 3, {}, {.beam = 0}, [](const GemmChoice&) { return 1.0; });
  EXPECT_EQ(r.gemm.choice, plan_gemm(shape, kI8, 3).choice);
}

TEST(Tuner, ChoicesThatFailAreLeftOut) {
  const GemmShape shape{64, 512, 512};
  const GemmChoice usual = plan_gemm(shape, kI8, 3).choice;
  const TuneResult r = tune_gemm(shape, kI8, 3, {}, {.beam = 0}, [&](const GemmChoice& c) {
    if (c.split != usual.split || c == usual) throw Error(ErrorCode::device_fault, "no");
    return 1.0;
  });
  EXPECT_GT(r.failed, 1u);
  EXPECT_NE(r.gemm.choice, usual);
  EXPECT_EQ(r.gemm.choice.split, usual.split);
  EXPECT_THROW(
      tune_gemm(shape, kI8, 3, {}, {},
                [](const GemmChoice&) -> double { throw Error(ErrorCode::timeout, "never ends"); }),
      Error);
  EXPECT_THROW(tune_gemm(shape, kI8, 3, {}, {},
                         [](const GemmChoice&) -> double {
                           throw Error(ErrorCode::permission_denied, "closed");
                         }),
               Error);
}

TEST(Tuner, ChainsAndSumsOnTheChipOnlyWhereAllowed) {
  const GemmShape shape{64, 512, 8192};
  const auto count = [&](const GemmOptions& options) {
    std::size_t chained = 0, chip = 0;
    tune_gemm(shape, kF16, 3, options, {.beam = 0}, [&](const GemmChoice& c) {
      chained += c.chained;
      chip += c.sums == SliceSums::chip;
      return 1.0;
    });
    return std::pair(chained != 0, chip != 0);
  };
  EXPECT_EQ(count({}), std::pair(false, false));
  EXPECT_EQ(count({.chained = true}), std::pair(true, false));
  EXPECT_EQ(count({.on_chip_sums = true}), std::pair(false, true));
}

// Nobody adds int16 sums: what is to come out as int16 is one slice of K.
TEST(Tuner, Int16SumsAreNeverSliced) {
  const GemmTypes types{DataType::i4, DataType::i16};
  const GemmShape shape{9, 70, 200};
  for (const GemmChoice& choice : gemm_choices(shape, types, 2)) EXPECT_GE(choice.k, shape.k);
  GemmChoice sliced = plan_gemm(shape, types, 2).choice;
  sliced.k = 64;
  EXPECT_THROW(plan_gemm(shape, types, 2, {.choice = sliced}), Error);
}

TunedPlans some_plans() {
  TunedPlans plans;
  plans.machine = {"sim", "rocket", "0.0.0", 3, 600, "rk3588-default", "modelled"};
  for (const GemmShape& shape : kShapes)
    store(plans, {shape, kI8, 3, false, plan_gemm(shape, kI8, 3).choice, 0.001, 0.0015});
  return plans;
}

TEST(TunedPlans, SurviveTheFile) {
  const TunedPlans plans = some_plans();
  EXPECT_EQ(parse_tuned_plans(to_json(plans), "x"), plans);
}

TEST(TunedPlans, AreUsedForTheirProductOnly) {
  const TunedPlans plans = some_plans();
  EXPECT_EQ(tuned(plans, kShapes[1], kI8, 3).choice, plans.gemms[1].choice);
  EXPECT_FALSE(tuned(plans, kShapes[1], kI8, 2).choice);
  EXPECT_FALSE(tuned(plans, kShapes[1], kF16, 3).choice);
  EXPECT_FALSE(tuned(plans, {5, 5, 5}, kI8, 3).choice);
}

TEST(TunedPlans, ALaterEntryForAProductTakesThePlaceOfTheEarlier) {
  TunedPlans plans = some_plans();
  TunedGemm better = plans.gemms[2];
  better.seconds = 1e-6;
  store(plans, better);
  EXPECT_EQ(plans.gemms.size(), std::size(kShapes));
  EXPECT_EQ(plans.gemms[2], better);
}

TEST(TunedPlans, AnotherMachineIsNamed) {
  const TunedPlans plans = some_plans();
  EXPECT_EQ(other_machine(plans, plans.machine), "");
  TunedMachine other = plans.machine;
  other.npu_mhz = 200;
  EXPECT_THAT(other_machine(plans, other), HasSubstr("200 MHz"));
}

TEST(TunedPlans, BadFilesAreRefusedWithThePlace) {
  const std::string good = to_json(some_plans());
  const auto message = [](const std::string& text) -> std::string {
    try {
      parse_tuned_plans(text, "file.json");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_file);
      return error.what();
    }
    return "";
  };
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  EXPECT_THAT(message("{"), HasSubstr("file.json"));
  EXPECT_THAT(message("[]"), HasSubstr("no object"));
  EXPECT_THAT(message(with("rosenblatt-tuned-plans", "other")), HasSubstr("is no"));
  EXPECT_THAT(message(with("\"version\": 1", "\"version\": 2")), HasSubstr("version"));
  EXPECT_THAT(message(with("\"m\": 1,", "\"m\": -1,")), HasSubstr("gemm[0]"));
  EXPECT_THAT(message(with("i8->i32", "i8->i33")), HasSubstr("i8->i33"));
  EXPECT_THAT(message(with("\"rows\"", "\"row\"")), HasSubstr("gemm[0]"));
  EXPECT_THAT(message(with("\"seconds\": 0.001", "\"seconds\": \"fast\"")), HasSubstr("seconds"));
  EXPECT_THAT(message(with("\"m\": 1,", "\"m\": 1, \"x\": 2,")), HasSubstr("does not know"));
  // A plan that the chip cannot run is found when the file is read, not when it is used.
  EXPECT_THAT(message(with("\"k\": 1536,\n        \"order\"", "\"k\": 15360,\n        \"order\"")),
              HasSubstr("gemm[0]"));
}

}  // namespace
}  // namespace npu::kernels
