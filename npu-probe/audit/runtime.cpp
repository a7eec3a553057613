// SPDX-License-Identifier: MIT
// Things that make the NPU slow or unreliable: interrupts, governor, heat, memory.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "npu-probe/audit/facts.hpp"

namespace npu::probe {
namespace {

constexpr unsigned little_cpus = 4;  // CPUs 0-3 of an RK3588 are Cortex-A55
constexpr std::uint64_t gib = std::uint64_t{1} << 30;

bool is_npu_interrupt(const Interrupt& irq) {
  // Found by node name: the numbers differ between kernels [control-and-uapi F.6].
  for (const auto name : {"fdab0000", "fdac0000", "fdad0000", "rocket"})
    if (irq.description.find(name) != std::string::npos) return true;
  return irq.description.ends_with(".npu") || irq.description.find(".npu,") != std::string::npos;
}

void check_interrupts(const Facts& f, Checks& checks) {
  constexpr auto id = "npu-interrupts";
  constexpr auto title = "NPU interrupts";
  std::vector<std::string> list;
  std::vector<unsigned> to_move;
  bool unread = false;
  for (const auto& irq : parse_interrupts(f.tree.read("/proc/interrupts").value_or(""))) {
    if (!is_npu_interrupt(irq)) continue;
    const auto dir = fmt::format("/proc/irq/{}/", irq.number);
    std::string source = "effective_affinity_list";
    auto line = f.tree.read_line(dir + source);
    if (!line || line->empty()) {
      source = "smp_affinity_list";
      line = f.tree.read_line(dir + source);
    }
    const auto cpus = parse_cpu_list(line.value_or(""));
    if (cpus.empty()) {
      list.push_back(fmt::format("irq {} on an unknown CPU", irq.number));
      unread = true;
      continue;
    }
    // The GIC delivers to one CPU: the lowest of the mask.
    list.push_back(
        fmt::format("irq {} on CPU {} ({} {})", irq.number, cpus.front(), source, *line));
    if (cpus.front() < little_cpus) to_move.push_back(irq.number);
  }
  if (list.empty()) {
    checks.add(id, title, State::unknown, "proc/interrupts names no NPU interrupt",
               "it appears when rocket is bound");
    return;
  }
  const auto evidence = fmt::format("{}", fmt::join(list, ", "));
  if (!to_move.empty()) {
    std::string remedy = "move them to a big core, which saves about 20 us per job: ";
    for (const auto number : to_move)
      remedy += fmt::format("echo 4-7 > /proc/irq/{}/smp_affinity_list; ", number);
    remedy.resize(remedy.size() - 2);
    checks.add(id, title, State::warn, evidence + ": CPUs 0-3 are the little cores", remedy);
  } else {
    checks.add(id, title, unread ? State::unknown : State::ok, evidence,
               unread ? "audit as root to read proc/irq" : "");
  }
}

void check_governor(const Facts& f, Checks& checks) {
  constexpr auto id = "cpu-governor";
  constexpr auto title = "CPU governor";
  std::map<std::string, std::vector<std::string>> by_governor;
  for (const auto& policy : f.tree.list("/sys/devices/system/cpu/cpufreq", 64)) {
    if (!policy.starts_with("policy")) continue;
    const auto governor =
        f.tree.read_line("/sys/devices/system/cpu/cpufreq/" + policy + "/scaling_governor");
    if (governor && !governor->empty()) by_governor[printable(*governor, 32)].push_back(policy);
  }
  if (by_governor.empty()) {
    checks.add(id, title, State::unknown, "no sys/devices/system/cpu/cpufreq/policy*", "");
    return;
  }
  std::vector<std::string> list;
  bool slow = false;
  for (const auto& [governor, policies] : by_governor) {
    list.push_back(fmt::format("{}: {}", governor, fmt::join(policies, ", ")));
    slow |= governor == "powersave" || governor == "userspace" || governor == "conservative";
  }
  checks.add(id, title, slow ? State::warn : State::ok, fmt::format("{}", fmt::join(list, "; ")),
             slow ? "packing and dispatch run on the CPU: `echo schedutil | sudo tee "
                    "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor` (performance for "
                    "measurements)"
                  : "");
}

void check_thermal(const Facts& f, Checks& checks) {
  constexpr auto id = "thermal";
  constexpr auto title = "Temperature";
  constexpr long hot_mc = 85000;  // the boards' passive trip points begin here
  std::vector<std::string> list;
  long highest = -1000000;
  for (const auto& zone : f.tree.list("/sys/class/thermal", 256)) {
    if (!zone.starts_with("thermal_zone")) continue;
    const auto dir = "/sys/class/thermal/" + zone;
    const auto text = f.tree.read_line(dir + "/temp").value_or("");
    char* end = nullptr;
    const long temperature = std::strtol(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0' || temperature < -60000 || temperature > 200000) continue;
    highest = std::max(highest, temperature);
    list.push_back(fmt::format("{} {:.1f} C", f.tree.read_line(dir + "/type").value_or(zone),
                               static_cast<double>(temperature) / 1000));
  }
  if (list.empty())
    checks.add(id, title, State::unknown, "no readable sys/class/thermal/thermal_zone*/temp", "");
  else
    checks.add(id, title, highest >= hot_mc ? State::warn : State::ok,
               fmt::format("{}", fmt::join(list, ", ")),
               highest >= hot_mc ? "cool the board: at this heat the clocks are throttled" : "");
}

void check_memory(const Facts& f, Checks& checks) {
  const auto bytes = f.machine.memory_bytes;
  const double size = static_cast<double>(bytes) / static_cast<double>(gib);
  if (bytes == 0) {
    checks.add("memory", "Memory", State::unknown, "no MemTotal in proc/meminfo", "");
  } else {
    checks.add("memory", "Memory", bytes < gib ? State::warn : State::ok,
               fmt::format("{:.1f} GiB (proc/meminfo)", size),
               bytes < gib ? "a small language model alone needs 1 to 2 GiB" : "");
  }
  if (!f.is_rk3588) return;
  // Known for RK3568; for RK3588 reported only from an emulator [control-and-uapi F.4].
  constexpr auto id = "iommu-4gib";
  constexpr auto title = "IOMMU tables above 4 GiB";
  if (bytes == 0)
    checks.add(id, title, State::unknown, "memory size unknown", "");
  else if (bytes > 4 * gib && f.kernel.cmdline.find("mem=") == std::string::npos)
    checks.add(id, title, State::warn,
               fmt::format("{:.1f} GiB: the NPU's MMU may have to fetch its page tables from above "
                           "4 GiB, which some Rockchip parts cannot",
                           size),
               "nothing to do while jobs work; if all of them time out or fault, boot once with "
               "mem=3838M: if that helps, the rockchip-iommu driver needs tables below 4 GiB "
               "(GFP_DMA32)");
  else
    checks.add(id, title, State::ok,
               bytes > 4 * gib ? "proc/cmdline limits the memory (mem=)"
                               : fmt::format("{:.1f} GiB: all tables lie low", size));
}

}  // namespace

void check_runtime(const Facts& facts, std::vector<Check>& all) {
  Checks checks(all, "Running");
  if (facts.is_rk3588) {
    check_interrupts(facts, checks);
    check_governor(facts, checks);
    check_thermal(facts, checks);
  }
  check_memory(facts, checks);
}

}  // namespace npu::probe
