// SPDX-License-Identifier: MIT
#include "npu-probe/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "npu-device/register_access.hpp"
#include "npu-probe/capture_replay.hpp"
#include "npu-probe/job_operators.hpp"
#include "regdb/decoder.hpp"
#include "regdb/error.hpp"
#include "regdb/registers.hpp"

namespace npu::probe {
namespace {

namespace rd = npu::regdb;
using Outcome = device::CaptureJob::Outcome;

// Registers of a program that hold what it wrote: those of the blocks, in their groups. Tables are
// read through a window that counts, and enables clear themselves.
bool is_state(const rd::Regcmd& c) {
  const auto block = rd::block_of_target(c.target);
  if (!block || *block == rd::Block::pc || c.offset % 4 != 0 || !device::has_groups(c.offset))
    return false;
  const rd::RegisterInfo* reg = rd::find_register(*block, c.offset);
  return reg != nullptr && reg->access == rd::Access::read_write &&
         c.offset != rd::dpu::LUT_ACCESS_CFG::offset &&
         c.offset != rd::dpu::LUT_ACCESS_DATA::offset && (c.offset & 0xFFF) != 8;
}

std::uint32_t meaningful_bits(const rd::RegisterInfo& reg) {
  std::uint32_t bits = 0;
  for (const rd::FieldInfo& field : reg.fields)
    if (!field.reserved()) bits |= field.mask() << field.low;
  return bits;
}

// What the last task left in a core's registers, addresses as in the recording.
class Registers {
 public:
  Registers(Player& player, SessionFile file, std::uint32_t dma_base)
      : map_(*player.addresses(file)), base_(dma_base) {
    device::Device* device = player.device(file);
    access_ = device != nullptr ? device->registers() : nullptr;
    core_ = access_ != nullptr ? access_->last_core() : std::nullopt;
  }
  bool readable() const { return core_.has_value(); }

  std::uint32_t read(std::uint32_t offset, bool address) {
    const std::uint32_t block = offset & ~0xFFFu;
    auto group = groups_.find(block);
    if (group == groups_.end())
      group = groups_.emplace(block, device::last_group(*access_, *core_, offset)).first;
    const std::uint32_t value = device::read_group(*access_, *core_, offset, group->second);
    return address ? map_.to_recording(value + base_) - base_ : value;
  }

 private:
  const IovaMap& map_;
  std::uint32_t base_;
  device::RegisterAccess* access_ = nullptr;
  std::optional<unsigned> core_;
  std::map<std::uint32_t, unsigned> groups_;  // block -> group of the last task
};

void compare_registers(Player& a, Player& b, const Words& words, StepComparison& step) {
  std::map<std::uint32_t, std::uint16_t> registers;  // offset -> target
  std::uint32_t base = 0;
  for (const std::uint64_t word : words) {
    const rd::Regcmd c = rd::Regcmd::unpack(word);
    if (c.target == static_cast<std::uint16_t>(rd::Target::enable)) break;
    if (c.target == static_cast<std::uint16_t>(rd::Target::pc) &&
        c.offset == rd::pc::TASK_DMA_BASE_ADDR::offset)
      base = c.value & ~0xFu;
    if (is_state(c)) registers[c.offset] = c.target;
  }
  Registers left(a, step.file, base), right(b, step.file, base);
  if (!left.readable() || !right.readable()) return;
  for (const auto& [offset, target] : registers) {
    const rd::RegisterInfo* reg =
        rd::find_register(*rd::block_of_target(target), static_cast<std::uint16_t>(offset));
    const rd::Regcmd empty{target, 0, static_cast<std::uint16_t>(offset)};
    const bool address = writes_address(empty.pack());
    const std::uint32_t bits = meaningful_bits(*reg);
    const std::uint32_t x = left.read(offset, address) & bits;
    const std::uint32_t y = right.read(offset, address) & bits;
    ++step.registers_compared;
    if (x == y) continue;
    const auto text = [&](std::uint32_t value) {
      return rd::to_text(rd::decode(rd::Regcmd{empty.target, value, empty.offset}.pack()));
    };
    step.registers.push_back({offset, fmt::format("{}.{}", rd::info(reg->block).name, reg->name), x,
                              y, text(x), text(y)});
  }
}

std::uint64_t bytes_off(std::span<const std::byte> recorded, std::span<const std::byte> got) {
  const auto difference = find_difference(0, 0, recorded, got, {}, 0);
  return difference ? difference->bytes : 0;
}

}  // namespace

std::string why_not_split(const std::vector<Words>& tasks) {
  std::set<std::uint32_t> before;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    std::set<std::uint32_t> mine;
    std::uint32_t enabled = 0;
    bool reuses = false;
    for (const std::uint64_t word : tasks[t]) {
      const rd::Regcmd c = rd::Regcmd::unpack(word);
      if (c.target == static_cast<std::uint16_t>(rd::Target::enable)) {
        enabled = c.value;
        break;
      }
      if (rd::block_of_target(c.target) && c.target != static_cast<std::uint16_t>(rd::Target::pc))
        mine.insert(std::uint32_t{c.target} << 16 | c.offset);
      if (c.target == static_cast<std::uint16_t>(rd::cna::CBUF_CON0::target) &&
          c.offset == rd::cna::CBUF_CON0::offset) {
        const auto con = rd::cna::CBUF_CON0::decode(c.value);
        reuses = con.data_reuse || con.weight_reuse;
      }
    }
    if (t != 0 && reuses) return fmt::format("task {} reuses what the one before left in CBUF", t);
    if (t != 0 && !std::includes(mine.begin(), mine.end(), before.begin(), before.end()))
      return fmt::format("task {} leaves registers as the ones before wrote them", t);
    if (t + 1 != tasks.size() && (enabled & rd::enable_mask::dpu) == 0)
      return fmt::format("task {} raises no DPU interrupt", t);
    before.merge(mine);
  }
  return {};
}

CompareTotal compare_devices(std::unique_ptr<device::Device> device_a,
                             std::unique_ptr<device::Device> device_b,
                             const device::Capture& capture, const CompareOptions& options,
                             const std::function<void(const StepComparison&)>& done) {
  Player a(std::move(device_a)), b(std::move(device_b));
  SessionWalk walk(capture);
  CompareTotal total;
  OperatorReader operators;
  const std::optional<std::size_t> last = options.only ? options.only : options.until;
  bool over = false;
  const auto follow = [&](const device::CaptureEvent& event) {
    if (over) return;
    a.follow(event, walk.memory());
    b.follow(event, walk.memory());
  };
  while (const SessionJob* job = walk.next(follow)) {
    ++total.jobs;
    if (over) continue;
    over = last && job->number >= *last;
    const auto& bos = walk.memory().bos(job->file);
    const auto written = written_buffers(*job);
    const auto stay_as_recorded = [&] {
      walk.finish();
      for (const std::uint32_t handle : written)
        if (const auto bo = bos.find(handle); bo != bos.end()) {
          a.restore(job->file, handle, bo->second.bytes);
          b.restore(job->file, handle, bo->second.bytes);
        }
    };
    if (options.only && job->number != *options.only) {
      stay_as_recorded();
      continue;
    }
    if (job->job->outcome == Outcome::dropped) {
      ++total.dropped;
      continue;
    }
    const std::vector<Words> programs = programs_of(*job, walk.memory());
    const JobOperators what = operators.read(programs);
    std::string whole;
    const bool several = options.by_task && programs.size() > 1;
    if (several) whole = why_not_split(programs);
    const bool split = several && whole.empty();
    const std::size_t steps = split ? programs.size() : 1;
    bool differs = false;
    for (std::size_t s = 0; s < steps && (!differs || options.all); ++s) {
      StepComparison step;
      step.job = job->number;
      step.file = job->file;
      step.submit = job->job->submit;
      step.index = job->job->index;
      step.tasks = split ? 1 : programs.size();
      step.what = what.headline;
      step.whole = whole;
      if (split) step.task = s;
      step.a = a.run(*job, walk.memory(), step.task);
      step.b = b.run(*job, walk.memory(), step.task);
      const bool last_step = s + 1 == steps;
      const bool both_done = step.a.outcome == Outcome::done && step.b.outcome == Outcome::done;
      // A core that was reset has forgotten.
      if (options.registers && both_done && !programs.empty())
        compare_registers(a, b, split ? programs[s] : programs.back(), step);
      const bool says = job->job->outcome != Outcome::unknown || !job->writes.empty();
      if (last_step) walk.finish();
      if (last_step && says) step.off_a = step.off_b = 0;
      for (const std::uint32_t handle : written) {
        const auto bo = bos.find(handle);
        if (bo == bos.end()) continue;
        const auto left = a.content(job->file, handle), right = b.content(job->file, handle);
        step.compared += left.size();
        auto difference = find_difference(handle, bo->second.iova, left, right, what.locate);
        if (difference) step.buffers.push_back(std::move(*difference));
        if (!step.off_a) continue;
        *step.off_a += bytes_off(bo->second.bytes, left);
        *step.off_b += bytes_off(bo->second.bytes, right);
      }
      ++total.steps;
      total.differ += step.differs();
      differs = differs || step.differs();
      done(step);
    }
    if (differs && !options.all) {
      total.stopped = true;
      over = true;
      continue;
    }
    if (!options.chained) stay_as_recorded();
  }
  if (options.only && *options.only >= total.jobs)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("there is no job {}: the capture has {}", *options.only, total.jobs));
  return total;
}

}  // namespace npu::probe
