// SPDX-License-Identifier: MIT
#include "llm-runtime/serve/metrics.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string_view>

namespace npu::llm::serve {
namespace {

struct Page {
  std::string text;

  void head(std::string_view name, std::string_view type, std::string_view help) {
    fmt::format_to(std::back_inserter(text), "# HELP npu_serve_{} {}\n# TYPE npu_serve_{} {}\n",
                   name, help, name, type);
  }
  template <typename T>
  void value(std::string_view name, const std::string& labels, T value) {
    fmt::format_to(std::back_inserter(text), "npu_serve_{}{}{}{} {}\n", name,
                   labels.empty() ? "" : "{", labels, labels.empty() ? "" : "}", value);
  }
  template <typename T>
  void one(std::string_view name, std::string_view type, std::string_view help, T v) {
    head(name, type, help);
    value(name, "", v);
  }
  void histogram(const std::string& name, std::string_view help, const Histogram& h) {
    head(name, "histogram", help);
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < h.counts.size(); ++i) {
      total += h.counts[i];
      const std::string bound =
          i < Histogram::kBounds.size() ? fmt::format("{}", Histogram::kBounds[i]) : "+Inf";
      value(name + "_bucket", fmt::format("le=\"{}\"", bound), total);
    }
    value(name + "_sum", "", h.sum);
    value(name + "_count", "", total);
  }
};

std::string escaped(const std::string& label) {
  std::string text;
  for (const char c : label) {
    if (c == '\\' || c == '"') text += '\\';
    if (c == '\n') {
      text += "\\n";
    } else {
      text += c;
    }
  }
  return text;
}

std::uint64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::uint64_t all = 0, resident = 0;
  in >> all >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

void Histogram::add(double seconds) {
  const auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
  ++counts[static_cast<std::size_t>(bound - kBounds.begin())];
  sum += seconds;
}

void Metrics::count_request(const std::string& route, int status) {
  const std::lock_guard lock(mutex_);
  ++requests_[{route, status}];
}

void Metrics::add_request_seconds(double seconds) {
  const std::lock_guard lock(mutex_);
  constexpr double kWeight = 0.1;
  typical_ = typical_ == 0 ? seconds : typical_ + kWeight * (seconds - typical_);
  request_.add(seconds);
}

void Metrics::add_first_token_seconds(double seconds) {
  const std::lock_guard lock(mutex_);
  first_token_.add(seconds);
}

double Metrics::typical_seconds() const {
  const std::lock_guard lock(mutex_);
  return typical_;
}

std::string Metrics::render(const SchedulerState& s, const std::string& model) const {
  Page page;
  page.head("info", "gauge", "Always 1; the label names the model.");
  page.value("info", fmt::format("model=\"{}\"", escaped(model)), 1);
  {
    const std::lock_guard lock(mutex_);
    page.head("requests_total", "counter", "Requests by route and status.");
    for (const auto& [key, count] : requests_) {
      page.value("requests_total",
                 fmt::format("route=\"{}\",status=\"{}\"", escaped(key.first), key.second), count);
    }
    page.histogram("time_to_first_token_seconds",
                   "From the request to its first token, waiting included.", first_token_);
    page.histogram("request_seconds", "From the request to the end of its answer.", request_);
  }
  page.one("prompt_tokens_total", "counter", "Tokens of prompts.", s.prompt_tokens);
  page.one("prompt_tokens_cached_total", "counter",
           "Tokens of prompts that a session held already.", s.cached_tokens);
  page.one("generated_tokens_total", "counter", "Tokens made.", s.tokens);
  page.one("steps_total", "counter", "Batches evaluated.", s.steps);
  page.one("rows_total", "counter", "Tokens in all batches.", s.rows);
  page.one("sessions", "gauge", "Answers that may be made at once.", s.sessions);
  page.one("sessions_active", "gauge", "Answers being made.", s.active);
  page.one("queue_length", "gauge", "Requests that wait for a session.", s.queued);
  page.one("device_up", "gauge", "1 if the last batch was computed, 0 if the device failed.",
           s.device_ok ? 1 : 0);
  page.one("device_failures_total", "counter", "Batches that could not be computed.",
           s.device_failures);
  if (s.on_npu) {
    page.one("npu_submits_total", "counter", "Submits to the NPU.", s.npu.submits);
    page.one("npu_jobs_total", "counter", "Jobs on the NPU.", s.npu.jobs);
    page.one("npu_tasks_total", "counter", "Tasks on the NPU.", s.npu.tasks);
    page.one("npu_macs_total", "counter", "Multiplications on the NPU.", s.npu.macs);
    page.head("npu_seconds_total", "counter", "Time on the NPU; the label says whose clock.");
    page.value("npu_seconds_total", fmt::format("source=\"{}\"", escaped(s.npu_provenance)),
               std::chrono::duration<double>(s.npu.device).count());
  }
  page.one("resident_memory_bytes", "gauge", "Memory of this process.", resident_bytes());
  return page.text;
}

}  // namespace npu::llm::serve
