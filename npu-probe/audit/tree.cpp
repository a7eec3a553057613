// SPDX-License-Identifier: MIT
#include "npu-probe/audit/tree.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "regdb/error.hpp"

namespace npu::probe {
namespace {

constexpr int max_symlinks = 40;         // as the kernel: ELOOP
constexpr std::size_t max_steps = 1024;  // components walked, links included

struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

void push_components(std::string_view path, std::vector<std::string>& stack) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const auto slash = path.find('/');
    const auto part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.emplace_back(part);
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  stack.insert(stack.end(), parts.rbegin(), parts.rend());
}

std::optional<std::string> read_link(const std::string& host_path) {
  char buffer[PATH_MAX];
  const auto size = ::readlink(host_path.c_str(), buffer, sizeof buffer);
  if (size <= 0 || static_cast<std::size_t>(size) >= sizeof buffer) return std::nullopt;
  return std::string(buffer, static_cast<std::size_t>(size));
}

FileInfo to_info(const struct stat& st) {
  FileInfo info;
  if (S_ISREG(st.st_mode)) info.type = FileInfo::Type::regular;
  if (S_ISDIR(st.st_mode)) info.type = FileInfo::Type::directory;
  if (S_ISLNK(st.st_mode)) info.type = FileInfo::Type::symlink;
  if (S_ISCHR(st.st_mode)) info.type = FileInfo::Type::character;
  info.mode = st.st_mode & 07777;
  info.uid = st.st_uid;
  info.gid = st.st_gid;
  if (S_ISCHR(st.st_mode)) {
    info.major = major(st.st_rdev);
    info.minor = minor(st.st_rdev);
  }
  return info;
}

/// Opens only a regular file. The type is looked at before open(), because opening a device node
/// can have effects, and again afterwards, because the name may mean something else by then.
bool open_regular(const std::string& host_path, Descriptor& file, struct stat& st) {
  if (::lstat(host_path.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) return false;
  file.fd = ::open(host_path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  return file.fd >= 0 && ::fstat(file.fd, &st) == 0 && S_ISREG(st.st_mode);
}

std::string read_all(int fd, std::size_t limit) {
  std::string bytes;
  char buffer[65536];
  while (bytes.size() < limit) {
    const auto got = ::read(fd, buffer, std::min(sizeof buffer, limit - bytes.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    bytes.append(buffer, static_cast<std::size_t>(got));
  }
  return bytes;
}

}  // namespace

std::string join(std::string_view a, std::string_view b) {
  std::string out(a);
  if (!out.empty() && out.back() != '/') out += '/';
  if (!b.empty() && b.front() == '/' && !out.empty()) b.remove_prefix(1);
  return out.append(b);
}

Tree::Tree(const std::string& root) {
  struct stat st {};
  if (root.empty() || root.find('\0') != std::string::npos || ::stat(root.c_str(), &st) != 0)
    throw Error(ErrorCode::bad_file,
                fmt::format("cannot audit {}: {}; give --root the folder that holds the captured "
                            "tree (the one with proc, sys and dev in it)",
                            root.empty() ? "''" : root,
                            root.empty() ? "no such file or directory" : std::strerror(errno)));
  if (!S_ISDIR(st.st_mode))
    throw Error(ErrorCode::bad_file,
                fmt::format("cannot audit {}: it is not a directory; unpack the captured tree and "
                            "give --root its folder",
                            root));
  if (::access(root.c_str(), R_OK | X_OK) != 0)
    throw Error(ErrorCode::bad_file,
                fmt::format("cannot audit {}: {}; make the folder readable (chmod u+rx)", root,
                            std::strerror(errno)));
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(root.c_str(), nullptr),
                                                         &std::free);
  root_ = real ? real.get() : root;
  is_host_ = root_ == "/";
  while (!root_.empty() && root_.back() == '/') root_.pop_back();
}

std::optional<std::string> Tree::resolve(std::string_view path, bool follow_last) const {
  if (path.find('\0') != std::string_view::npos) return std::nullopt;
  std::vector<std::string> todo;
  push_components(path, todo);
  std::vector<std::string> done;
  int links = 0;
  for (std::size_t steps = 0; !todo.empty(); ++steps) {
    if (steps > max_steps || todo.size() > max_steps) return std::nullopt;
    std::string part = std::move(todo.back());
    todo.pop_back();
    if (part == "..") {
      if (!done.empty()) done.pop_back();
      continue;
    }
    std::string host = root_;
    for (const auto& d : done) host += '/' + d;
    host += '/' + part;
    struct stat st {};
    if (::lstat(host.c_str(), &st) != 0) return std::nullopt;
    if (S_ISLNK(st.st_mode) && (follow_last || !todo.empty())) {
      if (++links > max_symlinks) return std::nullopt;
      const auto target = read_link(host);
      if (!target) return std::nullopt;
      if (target->front() == '/') done.clear();
      push_components(*target, todo);
      continue;
    }
    done.push_back(std::move(part));
  }
  std::string host = root_;
  for (const auto& d : done) host += '/' + d;
  return host.empty() ? "/" : host;
}

std::optional<FileInfo> Tree::info(std::string_view path, bool follow_last) const {
  const auto host = resolve(path, follow_last);
  struct stat st {};
  if (!host || ::lstat(host->c_str(), &st) != 0) return std::nullopt;
  return to_info(st);
}

bool Tree::is_directory(std::string_view path) const {
  const auto i = info(path);
  return i && i->type == FileInfo::Type::directory;
}

bool Tree::is_regular(std::string_view path) const {
  const auto i = info(path);
  return i && i->type == FileInfo::Type::regular;
}

std::optional<std::string> Tree::link_target(std::string_view path) const {
  const auto host = resolve(path, false);
  return host ? read_link(*host) : std::nullopt;
}

std::optional<std::string> Tree::canonical(std::string_view path) const {
  auto host = resolve(path);
  if (!host) return std::nullopt;
  std::string inside = host->substr(std::min(root_.size(), host->size()));
  return inside.empty() ? "/" : inside;
}

std::optional<std::string> Tree::read(std::string_view path, std::size_t limit) const {
  const auto host = resolve(path);
  Descriptor file;
  struct stat st {};
  if (!host || !open_regular(*host, file, st)) return std::nullopt;
  return read_all(file.fd, limit);
}

std::optional<std::string> Tree::read_tail(std::string_view path, std::size_t limit) const {
  const auto host = resolve(path);
  Descriptor file;
  struct stat st {};
  if (!host || !open_regular(*host, file, st)) return std::nullopt;
  if (st.st_size > static_cast<off_t>(limit))
    ::lseek(file.fd, st.st_size - static_cast<off_t>(limit), SEEK_SET);
  return read_all(file.fd, limit);
}

std::optional<std::string> Tree::read_line(std::string_view path) const {
  auto text = read(path, 4096);
  if (!text) return std::nullopt;
  const auto end = text->find_first_of(std::string_view("\n\0", 2));
  if (end != std::string::npos) text->resize(end);
  const auto first = text->find_first_not_of(" \t\r");
  if (first == std::string::npos) return std::string();
  return text->substr(first, text->find_last_not_of(" \t\r") - first + 1);
}

std::vector<std::string> Tree::list(std::string_view path, std::size_t limit) const {
  std::vector<std::string> names;
  const auto host = resolve(path);
  if (!host) return names;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(host->c_str()),
                                                [](DIR* d) { return ::closedir(d); });
  if (!dir) return names;
  while (names.size() < limit) {
    const dirent* entry = ::readdir(dir.get());
    if (!entry) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace npu::probe
