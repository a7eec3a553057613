// SPDX-License-Identifier: MIT
// Byte-pair merges: which neighbours join first, and the join of a whole word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace npu::llm {

/// A string that takes part in merges. Those below the size of the vocabulary are its tokens.
using Symbol = std::uint32_t;

/// Strings and their numbers, in the order in which they were added.
class SymbolTable {
 public:
  static constexpr Symbol kNone = ~Symbol{0};

  void reserve(std::size_t symbols);
  Symbol find(std::string_view text) const;  ///< kNone if it was not added
  /// The symbol, and whether it is new. `text` must not lie in the table.
  std::pair<Symbol, bool> add(std::string_view text);
  std::string_view text(Symbol symbol) const;
  std::size_t size() const { return ends_.size(); }

 private:
  struct Slot {
    std::uint32_t hash = 0;
    Symbol symbol = kNone;
  };
  std::size_t slot_of(std::string_view text, std::uint32_t hash) const;

  std::string characters_;  // of all texts, without gaps
  std::vector<std::size_t> ends_;
  std::vector<Slot> slots_ = std::vector<Slot>(2);  // a power of two, at most half full
};

/// What two neighbours become, and how early: rank 0 first.
struct Merge {
  std::uint32_t rank = 0;
  Symbol result = 0;
};

/// A hash table from pairs of symbols to merges, with open addressing.
class MergeTable {
 public:
  explicit MergeTable(std::size_t merges);

  /// A pair that is there already keeps its merge. At most as many as the constructor was told.
  void insert(Symbol left, Symbol right, Merge merge);
  const Merge* find(Symbol left, Symbol right) const;

 private:
  struct Slot {
    std::uint64_t key = kEmpty;
    Merge merge;
  };
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  std::size_t slot_of(std::uint64_t key) const;

  std::vector<Slot> slots_;
  int shift_;
};

/// Joins the symbols of a word in place until no merge is left: always the pair of lowest rank, the
/// leftmost of those. O(n log n). Keeps its memory for the next word.
class WordMerger {
 public:
  void merge(const MergeTable& table, std::vector<Symbol>& word);

 private:
  struct Node {
    Symbol symbol;
    std::uint32_t previous, next;
  };
  struct Candidate {
    std::uint64_t order;  ///< rank, then left node
    std::uint32_t right;
    Symbol left_symbol, right_symbol, result;
  };
  void push(const MergeTable& table, std::uint32_t left, std::uint32_t right);

  std::vector<Node> nodes_;
  std::vector<Candidate> heap_;
};

}  // namespace npu::llm
