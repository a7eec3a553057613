// SPDX-License-Identifier: MIT
// Collects what one rule finds on several nodes into one check.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "npu-probe/dt/rules.hpp"

namespace npu::probe {

class Finding {
 public:
  Finding(std::string id, std::string title) {
    check_.id = std::move(id);
    check_.title = std::move(title);
  }
  /// `clause` is about `node`: "/npu@fdab0000: reg is missing".
  void bad(const DtNode& node, const std::string& clause) {
    check_.nodes.push_back(node.path);
    clauses_.push_back(node.path + ": " + clause);
  }
  bool any() const { return !clauses_.empty(); }
  /// Adds the check: `state` with `remedy` if something is bad, else ok with `good`.
  void add_to(std::vector<DtCheck>& checks, DtState state, const std::string& good,
              const std::string& remedy) {
    check_.state = any() ? state : DtState::ok;
    check_.evidence = printable(any() ? fmt::format("{}", fmt::join(clauses_, "; ")) : good);
    check_.remedy = any() ? remedy : "";
    checks.push_back(std::move(check_));
  }

 private:
  DtCheck check_;
  std::vector<std::string> clauses_;
};

}  // namespace npu::probe
