// SPDX-License-Identifier: MIT
// The two forms of a device tree: a blob, read by libfdt, and a folder of files.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <libfdt.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "npu-probe/dt/devicetree.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

// A real RK3588 tree has some 1500 nodes; more than this is not one.
constexpr std::size_t max_nodes = 20000;
constexpr int max_depth = 24;
constexpr std::size_t max_names = 65536;      // in one folder
constexpr std::size_t max_property = 262144;  // bytes; the longest of a real tree: some 30000

std::string below(const std::string& path, std::string_view name) {
  return (path == "/" ? path : path + "/") + printable(name, 128);
}

std::string read_property(const std::string& file) {
  std::string bytes;
  const int fd = ::open(file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return bytes;
  char piece[4096];
  while (bytes.size() < max_property) {
    const auto got = ::read(fd, piece, std::min(sizeof piece, max_property - bytes.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    bytes.append(piece, static_cast<std::size_t>(got));
  }
  ::close(fd);
  return bytes;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(folder.c_str()),
                                                [](DIR* d) { return ::closedir(d); });
  while (dir && names.size() < max_names) {
    const dirent* entry = ::readdir(dir.get());
    if (!entry) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void walk(const std::string& folder, const std::string& path, int parent, int depth,
          bool (*wanted)(std::string_view), DeviceTree& dt) {
  if (dt.nodes.size() >= max_nodes || depth > max_depth) return;
  const auto self = dt.nodes.size();
  dt.nodes.push_back({path, {}, parent});
  std::vector<std::string> children;
  for (const auto& name : names_in(folder)) {
    const auto file = folder + "/" + name;
    struct stat st {};
    // Not through symlinks: a real tree has none, and a damaged capture may loop.
    if (::lstat(file.c_str(), &st) != 0) continue;
    if (S_ISDIR(st.st_mode)) children.push_back(name);
    // The kernel adds "name", which no blob has.
    else if (S_ISREG(st.st_mode) && name != "name" && (!wanted || wanted(name)))
      dt.nodes[self].properties[name] = read_property(file);
  }
  for (const auto& name : children)
    walk(folder + "/" + name, below(path, name), static_cast<int>(self), depth + 1, wanted, dt);
}

[[noreturn]] void refuse(const std::string& name, const std::string& why) {
  throw Error(ErrorCode::bad_file,
              fmt::format("{} is no device tree: {}; give it a .dtb file, or /proc/device-tree on "
                          "the board",
                          name, why));
}

}  // namespace

DeviceTree read_folder(const std::string& folder, bool (*wanted)(std::string_view)) {
  DeviceTree dt;
  walk(folder, "/", -1, 0, wanted, dt);
  index_phandles(dt);
  return dt;
}

DeviceTree read_any_blob(std::span<const std::byte> bytes, const std::string& name) {
  // libfdt wants the blob aligned to 8 bytes.
  std::vector<std::uint64_t> aligned(bytes.size() / 8 + 1);
  if (!bytes.empty()) std::memcpy(aligned.data(), bytes.data(), bytes.size());
  const void* blob = aligned.data();
  if (bytes.size() < sizeof(fdt_header)) refuse(name, "it is shorter than the header of one");
  if (fdt_magic(blob) != FDT_MAGIC) refuse(name, "it does not begin with d00dfeed");
  if (const int error = fdt_check_full(blob, bytes.size()))
    refuse(name, fmt::format("it is damaged ({})", fdt_strerror(error)));
  DeviceTree dt;
  std::vector<int> open;  // the nodes from the root to the present one
  int depth = 0;
  for (int at = fdt_next_node(blob, -1, &depth); at >= 0 && depth >= 0;
       at = fdt_next_node(blob, at, &depth)) {
    if (depth < 1 || depth > max_depth + 1) refuse(name, "its nodes lie too deep");
    if (dt.nodes.size() >= max_nodes) refuse(name, "it has more nodes than any board");
    open.resize(static_cast<std::size_t>(depth - 1));
    int length = 0;
    const char* node_name = fdt_get_name(blob, at, &length);
    if (!node_name) refuse(name, "a node has no name");
    if (open.empty() && !dt.nodes.empty()) refuse(name, "it has two roots");
    DtNode node;
    node.path = open.empty() ? "/"
                             : below(dt.nodes[static_cast<std::size_t>(open.back())].path,
                                     {node_name, static_cast<std::size_t>(length)});
    node.parent = open.empty() ? -1 : open.back();
    for (int p = fdt_first_property_offset(blob, at); p >= 0;
         p = fdt_next_property_offset(blob, p)) {
      const char* property = nullptr;
      int size = 0;
      const auto* value =
          static_cast<const char*>(fdt_getprop_by_offset(blob, p, &property, &size));
      if (!value || size < 0) refuse(name, "a property cannot be read");
      node.properties[printable(property, 128)].assign(value, static_cast<std::size_t>(size));
    }
    open.push_back(static_cast<int>(dt.nodes.size()));
    dt.nodes.push_back(std::move(node));
  }
  if (dt.nodes.empty()) refuse(name, "it has no nodes");
  index_phandles(dt);
  return dt;
}

DeviceTree read_blob(std::span<const std::byte> bytes, const std::string& name) {
  auto dt = read_any_blob(bytes, name);
  for (const auto& node : dt.nodes)
    if (node.path.ends_with("/__overlay__"))
      throw Error(
          ErrorCode::bad_file,
          fmt::format("{} is an overlay and not a whole tree: apply it first (fdtoverlay -i "
                      "BOARD.dtb -o OUT.dtb {}) and give the result",
                      name, name));
  return dt;
}

}  // namespace npu::probe
