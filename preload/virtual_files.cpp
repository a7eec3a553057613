// SPDX-License-Identifier: MIT
// What a board shows: control-and-uapi.md A and F.6; names from the device tree binding.
#include "preload/virtual_files.hpp"

#include <algorithm>
#include <array>

namespace npu::preload {
namespace {

constexpr std::string_view kUevent =
    "DRIVER=rocket\nOF_NAME=npu\nOF_FULLNAME=/npu@fdab0000\n"
    "OF_COMPATIBLE_0=rockchip,rk3588-rknn-core\nOF_COMPATIBLE_N=1\n"
    "MODALIAS=of:NnpuT(null)Crockchip,rk3588-rknn-core\n";

struct Entry {
  NodeKind kind;
  std::string_view path, content;
};

#define NPU_PLATFORM "/sys/devices/platform/fdab0000.npu"
constexpr Entry kNodes[] = {
    {NodeKind::directory, "/dev/accel", {}},
    {NodeKind::device, "/dev/accel/accel0", {}},
    {NodeKind::directory, "/sys/class/accel", {}},
    {NodeKind::link, "/sys/class/accel/accel0", NPU_PLATFORM "/accel/accel0"},
    {NodeKind::link, "/sys/dev/char/261:0", NPU_PLATFORM "/accel/accel0"},
    {NodeKind::directory, "/sys/bus/platform/drivers/rocket", {}},
    {NodeKind::link, "/sys/bus/platform/drivers/rocket/fdab0000.npu", NPU_PLATFORM},
    {NodeKind::link, "/sys/bus/platform/devices/fdab0000.npu", NPU_PLATFORM},
    {NodeKind::directory, NPU_PLATFORM, {}},
    {NodeKind::text, NPU_PLATFORM "/uevent", kUevent},
    {NodeKind::link, NPU_PLATFORM "/driver", "/sys/bus/platform/drivers/rocket"},
    {NodeKind::link, NPU_PLATFORM "/subsystem", "/sys/bus/platform"},
    {NodeKind::directory, NPU_PLATFORM "/accel", {}},
    {NodeKind::directory, NPU_PLATFORM "/accel/accel0", {}},
    {NodeKind::text, NPU_PLATFORM "/accel/accel0/dev", "261:0\n"},
    {NodeKind::text, NPU_PLATFORM "/accel/accel0/uevent",
     "MAJOR=261\nMINOR=0\nDEVNAME=accel/accel0\nDEVTYPE=accel_minor\n"},
    {NodeKind::link, NPU_PLATFORM "/accel/accel0/device", NPU_PLATFORM},
    {NodeKind::link, NPU_PLATFORM "/accel/accel0/subsystem", "/sys/class/accel"},
};

const Entry* entry_at(std::string_view path) {
  const auto* it = std::find_if(std::begin(kNodes), std::end(kNodes),
                                [path](const Entry& e) { return e.path == path; });
  return it == std::end(kNodes) ? nullptr : it;
}

constexpr int kMostLinks = 16;

std::optional<Node> find(std::string path, bool follow, int links) {
  if (links > kMostLinks) return std::nullopt;
  // Walk the components; a link on the way starts the walk again from where it points.
  std::string at;
  for (std::size_t i = 0; i < path.size();) {
    while (i < path.size() && path[i] == '/') ++i;
    const std::size_t end = std::min(path.find('/', i), path.size());
    const std::string_view name(path.data() + i, end - i);
    if (name == "..") {
      at.resize(at.empty() ? 0 : at.rfind('/'));
    } else if (!name.empty() && name != ".") {
      at += '/';
      at += name;
    }
    i = end;
    const Entry* entry = entry_at(at);
    if (entry == nullptr || entry->kind != NodeKind::link) continue;
    const std::size_t rest = path.find_first_not_of('/', i);
    if (rest == std::string::npos && !follow) break;
    return find(std::string(entry->content) + path.substr(i), follow, links + 1);
  }
  const Entry* entry = entry_at(at);
  if (entry == nullptr) {
    // ".." of a directory of ours: a real one, but the real system cannot follow the path to it.
    const bool above = path.ends_with("/..") &&
                       std::any_of(std::begin(kNodes), std::end(kNodes),
                                   [&](const Entry& e) { return e.path.starts_with(at + "/"); });
    if (above) return Node{NodeKind::directory, at, {}};
    return std::nullopt;
  }
  return Node{entry->kind, std::string(entry->path), std::string(entry->content)};
}

}  // namespace

std::optional<Node> find_node(std::string_view path, bool follow) {
  // Most paths of a process are neither: look at the beginning before anything is allocated.
  if (!path.starts_with("/dev/") && !path.starts_with("/sys/") && !path.starts_with("//"))
    return std::nullopt;
  return find(std::string(path), follow, 0);
}

std::vector<std::string> list_directory(const Node& directory) {
  std::vector<std::string> names{".", ".."};
  for (const Entry& entry : kNodes) {
    if (!entry.path.starts_with(directory.path + "/")) continue;
    const std::string_view name = entry.path.substr(directory.path.size() + 1);
    if (name.find('/') == name.npos) names.emplace_back(name);
  }
  return names;
}

}  // namespace npu::preload
