// SPDX-License-Identifier: MIT
#include "llm-runtime/bpe.hpp"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>

namespace npu::llm {
namespace {

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
constexpr Symbol kJoined = std::numeric_limits<Symbol>::max();  // the node is part of another

std::uint32_t hash_of(std::string_view text) {
  return static_cast<std::uint32_t>(std::hash<std::string_view>{}(text));
}

}  // namespace

void SymbolTable::reserve(std::size_t symbols) {
  const std::size_t wanted = std::bit_ceil(symbols * 2 + 2);
  if (wanted <= slots_.size()) return;
  std::vector<Slot> old(wanted);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.symbol != kNone) slots_[slot_of(text(slot.symbol), slot.hash)] = slot;
  }
  ends_.reserve(symbols);
}

std::size_t SymbolTable::slot_of(std::string_view wanted, std::uint32_t hash) const {
  std::size_t slot = hash & (slots_.size() - 1);
  while (slots_[slot].symbol != kNone &&
         (slots_[slot].hash != hash || text(slots_[slot].symbol) != wanted))
    slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

Symbol SymbolTable::find(std::string_view wanted) const {
  return slots_[slot_of(wanted, hash_of(wanted))].symbol;
}

std::pair<Symbol, bool> SymbolTable::add(std::string_view added) {
  const std::uint32_t hash = hash_of(added);
  if (const Symbol found = slots_[slot_of(added, hash)].symbol; found != kNone)
    return {found, false};
  const auto symbol = static_cast<Symbol>(size());
  characters_ += added;
  ends_.push_back(characters_.size());
  if (size() * 2 >= slots_.size()) reserve(size() * 2);
  slots_[slot_of(added, hash)] = {hash, symbol};
  return {symbol, true};
}

std::string_view SymbolTable::text(Symbol symbol) const {
  const std::size_t begin = symbol == 0 ? 0 : ends_[symbol - 1];
  return std::string_view(characters_).substr(begin, ends_[symbol] - begin);
}

MergeTable::MergeTable(std::size_t merges)
    : slots_(std::bit_ceil(merges * 2 + 2)), shift_(64 - std::countr_zero(slots_.size())) {}

std::size_t MergeTable::slot_of(std::uint64_t key) const {
  std::size_t slot = key * 0x9e3779b97f4a7c15u >> shift_;  // golden ratio: spreads the low bits
  while (slots_[slot].key != key && slots_[slot].key != kEmpty) slot = (slot + 1) % slots_.size();
  return slot;
}

void MergeTable::insert(Symbol left, Symbol right, Merge merge) {
  const std::uint64_t key = std::uint64_t{left} << 32 | right;
  Slot& slot = slots_[slot_of(key)];
  if (slot.key == kEmpty) slot = {key, merge};
}

const Merge* MergeTable::find(Symbol left, Symbol right) const {
  const Slot& slot = slots_[slot_of(std::uint64_t{left} << 32 | right)];
  return slot.key == kEmpty ? nullptr : &slot.merge;
}

void WordMerger::push(const MergeTable& table, std::uint32_t left, std::uint32_t right) {
  if (left == kNone || right == kNone) return;
  const Symbol left_symbol = nodes_[left].symbol, right_symbol = nodes_[right].symbol;
  const Merge* merge = table.find(left_symbol, right_symbol);
  if (merge == nullptr) return;
  heap_.push_back(
      {std::uint64_t{merge->rank} << 32 | left, right, left_symbol, right_symbol, merge->result});
}

void WordMerger::merge(const MergeTable& table, std::vector<Symbol>& word) {
  const auto later = [](const Candidate& a, const Candidate& b) { return a.order > b.order; };
  const auto size = static_cast<std::uint32_t>(word.size());
  nodes_.clear();
  heap_.clear();
  for (std::uint32_t i = 0; i < size; ++i)
    nodes_.push_back({word[i], i == 0 ? kNone : i - 1, i + 1 == size ? kNone : i + 1});
  for (std::uint32_t i = 0; i + 1 < size; ++i) push(table, i, i + 1);
  std::make_heap(heap_.begin(), heap_.end(), later);

  while (!heap_.empty()) {
    const Candidate best = heap_.front();
    std::pop_heap(heap_.begin(), heap_.end(), later);
    heap_.pop_back();
    const auto left = static_cast<std::uint32_t>(best.order);
    Node& first = nodes_[left];
    Node& second = nodes_[best.right];
    // A node that has joined another, or grown, since the candidate was found has another symbol.
    if (first.symbol != best.left_symbol || second.symbol != best.right_symbol) continue;
    first.symbol = best.result;
    second.symbol = kJoined;
    first.next = second.next;
    if (first.next != kNone) nodes_[first.next].previous = left;
    for (const bool before : {true, false}) {
      const std::size_t candidates = heap_.size();
      push(table, before ? first.previous : left, before ? left : first.next);
      if (heap_.size() != candidates) std::push_heap(heap_.begin(), heap_.end(), later);
    }
  }

  word.clear();
  for (std::uint32_t i = 0; i < size; i = nodes_[i].next) word.push_back(nodes_[i].symbol);
}

}  // namespace npu::llm
