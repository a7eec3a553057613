// SPDX-License-Identifier: MIT
#include "npu-probe/explain.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "npu-probe/explain_parts.hpp"
#include "npu-sim/flying.hpp"
#include "npu-sim/pooling.hpp"
#include "npu-sim/precision_codes.hpp"
#include "regdb/decoder.hpp"
#include "regdb/registers.hpp"

namespace npu::probe {
namespace {

namespace rd = npu::regdb;
namespace on = rd::enable_mask;

// POINTER_PP_EN, EXECUTER_PP_EN, POINTER_PP_MODE; bits 29:28 hold the core's index.
constexpr std::uint32_t driver_pointer(unsigned core) { return 0xEu + 0x10000000u * core; }

sim::RegisterFile* file_of(RegisterState& state, std::uint32_t offset) {
  switch (offset >> 12) {
    case 1: return &state.cna;
    case 3: return &state.core;
    case 4: return &state.dpu;
    case 5: return &state.dpu_rdma;
    case 6: return &state.ppu;
    case 7: return &state.ppu_rdma;
    default: return nullptr;
  }
}

struct EnabledFile {
  std::uint32_t bit;
  sim::RegisterFile* file;
  unsigned explain::TaskRegisters::*group;
};
std::array<EnabledFile, 6> files(RegisterState& s) {
  using T = explain::TaskRegisters;
  return {{{on::cna, &s.cna, &T::cna_group},
           {on::core, &s.core, &T::core_group},
           {on::dpu, &s.dpu, &T::dpu_group},
           {on::dpu_rdma, &s.dpu_rdma, &T::dpu_rdma_group},
           {on::ppu, &s.ppu, &T::ppu_group},
           {on::ppu_rdma, &s.ppu_rdma, &T::ppu_rdma_group}}};
}

bool known_register(const rd::Regcmd& command) {
  const auto block = rd::block_of_target(command.target);
  return block && rd::find_register(*block, command.offset) != nullptr;
}

// Registers that an earlier start wrote and this one relies on.
void note_survivors(RegisterState& state, const explain::TaskRegisters& r, Operator& op) {
  std::string names;
  std::size_t count = 0;
  for (const rd::RegisterInfo& info : rd::registers()) {
    if ((info.offset & 0xFFF) <= 8) continue;
    const sim::RegisterFile* file = file_of(state, info.offset);
    for (const EnabledFile& f : files(state)) {
      if ((r.blocks & f.bit) == 0 || f.file != file) continue;
      if (!file->stale(r.*f.group, info.offset) || file->get(r.*f.group, info.offset) == info.reset)
        continue;
      if (++count <= 4)
        names += (names.empty() ? "" : ", ") + std::string(rd::info(info.block).name) + "." +
                 std::string(info.name);
    }
  }
  if (count != 0)
    op.notes.push_back({Note::Kind::quirk, names,
                        fmt::format("{} register{} of earlier tasks {} in force", count,
                                    count == 1 ? "" : "s", count == 1 ? "is" : "are"),
                        "registers_survive"});
}

std::string pads(const Operator& op) {
  const auto bottom = static_cast<std::uint32_t>(std::max(op.pad_bottom, 0));
  const auto right = static_cast<std::uint32_t>(std::max(op.pad_right, 0));
  if (op.pad_top == 0 && op.pad_left == 0 && bottom == 0 && right == 0) return "";
  if (op.pad_top == op.pad_left && op.pad_top == bottom && op.pad_top == right)
    return fmt::format(" p{}", op.pad_top);
  return fmt::format(" p{},{},{},{}", op.pad_top, op.pad_left, bottom, right);
}

std::string by_axis(const char* letter, std::uint32_t y, std::uint32_t x) {
  return y == x ? fmt::format(" {}{}", letter, y) : fmt::format(" {}{},{}", letter, y, x);
}

std::string types(const Operator& op) {
  const NpuTensor *in = op.find(TensorRole::input), *out = op.find(TensorRole::output);
  std::string text(in != nullptr ? to_string(in->type) : "?");
  if (out != nullptr && in != nullptr && out->type != in->type)
    text += fmt::format(" -> {}", to_string(out->type));
  return text;
}

}  // namespace

namespace explain {

void note(Operator& op, Note::Kind kind, std::string where, std::string text) {
  op.notes.push_back({kind, std::move(where), std::move(text)});
}

std::optional<ElementType> element_of_code(std::uint32_t code) {
  constexpr ElementType kTypes[] = {ElementType::int8, ElementType::int16, ElementType::fp16,
                                    ElementType::bf16, ElementType::int32, ElementType::fp32,
                                    ElementType::int4, ElementType::tf32};
  if (code >= std::size(kTypes)) return std::nullopt;
  return kTypes[code];
}

ElementType element_of(std::uint32_t code, const char* where, Operator& op) {
  if (const auto type = element_of_code(code)) return *type;
  note(op, Note::Kind::unknown, where, fmt::format("no precision has code {}", code));
  return ElementType::int8;
}

}  // namespace explain

std::string_view to_string(OperatorKind kind) {
  switch (kind) {
    case OperatorKind::convolution: return "convolution";
    case OperatorKind::depthwise: return "depthwise";
    case OperatorKind::transposed: return "transposed";
    case OperatorKind::gemm: return "gemm";
    case OperatorKind::elementwise: return "elementwise";
    case OperatorKind::activation: return "activation";
    case OperatorKind::copy: return "copy";
    case OperatorKind::pool: return "pool";
    case OperatorKind::none: return "none";
    case OperatorKind::unknown: return "unknown";
  }
  return "?";
}

std::string_view to_string(Note::Kind kind) {
  switch (kind) {
    case Note::Kind::info: return "info";
    case Note::Kind::quirk: return "quirk";
    case Note::Kind::contradiction: return "contradiction";
    case Note::Kind::hang: return "hang";
    case Note::Kind::unknown: return "not-understood";
  }
  return "?";
}

const NpuTensor* Operator::find(TensorRole role) const {
  const auto it = std::find_if(tensors.begin(), tensors.end(),
                               [&](const NpuTensor& t) { return t.role == role; });
  return it == tensors.end() ? nullptr : &*it;
}

RegisterState::RegisterState() {
  // As after reset: MAC_GATING is the one register that matters and is not 0 [TRM].
  for (const std::uint32_t group : {1u, 0u}) {
    core.write(rd::core::S_POINTER::offset, group);
    core.write(rd::core::MAC_GATING::offset, rd::core::MAC_GATING::reset);
  }
}

void RegisterState::driver_start(unsigned index) {
  core_index = index & 3;
  cna.write(rd::cna::S_POINTER::offset, driver_pointer(core_index));
  core.write(rd::core::S_POINTER::offset, driver_pointer(core_index));
  dma_base = 0;
  lut.forget();
}

void RegisterState::write(std::uint32_t offset, std::uint32_t value) {
  if (sim::RegisterFile* file = file_of(*this, offset)) file->write(offset, value);
  if (offset == rd::dpu::LUT_ACCESS_CFG::offset) lut.access_config(value);
  if (offset == rd::dpu::LUT_ACCESS_DATA::offset) lut.access_data(value);
  if (offset == rd::pc::TASK_DMA_BASE_ADDR::offset) dma_base = value & ~0xFu;
}

void RegisterState::write(std::uint64_t word) {
  const rd::Regcmd command = rd::Regcmd::unpack(word);
  enabled.reset();
  switch (static_cast<rd::Target>(command.target)) {
    case rd::Target::pc:
    case rd::Target::cna:
    case rd::Target::core:
    case rd::Target::dpu:
    case rd::Target::dpu_rdma:
    case rd::Target::ppu:
    case rd::Target::ppu_rdma: write(command.offset, command.value); break;
    case rd::Target::enable: enabled = command.value; break;
    default: break;  // empty words, the marker, unknown targets: no effect
  }
}

Operator explain_task(std::span<const std::uint64_t> words, RegisterState& state,
                      const ExplainSetting& setting) {
  Operator op;
  std::size_t used = 0, unknown = 0;
  std::string first_unknown;
  state.enabled.reset();
  for (; used < words.size() && !state.enabled; ++used) {
    const rd::Regcmd command = rd::Regcmd::unpack(words[used]);
    const auto target = static_cast<rd::Target>(command.target);
    if (words[used] != 0 && target != rd::Target::marker && target != rd::Target::enable &&
        !known_register(command) && unknown++ == 0)
      first_unknown = rd::to_text(rd::decode(words[used]));
    state.write(words[used]);
  }
  if (unknown != 0)
    explain::note(op, Note::Kind::unknown, "",
                  fmt::format("{} word{} no register is known for; the first: {}", unknown,
                              unknown == 1 ? "" : "s", first_unknown));
  if (!state.enabled) {
    op.name = "nothing";
    explain::note(op, Note::Kind::hang, "PC.REGISTER_AMOUNTS",
                  "the program has no enable word (target 0x0081), so it starts nothing and never "
                  "ends");
    return op;
  }
  op.blocks = *state.enabled;
  explain::TaskRegisters r{state, op.blocks};
  for (const EnabledFile& f : files(state))
    if ((op.blocks & f.bit) != 0) r.*f.group = f.file->start();

  const std::uint32_t front = op.blocks & (on::cna | on::core | on::dpu);
  const bool pools = (op.blocks & on::ppu) != 0;
  const bool mac = front == (on::cna | on::core | on::dpu);
  const bool flying = front == on::dpu && (op.blocks & on::dpu_rdma) != 0;
  if (mac) explain::describe_convolution(r, op);
  if (flying) explain::describe_flying(r, op);
  if (pools && (mac || flying || (front == 0 && (op.blocks & on::ppu_rdma) != 0)))
    explain::describe_pool(r, mac || flying, op);
  if (op.name.empty()) {
    op.kind = op.blocks == 0 ? OperatorKind::none : OperatorKind::unknown;
    op.name = op.blocks == 0 ? "nothing" : "unknown";
    explain::note(op, Note::Kind::unknown, "PC.OPERATION_ENABLE",
                  fmt::format("the enabled blocks ({:#x}) do not make an operator", op.blocks));
  }
  explain::ask_model(r, static_cast<std::uint32_t>(used), setting, op);
  note_survivors(state, r, op);
  for (const EnabledFile& f : files(state)) {
    if ((op.blocks & f.bit) != 0) f.file->finish();
    f.file->next_start();
  }
  return op;
}

std::string headline(const Operator& op) {
  const NpuTensor *in = op.find(TensorRole::input), *weights = op.find(TensorRole::weights);
  // Behind a convolution the PPU's output is last.
  const NpuTensor* out = nullptr;
  for (const NpuTensor& t : op.tensors)
    if (t.role == TensorRole::output) out = &t;
  std::string text = op.name;
  switch (op.kind) {
    case OperatorKind::convolution:
    case OperatorKind::depthwise:
    case OperatorKind::transposed:
      text += fmt::format(" {}x{}", op.kernel_height, op.kernel_width);
      text += op.kind == OperatorKind::transposed ? by_axis("s", op.spread_y, op.spread_x)
                                                  : by_axis("s", op.stride_y, op.stride_x);
      if (op.dilation_y > 1 || op.dilation_x > 1)
        text += by_axis("d", op.dilation_y, op.dilation_x);
      text += pads(op);
      if (in != nullptr && weights != nullptr)
        text += op.kind == OperatorKind::depthwise ? fmt::format(" {}", weights->c)
                                                   : fmt::format(" {}->{}", in->c, weights->n);
      text += ", " + types(op);
      if (in != nullptr) text += fmt::format(", {}x{}", in->h, in->w);
      if (out != nullptr) text += fmt::format(" -> {}x{}", out->h, out->w);
      break;
    case OperatorKind::gemm:
      if (op.matrix)
        text += fmt::format(" m={} k={} n={}", op.matrix->m, op.matrix->k, op.matrix->n);
      text += ", " + types(op);
      break;
    case OperatorKind::pool:
      text += fmt::format(" {}x{}", op.kernel_height, op.kernel_width) +
              by_axis("s", op.stride_y, op.stride_x) + pads(op);
      if (in != nullptr) text += fmt::format(" {}, {}, {}x{}", in->c, types(op), in->h, in->w);
      if (out != nullptr) text += fmt::format(" -> {}x{}", out->h, out->w);
      break;
    case OperatorKind::elementwise:
    case OperatorKind::activation:
    case OperatorKind::copy:
      if (in != nullptr) text += fmt::format(" {}x{}x{}, {}", in->h, in->w, in->c, types(op));
      break;
    case OperatorKind::none:
    case OperatorKind::unknown: break;
  }
  bool first = true;
  for (const FusedPart& p : op.fused) {
    if (p.what == "requantise") continue;  // every quantised operator has it
    text += fmt::format("{}+{}", first ? ", " : " ", p.what);
    first = false;
  }
  return text;
}

}  // namespace npu::probe
