// SPDX-License-Identifier: MIT
// The model is full of maxima, so a gradient from a far start leads nowhere. First each constant
// alone is looked for in the families of jobs that it rules, over a hundredfold range, in an order
// in which each needs only those before it; a few rounds of that settle what depends on each
// other. Then all constants together are polished on all samples (Gauss-Newton, Huber's weights).
#include "npu-probe/calibrate_fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "regdb/error.hpp"

namespace npu::probe::calibrate {
namespace {

using sim::Calibration;

struct Constant {
  std::string_view name;
  double Calibration::*member;
  std::vector<Family> families;  // that it rules
  bool share = false;            // 0 to 1, else positive
  bool steps = false;            // the model rounds with it: no gradient
};

double Calibration::*job_member(sim::InterruptCore core) {
  switch (core) {
    case sim::InterruptCore::little: return &Calibration::job_little_us;
    case sim::InterruptCore::big_floating: return &Calibration::job_big_floating_us;
    case sim::InterruptCore::big_other: return &Calibration::job_big_other_us;
    case sim::InterruptCore::big_same: return &Calibration::job_big_same_us;
  }
  return &Calibration::job_little_us;
}

// In the order in which they can be found one after the other.
std::vector<Constant> constants_of(sim::InterruptCore interrupt) {
  const bool little = interrupt == sim::InterruptCore::little;
  const std::string_view jobs[] = {"job_little_us", "job_big_floating_us", "job_big_other_us",
                                   "job_big_same_us"};
  using C = Calibration;
  using enum Family;
  return {
      {jobs[static_cast<std::size_t>(interrupt)], job_member(interrupt), {job}},
      {little ? "task_interrupt_little_us" : "task_interrupt_big_us",
       little ? &C::task_interrupt_little_us : &C::task_interrupt_big_us,
       {tasks}},
      {"task_start_cycles", &C::task_start_cycles, {chain}},
      {"read_bytes_per_cycle", &C::read_bytes_per_cycle, {fetch, weights}},
      {"dpu_bytes_per_cycle", &C::dpu_bytes_per_cycle, {dpu}},
      {"write_bytes_per_cycle", &C::write_bytes_per_cycle, {write, pool_write}},
      {"mac_int8", &C::mac_int8, {mac_int8}},
      {"feature_overlap",
       &C::feature_overlap,
       {features, Family::mac_int4, Family::mac_int16, Family::mac_fp16, Family::mac_bf16,
        Family::mac_tf32},
       true},
      {"mac_int4", &C::mac_int4, {mac_int4}},
      {"mac_int16", &C::mac_int16, {mac_int16}},
      {"mac_fp16", &C::mac_fp16, {mac_fp16}},
      {"mac_bf16", &C::mac_bf16, {mac_bf16}},
      {"mac_tf32", &C::mac_tf32, {mac_tf32}},
      {"depthwise_int8", &C::depthwise_int8, {depthwise_int8}, false, true},
      {"depthwise_fp16", &C::depthwise_fp16, {depthwise_fp16}, false, true},
      {"table_elements_per_cycle", &C::table_elements_per_cycle, {table}},
      {"ppu_elements_per_cycle", &C::ppu_elements_per_cycle, {pool}},
      {"dram_bytes_per_second", &C::dram_bytes_per_second, {shared, copy}},
  };
}

constexpr double kRange = 10;  // a constant is looked for within this factor of its default
// What clocks and medians can resolve at best; the first rounds look at large errors only, lest the
// search stops where many small ones hold each other.
constexpr double kLeastSpread = 1e-4, kRounds[] = {0.3, 0.1, 0.03, 0.01, 1e-3, kLeastSpread};
constexpr double kVisible = 0.01;  // a change of a time that counts as one

class Fitter {
 public:
  Fitter(const std::vector<Sample>& samples, const Calibration& initial, const FitOptions& options)
      : samples_(samples),
        options_(options),
        constants_(constants_of(options.interrupt)),
        initial_(initial),
        values_(initial) {
    for (const Sample& s : samples_)
      if (s.benchmark == nullptr || !(s.seconds > 0) || !std::isfinite(s.seconds))
        throw Error(ErrorCode::invalid_argument, "a sample has no benchmark or no time");
    const bool chains = std::ranges::any_of(
        samples_, [](const Sample& s) { return s.benchmark->family == Family::chain; });
    std::erase_if(constants_, [&](const Constant& c) {
      // Without chains every task has a start and an interrupt, and only their sum shows.
      if (c.member == &Calibration::task_start_cycles && !chains) {
        held_.push_back(
            {c, "not to be told from the interrupt between tasks without chained jobs"});
        return true;
      }
      if (!std::ranges::any_of(samples_, [&](const Sample& s) { return rules(c, s); })) {
        held_.push_back({c, "no job that depends on it could run on this device"});
        return true;
      }
      return false;
    });
  }

  void find() {
    for (const double spread : kRounds) {
      least_spread_ = spread;
      for (const Constant& c : constants_) search(c);
    }
    // What rounds and what does not, in turn.
    for (int turn = 0; turn < 2; ++turn) {
      polish();
      for (const Constant& c : constants_)
        if (c.steps) search(c);
    }
  }

  const Calibration& values() const { return values_; }
  double modelled(const Sample& s, const Calibration& c) const {
    return modelled_seconds(*s.benchmark, c, options_.npu_hz, options_.interrupt);
  }
  std::vector<FittedConstant> table() const;

 private:
  static bool rules(const Constant& c, const Sample& s) {
    return std::ranges::find(c.families, s.benchmark->family) != c.families.end();
  }
  double sigma(const Sample& s) const {
    return std::max(s.spread / std::sqrt(std::max(1u, s.repetitions)), least_spread_);
  }
  double residual(const Sample& s, const Calibration& c) const {
    return std::log(modelled(s, c) / s.seconds) / sigma(s);
  }
  // Huber: quadratic for what noise explains, linear for outliers.
  static double loss(double r) {
    constexpr double kKnee = 3;
    r = std::abs(r);
    return r <= kKnee ? r * r : kKnee * (2 * r - kKnee);
  }
  template <class Take>
  double cost(const Calibration& c, Take take) const {
    double sum = 0;
    for (const Sample& s : samples_)
      if (take(s)) sum += loss(residual(s, c));
    return sum;
  }
  double cost(const Calibration& c) const {
    return cost(c, [](const Sample&) { return true; });
  }
  double cost_at(const Constant& c, double value) const {
    Calibration trial = values_;
    trial.*c.member = value;
    return cost(trial, [&](const Sample& s) { return rules(c, s); });
  }
  // One coordinate for both kinds: a logarithm, or the share itself. Where the model rounds, 64
  // must not become 64 - 1e-14.
  static double value_of(const Constant& c, double x) {
    if (c.steps) return std::round(std::exp(x) * 1e8) * 1e-8;
    return c.share ? std::clamp(x, 0.0, 1.0) : std::exp(x);
  }
  static double place_of(const Constant& c, double value) {
    return c.share ? value : std::log(value);
  }

  void search(const Constant& c);
  void polish();
  std::vector<std::vector<double>> jacobian(const Calibration& at) const;

  const std::vector<Sample>& samples_;
  FitOptions options_;
  std::vector<Constant> constants_;
  std::vector<std::pair<Constant, std::string>> held_;
  Calibration initial_, values_;
  double least_spread_ = kLeastSpread;
};

// A grid, then golden section around its best point. Where the cost is level (the constant does not
// show, or the model rounds with it), the middle of the level stretch that is nearest to the
// default, the default itself if it is in it.
void Fitter::search(const Constant& c) {
  const int grid = c.steps ? 240 : 60;
  const double middle = place_of(c, initial_.*c.member);
  const double low = c.share ? 0 : middle - std::log(kRange);
  const double high = c.share ? 1 : middle + std::log(kRange);
  const auto at = [&](double x) { return cost_at(c, value_of(c, x)); };
  std::vector<double> costs;
  const auto x_of = [&](int i) { return low + (high - low) * i / grid; };
  for (int i = 0; i <= grid; ++i) costs.push_back(at(x_of(i)));
  const int best = static_cast<int>(std::ranges::min_element(costs) - costs.begin());

  double left = x_of(std::max(0, best - 1)), right = x_of(std::min(grid, best + 1));
  const double ratio = (std::sqrt(5.0) - 1) / 2;
  double a = right - ratio * (right - left), b = left + ratio * (right - left);
  double cost_a = at(a), cost_b = at(b);
  while (right - left > 1e-3 * least_spread_) {
    if (cost_a <= cost_b) {
      right = b, b = a, cost_b = cost_a;
      a = right - ratio * (right - left), cost_a = at(a);
    } else {
      left = a, a = b, cost_a = cost_b;
      b = left + ratio * (right - left), cost_b = at(b);
    }
  }
  double x = (left + right) / 2, least = at(x);
  if (const double on_grid = costs[static_cast<std::size_t>(best)]; on_grid < least)
    x = x_of(best), least = on_grid;

  // The level stretch around x, to within noise.
  const double level = least + 1e-3 + 1e-6 * least;
  if (at(middle) <= level) {
    values_.*c.member = initial_.*c.member;
    return;
  }
  const auto edge = [&](double outside) {
    double inside = x;
    if (at(outside) <= level) return outside;
    for (int i = 0; i < 40; ++i) {
      const double half = (inside + outside) / 2;
      (at(half) <= level ? inside : outside) = half;
    }
    return inside;
  };
  const double from = edge(low), to = edge(high);
  if (c.steps) {
    // A group of channels: a whole number, if one fits.
    const double whole = std::ceil(value_of(c, from) - 1e-6);
    x = whole <= value_of(c, to) ? std::log(whole) : (from + to) / 2;
  } else if (from <= middle && middle <= to) {
    x = middle;
  } else if (to - from > 1e-3) {
    x = std::clamp(middle, from, to);
  }
  values_.*c.member = value_of(c, x);
}

// d residual / d constant (as place_of), two-sided.
std::vector<std::vector<double>> Fitter::jacobian(const Calibration& at) const {
  constexpr double kStep = 1e-5;
  std::vector<std::vector<double>> columns;
  for (const Constant& c : constants_) {
    std::vector<double>& column = columns.emplace_back(samples_.size(), 0.0);
    if (c.steps) continue;
    const double x = place_of(c, at.*c.member);
    Calibration up = at, down = at;
    up.*c.member = value_of(c, x + kStep);
    down.*c.member = value_of(c, x - kStep);
    const double width = place_of(c, up.*c.member) - place_of(c, down.*c.member);
    for (std::size_t i = 0; i < samples_.size(); ++i)
      column[i] = (residual(samples_[i], up) - residual(samples_[i], down)) / width;
  }
  return columns;
}

// Solves a x = b for a symmetric matrix that is at least almost positive definite.
std::vector<double> solve(std::vector<std::vector<double>> a, std::vector<double> b) {
  const std::size_t n = b.size();
  for (std::size_t k = 0; k < n; ++k) {
    std::size_t pivot = k;
    for (std::size_t i = k + 1; i < n; ++i)
      if (std::abs(a[i][k]) > std::abs(a[pivot][k])) pivot = i;
    std::swap(a[k], a[pivot]);
    std::swap(b[k], b[pivot]);
    if (a[k][k] == 0) continue;
    for (std::size_t i = k + 1; i < n; ++i) {
      const double f = a[i][k] / a[k][k];
      for (std::size_t j = k; j < n; ++j) a[i][j] -= f * a[k][j];
      b[i] -= f * b[k];
    }
  }
  for (std::size_t k = n; k-- > 0;) {
    for (std::size_t j = k + 1; j < n; ++j) b[k] -= a[k][j] * b[j];
    b[k] = a[k][k] == 0 ? 0 : b[k] / a[k][k];
  }
  return b;
}

void Fitter::polish() {
  const std::size_t n = constants_.size();
  double now = cost(values_), damping = 1e-3;
  for (int step = 0; step < 25 && damping < 1e6; ++step) {
    const auto j = jacobian(values_);
    std::vector<double> weights, residuals;
    for (const Sample& s : samples_) {
      const double r = residual(s, values_);
      residuals.push_back(r);
      weights.push_back(std::abs(r) <= 3 ? 1 : 3 / std::abs(r));
    }
    std::vector<std::vector<double>> normal(n, std::vector<double>(n, 0.0));
    std::vector<double> gradient(n, 0.0);
    for (std::size_t a = 0; a < n; ++a) {
      for (std::size_t i = 0; i < samples_.size(); ++i)
        gradient[a] -= weights[i] * j[a][i] * residuals[i];
      for (std::size_t b = 0; b < n; ++b)
        for (std::size_t i = 0; i < samples_.size(); ++i)
          normal[a][b] += weights[i] * j[a][i] * j[b][i];
    }
    for (std::size_t a = 0; a < n; ++a) normal[a][a] += damping * (normal[a][a] + 1);
    const std::vector<double> move = solve(normal, gradient);
    Calibration trial = values_;
    for (std::size_t a = 0; a < n; ++a) {
      const Constant& c = constants_[a];
      const double bound = std::clamp(move[a], -0.2, 0.2);
      trial.*c.member = value_of(c, place_of(c, values_.*c.member) + bound);
    }
    const double then = cost(trial);
    if (then < now) {
      const bool done = now - then < 1e-9 * (1 + now);
      values_ = trial;
      now = then;
      damping = std::max(damping / 10, 1e-9);
      if (done) break;
    } else {
      damping *= 10;
    }
  }
}

std::vector<FittedConstant> Fitter::table() const {
  // What a change by a tenth, up and down, does to the times.
  const auto visible = [&](const Constant& c, double factor) {
    Calibration trial = values_;
    trial.*c.member = c.share ? std::clamp(values_.*c.member + (factor > 1 ? 0.1 : -0.1), 0.0, 1.0)
                              : values_.*c.member * factor;
    std::size_t count = 0;
    for (const Sample& s : samples_)
      count += std::abs(std::log(modelled(s, trial) / modelled(s, values_))) >= kVisible;
    return count;
  };
  const auto j = jacobian(values_);
  const std::size_t n = constants_.size();
  std::vector<std::vector<double>> normal(n, std::vector<double>(n, 0.0));
  for (std::size_t a = 0; a < n; ++a) {
    for (std::size_t b = 0; b < n; ++b)
      for (std::size_t i = 0; i < samples_.size(); ++i) normal[a][b] += j[a][i] * j[b][i];
    normal[a][a] += 1e-12;
  }
  std::vector<FittedConstant> out;
  for (std::size_t a = 0; a < n; ++a) {
    const Constant& c = constants_[a];
    FittedConstant f{.name = std::string(c.name), .unit = {}, .why = {}};
    f.initial = initial_.*c.member;
    f.value = values_.*c.member;
    // A rate that is already hidden behind others shows only when it is lowered.
    const std::size_t up = visible(c, 1.1), down = visible(c, 1 / 1.1);
    f.samples = std::max(up, down);
    if (f.samples == 0) {
      f.why = "nothing that ran depends on it";
      f.value = f.initial;
    } else if (up == 0) {
      f.certainty = Certainty::at_least;
      f.why = "hidden behind something slower: the true value is this or more";
    } else {
      f.certainty = Certainty::fitted;
      if (!c.steps) {
        std::vector<double> unit(n, 0.0);
        unit[a] = 1;
        f.uncertainty = std::sqrt(std::max(0.0, solve(normal, unit)[a]));
      }
    }
    out.push_back(std::move(f));
  }
  for (const auto& [c, why] : held_) {
    FittedConstant f{.name = std::string(c.name), .unit = {}, .why = why};
    f.initial = f.value = initial_.*c.member;
    out.push_back(std::move(f));
  }
  FittedConstant iommu{.name = "iommu_us", .unit = {}, .why = {}};
  iommu.initial = iommu.value = initial_.iommu_us;
  iommu.why = "paid once per job, like the job itself: only the sum of both shows";
  out.push_back(std::move(iommu));
  return out;
}

}  // namespace

std::string_view to_string(Certainty certainty) {
  switch (certainty) {
    case Certainty::fitted: return "fitted";
    case Certainty::at_least: return "at least";
    case Certainty::kept: return "default";
  }
  return "?";
}

std::vector<std::string_view> fitted_names(sim::InterruptCore interrupt) {
  std::vector<std::string_view> names;
  for (const Constant& c : constants_of(interrupt)) names.push_back(c.name);
  return names;
}

Fit fit(const std::vector<Sample>& samples, const sim::CalibrationFile& initial,
        const FitOptions& options) {
  if (samples.empty())
    throw Error(ErrorCode::invalid_argument, "a calibration needs at least one timed job");
  Fitter fitter(samples, initial.values, options);
  fitter.find();
  Fit out;
  out.constants = fitter.table();
  out.values = fitter.values();
  for (FittedConstant& c : out.constants)
    for (const sim::ConstantNote& note : initial.notes)
      if (note.name == c.name) c.unit = note.unit;
  std::vector<double> errors;
  for (const Sample& s : samples) {
    const double modelled = fitter.modelled(s, out.values);
    out.residuals.push_back({&s, modelled});
    const double ratio = modelled / s.seconds;
    errors.push_back(std::max(ratio, 1 / ratio) - 1);
  }
  std::ranges::sort(errors);
  out.median_error = errors[errors.size() / 2];
  out.worst_error = errors.back();
  return out;
}

sim::CalibrationFile calibration_file(const Fit& fit, const sim::CalibrationFile& initial,
                                      const std::string& name, const std::string& source) {
  sim::CalibrationFile file = initial;
  file.name = name;
  file.values = fit.values;
  for (const FittedConstant& c : fit.constants) {
    if (c.certainty == Certainty::kept) continue;
    for (sim::ConstantNote& note : file.notes) {
      if (note.name != c.name) continue;
      note.value = c.value;
      note.origin = "fitted";
      note.source = c.certainty == Certainty::at_least ? source + " (a lower bound)" : source;
      note.fitted_on = fmt::format("{} jobs of npu-probe calibrate", c.samples);
    }
  }
  return file;
}

}  // namespace npu::probe::calibrate
