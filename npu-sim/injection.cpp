// SPDX-License-Identifier: MIT
#include "npu-sim/injection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>

#include "npu-sim/fault.hpp"
#include "regdb/error.hpp"

namespace npu::sim {
namespace {

constexpr std::uint64_t kBeat = 16;

[[noreturn]] void bad_item(std::string_view item) {
  throw Error(
      ErrorCode::invalid_argument,
      fmt::format(
          "\"{}\" is no fault to inject: use drop-interrupt@N, hang@N, "
          "delay@N:MS, corrupt@N or iommu-fault@N, each with an optional /core=K (N from 1)",
          item));
}

template <class T>
T number(std::string_view text, std::string_view item) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) bad_item(item);
  return value;
}

Injection parse_one(std::string_view item) {
  Injection out;
  std::string_view rest = item;
  if (const auto slash = rest.find('/'); slash != std::string_view::npos) {
    constexpr std::string_view key = "core=";
    const std::string_view core = rest.substr(slash + 1);
    if (!core.starts_with(key)) bad_item(item);
    out.core = number<unsigned>(core.substr(key.size()), item);
    if (*out.core > 2) bad_item(item);
    rest = rest.substr(0, slash);
  }
  const auto at = rest.find('@');
  if (at == std::string_view::npos) bad_item(item);
  const std::string_view name = rest.substr(0, at);
  std::string_view count = rest.substr(at + 1);
  if (name == "drop-interrupt") {
    out.kind = Injection::Kind::drop_interrupt;
  } else if (name == "hang") {
    out.kind = Injection::Kind::hang;
  } else if (name == "delay") {
    out.kind = Injection::Kind::delay_completion;
    const auto colon = count.find(':');
    if (colon == std::string_view::npos) bad_item(item);
    const auto ms = number<std::uint32_t>(count.substr(colon + 1), item);
    if (ms > 3'600'000) bad_item(item);
    out.delay = std::chrono::milliseconds(ms);
    count = count.substr(0, colon);
  } else if (name == "corrupt") {
    out.kind = Injection::Kind::corrupt_beat;
  } else if (name == "iommu-fault") {
    out.kind = Injection::Kind::iommu_fault;
  } else {
    bad_item(item);
  }
  out.nth = number<std::uint64_t>(count, item);
  if (out.nth == 0) bad_item(item);
  return out;
}

// Whether a fault strikes a beat; others strike a start.
bool is_beat(Injection::Kind kind) {
  return kind == Injection::Kind::corrupt_beat || kind == Injection::Kind::iommu_fault;
}

void invert(const AddressSpace& space, std::uint64_t iova) {
  std::uint8_t byte = 0;
  if (!space.read(iova, &byte, 1, nullptr)) return;
  byte ^= 1;
  space.write(iova, &byte, 1, nullptr);
}

// The address of beat `index` of a transfer.
std::uint64_t beat_address(const Transfer& t, std::uint64_t index) {
  const std::uint64_t per_row = (t.bytes + kBeat - 1) / kBeat;
  const std::uint64_t row = index / per_row;
  return t.iova + row / t.rows * t.plane_stride + row % t.rows * t.row_stride +
         index % per_row * kBeat;
}

}  // namespace

std::vector<Injection> parse_injections(std::string_view text) {
  std::vector<Injection> out;
  while (!text.empty()) {
    const auto comma = text.find(',');
    out.push_back(parse_one(text.substr(0, comma)));
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
    if (text.empty()) bad_item(text);
  }
  return out;
}

Injector::Injector(std::span<const Injection> all, unsigned core) : core_(core) {
  for (const Injection& injection : all)
    if (!injection.core || *injection.core == core) mine_.push_back(injection);
}

bool Injector::add(std::span<const Injection> more) {
  const std::lock_guard lock(mutex_);
  const auto mine = [this](const Injection& i) { return !i.core || *i.core == core_; };
  if (added_.size() + static_cast<std::size_t>(std::ranges::count_if(more, mine)) > kMaxWaiting)
    return false;
  std::ranges::copy_if(more, std::back_inserter(added_), mine);
  return true;
}

// What has struck makes room.
void Injector::take_added() {
  const std::lock_guard lock(mutex_);
  if (added_.empty()) return;
  const auto counted = [this](const Injection& i) { return is_beat(i.kind) ? beats_ : starts_; };
  std::erase_if(mine_, [&](const Injection& i) { return i.nth <= counted(i); });
  while (!added_.empty() && mine_.size() < kMaxWaiting) {
    Injection& next = added_.front();
    // Past the largest number: never.
    next.nth = next.nth > ~counted(next) ? ~std::uint64_t{0} : next.nth + counted(next);
    mine_.push_back(next);
    added_.erase(added_.begin());
  }
}

Injector::Start Injector::start() {
  take_added();
  ++starts_;
  Start end;
  for (const Injection& injection : mine_) {
    if (injection.nth != starts_) continue;
    if (injection.kind == Injection::Kind::drop_interrupt) end.drop = true;
    if (injection.kind == Injection::Kind::hang) end.hang = true;
    if (injection.kind == Injection::Kind::delay_completion) end.delay += injection.delay;
  }
  return end;
}

void Injector::transfer(const Transfer& t, const AddressSpace& space) {
  if (t.total() == 0) return;
  const std::uint64_t beats = (t.bytes + kBeat - 1) / kBeat * t.rows * t.planes;
  const std::uint64_t before = beats_;
  beats_ += beats;
  for (const Injection& injection : mine_) {
    if (!is_beat(injection.kind) || injection.nth <= before || injection.nth > beats_) continue;
    const std::uint64_t address = beat_address(t, injection.nth - before - 1);
    if (injection.kind == Injection::Kind::iommu_fault)
      dma_fault(is_write(t.engine) ? FaultKind::dma_write : FaultKind::dma_read,
                fmt::format("injected iommu-fault@{} ({})", injection.nth, to_string(t.engine)),
                address);
    if (is_write(t.engine)) {
      corrupted_writes_.push_back(address);
    } else {
      invert(space, address);
      corrupted_reads_.push_back(address);
    }
  }
}

void Injector::restore(const AddressSpace& space, bool wrote) {
  for (const std::uint64_t address : corrupted_reads_) invert(space, address);
  if (wrote)
    for (const std::uint64_t address : corrupted_writes_) invert(space, address);
  corrupted_reads_.clear();
  corrupted_writes_.clear();
}

}  // namespace npu::sim
