// SPDX-License-Identifier: MIT
// Registers of the PPU: notes encodings/ppu-pooling.md, HW; in tiles that share an output:
// iree-rocket LIMITS.md, HW.
#include "microkernels/pool_emit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "microkernels/elementwise.hpp"
#include "microkernels/flying_task.hpp"
#include "microkernels/layout.hpp"
#include "microkernels/task_emitter.hpp"
#include "regdb/error.hpp"
#include "regdb/registers.hpp"

namespace npu::kernels {
namespace {

namespace ppu = regdb::ppu;
namespace rdma = regdb::ppu_rdma;

// A task's part of a pass: output columns, and what is read for them.
struct Tile {
  Range out;
  PoolSpan in;
};

// A cube of a core.
struct Cube {
  Place place;
  std::uint32_t height = 0, width = 0;
  std::uint32_t surface() const { return height * width; }
};

std::uint32_t method_code(PoolMethod method) {
  using M = ppu::OPERATION_MODE_CFG::POOLING_METHOD;
  return method == PoolMethod::max ? M::MAX : method == PoolMethod::min ? M::MIN : M::AVERAGE;
}

void emit_task(Program& program, const Pool2dPlan& plan, const Pool2dShape& pass,
               const PoolSpan& rows, const Tile& t, std::uint32_t surfaces, const Cube& in,
               const Cube& out) {
  const bool i8 = plan.type == DataType::i8, average = plan.options.method == PoolMethod::average;
  const std::uint32_t channels = surfaces * atom_elements(plan.type);
  const std::uint32_t code = i8 ? 0 : 2, storage = i8 ? 1 : 2;
  TaskEmitter e(program);
  e.write(
      ppu::S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true},
      rdma::RDMA_S_POINTER{.pointer_pp_mode = true, .executer_pp_en = true, .pointer_pp_en = true},
      ppu::DATA_CUBE_IN_WIDTH{.cube_in_width = t.in.size},
      ppu::DATA_CUBE_IN_HEIGHT{.cube_in_height = rows.size},
      ppu::DATA_CUBE_IN_CHANNEL{.cube_in_channel = channels},
      ppu::DATA_CUBE_OUT_WIDTH{.cube_out_width = t.out.size},
      ppu::DATA_CUBE_OUT_HEIGHT{.cube_out_height = out.height},
      ppu::DATA_CUBE_OUT_CHANNEL{.cube_out_channel = channels},
      ppu::OPERATION_MODE_CFG{.notch_addr = out.width - t.out.size,
                              .flying_mode = true,
                              .pooling_method = method_code(plan.options.method)},
      ppu::POOLING_KERNEL_CFG{.kernel_stride_height = pass.stride_y,
                              .kernel_stride_width = pass.stride_x,
                              .kernel_height = pass.kernel_height,
                              .kernel_width = pass.kernel_width},
      ppu::RECIP_KERNEL_WIDTH{.recip_kernel_width =
                                  average ? ppu_reciprocal(plan.type, pass.kernel_width) : 0},
      ppu::RECIP_KERNEL_HEIGHT{.recip_kernel_height =
                                   average ? ppu_reciprocal(plan.type, pass.kernel_height) : 0},
      ppu::POOLING_PADDING_CFG{.pad_bottom = rows.after,
                               .pad_right = t.in.after,
                               .pad_top = rows.before,
                               .pad_left = t.in.before},
      // Integers fill 19 bits with their sign [notes ppu-pooling, HW].
      ppu::PADDING_VALUE_1_CFG{.pad_value_0 = pool_padding(plan.type, plan.options) &
                                              (i8 ? 0x7FFFFu : 0xFFFFu)},
      ppu::PADDING_VALUE_2_CFG{});
  e.address(ppu::DST_BASE_ADDR{}, {out.place.slot, out.place.offset + t.out.begin * kAtomBytes});
  e.write(ppu::DST_SURF_STRIDE{.dst_surf_stride = out.surface()},
          ppu::DATA_FORMAT{.index_add = out.surface(), .proc_precision = code},
          ppu::MISC_CTRL{.burst_len = 3}, rdma::RDMA_CUBE_IN_WIDTH{.cube_in_width = t.in.size},
          rdma::RDMA_CUBE_IN_HEIGHT{.cube_in_height = rows.size},
          rdma::RDMA_CUBE_IN_CHANNEL{.cube_in_channel = channels});
  e.address(rdma::RDMA_SRC_BASE_ADDR{}, {in.place.slot, in.place.offset + t.in.first * kAtomBytes});
  e.write(rdma::RDMA_SRC_LINE_STRIDE{.src_line_stride = in.width},
          rdma::RDMA_SRC_SURF_STRIDE{.src_surf_stride = in.surface()},
          rdma::RDMA_DATA_FORMAT{.in_precision = storage});
  namespace on = regdb::enable_mask;
  e.end(on::ppu | on::ppu_rdma);
}

sim::TaskWork flying_work(DataType type, std::uint64_t atoms, std::uint32_t words) {
  sim::TaskWork w;
  w.type = type == DataType::i8 ? sim::MacType::int8 : sim::MacType::fp16;
  w.regcmd_words = words;
  w.operand_bytes = 2 * atoms * kAtomBytes;
  w.output_bytes = atoms * kAtomBytes;
  w.output_elements = atoms * atom_elements(type);
  return w;
}

// An operation of two views, in atoms.
struct View {
  std::uint32_t slot = 0;
  std::uint64_t at = 0;
};

}  // namespace

std::uint32_t pool_padding(DataType type, const Pool2dOptions& options) {
  const bool i8 = type == DataType::i8;
  switch (options.method) {
    case PoolMethod::max: return i8 ? static_cast<std::uint32_t>(-128) : 0xFC00;
    case PoolMethod::min: return i8 ? 127 : 0x7C00;
    case PoolMethod::average: break;
  }
  return i8 ? static_cast<std::uint32_t>(std::int32_t{options.zero}) : 0;
}

std::uint32_t ppu_reciprocal(DataType type, std::uint32_t k) {
  if (type == DataType::i8) return 0x10000 / k;
  int exponent = 0;
  const double fraction = std::frexp(65536.0 / k, &exponent);  // from 0.5 up to 1
  // 10 bits behind the point; ties do not happen: 2^16 / k is no multiple of half of the last bit.
  const auto bits = static_cast<std::uint32_t>(std::lround((2 * fraction - 1) * 1024));
  // The exponent's bias is 31, and 2^16 counts as 1.
  return (static_cast<std::uint32_t>(exponent - 1 + 15) << 10) + bits;
}

std::uint32_t ppu_columns(std::uint32_t kernel_height, std::uint32_t stride_y) {
  const std::uint32_t rows = ceil_div(kernel_height, stride_y);
  return rows > 8 ? 0 : 128 / std::bit_ceil(rows);
}

PoolProgram emit_ppu_pool(const Pool2dPlan& plan, const PoolCore& core) {
  const std::uint32_t surfaces = core.surfaces.size;
  // What each pass makes and needs, from the last one backwards.
  std::vector<Range> out(plan.passes.size());
  std::vector<PoolSpan> in(plan.passes.size());
  Range rows = core.rows;
  for (std::size_t p = plan.passes.size(); p-- > 0;) {
    const Pool2dShape& s = plan.passes[p];
    out[p] = rows;
    in[p] = input_span(rows, s.in_height, s.kernel_height, s.stride_y, s.pad_top);
    rows = {in[p].first, in[p].size};
  }
  PoolProgram result;
  result.in_rows = rows;
  const auto add_slot = [&](const std::string& name, std::uint32_t height, std::uint32_t width,
                            Slot::Role role) {
    result.slots.push_back({name, std::uint64_t{surfaces} * height * width * kAtomBytes, role});
    result.stage.program.slots.push_back(name);
  };
  add_slot("in", in[0].size, plan.passes[0].in_width, Slot::Role::input);
  for (std::size_t p = 0; p < plan.passes.size(); ++p) {
    const Pool2dShape& s = plan.passes[p];
    const bool last = p + 1 == plan.passes.size();
    add_slot(last ? "out" : fmt::format("pass {}", p + 1), out[p].size, s.out_width(),
             last ? Slot::Role::output : Slot::Role::scratch);
    const auto slot = static_cast<std::uint32_t>(p);
    const Cube from{{slot, 0}, in[p].size, s.in_width};
    const Cube to{{slot + 1, 0}, out[p].size, s.out_width()};
    const std::uint32_t most = ppu_columns(s.kernel_height, s.stride_y);
    for (const Range& columns : split_range({0, to.width}, ceil_div(to.width, most), 1)) {
      const Tile tile{columns,
                      input_span(columns, s.in_width, s.kernel_width, s.stride_x, s.pad_left)};
      emit_task(result.stage.program, plan, s, in[p], tile, surfaces, from, to);
      sim::TaskWork w;
      w.type = plan.type == DataType::i8 ? sim::MacType::int8 : sim::MacType::fp16;
      w.regcmd_words = static_cast<std::uint32_t>(result.stage.program.tasks.back().size());
      w.operand_bytes = std::uint64_t{surfaces} * in[p].size * tile.in.size * kAtomBytes;
      w.output_bytes = std::uint64_t{surfaces} * to.height * columns.size * kAtomBytes;
      w.output_elements = w.output_bytes * 8 / bits(plan.type);
      w.pool_elements = w.output_elements * s.kernel_height * s.kernel_width;
      result.work.push_back(w);
      const std::uint64_t last_atom =
          std::uint64_t{surfaces} * to.surface() - to.width + columns.end() - 1;
      result.stage.tasks.push_back({.macs = 0,
                                    .bytes = w.operand_bytes + w.output_bytes,
                                    .out_slot = slot + 1,
                                    .last_atom = last_atom * kAtomBytes,
                                    .ends_in_ppu = true});
    }
  }
  return result;
}

namespace {

// Views of a dense window cost one operation each, of a doubled one only as many as it has bits;
// those work on all rows, not on those that are asked for.
bool phased(std::uint32_t kernel, std::uint32_t stride) {
  return stride > 1 && kernel - 1 < stride * std::bit_width(kernel - 1);
}

}  // namespace

ShiftLayout shift_layout(const Pool2dPlan& plan, const PoolCore& core) {
  const Pool2dShape& s = plan.shape;
  ShiftLayout l;
  const bool y = phased(s.kernel_height, s.stride_y), x = phased(s.kernel_width, s.stride_x);
  l.y_phases = y ? s.stride_y : 1;
  l.x_phases = x ? s.stride_x : 1;
  l.rows = y ? core.rows.size - 1 + ceil_div(s.kernel_height, s.stride_y)
             : (core.rows.size - 1) * s.stride_y + s.kernel_height;
  l.columns = x ? s.out_width() - 1 + ceil_div(s.kernel_width, s.stride_x)
                : (s.out_width() - 1) * s.stride_x + s.kernel_width;
  l.surfaces = core.surfaces.size;
  l.first_row = core.rows.begin * s.stride_y;
  l.out_row_step = y ? 1 : s.stride_y;
  l.out_column_step = x ? 1 : s.stride_x;
  l.in_atoms = std::uint64_t{l.x_phases} * l.y_phases * l.rows * l.columns * l.surfaces;
  return l;
}

PoolProgram emit_shifted_pool(const Pool2dPlan& plan, const PoolCore& core) {
  const Pool2dShape& s = plan.shape;
  const ShiftLayout l = shift_layout(plan, core);
  const ElementwiseOp op =
      plan.options.method == PoolMethod::max ? ElementwiseOp::max : ElementwiseOp::min;
  PoolProgram result{.slots = {{"in", l.in_atoms * kAtomBytes, Slot::Role::input}},
                     .stage = {.program = {.slots = {"in"}}, .tasks = {}},
                     .work = {}};
  const auto add_buffer = [&](std::uint64_t atoms) {
    const std::string name = fmt::format("max {}", result.slots.size());
    result.slots.push_back({name, atoms * kAtomBytes, Slot::Role::scratch});
    result.stage.program.slots.push_back(name);
    return static_cast<std::uint32_t>(result.slots.size() - 1);
  };
  // to = a op b, as many tasks as it takes.
  const auto combine = [&](View to, View a, View b, std::uint64_t atoms) {
    for (std::uint64_t at = 0; at < atoms; at += kMaxFlyingAtoms) {
      const auto count =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(kMaxFlyingAtoms, atoms - at));
      FlyingTask task{.type = plan.type,
                      .atoms = count,
                      .main = {a.slot, (a.at + at) * kAtomBytes},
                      .output = {to.slot, (to.at + at) * kAtomBytes},
                      .dpu = {}};
      set_elementwise(task.dpu, plan.type, op, {b.slot, (b.at + at) * kAtomBytes});
      emit(result.stage.program, task);
      result.stage.tasks.push_back({.macs = 0,
                                    .bytes = std::uint64_t{count} * kAtomBytes * 3,
                                    .out_slot = to.slot,
                                    .last_atom = (to.at + at + count - 1) * kAtomBytes});
      result.work.push_back(flying_work(
          plan.type, count, static_cast<std::uint32_t>(result.stage.program.tasks.back().size())));
    }
  };

  // Downwards: what is left are `valid` rows of `rows` in each x phase.
  const std::uint64_t line = std::uint64_t{l.columns} * l.surfaces;
  std::uint32_t slot = 0, rows = l.rows, valid = l.rows;
  if (l.y_phases > 1) {
    rows = valid = core.rows.size;
    for (std::uint32_t t = 1; t < s.kernel_height; ++t) {
      const std::uint32_t to = add_buffer(l.x_phases * rows * line);
      for (std::uint32_t x = 0; x < l.x_phases; ++x) {
        const std::uint64_t plane = std::uint64_t{x} * l.y_phases * l.rows * line;
        const std::uint64_t mine = std::uint64_t{x} * rows * line;
        const View view{0,
                        plane + (std::uint64_t{t % s.stride_y} * l.rows + t / s.stride_y) * line};
        combine({to, mine}, t == 1 ? View{0, plane} : View{slot, mine}, view, valid * line);
      }
      slot = to;
    }
  } else {
    for (std::uint32_t have = 1; have < s.kernel_height;) {
      const std::uint32_t step = std::min(have, s.kernel_height - have);
      valid -= step;
      const std::uint32_t to = add_buffer(l.x_phases * rows * line);
      for (std::uint32_t x = 0; x < l.x_phases; ++x) {
        const std::uint64_t plane = std::uint64_t{x} * rows * line;
        combine({to, plane}, {slot, plane}, {slot, plane + step * line}, valid * line);
      }
      slot = to;
      have += step;
    }
  }

  // To the right: flat over all rows; what reaches over their ends is not read by anybody.
  std::uint32_t columns = l.columns;
  const auto flat = [&](std::uint32_t used) {
    return (std::uint64_t{valid - 1} * l.columns + used) * l.surfaces;
  };
  if (l.x_phases > 1) {
    const std::uint32_t from = slot;
    for (std::uint32_t t = 1; t < s.kernel_width; ++t) {
      const std::uint32_t to = add_buffer(rows * line);
      const View view{from, std::uint64_t{t % s.stride_x} * rows * line +
                                std::uint64_t{t / s.stride_x} * l.surfaces};
      combine({to, 0}, {slot, 0}, view, flat(s.out_width()));
      slot = to;
    }
  } else {
    for (std::uint32_t have = 1; have < s.kernel_width;) {
      const std::uint32_t step = std::min(have, s.kernel_width - have);
      columns -= step;
      const std::uint32_t to = add_buffer(rows * line);
      combine({to, 0}, {slot, 0}, {slot, std::uint64_t{step} * l.surfaces}, flat(columns));
      slot = to;
      have += step;
    }
  }
  if (slot == 0) combine({add_buffer(l.in_atoms), 0}, {0, 0}, {0, 0}, l.in_atoms);
  result.slots.back().role = Slot::Role::output;
  return result;
}

}  // namespace npu::kernels
