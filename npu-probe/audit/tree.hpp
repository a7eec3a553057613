// SPDX-License-Identifier: MIT
// Reads files below a root folder and never outside of it: a symlink to /foo in a captured tree
// means ROOT/foo. Every read is bounded and nothing that could block is opened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace npu::probe {

/// Longest file that is read; of a longer one the first (or, for logs, the last) part is used.
inline constexpr std::size_t max_file_bytes = std::size_t{16} << 20;

struct FileInfo {
  enum class Type { regular, directory, symlink, character, other };
  Type type = Type::other;
  std::uint32_t mode = 0;  ///< permission bits
  std::uint32_t uid = 0, gid = 0;
  std::uint32_t major = 0, minor = 0;  ///< of a character device
};

class Tree {
 public:
  /// Throws npu::Error(bad_file) if `root` is missing or no directory.
  explicit Tree(const std::string& root);

  const std::string& root() const { return root_; }
  /// The running system and not a captured tree.
  bool is_host() const { return is_host_; }

  /// Host path of `path` (absolute inside the root, symlinks resolved inside it), or nothing if it
  /// does not exist, loops or is deeper than any real tree.
  std::optional<std::string> resolve(std::string_view path, bool follow_last = true) const;
  std::optional<FileInfo> info(std::string_view path, bool follow_last = true) const;
  bool exists(std::string_view path) const { return info(path).has_value(); }
  bool is_directory(std::string_view path) const;
  bool is_regular(std::string_view path) const;
  std::optional<std::string> link_target(std::string_view path) const;
  /// Path inside the root that `path` leads to after all symlinks.
  std::optional<std::string> canonical(std::string_view path) const;

  /// Content of a regular file; nothing if it is missing, unreadable or of another kind.
  std::optional<std::string> read(std::string_view path, std::size_t limit = max_file_bytes) const;
  /// The last `limit` bytes: for logs.
  std::optional<std::string> read_tail(std::string_view path,
                                       std::size_t limit = max_file_bytes) const;
  /// First line without surrounding white space: for sysfs attributes.
  std::optional<std::string> read_line(std::string_view path) const;
  /// Sorted names in a directory (without . and ..), at most `limit`; empty if there is none.
  std::vector<std::string> list(std::string_view path, std::size_t limit = 65536) const;

 private:
  std::string root_;  ///< host path without a final slash: "" for /
  bool is_host_ = false;
};

/// Joins two parts of a path with one slash.
std::string join(std::string_view a, std::string_view b);

}  // namespace npu::probe
