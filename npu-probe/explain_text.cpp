// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <ostream>

#include "npu-probe/explain_report.hpp"

namespace npu::probe {
namespace {

std::string shape_of(const NpuTensor* t) {
  return t == nullptr ? "-" : fmt::format("{} {}", dimensions(*t), to_string(t->type));
}

std::string micros(double seconds) { return fmt::format("{:.1f}", seconds * 1e6); }

bool doubtful(const Note& n) { return n.kind != Note::Kind::info && n.kind != Note::Kind::quirk; }

void print_tensor(const NpuTensor& t, const ExplainedJob& job, std::ostream& out) {
  const std::string buffer = buffer_of(job, t.iova);
  fmt::print(out, "    {:<11} {} {} at {:#x}{}, {} bytes\n", to_string(t.role), dimensions(t),
             to_string(t.type), t.iova, buffer.empty() ? "" : " (" + buffer + ")", span_bytes(t));
  fmt::print(out, "    {:<11} {}: {}\n", "", formula(t), in_words(t));
}

void print_quantisation(const Quantisation& q, std::ostream& out) {
  std::string text =
      fmt::format("x {:.9g} (= {} * 2^-{})", q.scale, q.multiplier, q.shift + q.truncate);
  if (q.truncate != 0) text += fmt::format(", {} of the bits cut off before the bias", q.truncate);
  const auto zero = [&](const char* name, const std::optional<std::int32_t>& value) {
    if (value) text += fmt::format(", {} {}", name, *value);
  };
  zero("zero point of padding", q.input_zero);
  zero("of weights", q.weight_zero);
  zero("of the output", q.output_zero);
  fmt::print(out, "    quantised   {}\n", text);
}

void print_time(const Operator& op, double mhz, std::ostream& out) {
  if (!op.time) {
    fmt::print(out, "    modelled    no time: the model does not run this task\n");
    return;
  }
  const sim::TaskTime& t = *op.time;
  fmt::print(
      out,
      "    modelled    {:.1f} us at {:g} MHz, {:.0f} cycles, bound by {}; {} MACs at {:.1f} % "
      "of the array's peak; {} bytes moved, {:.2f} GB/s\n",
      t.seconds * 1e6, mhz, t.total, sim::to_string(t.limit), counted(op.macs),
      t.mac_utilisation * 100, counted(t.bytes), t.bytes_per_second * 1e-9);
}

void print_notes(const Operator& op, std::ostream& out) {
  for (const Note& n : op.notes) {
    std::string where =
        n.where.empty() || n.text.find(n.where) != std::string::npos ? "" : " at " + n.where;
    fmt::print(out, "    {:<11} {}{}{}\n", to_string(n.kind), n.text, where,
               n.quirk.empty() ? "" : fmt::format(" [{}]", n.quirk));
  }
}

// Everything but the headline and the time.
void print_details(const Operator& op, const ExplainedJob& job, std::ostream& out) {
  if (!op.detail.empty()) fmt::print(out, "    operation   {}: {}\n", op.name, op.detail);
  if (op.matrix && op.kind != OperatorKind::gemm)
    fmt::print(out, "    as a matrix product: m={} k={} n={}\n", op.matrix->m, op.matrix->k,
               op.matrix->n);
  if (op.pad_bottom < 0 || op.pad_right < 0)
    fmt::print(out, "    unread      the last {} rows and {} columns of the input\n",
               std::max(0, -op.pad_bottom), std::max(0, -op.pad_right));
  for (const NpuTensor& t : op.tensors) print_tensor(t, job, out);
  for (const FusedPart& p : op.fused)
    fmt::print(out, "    {:<11} {}{}{}\n", p.stage, p.what, p.detail.empty() ? "" : ": ", p.detail);
  if (op.quantisation) print_quantisation(*op.quantisation, out);
  if (op.data_banks != 0 || op.weight_banks != 0)
    fmt::print(out, "    CBUF        {} banks of features{}, {} of weights{}\n", op.data_banks,
               op.data_reuse ? " (kept from the task before)" : "", op.weight_banks,
               op.weight_reuse ? " (kept from the task before)" : "");
}

std::string place(const ExplainedJob& job, const ExplainedInput& input) {
  if (input.kind != "capture") return "";
  return fmt::format("  process {} file {}, {}", job.process, job.file, job.outcome);
}

void print_job(const ExplainReport& report, const ExplainedJob& job, std::ostream& out) {
  fmt::print(out, "job {}: {} task{}{}\n", job.index, job.tasks.size(),
             job.tasks.size() == 1 ? "" : "s", place(job, *report.input));
  if (!job.note.empty()) fmt::print(out, "  {}\n", job.note);
  for (const OperatorGroup& group : job.operators) {
    fmt::print(out, "  {}\n", headline(group.whole));
    if (!group.tiling.empty()) fmt::print(out, "    {}\n", group.tiling);
    print_details(group.whole, job, out);
    if (group.tasks.size() == 1) {
      print_time(group.whole, report.clock_mhz, out);
    } else {
      const GroupCost cost = cost_of(group, job.tasks);
      fmt::print(out,
                 "    modelled    {:.1f} us at {:g} MHz, {} tasks one after another; {} MACs; {} "
                 "bytes moved\n",
                 cost.seconds * 1e6, report.clock_mhz, group.tasks.size(), counted(cost.macs),
                 counted(cost.bytes));
      for (const std::size_t i : group.tasks) {
        const Operator& op = job.tasks[i];
        fmt::print(out, "      task {:<3} {} -> {}, {} us{}\n", i,
                   shape_of(op.find(TensorRole::input)), shape_of(op.find(TensorRole::output)),
                   op.time ? micros(op.time->seconds) : "-",
                   op.weight_reuse ? ", weights kept" : "");
      }
    }
    print_notes(group.whole, out);
  }
}

void print_task(const ExplainReport& report, const ExplainedJob& job, std::size_t task,
                std::ostream& out) {
  const Operator& op = job.tasks[task];
  fmt::print(out, "job {} task {}: {} words, blocks {:#x}\n  {}\n", job.index, task,
             job.words[task], op.blocks, headline(op));
  print_details(op, job, out);
  print_time(op, report.clock_mhz, out);
  print_notes(op, out);
}

void print_table(const ExplainReport& report, std::ostream& out) {
  const ExplainedInput& input = *report.input;
  std::size_t width = 24;
  for (const ExplainedJob& job : input.jobs)
    for (const OperatorGroup& g : job.operators) width = std::max(width, headline(g.whole).size());
  width = std::min<std::size_t>(width, 76);
  fmt::print(out, "{:>4} {:>5}  {:<{}} {:>8} {:>8} {:>10}\n", "job", "tasks", "operator", width,
             "MACs", "bytes", "modelled us");
  std::size_t operators = 0, tasks = 0, untimed = 0, doubts = 0;
  GroupCost total;
  for (const ExplainedJob& job : input.jobs) {
    tasks += job.tasks.size();
    if (job.operators.empty())
      fmt::print(out, "{:>4} {:>5}  no program\n", job.index, job.tasks.size());
    for (const OperatorGroup& g : job.operators) {
      const GroupCost cost = cost_of(g, job.tasks);
      ++operators;
      untimed += g.tasks.size() - g.timed;
      total.seconds += cost.seconds, total.macs += cost.macs, total.bytes += cost.bytes;
      const bool doubt = std::any_of(g.whole.notes.begin(), g.whole.notes.end(), doubtful);
      doubts += doubt;
      fmt::print(out, "{:>4} {:>5}  {:<{}} {:>8} {:>8} {:>10}{}{}\n", job.index, g.tasks.size(),
                 headline(g.whole), width, counted(cost.macs), counted(cost.bytes),
                 g.timed == 0 ? "-" : micros(cost.seconds), doubt ? "  !" : "",
                 job.outcome.empty() || job.outcome == "done" ? "" : "  " + job.outcome);
    }
  }
  fmt::print(out,
             "{} job{}, {} task{}, {} operator{}: {} MACs, {} bytes, modelled {:.3f} ms at {:g} "
             "MHz on one core, without dispatch\n",
             input.jobs.size(), input.jobs.size() == 1 ? "" : "s", tasks, tasks == 1 ? "" : "s",
             operators, operators == 1 ? "" : "s", counted(total.macs), counted(total.bytes),
             total.seconds * 1e3, report.clock_mhz);
  if (untimed != 0)
    fmt::print(out, "{} task{} without a modelled time (the model does not run {})\n", untimed,
               untimed == 1 ? "" : "s", untimed == 1 ? "it" : "them");
  if (doubts != 0)
    fmt::print(out, "! something is contradictory, hangs or is not understood: see --job N\n");
  for (const SplitProduct& p : split_products(input)) {
    std::string jobs;
    for (const std::size_t j : p.jobs) jobs += fmt::format("{}{}", jobs.empty() ? "" : ", ", j);
    fmt::print(out,
               "jobs {} read the same {}: gemm m={} k={} n={} split by {} over {} files (cores)\n",
               jobs, p.by_columns ? "input" : "weights", p.shape.m, p.shape.k, p.shape.n,
               p.by_columns ? "columns" : "rows", p.jobs.size());
  }
  if (input.truncated)
    fmt::print(out, "the capture ends inside of something: this is what is whole\n");
}

}  // namespace

std::string counted(std::uint64_t value) {
  const double v = static_cast<double>(value);
  if (value < 10000) return fmt::format("{}", value);
  if (v < 1e6) return fmt::format("{:.1f}k", v * 1e-3);
  if (v < 1e9) return fmt::format("{:.1f}M", v * 1e-6);
  return fmt::format("{:.2f}G", v * 1e-9);
}

std::string buffer_of(const ExplainedJob& job, std::uint64_t iova) {
  for (const ExplainBuffer& b : job.buffers)
    if (iova >= b.iova && iova - b.iova < b.size)
      return iova == b.iova ? fmt::format("bo {}", b.handle)
                            : fmt::format("bo {}+{:#x}", b.handle, iova - b.iova);
  return "";
}

void print_text(const ExplainReport& report, std::ostream& out) {
  if (!report.job) {
    print_table(report, out);
    return;
  }
  const ExplainedJob& job = report.input->jobs.at(*report.job);
  if (report.task)
    print_task(report, job, *report.task, out);
  else
    print_job(report, job, out);
}

}  // namespace npu::probe
