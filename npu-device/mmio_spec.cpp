// SPDX-License-Identifier: MIT
#include "npu-device/mmio_spec.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "regdb/error.hpp"

namespace npu::device {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kPhysicalLimit = std::uint64_t{1}
                                         << 40;  // of table words [rockchip-iommu.c]

[[noreturn]] void bad(std::string_view item, std::string_view why) {
  throw Error(ErrorCode::invalid_argument,
              fmt::format("\"{}\" in a device spec: {}; use {}.", item, why, kMmioSpecs));
}

std::uint64_t number(std::string_view item, std::string_view text) {
  std::uint64_t unit = 1;
  if (!text.empty() && (text.back() == 'K' || text.back() == 'M' || text.back() == 'G')) {
    unit = std::uint64_t{1} << (text.back() == 'K' ? 10 : text.back() == 'M' ? 20 : 30);
    text.remove_suffix(1);
  }
  const bool hex = text.starts_with("0x");
  if (hex) text.remove_prefix(2);
  std::uint64_t value = 0;
  const char* last = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), last, value, hex ? 16 : 10);
  if (parsed.ec != std::errc() || parsed.ptr != last || value > kPhysicalLimit / unit)
    bad(item, fmt::format("\"{}\" is no address or size", text));
  return value * unit;
}

void set(MmioSpec& spec, std::string_view item, std::string_view key, std::string_view value) {
  if (key == "iommu") {
    if (value != "own" && value != "bypass") bad(item, "iommu is own or bypass");
    spec.iommu = value == "own" ? MmioIommu::own : MmioIommu::bypass;
  } else if (key == "uio") {
    if (!value.starts_with('/')) bad(item, "uio wants a path");
    spec.uio = value;
  } else if (key == "heap") {
    if (value.empty() || value.find('/') != value.npos) bad(item, "heap wants a name");
    spec.heap = value;
  } else if (key == "mem") {
    const std::size_t plus = value.find('+');
    if (plus == value.npos) bad(item, "mem wants ADDRESS+SIZE, as 0x10000000+64M");
    spec.mem_address = number(item, value.substr(0, plus));
    spec.mem_bytes = number(item, value.substr(plus + 1));
    if (spec.mem_address % kPage != 0 || spec.mem_bytes % kPage != 0 || spec.mem_bytes == 0)
      bad(item, "address and size are multiples of 4096");
    if (spec.mem_bytes > kPhysicalLimit || spec.mem_address + spec.mem_bytes > kPhysicalLimit)
      bad(item, "the NPU reaches 40 bits of address");
  } else {
    bad(item, "no such item");
  }
}

}  // namespace

MmioSpec parse_mmio_spec(std::string_view items) {
  MmioSpec spec;
  spec.cores.clear();
  for (bool more = !items.empty(); more;) {
    const std::size_t comma = items.find(',');
    const std::string_view item = items.substr(0, comma);
    more = comma != items.npos;
    if (more) items.remove_prefix(comma + 1);
    if (item == "0" || item == "1" || item == "2") {
      const auto core = static_cast<unsigned>(item[0] - '0');
      if (std::find(spec.cores.begin(), spec.cores.end(), core) != spec.cores.end())
        bad(item, "the core is named twice");
      spec.cores.push_back(core);
    } else if (item == "sim") {
      spec.sim = true;
    } else if (item == "force") {
      spec.force = true;
    } else if (const std::size_t equals = item.find('='); equals != item.npos) {
      set(spec, item, item.substr(0, equals), item.substr(equals + 1));
    } else {
      bad(item, "no such item");
    }
  }
  if (spec.cores.empty()) spec.cores.push_back(0);
  std::sort(spec.cores.begin(), spec.cores.end());
  if (!spec.heap.empty() && spec.mem_bytes != 0) bad("mem", "mem and heap exclude each other");
  if (spec.sim && (!spec.uio.empty() || !spec.heap.empty() || spec.mem_bytes != 0 || spec.force))
    bad("sim", "the simulator needs no uio, heap, mem or force");
  if (!spec.uio.empty() && spec.cores.size() != 1) bad("uio", "a UIO device is one core");
  return spec;
}

std::string to_string(const MmioSpec& spec) {
  std::string text = fmt::format("mmio:{}", fmt::join(spec.cores, ","));
  if (spec.sim) text += ",sim";
  if (spec.force) text += ",force";
  if (spec.iommu == MmioIommu::bypass) text += ",iommu=bypass";
  if (!spec.uio.empty()) text += ",uio=" + spec.uio;
  if (!spec.heap.empty()) text += ",heap=" + spec.heap;
  if (spec.mem_bytes != 0)
    text += fmt::format(",mem={:#x}+{:#x}", spec.mem_address, spec.mem_bytes);
  return text;
}

}  // namespace npu::device
