// SPDX-License-Identifier: MIT
#include "npu-probe/explain_group.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

namespace npu::probe {
namespace {

using Tiles = std::span<const Operator>;

NpuTensor* find(Operator& op, TensorRole role) {
  for (NpuTensor& t : op.tensors)
    if (t.role == role) return &t;
  return nullptr;
}

// What has to be the same of a tensor whose rows, channels and place may differ.
bool same_form(const NpuTensor& a, const NpuTensor& b) {
  return a.role == b.role && a.type == b.type && a.kind == b.kind && a.w == b.w &&
         a.block_n == b.block_n && a.block_c == b.block_c && a.line_stride == b.line_stride &&
         a.position_stride == b.position_stride;
}

bool same_operation(const Operator& a, const Operator& b) {
  if (a.kind != b.kind || a.name != b.name || a.blocks != b.blocks ||
      a.kernel_height != b.kernel_height || a.kernel_width != b.kernel_width ||
      a.stride_y != b.stride_y || a.stride_x != b.stride_x || a.dilation_y != b.dilation_y ||
      a.dilation_x != b.dilation_x || a.spread_y != b.spread_y || a.spread_x != b.spread_x ||
      a.pad_left != b.pad_left || a.pad_right != b.pad_right || a.detail != b.detail ||
      a.fused != b.fused || a.tensors.size() != b.tensors.size())
    return false;
  for (std::size_t i = 0; i < a.tensors.size(); ++i)
    if (!same_form(a.tensors[i], b.tensors[i])) return false;
  const auto key = [](const Operator& op) {
    const Quantisation q = op.quantisation.value_or(Quantisation{});
    return std::tuple(op.quantisation.has_value(), q.weight_zero, q.output_zero, q.multiplier,
                      q.shift, q.truncate);
  };
  return key(a) == key(b);
}

bool groupable(const Operator& op) {
  return op.kind != OperatorKind::none && op.kind != OperatorKind::unknown &&
         op.find(TensorRole::input) != nullptr && op.find(TensorRole::output) != nullptr;
}

std::string sizes(const std::vector<std::uint32_t>& values) {
  if (std::all_of(values.begin(), values.end(), [&](auto v) { return v == values[0]; }))
    return fmt::format("{} each", values[0]);
  std::string text;
  for (std::size_t i = 0; i < values.size() && i < 8; ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(values[i]);
  return values.size() > 8 ? text + ", ..." : text;
}

struct Tiling {
  Operator whole;
  std::string text;
};

// Row number of an address within the first plane; empty if it is none.
std::optional<std::uint32_t> row_of(const NpuTensor& t, std::uint64_t base) {
  if (t.line_stride <= 0 || t.iova < base) return std::nullopt;
  const std::uint64_t distance = t.iova - base, line = static_cast<std::uint64_t>(t.line_stride);
  if (distance % line != 0 || distance / line > 0xFFFF) return std::nullopt;
  return static_cast<std::uint32_t>(distance / line);
}

// All tiles see the same kernels and rows of the same planes.
std::optional<Tiling> by_rows(Tiles tiles) {
  const Operator& first = tiles.front();
  const NpuTensor &in = *first.find(TensorRole::input), &out = *first.find(TensorRole::output);
  if (out.kind != LayoutKind::cube || first.kind == OperatorKind::transposed) return std::nullopt;
  if (in.kind != LayoutKind::cube && in.kind != LayoutKind::pixels) return std::nullopt;
  std::uint32_t next_out = 0, last_in = 0;
  std::vector<std::uint32_t> rows;
  for (const Operator& op : tiles) {
    const NpuTensor &i = *op.find(TensorRole::input), &o = *op.find(TensorRole::output);
    const NpuTensor *w = op.find(TensorRole::weights), *w0 = first.find(TensorRole::weights);
    if (w != nullptr && *w != *w0) return std::nullopt;
    if (i.plane_stride != in.plane_stride || o.plane_stride != out.plane_stride || i.c != in.c ||
        o.c != out.c || o.group_stride != out.group_stride)
      return std::nullopt;
    const auto row_in = row_of(i, in.iova), row_out = row_of(o, out.iova);
    if (!row_in || !row_out || *row_out != next_out) return std::nullopt;
    // Where its windows start, seen from the whole.
    if (std::int64_t{*row_in} - op.pad_top != std::int64_t{*row_out} * op.stride_y - first.pad_top)
      return std::nullopt;
    next_out += o.h;
    last_in = std::max(last_in, *row_in + i.h);
    rows.push_back(o.h);
  }
  Tiling t{first, fmt::format("in {} tiles of rows of the output: {}", tiles.size(), sizes(rows))};
  find(t.whole, TensorRole::input)->h = last_in;
  find(t.whole, TensorRole::output)->h = next_out;
  if (NpuTensor* operand = find(t.whole, TensorRole::operand);
      operand != nullptr && operand->kind == LayoutKind::cube)
    operand->h = next_out;
  t.whole.pad_bottom = tiles.back().pad_bottom;
  return t;
}

// All tiles see the same positions; channels or kernels differ, in whole planes.
std::optional<Tiling> by_planes(Tiles tiles) {
  const Operator& first = tiles.front();
  const NpuTensor &in = *first.find(TensorRole::input), &out = *first.find(TensorRole::output);
  if (first.find(TensorRole::weights) != nullptr || in.kind != LayoutKind::cube ||
      out.kind != LayoutKind::cube)
    return std::nullopt;
  std::uint32_t channels = 0;
  std::vector<std::uint32_t> parts;
  for (const Operator& op : tiles) {
    const NpuTensor &i = *op.find(TensorRole::input), &o = *op.find(TensorRole::output);
    if (i.h != in.h || o.h != out.h || i.plane_stride != in.plane_stride || i.c != o.c ||
        op.pad_top != first.pad_top || channels % in.atom() != 0 || channels % out.atom() != 0)
      return std::nullopt;
    const std::uint64_t in_at =
        std::uint64_t{channels / in.atom()} *
        static_cast<std::uint64_t>(std::max<std::int64_t>(in.plane_stride, 0));
    const std::uint64_t out_at =
        std::uint64_t{channels / out.atom()} *
        static_cast<std::uint64_t>(std::max<std::int64_t>(out.plane_stride, 0));
    if (i.iova != in.iova + in_at || o.iova != out.iova + out_at) return std::nullopt;
    channels += o.c;
    parts.push_back(o.c);
  }
  Tiling t{first, fmt::format("in {} tiles of channels: {}", tiles.size(), sizes(parts))};
  for (NpuTensor& tensor : t.whole.tensors) tensor.c = channels;
  return t;
}

// The same input, other kernels: their outputs are other channels.
std::optional<Tiling> by_kernels(Tiles tiles) {
  const Operator& first = tiles.front();
  const NpuTensor& in = *first.find(TensorRole::input);
  const NpuTensor& out = *first.find(TensorRole::output);
  const NpuTensor* weights = first.find(TensorRole::weights);
  if (weights == nullptr || weights->kind != LayoutKind::kernels || out.kind != LayoutKind::cube)
    return std::nullopt;
  std::uint32_t kernels = 0, stored = 0;
  std::uint64_t next_weights = weights->iova;
  std::vector<std::uint32_t> parts;
  for (const Operator& op : tiles) {
    const NpuTensor &w = *op.find(TensorRole::weights), &o = *op.find(TensorRole::output);
    if (*op.find(TensorRole::input) != in || o.h != out.h || op.pad_top != first.pad_top ||
        w.iova != next_weights || w.c != weights->c || kernels % out.atom() != 0)
      return std::nullopt;
    if (const auto at = offset_of(
            [&] {
              NpuTensor whole = out;
              whole.c = kernels + 1;
              return whole;
            }(),
            {0, 0, 0, kernels});
        !at || o.iova != out.iova + *at)
      return std::nullopt;
    next_weights += span_bytes(w);
    kernels += w.n, stored += w.stored_n;
    parts.push_back(w.n);
  }
  Tiling t{first, fmt::format("in {} tiles of kernels: {}", tiles.size(), sizes(parts))};
  find(t.whole, TensorRole::weights)->n = kernels;
  find(t.whole, TensorRole::weights)->stored_n = stored;
  for (NpuTensor& tensor : t.whole.tensors)
    if (tensor.role != TensorRole::input && tensor.role != TensorRole::weights) tensor.c = kernels;
  if (t.whole.matrix) t.whole.matrix->n = kernels;
  return t;
}

// A matrix product in a grid: every block of rows meets every block of columns, once.
std::optional<Tiling> by_grid(Tiles tiles) {
  const Operator& first = tiles.front();
  if (!first.matrix) return std::nullopt;
  std::map<std::uint64_t, std::uint32_t> rows, columns;  // address -> size
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen;
  std::set<std::uint64_t> outputs;
  for (const Operator& op : tiles) {
    if (!op.matrix || op.matrix->k != first.matrix->k) return std::nullopt;
    const std::uint64_t a = op.find(TensorRole::input)->iova;
    const std::uint64_t b = op.find(TensorRole::weights)->iova;
    if (rows.emplace(a, op.matrix->m).first->second != op.matrix->m ||
        columns.emplace(b, op.matrix->n).first->second != op.matrix->n ||
        !seen.emplace(a, b).second || !outputs.insert(op.find(TensorRole::output)->iova).second)
      return std::nullopt;
  }
  if (rows.size() * columns.size() != tiles.size()) return std::nullopt;
  // Rows of A one after another, and kernels of B: else these are several products.
  std::vector<std::uint32_t> m, n;
  MatrixShape shape{0, first.matrix->k, 0};
  for (const auto& [at, size] : rows) m.push_back(size), shape.m += size;
  for (const auto& [at, size] : columns) n.push_back(size), shape.n += size;
  Tiling t{first, ""};
  t.whole.matrix = shape;
  t.whole.kind = OperatorKind::gemm, t.whole.name = "gemm";
  if (rows.size() == 1)
    t.text = fmt::format("in {} tiles of columns: {}", n.size(), sizes(n));
  else if (columns.size() == 1)
    t.text = fmt::format("in {} tiles of rows: {}", m.size(), sizes(m));
  else
    t.text = fmt::format("in {} tiles: {} of rows ({}) by {} of columns ({})", tiles.size(),
                         m.size(), sizes(m), n.size(), sizes(n));
  t.text += "; the tensors below are the first tile's";
  return t;
}

std::optional<Tiling> tiling_of(Tiles tiles) {
  if (auto t = by_rows(tiles)) return t;
  if (auto t = by_kernels(tiles)) return t;
  if (auto t = by_planes(tiles)) return t;
  return by_grid(tiles);
}

void refresh(Operator& whole) {
  const NpuTensor *in = whole.find(TensorRole::input), *out = whole.find(TensorRole::output);
  if (whole.matrix && whole.kind != OperatorKind::gemm)
    *whole.matrix = {out->h * out->w, in->c, out->c};
  else if (whole.matrix && whole.find(TensorRole::weights)->n == whole.matrix->n)
    whole.matrix->m = std::max(whole.matrix->m, out->h * out->w);
}

void add_notes(const Operator& from, Operator& to) {
  for (const Note& n : from.notes)
    if (std::none_of(to.notes.begin(), to.notes.end(), [&](const Note& o) {
          return o.kind == n.kind && o.where == n.where && o.text == n.text;
        }))
      to.notes.push_back(n);
}

OperatorGroup make_group(Tiles all, std::size_t first, std::size_t count, Tiling tiling) {
  OperatorGroup group{std::move(tiling.whole), {}, std::move(tiling.text)};
  group.whole.macs = 0;
  group.whole.notes.clear();
  for (std::size_t i = first; i < first + count; ++i) {
    group.tasks.push_back(i);
    group.whole.macs += all[i].macs;
    add_notes(all[i], group.whole);
    if (!all[i].time) continue;
    ++group.timed;
    group.seconds += all[i].time->seconds;
  }
  return group;
}

}  // namespace

std::vector<OperatorGroup> group_tiles(std::span<const Operator> tasks) {
  std::vector<OperatorGroup> groups;
  for (std::size_t first = 0; first < tasks.size();) {
    std::size_t run = 1;
    while (groupable(tasks[first]) && first + run < tasks.size() &&
           same_operation(tasks[first], tasks[first + run]))
      ++run;
    // All of the run; else those that share its kernels, then those that share its input.
    const auto sharing = [&](TensorRole role) {
      std::size_t n = 1;
      const NpuTensor* own = tasks[first].find(role);
      while (own != nullptr && n < run && tasks[first + n].find(role)->iova == own->iova) ++n;
      return n;
    };
    bool found = false;
    for (const std::size_t count :
         {run, sharing(TensorRole::weights), sharing(TensorRole::input)}) {
      if (count < 2) continue;
      auto tiling = tiling_of(tasks.subspan(first, count));
      if (!tiling) continue;
      refresh(tiling->whole);
      groups.push_back(make_group(tasks, first, count, std::move(*tiling)));
      first += count;
      found = true;
      break;
    }
    if (found) continue;
    groups.push_back(make_group(tasks, first, 1, {tasks[first], ""}));
    ++first;
  }
  return groups;
}

GroupCost cost_of(const OperatorGroup& group, std::span<const Operator> tasks) {
  GroupCost cost;
  for (const std::size_t i : group.tasks) {
    cost.macs += tasks[i].macs;
    if (!tasks[i].time) continue;
    cost.seconds += tasks[i].time->seconds;
    cost.bytes += tasks[i].time->bytes;
  }
  return cost;
}

}  // namespace npu::probe
