// SPDX-License-Identifier: MIT
// Who may ask: keys, compared in a time that says nothing of them.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace npu::llm::serve {

class ApiKeys {
 public:
  /// Throws invalid_argument for a key that is empty or holds anything but visible ASCII: it could
  /// not stand in a header.
  void add(std::string_view key);
  /// A key on each line; blank lines and those that begin with # are left out. Throws bad_file if
  /// it cannot be read or holds no key, what add() throws.
  void add_file(const std::string& path);

  bool empty() const { return digests_.empty(); }
  /// Of the header Authorization: "Bearer KEY".
  bool accepts(std::string_view authorization) const;

 private:
  std::vector<std::array<unsigned char, 32>> digests_;
};

}  // namespace npu::llm::serve
