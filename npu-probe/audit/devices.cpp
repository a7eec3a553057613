// SPDX-License-Identifier: MIT
// Device nodes, the rights to open them, and the driver behind them.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <xf86drm.h>

#include <algorithm>

#include "npu-probe/audit/facts.hpp"

namespace npu::probe {
namespace {

constexpr auto manifest = "/dev-nodes.txt";

std::string name_of(const std::map<std::string, unsigned>& ids, unsigned id) {
  for (const auto& [name, number] : ids)
    if (number == id) return name;
  return std::to_string(id);
}

/// Nodes as they lie in the tree: on the running system, or in a tree copied with its nodes.
void read_real_nodes(const Tree& tree, Facts& f) {
  const auto users = parse_name_ids(tree.read("/etc/passwd", 1 << 20).value_or(""));
  const auto groups = parse_name_ids(tree.read("/etc/group", 1 << 20).value_or(""));
  const auto add = [&](const std::string& path) {
    const auto info = tree.info(path, false);
    if (!info) return;
    DevNode node;
    node.path = printable(path, 256);
    if (info->type == FileInfo::Type::character)
      node.type = 'c';
    else if (info->type == FileInfo::Type::symlink)
      node.type = 'l';
    else if (info->type == FileInfo::Type::regular && !tree.is_host())
      node.type = 'c', node.stand_in = true;
    else
      return;
    node.mode = info->mode;
    node.owner = name_of(users, info->uid);
    node.group = name_of(groups, info->gid);
    node.major = info->major;
    node.minor = info->minor;
    if (node.type == 'l') node.target = printable(tree.link_target(path).value_or(""), 256);
    f.dev_nodes.push_back(std::move(node));
  };
  for (const auto& name : tree.list("/dev/accel", 256)) add("/dev/accel/" + name);
  for (const auto& name : tree.list("/dev/dri", 256)) add("/dev/dri/" + name);
  for (const auto& name : tree.list("/dev"))
    if (name.starts_with("rknpu")) add("/dev/" + name);
}

/// Groups of this process by name.
std::vector<std::string> own_groups(const Tree& tree) {
  const auto known = parse_name_ids(tree.read("/etc/group", 1 << 20).value_or(""));
  std::vector<gid_t> ids(1024);
  const int count = ::getgroups(static_cast<int>(ids.size()), ids.data());
  ids.resize(static_cast<std::size_t>(std::max(count, 0)));
  ids.push_back(::getegid());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  std::vector<std::string> names;
  for (const auto id : ids) names.push_back(name_of(known, id));
  return names;
}

struct Access {
  State state = State::unknown;
  std::string evidence;
};

/// Whether the user may open the node for reading and writing.
Access access_of(const Facts& f, const DevNode& node) {
  const auto mode = fmt::format("{:04o} {}:{}", node.mode, node.owner, node.group);
  if ((node.mode & 0006) == 0006) return {State::ok, mode + ": open to every user"};
  if (f.tree.is_host()) {
    if (::access(node.path.c_str(), R_OK | W_OK) == 0)
      return {State::ok, fmt::format("{}: open to this user (uid {}, groups {})", mode, ::geteuid(),
                                     fmt::join(own_groups(f.tree), ", "))};
    return {State::fail, fmt::format("{}: not open to this user (uid {}, groups {})", mode,
                                     ::geteuid(), fmt::join(own_groups(f.tree), ", "))};
  }
  if (node.stand_in)
    return {State::unknown, "a plain file stands for the node: its mode says nothing"};
  const auto id = parse_id(f.tree.read("/id.txt", 65536).value_or(""));
  if (!id)
    return {State::unknown,
            fmt::format("{}; no id.txt in the tree says which groups the user is in", mode)};
  if (id->user == "root" || id->uid == 0) return {State::ok, mode + ": the user of id.txt is root"};
  const bool member =
      std::find(id->groups.begin(), id->groups.end(), node.group) != id->groups.end();
  if (member && (node.mode & 0060) == 0060)
    return {State::ok,
            fmt::format("{}: user {} is in group {} (id.txt)", mode, id->user, node.group)};
  if (id->user == node.owner && (node.mode & 0600) == 0600)
    return {State::ok, fmt::format("{}: user {} owns it (id.txt)", mode, id->user)};
  return {State::fail, fmt::format("{}: user {} is in groups {} (id.txt)", mode, id->user,
                                   fmt::join(id->groups, ", "))};
}

/// DRM driver behind a node, by the version ioctl: only on the running system.
std::string ask_driver(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return {};
  std::string answer;
  if (drmVersionPtr version = drmGetVersion(fd)) {
    answer = fmt::format(
        "{} {}.{}.{}",
        std::string_view(version->name, static_cast<std::size_t>(std::max(version->name_len, 0))),
        version->version_major, version->version_minor, version->version_patchlevel);
    drmFreeVersion(version);
  }
  ::close(fd);
  return answer;
}

/// The driver of the device behind sys/class/accel/accelN. Rocket's node belongs to a device
/// "rknn" that it makes for itself and binds no driver to [rocket_drv.c, rocket_register].
std::string sysfs_driver(const Tree& tree, const std::string& name, std::string& source) {
  const auto dir = "/sys/class/accel/" + name + "/device";
  if (const auto link = tree.link_target(dir + "/driver")) {
    source = dir + "/driver";
    return link->substr(link->rfind('/') == std::string::npos ? 0 : link->rfind('/') + 1);
  }
  const auto uevent = tree.read(dir + "/uevent", 65536).value_or("");
  for (const auto line : split_lines(uevent, 1000))
    if (line.starts_with("DRIVER=")) {
      source = dir + "/uevent";
      return std::string(line.substr(7));
    } else if (line == "MODALIAS=platform:rknn") {
      source = dir + "/uevent";
      return "rocket";
    }
  return {};
}

void check_nodes(const Facts& f, Checks& checks, std::vector<const DevNode*>& accel) {
  for (const auto& node : f.dev_nodes)
    if (node.type == 'c' && node.path.starts_with("/dev/accel/accel")) accel.push_back(&node);
  if (accel.empty()) {
    checks.add("accel-node", "Accelerator node", State::fail,
               f.dev_source.empty() ? "no dev/accel/accel* (and no dev-nodes.txt)"
                                    : fmt::format("no /dev/accel/accel* ({})", f.dev_source),
               f.tree.is_host() || !f.dev_source.empty()
                   ? "it appears when rocket binds to an enabled NPU node"
                   : "it appears when rocket binds to an enabled NPU node; in a captured tree "
                     "dev-nodes.txt lists the nodes (see docs/audit.md)");
    checks.add("accel-access", "Right to open it", State::unknown, "there is no node yet", "");
    return;
  }
  std::vector<std::string> list;
  for (const auto* node : accel)
    list.push_back(fmt::format("{} {:04o} {}:{} {}:{}", node->path, node->mode, node->owner,
                               node->group, node->major, node->minor));
  checks.add("accel-node", "Accelerator node", State::ok,
             fmt::format("{} ({})", fmt::join(list, "; "), f.dev_source));
  const auto access = access_of(f, *accel.front());
  checks.add("accel-access", "Right to open it", access.state,
             fmt::format("{} {}", accel.front()->path, access.evidence),
             access.state == State::ok
                 ? ""
                 : fmt::format("`sudo usermod -aG {} $USER` and log in again, with the udev rule "
                               "SUBSYSTEM==\"accel\", GROUP=\"render\", MODE=\"0660\"",
                               accel.front()->group == "root" ? "render" : accel.front()->group));
}

void check_driver(const Facts& f, Checks& checks, const std::vector<const DevNode*>& accel) {
  constexpr auto id = "drm-driver";
  constexpr auto title = "DRM driver";
  std::string other, other_source;
  for (const auto* node : accel) {
    std::string source = "DRM_IOCTL_VERSION on " + node->path;
    std::string driver = f.tree.is_host() ? ask_driver(node->path) : std::string();
    if (driver.empty())
      driver = sysfs_driver(f.tree, node->path.substr(std::string("/dev/accel/").size()), source);
    if (driver == "rocket" || driver.starts_with("rocket ")) {
      // The version comes from the ioctl, or from what the DRM core logged.
      if (driver == "rocket" && f.log.drm_driver.starts_with("rocket ")) {
        driver = f.log.drm_driver;
        source += ", " + f.log_source;
      }
      checks.add(id, title, State::ok, fmt::format("{} ({})", driver, source));
      return;
    }
    if (!driver.empty()) other = driver, other_source = source;
  }
  if (!f.log.drm_driver.empty())
    checks.add(id, title, State::ok, fmt::format("{} ({})", f.log.drm_driver, f.log_source));
  else if (!other.empty())
    checks.add(id, title, State::fail, fmt::format("{} ({}), not rocket", other, other_source),
               "the accelerator node belongs to another driver; load rocket");
  else
    checks.add(id, title, State::unknown,
               accel.empty() ? "there is no node to ask" : "no driver link below sys/class/accel",
               accel.empty() ? "" : "run the audit on the board itself, which asks the node");
}

void check_render_link(const Facts& f, Checks& checks) {
  constexpr auto id = "renderd-symlink";
  constexpr auto title = "renderD link for older Mesa";
  for (const auto& node : f.dev_nodes) {
    if (node.type != 'l' || !node.path.starts_with("/dev/dri/renderD")) continue;
    if (node.target.find("accel/accel") == std::string::npos) continue;
    checks.add(id, title, State::ok,
               fmt::format("{} -> {} ({})", node.path, node.target, f.dev_source));
    return;
  }
  checks.add(id, title, State::warn, "no /dev/dri/renderD* that leads to /dev/accel/accel*",
             "only Mesa's Teflon of 25.3 looks for it: udev rule SUBSYSTEM==\"accel\", "
             "KERNEL==\"accel0\", SYMLINK+=\"dri/renderD180\"");
}

void check_core_versions(const Facts& f, Checks& checks) {
  constexpr auto id = "npu-core-versions";
  constexpr auto title = "Cores in the kernel log";
  // 0x46495245, "FIRE": what real boards print for all three cores [control-and-uapi A.5].
  constexpr std::int64_t known = 1179210309;
  std::vector<std::string> list;
  bool odd = false;
  for (const auto& [core, version] : f.log.core_versions) {
    const auto device = f.log.core_devices.find(core);
    list.push_back(fmt::format("core {} {} version {}", core,
                               device == f.log.core_devices.end() ? "?" : device->second, version));
    odd |= version != known;
  }
  if (list.empty()) {
    const bool no_log = f.log_source.empty();
    checks.add(id, title, State::unknown,
               no_log ? "no kernel log to read (dev/kmsg, dmesg.txt, var/log/dmesg, "
                        "var/log/kern.log)"
                      : f.log_source + ": no line of rocket with a core version" +
                            (f.log.probe_failure.empty() ? "" : "; " + f.log.probe_failure),
               no_log ? "audit as root, or put the output of dmesg into dmesg.txt"
                      : "the lines appear when rocket binds to the cores");
    return;
  }
  const int expected = f.npu.enabled_cores();
  const bool all = static_cast<int>(list.size()) >= expected;
  checks.add(id, title, odd || !all ? State::warn : State::ok,
             fmt::format("{} ({})", fmt::join(list, ", "), f.log_source),
             odd ? "another version than 1179210309: an unknown revision, or a core that did not "
                   "answer; check its supply and power domain"
             : !all
                 ? fmt::format("the device tree enables {} cores, {} answered: look for errors of "
                               "rocket in the kernel log",
                               expected, list.size())
                 : "");
}

void check_log_errors(const Facts& f, Checks& checks) {
  constexpr auto id = "npu-log-errors";
  constexpr auto title = "NPU errors in the kernel log";
  if (f.log_source.empty()) {
    checks.add(id, title, State::unknown, "no kernel log to read",
               "audit as root, or put the output of dmesg into dmesg.txt");
    return;
  }
  if (f.log.job_timeouts == 0 && f.log.page_faults == 0 && f.log.probe_failure.empty()) {
    checks.add(id, title, State::ok, f.log_source + ": none");
    return;
  }
  checks.add(
      id, title, State::warn,
      fmt::format("{}: {} job timeouts, {} page faults{}", f.log_source, f.log.job_timeouts,
                  f.log.page_faults, f.log.probe_failure.empty() ? "" : "; " + f.log.probe_failure),
      "a timeout is a job that never completed, a page fault a wrong address in its program; "
      "`npu-probe bringup` shows whether the simplest job works");
}

}  // namespace

void gather_devices(const Tree& tree, Facts& f) {
  // On the running system the nodes themselves count; a left-over manifest in / does not.
  const auto text = tree.is_host() ? std::nullopt : tree.read(manifest);
  if (text) {
    f.dev_nodes = parse_dev_manifest(*text);
    f.dev_source = "dev-nodes.txt";
    return;
  }
  read_real_nodes(tree, f);
  if (tree.is_directory("/dev")) f.dev_source = "dev";
}

void check_devices(const Facts& facts, std::vector<Check>& all) {
  Checks checks(all, "Device");
  std::vector<const DevNode*> accel;
  check_nodes(facts, checks, accel);
  check_driver(facts, checks, accel);
  check_render_link(facts, checks);
  check_core_versions(facts, checks);
  check_log_errors(facts, checks);
}

}  // namespace npu::probe
