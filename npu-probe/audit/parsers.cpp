// SPDX-License-Identifier: MIT
#include "npu-probe/audit/parsers.hpp"

#include <zlib.h>

#include <algorithm>
#include <charconv>

namespace npu::probe {
namespace {

template <typename T>
std::optional<T> to_number(std::string_view text, int base = 10) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Reads digits at `at` and moves past them.
std::optional<int> read_int(std::string_view text, std::size_t& at) {
  const auto first = at;
  while (at < text.size() && is_digit(text[at])) ++at;
  return to_number<int>(text.substr(first, at - first));
}

std::vector<std::string_view> split_words(std::string_view line, std::size_t limit = 4096) {
  std::vector<std::string_view> words;
  std::size_t at = 0;
  while (at < line.size() && words.size() < limit) {
    at = line.find_first_not_of(" \t\r", at);
    if (at == std::string_view::npos) break;
    const auto end = std::min(line.find_first_of(" \t\r", at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end;
  }
  return words;
}

}  // namespace

std::string_view trim(std::string_view text) {
  constexpr std::string_view white(" \t\r\n\0", 5);
  const auto first = text.find_first_not_of(white);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(white) - first + 1);
}

std::vector<std::string_view> split_lines(std::string_view text, std::size_t max_lines) {
  std::vector<std::string_view> lines;
  while (!text.empty() && lines.size() < max_lines) {
    const auto end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

std::optional<KernelVersion> parse_kernel_release(std::string_view release) {
  release = trim(release);
  KernelVersion v;
  std::size_t at = 0;
  const auto major = read_int(release, at);
  if (!major || at >= release.size() || release[at] != '.') return std::nullopt;
  const auto minor = read_int(release, ++at);
  if (!minor) return std::nullopt;
  v.major = *major;
  v.minor = *minor;
  if (at + 1 < release.size() && release[at] == '.' && is_digit(release[at + 1])) {
    const auto patch = read_int(release, ++at);
    if (!patch) return std::nullopt;
    v.patch = *patch;
  }
  v.suffix = printable(release.substr(at), 128);
  return v;
}

std::string release_of_proc_version(std::string_view text) {
  constexpr std::string_view head = "Linux version ";
  if (!text.starts_with(head)) return {};
  text.remove_prefix(head.size());
  return std::string(text.substr(0, std::min(text.find_first_of(" \n"), std::size_t{128})));
}

char config_value(std::string_view config, std::string_view symbol) {
  // Lines are "SYMBOL=y" or "# SYMBOL is not set".
  for (std::size_t at = 0; (at = config.find(symbol, at)) != std::string_view::npos; ++at) {
    const auto after = at + symbol.size();
    const auto rest = config.substr(after, 16);
    const bool at_start = at == 0 || config[at - 1] == '\n';
    if (at_start && rest.size() >= 2 && rest[0] == '=')
      return rest[1] == 'y' || rest[1] == 'm' || rest[1] == 'n' ? rest[1] : '?';
    const bool comment = at >= 2 && config.substr(at - 2, 2) == "# ";
    if (comment && rest.starts_with(" is not set")) return 'n';
  }
  return '?';
}

bool looks_like_config(std::string_view text) {
  return text.starts_with("CONFIG_") || text.find("\nCONFIG_") != std::string_view::npos ||
         text.find("# CONFIG_") != std::string_view::npos;
}

std::optional<std::string> gunzip(std::string_view data, std::size_t limit) {
  z_stream stream{};
  if (data.empty() || inflateInit2(&stream, 15 + 32) != Z_OK) return std::nullopt;
  std::string out;
  std::string input(data);  // zlib's interface is not const
  stream.next_in = reinterpret_cast<Bytef*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  char buffer[65536];
  int status = Z_OK;
  while (status == Z_OK && out.size() < limit) {
    stream.next_out = reinterpret_cast<Bytef*>(buffer);
    stream.avail_out = static_cast<uInt>(std::min(sizeof buffer, limit - out.size()));
    const auto room = stream.avail_out;
    status = inflate(&stream, Z_NO_FLUSH);
    out.append(buffer, room - stream.avail_out);
    if (status == Z_OK && stream.avail_in == 0 && stream.avail_out != 0) break;  // truncated
  }
  inflateEnd(&stream);
  if (status != Z_STREAM_END) return std::nullopt;
  return out;
}

std::vector<Interrupt> parse_interrupts(std::string_view text) {
  std::vector<Interrupt> all;
  for (const auto line : split_lines(text, 20000)) {
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const auto number = to_number<unsigned>(trim(line.substr(0, colon)));
    if (!number) continue;
    Interrupt irq;
    irq.number = *number;
    const auto words = split_words(line.substr(colon + 1));
    std::size_t i = 0;
    for (; i < words.size(); ++i) {
      const auto count = to_number<std::uint64_t>(words[i]);
      if (!count) break;
      irq.counts.push_back(*count);
    }
    for (; i < words.size(); ++i) {
      if (!irq.description.empty()) irq.description += ' ';
      irq.description += words[i];
    }
    irq.description = printable(irq.description, 256);
    all.push_back(std::move(irq));
  }
  return all;
}

std::vector<unsigned> parse_cpu_list(std::string_view text) {
  constexpr unsigned max_cpu = 4095;
  std::vector<unsigned> cpus;
  text = trim(text);
  while (!text.empty() && cpus.size() <= max_cpu) {
    const auto comma = text.find(',');
    const auto part = trim(text.substr(0, comma));
    const auto dash = part.find('-');
    const auto first = to_number<unsigned>(part.substr(0, dash));
    const auto last =
        dash == std::string_view::npos ? first : to_number<unsigned>(part.substr(dash + 1));
    if (first && last && *first <= *last && *last <= max_cpu)
      for (unsigned cpu = *first; cpu <= *last; ++cpu) cpus.push_back(cpu);
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

std::vector<DevNode> parse_dev_manifest(std::string_view text) {
  std::vector<DevNode> nodes;
  for (const auto line : split_lines(text, 65536)) {
    const auto words = split_words(line, 16);
    if (words.size() < 5 || words[0].front() == '#') continue;
    DevNode node;
    node.path = printable(words[0], 256);
    if (node.path.front() != '/') node.path.insert(0, "/");
    constexpr std::string_view types = "cbldps";
    if (words[1].size() != 1 || types.find(words[1][0]) == std::string_view::npos) continue;
    node.type = words[1][0];
    const auto mode = to_number<std::uint32_t>(words[2], 8);
    if (!mode || *mode > 07777) continue;
    node.mode = *mode;
    node.owner = printable(words[3], 64);
    node.group = printable(words[4], 64);
    std::size_t next = 5;
    if (words.size() > next && words[next] != "->") {
      const auto colon = words[next].find(':');
      if (colon != std::string_view::npos) {
        node.major = to_number<std::uint32_t>(words[next].substr(0, colon)).value_or(0);
        node.minor = to_number<std::uint32_t>(words[next].substr(colon + 1)).value_or(0);
      }
      ++next;
    }
    if (words.size() > next + 1 && words[next] == "->")
      node.target = printable(words[next + 1], 256);
    nodes.push_back(std::move(node));
  }
  return nodes;
}

std::optional<Version> parse_version(std::string_view text) {
  if (const auto epoch = text.find(':'); epoch != std::string_view::npos && epoch <= 3)
    text.remove_prefix(epoch + 1);
  std::size_t at = std::min(text.find_first_of("0123456789"), text.size());
  Version v;
  const auto major = read_int(text, at);
  if (!major || at >= text.size() || text[at] != '.') return std::nullopt;
  const auto minor = read_int(text, ++at);
  if (!minor) return std::nullopt;
  v.major = *major;
  v.minor = *minor;
  if (at < text.size() && text[at] == '.') v.patch = read_int(text, ++at).value_or(0);
  return v;
}

std::map<std::string, std::string> parse_dpkg_status(std::string_view text) {
  std::map<std::string, std::string> versions;
  std::string package, version;
  bool installed = false;
  const auto flush = [&] {
    if (installed && !package.empty()) versions[package] = version;
    package.clear();
    version.clear();
    installed = false;
  };
  for (const auto line : split_lines(text)) {
    if (line.empty()) flush();
    if (line.starts_with("Package: ")) package = printable(line.substr(9), 128);
    if (line.starts_with("Version: ")) version = printable(line.substr(9), 128);
    if (line.starts_with("Status: ")) installed = line.ends_with(" installed");
  }
  flush();
  return versions;
}

std::uint64_t parse_mem_total(std::string_view meminfo) {
  for (const auto line : split_lines(meminfo, 1000)) {
    if (!line.starts_with("MemTotal:")) continue;
    const auto words = split_words(line, 4);
    const auto kib = words.size() > 1 ? to_number<std::uint64_t>(words[1]) : std::nullopt;
    if (kib && *kib < (std::uint64_t{1} << 48)) return *kib * 1024;
  }
  return 0;
}

std::map<std::string, unsigned> parse_name_ids(std::string_view text) {
  std::map<std::string, unsigned> ids;
  for (const auto line : split_lines(text, 100000)) {
    const auto first = line.find(':');
    if (first == std::string_view::npos || first == 0) continue;
    const auto second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const auto third = line.find(':', second + 1);
    const auto id = to_number<unsigned>(line.substr(second + 1, third - second - 1));
    if (id) ids[printable(line.substr(0, first), 64)] = *id;
  }
  return ids;
}

std::optional<Identity> parse_id(std::string_view text) {
  Identity who;
  const auto name_of = [](std::string_view part) {
    const auto open = part.find('(');
    const auto close = part.find(')', open == std::string_view::npos ? 0 : open);
    if (open == std::string_view::npos || close == std::string_view::npos)
      return printable(part, 64);
    return printable(part.substr(open + 1, close - open - 1), 64);
  };
  const auto lines = split_lines(text, 1);
  if (lines.empty() || !lines[0].starts_with("uid=")) return std::nullopt;
  for (auto word : split_words(lines[0], 8)) {
    if (word.starts_with("uid=")) {
      word.remove_prefix(4);
      const auto uid = to_number<unsigned>(word.substr(0, word.find('(')));
      if (!uid) return std::nullopt;
      who.uid = *uid;
      who.user = name_of(word);
    } else if (word.starts_with("groups=")) {
      word.remove_prefix(7);
      while (!word.empty() && who.groups.size() < 4096) {
        const auto comma = word.find(',');
        who.groups.push_back(name_of(word.substr(0, comma)));
        if (comma == std::string_view::npos) break;
        word.remove_prefix(comma + 1);
      }
    }
  }
  return who;
}

}  // namespace npu::probe
