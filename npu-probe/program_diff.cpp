// SPDX-License-Identifier: MIT
#include "npu-probe/program_diff.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "npu-probe/relocation.hpp"
#include "regdb/registers.hpp"

namespace npu::probe {
namespace {

namespace rd = npu::regdb;

// n-th write of a register in its task.
using Key = std::pair<std::uint32_t, std::uint32_t>;  // target and offset, n

std::uint32_t register_of(const rd::Regcmd& c) { return std::uint32_t{c.target} << 16 | c.offset; }

// Base of the DMA addresses when the task runs.
std::uint32_t dma_base_of(const std::vector<std::uint64_t>& words) {
  std::uint32_t base = 0;
  for (const std::uint64_t word : words) {
    const rd::Regcmd c = rd::Regcmd::unpack(word);
    if (c.target == static_cast<std::uint16_t>(rd::Target::pc) &&
        c.offset == rd::pc::TASK_DMA_BASE_ADDR::offset)
      base = c.value & ~0xFu;
  }
  return base;
}

std::map<Key, std::size_t> index_words(const std::vector<std::uint64_t>& words) {
  std::map<Key, std::size_t> index;
  std::map<std::uint32_t, std::uint32_t> seen;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::uint32_t reg = register_of(rd::Regcmd::unpack(words[i]));
    if (words[i] != 0) index[{reg, seen[reg]++}] = i;
  }
  return index;
}

std::optional<BufferOffset> place(const ProgramTask& task, std::uint32_t base, std::uint64_t word) {
  const rd::Regcmd c = rd::Regcmd::unpack(word);
  const bool link = c.target == static_cast<std::uint16_t>(rd::Target::pc);
  if (link && c.value == 0) return std::nullopt;  // the end of a chain
  return find_buffer(*task.buffers, link ? c.value : c.value + base);
}

std::string name_of(const ProgramTask& task, const std::optional<BufferOffset>& at) {
  if (!at) return "in no buffer";
  const std::uint32_t handle = (*task.buffers)[at->buffer].handle;
  return at->offset == 0 ? fmt::format("buffer {}", handle)
                         : fmt::format("buffer {} + {:#x}", handle, at->offset);
}

}  // namespace

std::vector<std::optional<std::size_t>> pair_buffers(const std::vector<ProgramBuffer>& a,
                                                     const std::vector<ProgramBuffer>& b) {
  std::vector<std::optional<std::size_t>> pairs(a.size());
  // A table for thousands of buffers is not worth it: they pair by their order.
  constexpr std::size_t kMost = 2000;
  if (a.size() > kMost || b.size() > kMost) {
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) pairs[i] = i;
    return pairs;
  }
  // Longest common subsequence of the sizes.
  const std::size_t width = b.size() + 1;
  std::vector<std::uint16_t> best((a.size() + 1) * width);
  for (std::size_t i = a.size(); i-- > 0;)
    for (std::size_t j = b.size(); j-- > 0;)
      best[i * width + j] = a[i].size == b[j].size
                                ? static_cast<std::uint16_t>(best[(i + 1) * width + j + 1] + 1)
                                : std::max(best[(i + 1) * width + j], best[i * width + j + 1]);
  std::vector<std::size_t> left_a, left_b;  // between two pairs: they pair by their order
  const auto settle = [&] {
    for (std::size_t k = 0; k < std::min(left_a.size(), left_b.size()); ++k)
      pairs[left_a[k]] = left_b[k];
    left_a.clear(), left_b.clear();
  };
  std::size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (a[i].size == b[j].size && best[i * width + j] == best[(i + 1) * width + j + 1] + 1) {
      settle();
      pairs[i++] = j++;
    } else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) {
      left_a.push_back(i++);
    } else {
      left_b.push_back(j++);
    }
  }
  while (i < a.size()) left_a.push_back(i++);
  while (j < b.size()) left_b.push_back(j++);
  settle();
  return pairs;
}

TaskChanges diff_task(const ProgramTask& a, const ProgramTask& b, const DiffOptions& options) {
  TaskChanges changes;
  const auto in_a = index_words(a.words), in_b = index_words(b.words);
  const std::uint32_t base_a = dma_base_of(a.words), base_b = dma_base_of(b.words);
  std::vector<std::optional<std::size_t>> pairs;
  const bool by_buffer = !options.raw_addresses && a.buffers && b.buffers;
  if (by_buffer) pairs = pair_buffers(*a.buffers, *b.buffers);

  const auto compare = [&](std::size_t i, std::size_t j) {
    const std::uint64_t x = a.words[i], y = b.words[j];
    const bool address = writes_address(x);
    if (!address || options.raw_addresses || (!a.buffers && !b.buffers)) {
      if (x != y) changes.words.push_back({i, j, {}, {}});
      return;
    }
    if (!by_buffer) {
      changes.unknown_addresses += x != y;
      return;
    }
    const auto at_a = place(a, base_a, x), at_b = place(b, base_b, y);
    const bool same = at_a && at_b
                          ? pairs[at_a->buffer] == at_b->buffer && at_a->offset == at_b->offset
                          : !at_a && !at_b && x == y;
    if (!same) changes.words.push_back({i, j, name_of(a, at_a), name_of(b, at_b)});
  };

  for (const auto& [key, i] : in_a) {
    const auto other = in_b.find(key);
    if (other == in_b.end())
      changes.words.push_back({i, std::nullopt, {}, {}});
    else
      compare(i, other->second);
  }
  for (const auto& [key, j] : in_b)
    if (!in_a.contains(key)) changes.words.push_back({std::nullopt, j, {}, {}});
  // As the words stand in A, then what only B has.
  std::sort(changes.words.begin(), changes.words.end(),
            [](const WordChange& x, const WordChange& y) {
              if (x.a.has_value() != y.a.has_value()) return x.a.has_value();
              return x.a ? *x.a < *y.a : *x.b < *y.b;
            });
  return changes;
}

}  // namespace npu::probe
