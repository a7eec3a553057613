// SPDX-License-Identifier: MIT
// npu-chat plan: which tensors go to the NPU when, and how long both sides would take.
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <thread>

#include "llm-runtime/commands/options.hpp"
#include "llm-runtime/cpu_projector.hpp"
#include "llm-runtime/offload/plan.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

using nlohmann::json;

struct PlanCommandOptions {
  std::string model, cpu;
  std::vector<double> mhz{600};
  unsigned prompt = 128, generate = 64, sessions = 1, batch = 512, cores = 3, threads = 0;
  bool as_json = false;
};

/// A tensor, or the same one of all layers.
struct Row {
  Group group{};
  std::string name;
  std::set<std::string> types;
  std::uint64_t file_bytes = 0, npu_bytes = 0;
  double share = 0;  ///< of its group's rows
};

std::vector<Row> rows_of(const Model& model, bool each_layer) {
  std::vector<Row> rows;
  for (const Group group : kGroups) {
    const std::uint32_t layers = group == Group::output ? 1 : model.shape().layers;
    const std::size_t first = rows.size();
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      std::size_t at = first;
      for (const GroupWeight& weight : group_weights(model, group, layer)) {
        if (each_layer || layer == 0) {
          Row& row = rows.emplace_back();
          row.group = group;
          row.name = group == Group::output
                         ? fmt::format("{}.weight", model.shape().tied ? "token_embd" : "output")
                         : fmt::format("blk.{}.{}.weight", each_layer ? fmt::to_string(layer) : "*",
                                       weight.name);
          row.share = static_cast<double>(weight.view.rows) /
                      static_cast<double>(group_rows(model.shape(), group));
          at = rows.size() - 1;
        }
        Row& row = rows[at++];
        const std::uint64_t values = std::uint64_t{weight.view.rows} * weight.view.columns;
        row.types.insert(std::string(to_string(weight.view.type)));
        row.file_bytes += row_bytes(weight.view.type, weight.view.columns) * weight.view.rows;
        row.npu_bytes += values;
      }
    }
  }
  return rows;
}

/// Of a group of one layer.
struct Choice {
  bool npu = false;
  double npu_seconds = 0, cpu_seconds = 0;
};

Choice choice(const Plan& plan, Group group, std::uint32_t m) {
  const GroupPlan& g = plan.of(group);
  Choice c{.npu = m >= g.from_rows, .npu_seconds = 0, .cpu_seconds = plan.cpu.of(group, m)};
  for_each_turn(g, m, [&](const NpuTime& time) { c.npu_seconds += time.seconds(); });
  return c;
}

const char* cpu_name(const Plan& plan) {
  return plan.cpu.modelled ? "RK3588, modelled" : "this computer, host";
}

std::string mebibytes(double bytes) { return fmt::format("{:.1f}", bytes / (1 << 20)); }

struct Way {
  std::string name;
  ForwardTime prefill, decode;  ///< of the prompt; of one step of all sessions
};

std::vector<Way> ways(const Model& model, const Plan& plan, const PlanCommandOptions& o) {
  std::vector<Way> all;
  const auto add = [&](const char* name, const Plan& p) {
    all.push_back(
        {name, modelled_prefill(model, p, o.prompt, o.batch),
         modelled_pass(model, p, o.sessions, o.prompt + o.generate / 2, o.sessions, true)});
  };
  add("plan", plan);
  add("cpu", plan.with(all_on_cpu()));
  add("npu", plan.with(all_on_npu()));
  return all;
}

double rate(double tokens, const ForwardTime& time) {
  return time.seconds() > 0 ? tokens / time.seconds() : 0;
}

json to_json(const ForwardTime& t, double tokens) {
  return {{"seconds", t.seconds()},
          {"tokens_per_second", rate(tokens, t)},
          {"binds", t.binds()},
          {"submits", t.npu_submits},
          {"cpu_products_s", t.cpu_products},
          {"npu_mac_s", t.npu_mac},
          {"npu_memory_s", t.npu_memory},
          {"npu_dispatch_s", t.npu_dispatch},
          {"transfer_s", t.transfer},
          {"convert_s", t.convert},
          {"attention_s", t.attention},
          {"layers_s", t.layers}};
}

json from_rows(std::uint32_t rows) {
  return rows == OffloadPlan::kNever ? json(nullptr) : json(rows);
}

json report(const Model& model, const Plan& plan, const PlanCommandOptions& o) {
  json tensors = json::array();
  for (const Row& row : rows_of(model, true)) {
    json entry{
        {"name", row.name},           {"group", to_string(row.group)},
        {"type", *row.types.begin()}, {"bytes", row.file_bytes},
        {"npu_bytes", row.npu_bytes}, {"npu_from_rows", from_rows(plan.of(row.group).from_rows)}};
    for (const auto& [key, m] :
         {std::pair{"prefill", std::min(o.prompt, o.batch)}, std::pair{"decode", o.sessions}}) {
      const std::uint32_t rows = row.group == Group::output && *key == 'p' ? 1 : m;
      const Choice c = choice(plan, row.group, rows);
      entry[key] = {{"rows", rows},
                    {"device", c.npu ? "npu" : "cpu"},
                    {"data_type", c.npu ? "int8" : *row.types.begin()},
                    {"npu_modelled_s", c.npu_seconds * row.share},
                    {"cpu_s", c.cpu_seconds * row.share}};
    }
    tensors.push_back(std::move(entry));
  }
  json summary = json::object();
  for (const Way& way : ways(model, plan, o))
    summary[way.name] = {{"prefill", to_json(way.prefill, o.prompt)},
                         {"decode", to_json(way.decode, o.sessions)}};
  return {{"npu_mhz", plan.options.offload.npu_hz / 1e6},
          {"cores", plan.options.cores},
          {"npu_source", "modelled"},
          {"cpu_source", plan.cpu.modelled ? "modelled" : "host"},
          {"tensors", tensors},
          {"summary", summary}};
}

void print_tensors(const Model& model, const Plan& plan, const PlanCommandOptions& o, Io& io) {
  const std::uint32_t m = std::min(o.prompt, o.batch);
  fmt::print(io.out,
             "NPU: {} cores at {:g} MHz, modelled. CPU: {}. Milliseconds of all layers together.\n",
             plan.options.cores, plan.options.offload.npu_hz / 1e6, cpu_name(plan));
  fmt::print(io.out, "\n| {:24} | {:9} | {:>8} | {:>8} | {:>24} | {:>24} | {:>8} |\n", "tensors",
             "type", "file MiB", "int8 MiB", fmt::format("prefill of {}: npu, cpu", m),
             fmt::format("decode of {}: npu, cpu", o.sessions), "npu from");
  fmt::print(io.out, "|{:-<26}|{:-<11}|{:->9}:|{:->9}:|{:->25}:|{:->25}:|{:->9}:|\n", "", "", "",
             "", "", "", "");
  for (const Row& row : rows_of(model, false)) {
    const GroupPlan& group = plan.of(row.group);
    const auto cell = [&](std::uint32_t rows) {
      const Choice c = choice(plan, row.group, rows);
      const double scale = 1e3 * row.share * group.layers;
      return fmt::format("{} {:8.2f} {:8.2f}", c.npu ? "NPU" : "CPU", c.npu_seconds * scale,
                         c.cpu_seconds * scale);
    };
    fmt::print(
        io.out, "| {:24} | {:9} | {:>8} | {:>8} | {:>24} | {:>24} | {:>8} |\n", row.name,
        fmt::format("{}", fmt::join(row.types, ",")),
        mebibytes(static_cast<double>(row.file_bytes)),
        mebibytes(static_cast<double>(row.npu_bytes)), cell(row.group == Group::output ? 1 : m),
        cell(o.sessions),
        group.from_rows == OffloadPlan::kNever ? "never" : fmt::format("{} rows", group.from_rows));
  }
}

void print_summary(const Model& model, const Plan& plan, const PlanCommandOptions& o, Io& io) {
  fmt::print(io.out,
             "\n| {:>8} | {:4} | {:>12} | {:>9} | {:>8} | {:28} | {:>12} | {:>8} | {:28} |\n",
             "NPU MHz", "way", fmt::format("pp{} ms", o.prompt), "tok/s", "submits", "binds",
             "decode tok/s", "submits", "binds");
  fmt::print(io.out,
             "|{:->9}:|{:-<6}|{:->13}:|{:->10}:|{:->9}:|{:-<30}|{:->13}:|{:->9}:|{:-<30}|\n", "",
             "", "", "", "", "", "", "", "");
  for (const double mhz : o.mhz) {
    Plan at = plan;
    if (mhz * 1e6 != plan.options.offload.npu_hz) {
      PlanOptions options = plan.options;
      options.offload.npu_hz = mhz * 1e6;
      at = make_plan(model, plan.cpu, options);
    }
    for (const Way& way : ways(model, at, o)) {
      fmt::print(io.out,
                 "| {:>8g} | {:4} | {:>12.1f} | {:>9.2f} | {:>8} | {:28} | {:>12.2f} | {:>8} | "
                 "{:28} |\n",
                 mhz, way.name, way.prefill.seconds() * 1e3, rate(o.prompt, way.prefill),
                 way.prefill.npu_submits, way.prefill.binds(), rate(o.sessions, way.decode),
                 way.decode.npu_submits, way.decode.binds());
    }
  }
}

void plan(const PlanCommandOptions& o, Io& io) {
  if (o.mhz.empty() || std::ranges::any_of(o.mhz, [](double f) { return !(f >= 1 && f <= 1e4); }))
    throw Error(ErrorCode::invalid_argument, "--npu-mhz takes clocks from 1 to 10000");
  if (o.prompt == 0 || o.sessions == 0 || o.batch == 0 || o.cores == 0)
    throw Error(ErrorCode::invalid_argument, "-p, -b, --sessions and --cores are at least 1");
  const Model model = Model::load(model_path({.model = o.model}));
  CpuTimes cpu;
  if (o.cpu == "host") {
    cpu::ThreadPool pool(o.threads != 0 ? o.threads : std::thread::hardware_concurrency());
    CpuProjector projector(model, pool, false);
    cpu = measured_cpu_times(model, projector);
  } else {
    cpu = modelled_cpu_times(model, sim::default_calibration().values);
  }
  PlanOptions options{.cores = o.cores, .offload = {}, .dispatch = {}, .calibration = nullptr};
  if (o.as_json) {
    json reports = json::array();
    for (const double mhz : o.mhz) {
      options.offload.npu_hz = mhz * 1e6;
      reports.push_back(report(model, make_plan(model, cpu, options), o));
    }
    fmt::print(io.out, "{}\n", reports.dump(2, ' ', false, json::error_handler_t::replace));
    return;
  }
  options.offload.npu_hz = o.mhz.front() * 1e6;
  const Plan made = make_plan(model, cpu, options);
  fmt::print(io.out, "{} {}: {} layers, {} MiB of weights\n", model.name(),
             to_string(model.main_type()), model.shape().layers,
             mebibytes(static_cast<double>(model.weight_bytes())));
  print_tensors(model, made, o, io);
  print_summary(model, made, o, io);
}

}  // namespace

void add_plan(cli::App& app, Io& io) {
  const auto o = std::make_shared<PlanCommandOptions>();
  cli::App* command =
      app.add_subcommand("plan", "Which tensors go to the NPU, and how long both sides would take");
  command->add_option("-m,--model", o->model,
                      "GGUF file (default: the tiny chat model that comes with the project)");
  command
      ->add_option("--cpu", o->cpu,
                   "the CPU beside the NPU: rk3588 (modelled) or host (this one, by the clock)")
      ->check(cli::IsMember({"rk3588", "host"}))
      ->default_val("rk3588");
  command->add_option("-t,--threads", o->threads, "threads of --cpu host");
  command->add_option("--npu-mhz", o->mhz, "clocks of the NPU; several: 200,600,1000")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--cores", o->cores, "cores of the NPU")->capture_default_str();
  command->add_option("-p,--n-prompt", o->prompt, "tokens of the prompt")->capture_default_str();
  command->add_option("-n,--n-gen", o->generate, "tokens to make behind it")->capture_default_str();
  command->add_option("-b,--batch-size", o->batch, "tokens evaluated at a time")
      ->capture_default_str();
  command->add_option("--sessions", o->sessions, "conversations that decode together")
      ->capture_default_str();
  command->add_flag("--json", o->as_json, "one object for each clock, with every tensor");
  command->footer(
      "Figures of the NPU are `modelled`, never measured; `plan`, `cpu` and `npu` are the same "
      "model\n"
      "by this plan, with everything on the CPU, with everything on the NPU.\n"
      "Exit codes: 0 ok, 2 usage, 4 bad model file.\n"
      "Example: npu-chat plan -m qwen2.5-1.5b-instruct-q4_k_m.gguf --npu-mhz 200,600,1000");
  command->callback([o, &io] { plan(*o, io); });
}

}  // namespace npu::llm
