// SPDX-License-Identifier: MIT
// Counters for Prometheus.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "llm-runtime/offload/npu_projector.hpp"

namespace npu::llm::serve {

/// Seconds, in the buckets that Prometheus's clients take by default, and longer ones.
struct Histogram {
  static constexpr std::array kBounds{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                      1.0,   2.5,  5.0,   10.0, 30., 60.0};
  std::array<std::uint64_t, kBounds.size() + 1> counts{};  ///< the last one: beyond all bounds
  double sum = 0;
  void add(double seconds);
};

/// What the scheduler says of itself at one moment.
struct SchedulerState {
  std::uint32_t sessions = 0;  ///< that may run at once
  std::uint32_t active = 0, queued = 0;
  std::uint64_t steps = 0;  ///< evaluations of a batch
  std::uint64_t rows = 0;   ///< tokens in them
  std::uint64_t prompt_tokens = 0, cached_tokens = 0, tokens = 0;
  std::uint64_t device_failures = 0;
  bool device_ok = true;  ///< the last step did not fail
  bool on_npu = false;
  OffloadStats npu;
  std::string npu_provenance;  ///< of OffloadStats::device: "measured" or "modelled"
};

class Metrics {
 public:
  void count_request(const std::string& route, int status);
  void add_request_seconds(double seconds);
  void add_first_token_seconds(double seconds);
  /// Of the requests so far, the later ones count more; 0 before the first.
  double typical_seconds() const;

  /// The text format of Prometheus, version 0.0.4.
  std::string render(const SchedulerState& scheduler, const std::string& model) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, std::uint64_t> requests_;
  Histogram request_, first_token_;
  double typical_ = 0;
};

}  // namespace npu::llm::serve
