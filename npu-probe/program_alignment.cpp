// SPDX-License-Identifier: MIT
// Which task of one program is which of the other.
#include <algorithm>
#include <map>
#include <unordered_map>

#include "npu-probe/program_diff.hpp"
#include "npu-probe/relocation.hpp"
#include "regdb/regcmd.hpp"

namespace npu::probe {
namespace {

namespace rd = npu::regdb;

// Below this share of equal registers two tasks are two operators, not one that was changed.
constexpr double kAlike = 0.5;
// Cells of the table; beyond, tasks that stand once on each side split the lists first.
constexpr std::size_t kMostCells = std::size_t{1} << 22;

// What a task asks for, without its addresses; equal ones have equal numbers.
struct Shape {
  std::uint32_t blocks = 0;                                        // enable mask
  std::vector<std::pair<std::uint32_t, std::uint32_t>> registers;  // sorted
  friend auto operator<=>(const Shape&, const Shape&) = default;
};

Shape shape_of(const std::vector<std::uint64_t>& words) {
  Shape shape;
  std::map<std::uint32_t, std::uint32_t> values;
  for (const std::uint64_t word : words) {
    const rd::Regcmd c = rd::Regcmd::unpack(word);
    if (c.target == static_cast<std::uint16_t>(rd::Target::enable)) shape.blocks = c.value;
    if (word == 0 || c.target == static_cast<std::uint16_t>(rd::Target::pc) || writes_address(word))
      continue;
    // A table is written through one register: every value counts.
    std::uint32_t& value = values[std::uint32_t{c.target} << 16 | c.offset];
    value = value * 0x01000193u + c.value;
  }
  shape.registers.assign(values.begin(), values.end());
  return shape;
}

double similarity(const Shape& a, const Shape& b) {
  if (a.blocks != b.blocks) return 0;
  std::size_t equal = 0, all = 0;
  auto i = a.registers.begin();
  auto j = b.registers.begin();
  while (i != a.registers.end() || j != b.registers.end()) {
    ++all;
    if (j == b.registers.end() || (i != a.registers.end() && i->first < j->first)) {
      ++i;
    } else if (i == a.registers.end() || j->first < i->first) {
      ++j;
    } else {
      equal += i->second == j->second;
      ++i, ++j;
    }
  }
  return all == 0 ? 1 : static_cast<double>(equal) / static_cast<double>(all);
}

class Alignment {
 public:
  Alignment(std::span<const ProgramTask> a, std::span<const ProgramTask> b) {
    for (const ProgramTask& task : a) a_.push_back(number(task));
    for (const ProgramTask& task : b) b_.push_back(number(task));
    align(0, a_.size(), 0, b_.size());
  }
  std::vector<TaskPair> take() { return std::move(pairs_); }

 private:
  std::size_t number(const ProgramTask& task) {
    const auto [it, fresh] = numbers_.try_emplace(shape_of(task.words), shapes_.size());
    if (fresh) shapes_.push_back(&it->first);
    return it->second;
  }

  double alike(std::size_t a, std::size_t b) {
    if (a == b) return 1;
    const auto [it, fresh] = known_.try_emplace(std::uint64_t{a} << 32 | b, 0.0);
    if (fresh) it->second = similarity(*shapes_[a], *shapes_[b]);
    return it->second;
  }

  void align(std::size_t a0, std::size_t a1, std::size_t b0, std::size_t b1) {
    while (a0 < a1 && b0 < b1 && a_[a0] == b_[b0]) pairs_.push_back({a0++, b0++});
    std::size_t tail = 0;
    while (a0 < a1 && b0 < b1 && a_[a1 - 1] == b_[b1 - 1]) --a1, --b1, ++tail;
    if (a0 == a1 || b0 == b1)
      one_sided(a0, a1, b0, b1);
    else if ((a1 - a0 + 1) * (b1 - b0 + 1) <= kMostCells)
      by_table(a0, a1, b0, b1);
    else
      by_anchors(a0, a1, b0, b1);
    for (std::size_t k = 0; k < tail; ++k) pairs_.push_back({a1 + k, b1 + k});
  }

  void one_sided(std::size_t a0, std::size_t a1, std::size_t b0, std::size_t b1) {
    for (; a0 < a1; ++a0) pairs_.push_back({a0, std::nullopt});
    for (; b0 < b1; ++b0) pairs_.push_back({std::nullopt, b0});
  }

  // The alignment with the greatest sum of similarities.
  void by_table(std::size_t a0, std::size_t a1, std::size_t b0, std::size_t b1) {
    const std::size_t n = a1 - a0, m = b1 - b0, width = m + 1;
    std::vector<float> best((n + 1) * width);
    for (std::size_t i = n; i-- > 0;)
      for (std::size_t j = m; j-- > 0;) {
        float value = std::max(best[(i + 1) * width + j], best[i * width + j + 1]);
        const double same = alike(a_[a0 + i], b_[b0 + j]);
        if (same >= kAlike)
          value = std::max(value, best[(i + 1) * width + j + 1] + static_cast<float>(same));
        best[i * width + j] = value;
      }
    std::size_t i = 0, j = 0;
    while (i < n && j < m) {
      const double same = alike(a_[a0 + i], b_[b0 + j]);
      const float here = best[i * width + j];
      if (same >= kAlike && here == best[(i + 1) * width + j + 1] + static_cast<float>(same))
        pairs_.push_back({a0 + i++, b0 + j++});
      else if (here == best[(i + 1) * width + j])
        pairs_.push_back({a0 + i++, std::nullopt});
      else
        pairs_.push_back({std::nullopt, b0 + j++});
    }
    one_sided(a0 + i, a1, b0 + j, b1);
  }

  // Tasks that stand once on each side, in an order that both have, split the lists [patience
  // diff]; without any, tasks pair by their position.
  void by_anchors(std::size_t a0, std::size_t a1, std::size_t b0, std::size_t b1) {
    struct Seen {
      std::size_t in_a = 0, in_b = 0, a = 0, b = 0;
    };
    std::unordered_map<std::size_t, Seen> seen;
    for (std::size_t i = a0; i < a1; ++i) ++seen[a_[i]].in_a, seen[a_[i]].a = i;
    for (std::size_t j = b0; j < b1; ++j) ++seen[b_[j]].in_b, seen[b_[j]].b = j;
    std::vector<std::pair<std::size_t, std::size_t>> unique;
    for (const auto& [shape, s] : seen)
      if (s.in_a == 1 && s.in_b == 1) unique.emplace_back(s.a, s.b);
    std::sort(unique.begin(), unique.end());
    // Longest run of rising positions in B.
    std::vector<std::size_t> ends, before(unique.size());
    for (std::size_t k = 0; k < unique.size(); ++k) {
      const auto at = std::lower_bound(
          ends.begin(), ends.end(), unique[k].second,
          [&](std::size_t e, std::size_t value) { return unique[e].second < value; });
      before[k] = at == ends.begin() ? unique.size() : *std::prev(at);
      if (at == ends.end())
        ends.push_back(k);
      else
        *at = k;
    }
    std::vector<std::size_t> chain;
    for (std::size_t k = ends.empty() ? unique.size() : ends.back(); k < unique.size();
         k = before[k])
      chain.push_back(k);
    if (chain.empty()) {
      while (a0 < a1 && b0 < b1) pairs_.push_back({a0++, b0++});
      one_sided(a0, a1, b0, b1);
      return;
    }
    for (auto k = chain.rbegin(); k != chain.rend(); ++k) {
      align(a0, unique[*k].first, b0, unique[*k].second);
      pairs_.push_back({unique[*k].first, unique[*k].second});
      a0 = unique[*k].first + 1;
      b0 = unique[*k].second + 1;
    }
    align(a0, a1, b0, b1);
  }

  std::map<Shape, std::size_t> numbers_;
  std::vector<const Shape*> shapes_;
  std::vector<std::size_t> a_, b_;  // numbers of the shapes
  std::unordered_map<std::uint64_t, double> known_;
  std::vector<TaskPair> pairs_;
};

}  // namespace

std::vector<TaskPair> align_tasks(std::span<const ProgramTask> a, std::span<const ProgramTask> b) {
  return Alignment(a, b).take();
}

}  // namespace npu::probe
