// SPDX-License-Identifier: MIT
// What npu-sim says of a task: its reading of the registers decides whether the silicon would run
// it, what it moves and how long it takes.
#include <fmt/format.h>

#include "npu-probe/explain_parts.hpp"
#include "npu-sim/chip.hpp"
#include "npu-sim/fault.hpp"
#include "npu-sim/flying.hpp"
#include "npu-sim/pooling.hpp"
#include "npu-sim/task_record.hpp"
#include "regdb/registers.hpp"

namespace npu::probe::explain {
namespace {

namespace on = npu::regdb::enable_mask;

Note::Kind kind_of(sim::FaultKind kind) {
  switch (kind) {
    case sim::FaultKind::hang: return Note::Kind::hang;
    case sim::FaultKind::bad_program: return Note::Kind::contradiction;
    default: return Note::Kind::unknown;
  }
}

// Sums the second record (of the PPU) into the first.
void add(sim::TaskWork& to, const sim::TaskWork& pool) {
  to.pool_elements += pool.pool_elements;
  to.output_bytes += pool.output_bytes;
}

std::vector<sim::TaskRecord> records(const TaskRegisters& r, const sim::ChipOptions& options,
                                     Operator& op) {
  const RegisterState& s = r.state;
  const bool pools = (r.blocks & on::ppu) != 0;
  const sim::PoolRegisters ppu{s.ppu, s.ppu_rdma, r.ppu_group, r.ppu_rdma_group};
  std::vector<sim::TaskRecord> all;
  if (r.blocks == (on::ppu | on::ppu_rdma)) {
    all.push_back(pooling_record(ppu, s.dma_base, options.quirks));
    return all;
  }
  sim::PoolFeed feed;
  if ((r.blocks & on::cna) != 0) {
    if (options.quirks.core_index_in_s_pointer &&
        (s.cna.core_index() != s.core_index || s.core.core_index() != s.core_index))
      sim::hang(s.cna.core_index() != s.core_index ? "CNA.S_POINTER" : "CORE.S_POINTER",
                "bits 29:28 do not hold the index of the core (quirk core_index_in_s_pointer)");
    const sim::BlockRegisters blocks{s.cna,
                                     s.core,
                                     s.dpu,
                                     s.dpu_rdma,
                                     {r.cna_group, r.core_group, r.dpu_group, r.dpu_rdma_group},
                                     (r.blocks & on::dpu_rdma) != 0,
                                     &s.lut};
    const sim::ConvConfig c =
        read_conv_config(blocks, s.dma_base, options.task_mac_budget, options, pools);
    all.push_back(record_of(c, options.quirks));
    if (c.late_hang) op.notes.push_back({Note::Kind::hang, c.late_hang->where, c.late_hang->why});
    feed = {{},         c.dst_line, c.shape.out_width, c.shape.out_height, c.out_channels,
            c.out_type, false};
  } else {
    const sim::FlyingConfig c =
        read_flying_config({s.dpu, s.dpu_rdma, r.dpu_group, r.dpu_rdma_group}, s.lut, s.dma_base,
                           options.quirks, pools);
    all.push_back(record_of(c, options.quirks));
    feed = {{}, c.dst_line, c.width, c.height, c.channels, c.out_type, true};
  }
  if (pools) all.push_back(pooling_record(ppu, s.dma_base, options.quirks, &feed));
  return all;
}

}  // namespace

void ask_model(const TaskRegisters& r, std::uint32_t words, const ExplainSetting& setting,
               Operator& op) {
  if (op.kind == OperatorKind::none || op.kind == OperatorKind::unknown) return;
  const sim::ChipOptions options;
  try {
    const std::vector<sim::TaskRecord> all = records(r, options, op);
    op.work = all.front().work;
    op.work.regcmd_words = words;
    for (std::size_t i = 1; i < all.size(); ++i) add(op.work, all[i].work);
    const sim::Calibration& calibration =
        setting.calibration != nullptr ? *setting.calibration : sim::default_calibration().values;
    op.time = estimate(op.work, calibration, {setting.npu_hz, 1});
    op.macs = op.work.macs();
    for (const sim::TaskRecord& record : all)
      for (const sim::QuirkNote& q : record.quirks)
        op.notes.push_back({Note::Kind::quirk, q.where,
                            q.effect + (q.modelled ? "" : " [reported of boards, not modelled]"),
                            std::string(q.quirk)});
  } catch (const sim::TaskFault& fault) {
    const sim::Fault& f = fault.fault();
    // What the description has already said of the same register is the same complaint.
    for (const Note& n : op.notes)
      if (n.kind == kind_of(f.kind) && n.where == f.where) return;
    op.notes.push_back({kind_of(f.kind), f.where, f.message, f.quirk});
  }
}

}  // namespace npu::probe::explain
