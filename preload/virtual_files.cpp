// SPDX-License-Identifier: MIT
// What a board shows: control-and-uapi.md A and F.6; names from the device tree binding.
#include "preload/virtual_files.hpp"

#include <algorithm>
#include <array>

#include "preload/settings.hpp"

namespace npu::preload {
namespace {

#define NPU_UEVENT(driver, address, compatible)                                               \
  "DRIVER=" driver "\nOF_NAME=npu\nOF_FULLNAME=/npu@" address "\nOF_COMPATIBLE_0=" compatible \
  "\nOF_COMPATIBLE_N=1\nMODALIAS=of:NnpuT(null)C" compatible "\n"

struct Entry {
  NodeKind kind;
  std::string_view path, content;
  NodeDriver driver = NodeDriver::rocket;
  unsigned minor = 0;
};

// The node belongs to a platform device "rknn" that the driver makes for itself, and that none is
// bound to; bound are the cores [rocket_drv.c; a board's log: "Initialized rocket 0.0.0 for rknn"].
#define RKNN_PLATFORM "/sys/devices/platform/rknn"
constexpr Entry kRocketNodes[] = {
    {NodeKind::directory, "/dev/accel", {}},
    {NodeKind::device, "/dev/accel/accel0", {}},
    {NodeKind::directory, "/sys/class/accel", {}},
    {NodeKind::link, "/sys/class/accel/accel0", RKNN_PLATFORM "/accel/accel0"},
    {NodeKind::link, "/sys/dev/char/261:0", RKNN_PLATFORM "/accel/accel0"},
    {NodeKind::link, "/sys/bus/platform/devices/rknn", RKNN_PLATFORM},
    {NodeKind::directory, RKNN_PLATFORM, {}},
    {NodeKind::text, RKNN_PLATFORM "/uevent", "MODALIAS=platform:rknn\n"},
    {NodeKind::text, RKNN_PLATFORM "/modalias", "platform:rknn\n"},
    {NodeKind::link, RKNN_PLATFORM "/subsystem", "/sys/bus/platform"},
    {NodeKind::directory, RKNN_PLATFORM "/accel", {}},
    {NodeKind::directory, RKNN_PLATFORM "/accel/accel0", {}},
    {NodeKind::text, RKNN_PLATFORM "/accel/accel0/dev", "261:0\n"},
    {NodeKind::text, RKNN_PLATFORM "/accel/accel0/uevent",
     "MAJOR=261\nMINOR=0\nDEVNAME=accel/accel0\nDEVTYPE=accel_minor\n"},
    {NodeKind::link, RKNN_PLATFORM "/accel/accel0/device", RKNN_PLATFORM},
    {NodeKind::link, RKNN_PLATFORM "/accel/accel0/subsystem", "/sys/class/accel"},
    {NodeKind::directory, "/sys/bus/platform/drivers/rocket", {}},
};

#define DEVICE_TREE "/sys/firmware/devicetree/base"
#define CORE_COMPATIBLE "rockchip,rk3588-rknn-core"
#define CORE_NODES(address, platform)                                                       \
  {NodeKind::link, "/sys/bus/platform/drivers/rocket/" address ".npu", platform},           \
      {NodeKind::link, "/sys/bus/platform/devices/" address ".npu", platform},              \
      {NodeKind::directory, platform, {}},                                                  \
      {NodeKind::text, platform "/uevent", NPU_UEVENT("rocket", address, CORE_COMPATIBLE)}, \
      {NodeKind::link, platform "/driver", "/sys/bus/platform/drivers/rocket"},             \
      {NodeKind::link, platform "/subsystem", "/sys/bus/platform"},                         \
      {NodeKind::directory, platform "/power", {}},                                         \
      {NodeKind::text, platform "/power/control", "auto\n"},                                \
      {NodeKind::link, platform "/of_node", DEVICE_TREE "/npu@" address},                   \
      {NodeKind::directory, DEVICE_TREE "/npu@" address, {}}, {                             \
    NodeKind::text, DEVICE_TREE "/npu@" address "/compatible",                              \
        std::string_view(CORE_COMPATIBLE, sizeof CORE_COMPATIBLE)                           \
  } /* with its NUL */
constexpr Entry kRocketCores[] = {
    CORE_NODES("fdab0000", "/sys/devices/platform/fdab0000.npu"),
    CORE_NODES("fdac0000", "/sys/devices/platform/fdac0000.npu"),
    CORE_NODES("fdad0000", "/sys/devices/platform/fdad0000.npu"),
};
constexpr std::size_t kMostCores = 3, kNodesOfCore = std::size(kRocketCores) / kMostCores;

#define NPU_PLATFORM "/sys/devices/platform/fdab0000.npu"
// A vendor board's card0 is its display: card1 and renderD129 are what programs open [mtx512,
// allbilly, wtwver]. card0 is the host's own, if it has one.
constexpr Entry kRknpuNodes[] = {
    {NodeKind::directory, "/dev/dri", {}},
    {NodeKind::device, "/dev/dri/card1", {}, NodeDriver::rknpu_card, 1},
    {NodeKind::device, "/dev/dri/renderD129", {}, NodeDriver::rknpu_render, 129},
    {NodeKind::directory, "/dev/dri/by-path", {}},
    {NodeKind::link, "/dev/dri/by-path/platform-fdab0000.npu-card", "/dev/dri/card1"},
    {NodeKind::link, "/dev/dri/by-path/platform-fdab0000.npu-render", "/dev/dri/renderD129"},
    {NodeKind::device, "/dev/rknpu", {}, NodeDriver::rknpu_misc, 125},
    {NodeKind::directory, "/sys/class/drm", {}},
    {NodeKind::link, "/sys/class/drm/card1", NPU_PLATFORM "/drm/card1"},
    {NodeKind::link, "/sys/class/drm/renderD129", NPU_PLATFORM "/drm/renderD129"},
    {NodeKind::link, "/sys/dev/char/226:1", NPU_PLATFORM "/drm/card1"},
    {NodeKind::link, "/sys/dev/char/226:129", NPU_PLATFORM "/drm/renderD129"},
    {NodeKind::directory, "/sys/bus/platform/drivers/RKNPU", {}},
    {NodeKind::link, "/sys/bus/platform/drivers/RKNPU/fdab0000.npu", NPU_PLATFORM},
    {NodeKind::link, "/sys/bus/platform/devices/fdab0000.npu", NPU_PLATFORM},
    {NodeKind::directory, NPU_PLATFORM, {}},
    {NodeKind::text, NPU_PLATFORM "/uevent",
     NPU_UEVENT("RKNPU", "fdab0000", "rockchip,rk3588-rknpu")},
    {NodeKind::link, NPU_PLATFORM "/driver", "/sys/bus/platform/drivers/RKNPU"},
    {NodeKind::link, NPU_PLATFORM "/subsystem", "/sys/bus/platform"},
    {NodeKind::directory, NPU_PLATFORM "/drm", {}},
    {NodeKind::directory, NPU_PLATFORM "/drm/card1", {}},
    {NodeKind::text, NPU_PLATFORM "/drm/card1/dev", "226:1\n"},
    {NodeKind::text, NPU_PLATFORM "/drm/card1/uevent",
     "MAJOR=226\nMINOR=1\nDEVNAME=dri/card1\nDEVTYPE=drm_minor\n"},
    {NodeKind::link, NPU_PLATFORM "/drm/card1/device", NPU_PLATFORM},
    {NodeKind::link, NPU_PLATFORM "/drm/card1/subsystem", "/sys/class/drm"},
    {NodeKind::directory, NPU_PLATFORM "/drm/renderD129", {}},
    {NodeKind::text, NPU_PLATFORM "/drm/renderD129/dev", "226:129\n"},
    {NodeKind::text, NPU_PLATFORM "/drm/renderD129/uevent",
     "MAJOR=226\nMINOR=129\nDEVNAME=dri/renderD129\nDEVTYPE=drm_minor\n"},
    {NodeKind::link, NPU_PLATFORM "/drm/renderD129/device", NPU_PLATFORM},
    {NodeKind::link, NPU_PLATFORM "/drm/renderD129/subsystem", "/sys/class/drm"},
    {NodeKind::text, "/sys/kernel/debug/rknpu/version", "RKNPU driver: v0.9.8\n"},
    {NodeKind::text, "/proc/rknpu/version", "RKNPU driver: v0.9.8\n"},
};

// Those of the drivers that there are; rocket's first, where both have a path.
const std::vector<Entry>& nodes() {
  static const auto* const all = [] {
    auto* list = new std::vector<Entry>;
    if (settings().rocket) {
      list->insert(list->end(), std::begin(kRocketNodes), std::end(kRocketNodes));
      const auto cores = std::min<std::size_t>(settings().cores, kMostCores);
      list->insert(list->end(), kRocketCores, kRocketCores + cores * kNodesOfCore);
    }
    if (settings().rknpu)
      for (const Entry& entry : kRknpuNodes)
        if (std::none_of(list->begin(), list->end(),
                         [&](const Entry& other) { return other.path == entry.path; }))
          list->push_back(entry);
    return list;
  }();
  return *all;
}

const Entry* entry_at(std::string_view path) {
  const auto it = std::find_if(nodes().begin(), nodes().end(),
                               [path](const Entry& e) { return e.path == path; });
  return it == nodes().end() ? nullptr : &*it;
}

unsigned major_of(const Entry& entry) {
  switch (entry.driver) {
    case NodeDriver::rocket: return kAccelMajor;
    case NodeDriver::rknpu_card:
    case NodeDriver::rknpu_render: return kDrmMajor;
    case NodeDriver::rknpu_misc: return kMiscMajor;
  }
  return 0;
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
                       std::any_of(nodes().begin(), nodes().end(),
                                   [&](const Entry& e) { return e.path.starts_with(at + "/"); });
    if (above) return Node{NodeKind::directory, at, {}, {}, 0, 0};
    return std::nullopt;
  }
  return Node{entry->kind,   std::string(entry->path), std::string(entry->content),
              entry->driver, major_of(*entry),         entry->minor};
}

}  // namespace

std::optional<Node> find_node(std::string_view path, bool follow) {
  // Most paths of a process are neither: look at the beginning before anything is allocated.
  if (!path.starts_with("/dev/") && !path.starts_with("/sys/") && !path.starts_with("//") &&
      !path.starts_with("/proc/rknpu/"))
    return std::nullopt;
  return find(std::string(path), follow, 0);
}

std::vector<std::string> list_directory(const Node& directory) {
  std::vector<std::string> names{".", ".."};
  for (const Entry& entry : nodes()) {
    if (!entry.path.starts_with(directory.path + "/")) continue;
    const std::string_view name = entry.path.substr(directory.path.size() + 1);
    if (name.find('/') == name.npos) names.emplace_back(name);
  }
  return names;
}

std::vector<std::string> names_added_to(std::string_view directory) {
  std::vector<std::string> names;
  if (directory.empty() || entry_at(directory) != nullptr) return names;
  const std::string prefix = std::string(directory) + "/";
  for (const Entry& entry : nodes()) {
    if (!entry.path.starts_with(prefix)) continue;
    const std::string_view rest = entry.path.substr(prefix.size());
    const std::string name(rest.substr(0, rest.find('/')));
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

bool begins_like_a_node(std::string_view relative) {
  while (relative.starts_with("./")) relative.remove_prefix(2);
  const std::string name = "/" + std::string(relative.substr(0, relative.find('/')));
  return name.size() > 1 && std::any_of(nodes().begin(), nodes().end(), [&](const Entry& entry) {
           const std::size_t at = entry.path.find(name);
           const std::size_t end = at + name.size();
           return at != entry.path.npos && (end == entry.path.size() || entry.path[end] == '/');
         });
}

}  // namespace npu::preload
