// SPDX-License-Identifier: MIT
// What the readers of explain_*.cpp share.
#pragma once

#include <functional>

#include "npu-probe/explain.hpp"
#include "npu-sim/conv_config.hpp"
#include "regdb/regcmd.hpp"

namespace npu::probe::explain {

/// Registers of one task, from the groups that run it; offsets as in regdb.
struct TaskRegisters {
  const RegisterState& state;
  std::uint32_t blocks = 0;
  unsigned cna_group = 0, core_group = 0, dpu_group = 0, dpu_rdma_group = 0, ppu_group = 0,
           ppu_rdma_group = 0;

  std::uint32_t cna(std::uint32_t o) const { return state.cna.get(cna_group, o); }
  std::uint32_t core(std::uint32_t o) const { return state.core.get(core_group, o); }
  std::uint32_t dpu(std::uint32_t o) const { return state.dpu.get(dpu_group, o); }
  std::uint32_t rdma(std::uint32_t o) const { return state.dpu_rdma.get(dpu_rdma_group, o); }
  std::uint32_t ppu(std::uint32_t o) const { return state.ppu.get(ppu_group, o); }
  std::uint32_t ppu_rdma(std::uint32_t o) const { return state.ppu_rdma.get(ppu_rdma_group, o); }
  std::uint64_t address(std::uint32_t value) const { return std::uint64_t{state.dma_base} + value; }
};

/// The register of type R in the given block: `get<dpu::BS_CFG>(r)`.
template <class R>
R get(const TaskRegisters& r) {
  switch (R::block) {
    case regdb::Block::cna: return R::decode(r.cna(R::offset));
    case regdb::Block::core: return R::decode(r.core(R::offset));
    case regdb::Block::dpu: return R::decode(r.dpu(R::offset));
    case regdb::Block::dpu_rdma: return R::decode(r.rdma(R::offset));
    case regdb::Block::ppu: return R::decode(r.ppu(R::offset));
    default: return R::decode(r.ppu_rdma(R::offset));
  }
}

/// By the codes of the precision fields [notes precision-field, HW].
std::optional<ElementType> element_of_code(std::uint32_t code);
/// The same; an unknown code becomes a note and int8.
ElementType element_of(std::uint32_t code, const char* where, Operator& op);

void note(Operator& op, Note::Kind kind, std::string where, std::string text);

/// BS, BN, EW, LUT and OUT_CVT as parts of `op`, with their operands as tensors. `flying`: the DPU
/// reads its input itself. `in`: type that the stages compute in; `channels`, `h`, `w`: of the
/// output.
struct StageContext {
  bool flying = false;
  ElementType in = ElementType::int8;
  std::uint32_t h = 1, w = 1, channels = 1;
};
void describe_stages(const TaskRegisters& r, const StageContext& context, Operator& op);

/// The output of the DPU as it lies in memory; `group` channels are written as one group.
NpuTensor dpu_output(const TaskRegisters& r, std::uint32_t group, std::uint32_t h, std::uint32_t w,
                     std::uint32_t channels, Operator& op);
bool dpu_writes_memory(const TaskRegisters& r);

void describe_convolution(const TaskRegisters& r, Operator& op);
void describe_flying(const TaskRegisters& r, Operator& op);
/// `fed`: the operator whose output the PPU takes; it becomes a part of it. Else a pool by itself.
void describe_pool(const TaskRegisters& r, bool fed, Operator& op);

/// What the model says: work, modelled time, quirks, or why it refuses.
void ask_model(const TaskRegisters& r, std::uint32_t words, const ExplainSetting& setting,
               Operator& op);

}  // namespace npu::probe::explain
