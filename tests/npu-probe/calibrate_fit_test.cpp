// SPDX-License-Identifier: MIT
// The fit recovers constants that were set on purpose, from times that the model itself gives.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>

#include "npu-probe/calibrate_fit.hpp"
#include "npu-probe/lint.hpp"
#include "regdb/error.hpp"

namespace npu::probe::calibrate {
namespace {

using sim::Calibration;

struct Bench {
  std::vector<Microbenchmark> suite;
  explicit Bench(const SuiteOptions& options = {}) : suite(make_suite(options)) {}

  std::vector<Sample> run(const Calibration& truth, double npu_hz = 600e6,
                          sim::InterruptCore interrupt = sim::InterruptCore::little) const {
    std::vector<Sample> samples;
    for (const Microbenchmark& b : suite)
      samples.push_back({&b, modelled_seconds(b, truth, npu_hz, interrupt), 0, 1});
    return samples;
  }
};

TEST(CalibrateFit, TheDefaultComesBack) {
  const sim::CalibrationFile& file = sim::default_calibration();
  const Bench bench;
  const Fit got = fit(bench.run(file.values), file, {});
  for (const FittedConstant& c : got.constants) EXPECT_NEAR(c.value / c.initial, 1, 1e-6) << c.name;
  EXPECT_LT(got.worst_error, 1e-9);
}

// One constant at a time, up and down.
struct Change {
  const char* name;
  double Calibration::*member;
  double value;
};
constexpr Change kChanges[] = {
    {"job_little_us", &Calibration::job_little_us, 80},
    {"task_interrupt_little_us", &Calibration::task_interrupt_little_us, 21},
    {"task_interrupt_little_us", &Calibration::task_interrupt_little_us, 4},
    {"task_start_cycles", &Calibration::task_start_cycles, 320},
    {"task_start_cycles", &Calibration::task_start_cycles, 4000},
    {"read_bytes_per_cycle", &Calibration::read_bytes_per_cycle, 9},
    {"read_bytes_per_cycle", &Calibration::read_bytes_per_cycle, 24},
    {"write_bytes_per_cycle", &Calibration::write_bytes_per_cycle, 7},
    {"dpu_bytes_per_cycle", &Calibration::dpu_bytes_per_cycle, 6},
    {"dpu_bytes_per_cycle", &Calibration::dpu_bytes_per_cycle, 22},
    {"feature_overlap", &Calibration::feature_overlap, 0.15},
    {"feature_overlap", &Calibration::feature_overlap, 0.9},
    {"mac_int4", &Calibration::mac_int4, 700},
    {"mac_int4", &Calibration::mac_int4, 3000},
    {"mac_int8", &Calibration::mac_int8, 512},
    {"mac_int8", &Calibration::mac_int8, 2048},
    {"mac_int16", &Calibration::mac_int16, 256},
    {"mac_fp16", &Calibration::mac_fp16, 900},
    {"mac_bf16", &Calibration::mac_bf16, 128},
    {"mac_tf32", &Calibration::mac_tf32, 400},
    {"depthwise_int8", &Calibration::depthwise_int8, 32},
    {"depthwise_int8", &Calibration::depthwise_int8, 128},
    {"depthwise_fp16", &Calibration::depthwise_fp16, 16},
    {"depthwise_fp16", &Calibration::depthwise_fp16, 50},
    {"table_elements_per_cycle", &Calibration::table_elements_per_cycle, 1},
    {"table_elements_per_cycle", &Calibration::table_elements_per_cycle, 5},
    {"ppu_elements_per_cycle", &Calibration::ppu_elements_per_cycle, 7},
    {"ppu_elements_per_cycle", &Calibration::ppu_elements_per_cycle, 30},
    {"dram_bytes_per_second", &Calibration::dram_bytes_per_second, 19e9},
    {"dram_bytes_per_second", &Calibration::dram_bytes_per_second, 40e9},
};

TEST(CalibrateFit, EachConstantAloneIsRecovered) {
  const sim::CalibrationFile& file = sim::default_calibration();
  const Bench bench;
  for (const Change& change : kChanges) {
    Calibration truth = file.values;
    truth.*change.member = change.value;
    const Fit got = fit(bench.run(truth), file, {});
    for (const FittedConstant& c : got.constants) {
      const double want = c.name == change.name ? change.value : c.initial;
      if (c.certainty == Certainty::fitted || c.name == change.name) {
        EXPECT_NEAR(c.value / want, 1, 0.05)
            << c.name << " with " << change.name << " = " << change.value << ": "
            << to_string(c.certainty) << " " << c.why;
      }
      if (c.name == change.name) {
        EXPECT_EQ(c.certainty, Certainty::fitted) << c.name << " = " << change.value;
      }
    }
  }
}

// Every constant of one chip up to twice or half its default.
Calibration random_chip(std::mt19937& rng) {
  std::uniform_real_distribution<double> part(-1, 1);
  Calibration c = sim::default_calibration().values;
  for (double Calibration::*member :
       {&Calibration::job_little_us, &Calibration::task_interrupt_little_us,
        &Calibration::task_start_cycles, &Calibration::read_bytes_per_cycle,
        &Calibration::write_bytes_per_cycle, &Calibration::dpu_bytes_per_cycle,
        &Calibration::mac_int4, &Calibration::mac_int8, &Calibration::mac_int16,
        &Calibration::mac_fp16, &Calibration::mac_bf16, &Calibration::mac_tf32,
        &Calibration::table_elements_per_cycle, &Calibration::ppu_elements_per_cycle,
        &Calibration::dram_bytes_per_second})
    c.*member *= std::exp2(part(rng));
  c.feature_overlap = 0.5 + 0.4 * part(rng);
  c.depthwise_int8 = std::array{32.0, 64.0, 128.0}[rng() % 3];
  c.depthwise_fp16 = std::array{16.0, 32.0, 64.0}[rng() % 3];
  return c;
}

double truth_of(const Calibration& c, const std::string& name) {
  sim::CalibrationFile file = sim::default_calibration();
  file.values = c;
  const sim::CalibrationFile parsed = sim::parse_calibration(sim::to_json(file), "test");
  for (const sim::ConstantNote& note : parsed.notes)
    if (note.name == name) return note.value;
  return -1;
}

TEST(CalibrateFit, WholeChipsAreRecovered) {
  std::mt19937 rng(7);
  const Bench bench;
  const sim::CalibrationFile& file = sim::default_calibration();
  std::size_t fitted = 0, all = 0;
  for (int i = 0; i < 12; ++i) {
    const Calibration truth = random_chip(rng);
    const double hz = std::array{200e6, 600e6, 1000e6}[static_cast<std::size_t>(i) % 3];
    const Fit got = fit(bench.run(truth, hz), file, {.npu_hz = hz});
    for (const FittedConstant& c : got.constants) {
      const double want = truth_of(truth, c.name);
      ++all;
      if (c.certainty == Certainty::fitted) {
        ++fitted;
        EXPECT_NEAR(c.value / want, 1, 0.05)
            << "chip " << i << " " << c.name << " is " << want << " +- " << c.uncertainty;
      } else if (c.certainty == Certainty::at_least) {
        EXPECT_GT(want / c.value, 0.95) << "chip " << i << " " << c.name;
      }
    }
    EXPECT_LT(got.worst_error, 0.01) << "chip " << i;
  }
  // Most constants show on most chips.
  EXPECT_GT(fitted * 10, all * 7);
}

// Times as a busy board gives them: 1 % of noise, and now and then a job that took twice as long.
TEST(CalibrateFit, NoiseAndOutliersAreBorne) {
  std::mt19937 rng(11);
  std::normal_distribution<double> noise(0, 0.01);
  const Bench bench;
  const sim::CalibrationFile& file = sim::default_calibration();
  Calibration truth = file.values;
  truth.mac_int8 = 700;
  truth.read_bytes_per_cycle = 11;
  truth.task_interrupt_little_us = 30;
  std::vector<Sample> samples = bench.run(truth);
  for (std::size_t i = 0; i < samples.size(); ++i) {
    samples[i].seconds *= i % 17 == 5 ? 2 : std::exp(noise(rng) / 3);
    samples[i].spread = 0.01;
    samples[i].repetitions = 9;
  }
  const Fit got = fit(samples, file, {});
  std::size_t fitted = 0;
  for (const FittedConstant& c : got.constants) {
    if (c.certainty != Certainty::fitted) continue;
    ++fitted;
    EXPECT_NEAR(c.value / truth_of(truth, c.name), 1, std::max(0.05, 4 * c.uncertainty))
        << c.name << " +- " << c.uncertainty;
  }
  EXPECT_GT(fitted, 10u);
  EXPECT_GT(got.worst_error, 0.5);
  EXPECT_LT(got.median_error, 0.01);
}

TEST(CalibrateFit, WhatTheDeviceCannotTellKeepsItsDefault) {
  const sim::CalibrationFile& file = sim::default_calibration();
  const Bench bench({.chains = false, .cores = 1});
  Calibration truth = file.values;
  truth.iommu_us = 10;
  const Fit got = fit(bench.run(truth, 200e6), file, {.npu_hz = 200e6});
  for (const FittedConstant& c : got.constants) {
    if (c.name == "task_start_cycles" || c.name == "ppu_elements_per_cycle" ||
        c.name == "dram_bytes_per_second" || c.name == "iommu_us") {
      EXPECT_EQ(c.certainty, Certainty::kept) << c.name;
      EXPECT_EQ(c.value, c.initial) << c.name;
      EXPECT_NE(c.why, "") << c.name;
    }
    // The sum with iommu_us is right.
    if (c.name == "job_little_us") {
      EXPECT_NEAR(c.value + file.values.iommu_us, truth.job_little_us + truth.iommu_us, 0.1);
    }
  }
}

TEST(CalibrateFit, TheOtherInterruptCores) {
  const sim::CalibrationFile& file = sim::default_calibration();
  const Bench bench;
  Calibration truth = file.values;
  truth.job_big_same_us = 33;
  truth.task_interrupt_big_us = 15;
  constexpr auto kCore = sim::InterruptCore::big_same;
  const Fit got = fit(bench.run(truth, 600e6, kCore), file, {.interrupt = kCore});
  EXPECT_NEAR(got.values.job_big_same_us, 33, 0.3);
  EXPECT_NEAR(got.values.task_interrupt_big_us, 15, 0.2);
  EXPECT_EQ(got.values.job_little_us, file.values.job_little_us);
}

TEST(CalibrateFit, TheFileIsOneThatTheModelReads) {
  const sim::CalibrationFile& file = sim::default_calibration();
  const Bench bench;
  Calibration truth = file.values;
  truth.mac_fp16 = 300;
  const Fit got = fit(bench.run(truth), file, {});
  const sim::CalibrationFile made = calibration_file(got, file, "a board", "jobs on a board");
  const sim::CalibrationFile read = sim::parse_calibration(sim::to_json(made), "made");
  EXPECT_NEAR(read.values.mac_fp16, 300, 1);
  EXPECT_EQ(read.values.host_pack_ns, file.values.host_pack_ns);
  for (const sim::ConstantNote& note : read.notes) {
    if (note.name == "mac_fp16") {
      EXPECT_EQ(note.origin, "fitted");
      EXPECT_EQ(note.source, "jobs on a board");
    }
    if (note.name == "iommu_us") {
      EXPECT_EQ(note.origin, "document");
    }
  }
}

TEST(CalibrateFit, ProgramsAreLintClean) {
  for (const Microbenchmark& b : make_suite({})) {
    std::vector<std::uint64_t> words;
    for (const auto& task : b.program.tasks) words.insert(words.end(), task.begin(), task.end());
    for (const regdb::Finding& f : lint_words(words, b.chained))
      // The copy behind the pools raises the DPU's bit for the whole chain.
      if (f.rule->severity != regdb::Severity::note && f.rule->id != "pool-timeout") {
        ADD_FAILURE() << b.name << ", task " << f.task << ": " << f.message << " [" << f.rule->id
                      << "]";
      }
  }
}

TEST(CalibrateFit, BadSamplesAreRefused) {
  const sim::CalibrationFile& file = sim::default_calibration();
  EXPECT_THROW((void)fit({}, file, {}), Error);
  const Bench bench;
  for (const double seconds : {0.0, -1.0, double(INFINITY), double(NAN)}) {
    std::vector<Sample> samples = bench.run(file.values);
    samples[3].seconds = seconds;
    EXPECT_THROW((void)fit(samples, file, {}), Error);
  }
}

}  // namespace
}  // namespace npu::probe::calibrate
