// SPDX-License-Identifier: MIT
#include "npu-probe/audit/config_fragment.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "npu-probe/audit/parsers.hpp"
#include "npu-probe/audit/rosenblatt_config.hpp"
#include "npu-probe/audit/tree.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

bool is_symbol(std::string_view text) {
  constexpr std::string_view prefix = "CONFIG_";
  if (!text.starts_with(prefix) || text.size() == prefix.size()) return false;
  for (const char c : text)
    if (!((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_')) return false;
  return true;
}

ConfigNeed need_of_section(std::string_view title) {
  if (title.starts_with("Without these")) return ConfigNeed::required;
  if (title.starts_with("What the cores")) return ConfigNeed::device_tree;
  return ConfigNeed::optional;
}

}  // namespace

std::vector<ConfigWish> parse_config_fragment(std::string_view text) {
  std::vector<ConfigWish> wishes;
  ConfigNeed need = ConfigNeed::optional;
  std::string reason;
  bool after_symbol = false;  // a comment now starts the next reason
  for (auto line : split_lines(text, 10000)) {
    line = trim(line);
    constexpr std::string_view section = "# --- ";
    if (line.starts_with(section)) {
      need = need_of_section(line.substr(section.size()));
      reason.clear();
    } else if (line.starts_with('#')) {
      if (after_symbol) reason.clear();
      const auto words = trim(line.substr(1));
      if (!reason.empty() && !words.empty()) reason += ' ';
      reason += words;
    } else if (line.empty()) {
      reason.clear();
    } else if (const auto equals = line.find('='); equals != std::string_view::npos) {
      const auto value = line.substr(equals + 1);
      if (!is_symbol(line.substr(0, equals)) || (value != "y" && value != "m")) continue;
      wishes.push_back(
          {std::string(line.substr(0, equals)), value[0], need, printable(reason, 1024)});
    }
    after_symbol = !line.starts_with('#');
  }
  return wishes;
}

const std::vector<ConfigWish>& rosenblatt_fragment() {
  static const auto wishes = parse_config_fragment(kRosenblattConfig);
  return wishes;
}

std::vector<ConfigSymbol> compare_config(const std::vector<ConfigWish>& wishes,
                                         std::string_view config) {
  std::vector<ConfigSymbol> symbols;
  for (const auto& wish : wishes) {
    const char found = config.empty() ? '?' : config_value(config, wish.symbol);
    const auto state = config.empty()                      ? SymbolState::unknown
                       : found != 'y' && found != 'm'      ? SymbolState::missing
                       : found == 'm' && wish.value == 'y' ? SymbolState::module
                                                           : SymbolState::ok;
    symbols.push_back({wish.symbol, wish.value, found, state, wish.need, wish.reason});
  }
  return symbols;
}

std::string release_of_config(std::string_view config) {
  for (const auto line : split_lines(config, 20)) {
    const auto end = line.find(" Kernel Configuration");
    if (!line.starts_with("# Linux/") || end == std::string_view::npos) continue;
    const auto release = line.substr(line.substr(0, end).rfind(' ') + 1);
    if (release.front() >= '0' && release.front() <= '9')
      return printable(release.substr(0, release.find(' ')), 128);
  }
  return {};
}

std::string read_config_file(const std::string& path) {
  const auto bad = [&](std::string_view why) {
    return Error(
        ErrorCode::bad_file,
        fmt::format("{} {}: give a kernel configuration, such as /boot/config-$(uname -r), "
                    "/proc/config.gz or the .config of a kernel's source",
                    path, why));
  };
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) throw bad("is no file that can be read");
  std::ifstream file(path, std::ios::binary);
  if (!file) throw bad("cannot be opened");
  std::string text(max_file_bytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.starts_with("\x1f\x8b")) {
    auto plain = gunzip(text, max_file_bytes);
    if (!plain) throw bad("is damaged gzip data");
    text = std::move(*plain);
  }
  if (!looks_like_config(text)) throw bad("is no kernel configuration");
  return text;
}

}  // namespace npu::probe
