// SPDX-License-Identifier: MIT
// kernel/config/rosenblatt.config, the list of what a kernel must have, against a configuration.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "npu-probe/audit/audit.hpp"

namespace npu::probe {

/// One line of the fragment: CONFIG_SYMBOL=y or =m, with the comment above it.
struct ConfigWish {
  std::string symbol;
  char value = 'y';
  ConfigNeed need = ConfigNeed::optional;
  std::string reason;
};

/// Any bytes may come in: a line that is neither a comment nor CONFIG_NAME=y or =m is skipped. A
/// section starts with "# --- Title ---"; its first words say how much its symbols are needed.
std::vector<ConfigWish> parse_config_fragment(std::string_view text);
/// The fragment of this source tree, compiled in.
const std::vector<ConfigWish>& rosenblatt_fragment();

/// Each wish against the text of a configuration, in the fragment's order; `config` may be empty
/// (state unknown).
std::vector<ConfigSymbol> compare_config(const std::vector<ConfigWish>& wishes,
                                         std::string_view config);
/// "7.3.4" of the line "# Linux/arm64 7.3.4 Kernel Configuration", or empty.
std::string release_of_config(std::string_view config);

/// A configuration from a file named by the user, plain or gzip. Throws npu::Error(bad_file) if it
/// is missing, no regular file, damaged or no kernel configuration.
std::string read_config_file(const std::string& path);

}  // namespace npu::probe
