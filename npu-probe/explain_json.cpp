// SPDX-License-Identifier: MIT
#include <nlohmann/json.hpp>

#include "npu-probe/explain_report.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;

std::string_view name_of(LayoutKind kind) {
  switch (kind) {
    case LayoutKind::cube: return "cube";
    case LayoutKind::pixels: return "pixels";
    case LayoutKind::kernels: return "kernels";
    case LayoutKind::depthwise: return "depthwise";
    case LayoutKind::vector: return "vector";
    case LayoutKind::bias_blocks: return "bias-blocks";
    case LayoutKind::atoms: return "atoms";
    case LayoutKind::transposed: return "transposed";
  }
  return "?";
}

json tensor_json(const NpuTensor& t, const ExplainedJob& job) {
  json o = {{"role", to_string(t.role)},     {"type", to_string(t.type)},
            {"dims", {t.n, t.h, t.w, t.c}},  {"iova", t.iova},
            {"bytes", span_bytes(t)},        {"layout", formula(t)},
            {"layout_kind", name_of(t.kind)}};
  for (const ExplainBuffer& b : job.buffers)
    if (t.iova >= b.iova && t.iova - b.iova < b.size)
      o["buffer"] = {{"handle", b.handle}, {"offset", t.iova - b.iova}};
  switch (t.kind) {
    case LayoutKind::cube:
    case LayoutKind::atoms:
      o["atom"] = t.atom();
      o["line_stride"] = t.line_stride;
      o["plane_stride"] = t.plane_stride;
      o["group_planes"] = t.group_planes;
      o["group_written"] = t.group_written;
      o["group_stride"] = t.group_stride;
      break;
    case LayoutKind::pixels:
      o["line_stride"] = t.line_stride;
      o["position_stride"] = t.position_stride;
      break;
    case LayoutKind::kernels:
    case LayoutKind::depthwise:
      o["stored"] = {t.stored_n, t.stored_c};
      o["block"] = {t.block_n, t.block_c};
      break;
    default: break;
  }
  return o;
}

json time_json(const sim::TaskTime& t) {
  return {{"us", t.seconds * 1e6},
          {"cycles", t.total},
          {"limit", sim::to_string(t.limit)},
          {"mac_utilisation", t.mac_utilisation},
          {"bytes", t.bytes},
          {"bytes_per_second", t.bytes_per_second},
          {"provenance", "modelled"}};
}

json job_json(const ExplainReport& report, const ExplainedJob& job) {
  json o = {{"job", job.index}, {"tasks", job.tasks.size()}, {"operators", json::array()}};
  if (report.input->kind == "capture") {
    o["process"] = job.process;
    o["file"] = job.file;
    o["outcome"] = job.outcome;
  }
  if (!job.note.empty()) o["note"] = job.note;
  for (const OperatorGroup& g : job.operators) {
    if (report.task && std::find(g.tasks.begin(), g.tasks.end(), *report.task) == g.tasks.end())
      continue;
    json op = to_json(report.task ? job.tasks[*report.task] : g.whole, job);
    op["tasks"] = report.task ? std::vector<std::size_t>{*report.task} : g.tasks;
    if (!g.tiling.empty()) op["tiling"] = g.tiling;
    if (!report.task && g.tasks.size() > 1) {
      const GroupCost cost = cost_of(g, job.tasks);
      op["modelled"] = {
          {"us", cost.seconds * 1e6}, {"bytes", cost.bytes}, {"provenance", "modelled"}};
      if (g.timed != g.tasks.size()) op["modelled"]["tasks_without"] = g.tasks.size() - g.timed;
    }
    o["operators"].push_back(std::move(op));
  }
  return o;
}

}  // namespace

json to_json(const Operator& op, const ExplainedJob& job) {
  json o = {{"headline", headline(op)}, {"kind", to_string(op.kind)},
            {"name", op.name},          {"blocks", op.blocks},
            {"macs", op.macs},          {"tensors", json::array()},
            {"fused", json::array()},   {"notes", json::array()}};
  if (!op.detail.empty()) o["detail"] = op.detail;
  const bool windows = op.kind == OperatorKind::convolution || op.kind == OperatorKind::depthwise ||
                       op.kind == OperatorKind::transposed || op.kind == OperatorKind::gemm ||
                       op.kind == OperatorKind::pool;
  if (windows) {
    o["kernel"] = {op.kernel_height, op.kernel_width};
    o["stride"] = {op.stride_y, op.stride_x};
    o["dilation"] = {op.dilation_y, op.dilation_x};
    if (op.kind == OperatorKind::transposed) o["spread"] = {op.spread_y, op.spread_x};
    o["padding"] = {{"top", op.pad_top},
                    {"left", op.pad_left},
                    {"bottom", op.pad_bottom},
                    {"right", op.pad_right}};
  }
  if (op.matrix) o["matrix"] = {{"m", op.matrix->m}, {"k", op.matrix->k}, {"n", op.matrix->n}};
  for (const NpuTensor& t : op.tensors) o["tensors"].push_back(tensor_json(t, job));
  for (const FusedPart& p : op.fused)
    o["fused"].push_back({{"stage", p.stage}, {"what", p.what}, {"detail", p.detail}});
  if (op.quantisation) {
    const Quantisation& q = *op.quantisation;
    json& j = o["quantisation"] = {{"scale", q.scale},
                                   {"multiplier", q.multiplier},
                                   {"shift", q.shift},
                                   {"truncate", q.truncate}};
    if (q.input_zero) j["input_zero"] = *q.input_zero;
    if (q.weight_zero) j["weight_zero"] = *q.weight_zero;
    if (q.output_zero) j["output_zero"] = *q.output_zero;
  }
  if (op.data_banks != 0 || op.weight_banks != 0)
    o["cbuf"] = {{"data_banks", op.data_banks},
                 {"weight_banks", op.weight_banks},
                 {"data_reuse", op.data_reuse},
                 {"weight_reuse", op.weight_reuse}};
  if (op.time) o["modelled"] = time_json(*op.time);
  for (const Note& n : op.notes)
    o["notes"].push_back(
        {{"kind", to_string(n.kind)}, {"where", n.where}, {"text", n.text}, {"quirk", n.quirk}});
  return o;
}

json to_json(const ExplainReport& report) {
  const ExplainedInput& input = *report.input;
  json o = {{"input", input.kind},
            {"clock_mhz", report.clock_mhz},
            {"jobs", json::array()},
            {"split", json::array()}};
  if (input.truncated) o["truncated"] = true;
  GroupCost total;
  std::size_t tasks = 0, operators = 0;
  for (std::size_t i = 0; i < input.jobs.size(); ++i) {
    if (report.job && *report.job != i) continue;
    const ExplainedJob& job = input.jobs[i];
    o["jobs"].push_back(job_json(report, job));
    tasks += job.tasks.size();
    operators += job.operators.size();
    for (const OperatorGroup& g : job.operators) {
      const GroupCost cost = cost_of(g, job.tasks);
      total.seconds += cost.seconds, total.macs += cost.macs, total.bytes += cost.bytes;
    }
  }
  for (const SplitProduct& p : split_products(input))
    o["split"].push_back({{"jobs", p.jobs},
                          {"matrix", {{"m", p.shape.m}, {"k", p.shape.k}, {"n", p.shape.n}}},
                          {"by", p.by_columns ? "columns" : "rows"}});
  o["totals"] = {{"jobs", o["jobs"].size()}, {"tasks", tasks},
                 {"operators", operators},   {"macs", total.macs},
                 {"bytes", total.bytes},     {"modelled_us", total.seconds * 1e6},
                 {"provenance", "modelled"}};
  return o;
}

}  // namespace npu::probe
