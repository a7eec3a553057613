// SPDX-License-Identifier: MIT
#include "npu-probe/audit/facts.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

namespace npu::probe {
namespace {

std::string read_arch(const Tree& tree, const KernelFacts& kernel) {
  if (auto arch = tree.read_line("/proc/sys/kernel/arch"); arch && !arch->empty())
    return printable(*arch, 32);
  const auto cpuinfo = tree.read("/proc/cpuinfo", 65536).value_or("");
  if (cpuinfo.find("CPU implementer") != std::string::npos) return "aarch64";
  if (cpuinfo.find("GenuineIntel") != std::string::npos ||
      cpuinfo.find("AuthenticAMD") != std::string::npos)
    return "x86_64";
  if (config_value(kernel.config, "CONFIG_ARM64") == 'y') return "aarch64";
  if (config_value(kernel.config, "CONFIG_X86_64") == 'y') return "x86_64";
  return {};
}

/// Messages of the running kernel; needs the right to read them, and must never wait for more.
std::string read_kmsg() {
  std::string text;
  const int fd = ::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return text;
  char record[8192];
  for (int i = 0; i < 100000 && text.size() < max_file_bytes; ++i) {
    const auto got = ::read(fd, record, sizeof record);
    if (got < 0 && (errno == EPIPE || errno == EINTR)) continue;  // overwritten meanwhile
    if (got <= 0) break;
    // "6,1234,16974889,-;message": the third field is the time in microseconds.
    std::string_view line(record, static_cast<std::size_t>(got));
    const auto semicolon = line.find(';');
    if (semicolon == std::string_view::npos) continue;
    auto head = line.substr(0, semicolon);
    unsigned long long time_us = 0;
    for (int field = 0; field < 2 && head.find(',') != std::string_view::npos; ++field)
      head.remove_prefix(head.find(',') + 1);
    for (const char c : head) {
      if (c < '0' || c > '9') break;
      time_us = time_us * 10 + static_cast<unsigned>(c - '0');
    }
    const auto message = line.substr(semicolon + 1);
    text += fmt::format("[{}.{:06}] {}\n", time_us / 1000000, time_us % 1000000,
                        message.substr(0, message.find('\n')));
  }
  ::close(fd);
  return text;
}

/// Of the properties of a live tree, those that the audit looks at.
bool wanted_property(std::string_view name) {
  for (const auto exact :
       {"compatible", "status", "reg", "reg-names", "phandle", "linux,phandle", "model",
        "#address-cells", "#size-cells", "#iommu-cells", "#power-domain-cells", "power-domains",
        "iommus", "assigned-clock-rates", "regulator-name", "regulator-always-on",
        "regulator-boot-on", "device_type"})
    if (name == exact) return true;
  return name.ends_with("-supply");
}

void find_soc(Facts& f) {
  if (!f.dt.present()) return;
  const auto& root = f.dt.nodes.front();
  f.machine.board = root.string("model");
  const auto compatible = root.strings("compatible");
  if (!compatible.empty()) f.machine.soc = compatible.back();
  for (const auto& name : compatible) {
    if (name != "rockchip,rk3588" && name != "rockchip,rk3588s") continue;
    f.is_rk3588 = true;
    f.machine.soc = name == "rockchip,rk3588" ? "RK3588" : "RK3588S";
    f.rk3588_evidence = fmt::format("{}/compatible: {}", f.dt.base, name);
    return;
  }
  // A damaged root node, but the NPU's own nodes are those of an RK3588.
  for (const auto* core : f.npu.core)
    if (core && (core->compatible_with("rockchip,rk3588-rknn-core") ||
                 core->compatible_with("rockchip,rk3588-rknpu"))) {
      f.is_rk3588 = true;
      f.machine.soc = "RK3588";
      f.rk3588_evidence = fmt::format("{}{} is an RK3588 NPU", f.dt.base, core->path);
      return;
    }
  if (f.machine.board.find("RK3588") != std::string::npos) {
    f.is_rk3588 = true;
    f.machine.soc = "RK3588";
    f.rk3588_evidence = fmt::format("{}/model: {}", f.dt.base, f.machine.board);
  }
}

}  // namespace

void Checks::add(std::string id, std::string title, State state, std::string evidence,
                 std::string remedy) {
  // The single place through which text reaches a report: nothing from a file gets out unclean.
  all_.push_back(
      {std::move(id), group_, printable(title), state, printable(evidence), printable(remedy)});
}

DeviceTree gather_device_tree(const Tree& tree) {
  DeviceTree dt;
  for (const std::string base : {"/sys/firmware/devicetree/base", "/proc/device-tree"}) {
    const auto folder = tree.resolve(base);
    if (!folder || !tree.is_directory(base) || tree.list(base, 1).empty()) continue;
    dt = read_folder(*folder, wanted_property);
    dt.base = base;
    break;
  }
  return dt;
}

std::string gather_log(const Tree& tree, std::string& source) {
  if (tree.is_host()) {
    if (auto text = read_kmsg(); !text.empty()) {
      source = "/dev/kmsg";
      return text;
    }
  }
  // dmesg.txt is what capture-tree.sh writes; the others are a distribution's own files.
  for (const auto path : {"/dmesg.txt", "/var/log/dmesg", "/var/log/kern.log", "/var/log/syslog",
                          "/var/log/messages"}) {
    if (tree.is_host() && std::string_view(path) == "/dmesg.txt") continue;
    if (auto text = tree.read_tail(path); text && !text->empty()) {
      source = path;
      return *text;
    }
  }
  return {};
}

Facts gather(const Tree& tree) {
  Facts f(tree);
  f.kernel = gather_kernel(tree);
  f.dt = gather_device_tree(tree);
  f.npu = find_npu_nodes(f.dt);
  find_soc(f);
  f.machine.kernel = f.kernel.release;
  f.machine.arch = read_arch(tree, f.kernel);
  f.machine.memory_bytes = parse_mem_total(tree.read("/proc/meminfo", 65536).value_or(""));
  gather_devices(tree, f);
  f.log = parse_kernel_log(gather_log(tree, f.log_source));
  if (!f.is_rk3588 && !f.dt.present() && !f.log.core_devices.empty()) {
    f.is_rk3588 = true;
    f.machine.soc = "RK3588";
    f.rk3588_evidence = f.log_source + ": messages of the rocket driver";
  }
  return f;
}

void check_machine(const Facts& f, std::vector<Check>& all) {
  Checks checks(all, "Machine");
  if (f.is_rk3588) {
    checks.add("soc", "SoC", State::ok, fmt::format("{} ({})", f.machine.soc, f.rk3588_evidence));
    if (f.machine.board.empty())
      checks.add("board", "Board", State::unknown, "no readable model property in the device tree",
                 "boot with the board's own device tree, or capture it again");
    else
      checks.add("board", "Board", State::ok,
                 fmt::format("{} ({}/model)", f.machine.board, f.dt.base));
    return;
  }
  const auto arch = f.machine.arch.empty() ? std::string("unknown architecture") : f.machine.arch;
  std::string found = f.dt.present()
                          ? fmt::format("the device tree is that of {}",
                                        !f.machine.board.empty() ? f.machine.board
                                        : !f.machine.soc.empty() ? f.machine.soc
                                                                 : "an unnamed machine")
                          : "no device tree in sys/firmware/devicetree or proc/device-tree";
  checks.add("soc", "SoC", State::unknown, fmt::format("no RK3588 here: {}, {}", arch, found),
             "nothing is wrong: use the simulated device (--device sim), which needs no board");
}

}  // namespace npu::probe
