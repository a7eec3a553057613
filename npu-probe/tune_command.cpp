// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <utility>
#include <variant>

#include "microkernels/gemm.hpp"
#include "microkernels/tuned_plans.hpp"
#include "microkernels/tuner.hpp"
#include "npu-device/command_line.hpp"
#include "npu-device/sim_device.hpp"
#include "npu-probe/bench.hpp"
#include "npu-probe/bench_shapes.hpp"
#include "npu-probe/files.hpp"
#include "npu-probe/probe.hpp"
#include "npu-sim/float_types.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using kernels::DataType;
using nlohmann::ordered_json;

struct Options {
  std::string shapes, device, output, dtypes, search = "auto";
  std::vector<unsigned> cores{3};
  std::size_t beam = 4, most = 200;
  unsigned repetitions = 5;
  double mhz = 0;
  bool on_chip_sums = false, force = false, update = false, as_json = false;
};

std::vector<BenchCase> cases(const Options& o) {
  const std::vector<BenchCase> all = named_shapes(o.shapes);
  std::vector<TypeFilter> types;
  std::istringstream dtypes(o.dtypes);
  for (std::string name; std::getline(dtypes, name, ',');)
    if (!name.empty()) types.push_back(parse_type_filter(name));
  const BenchOp ops[] = {BenchOp::gemm};
  std::vector<BenchCase> gemms = expand_cases(all, ops, types);
  if (gemms.empty())
    throw Error(
        ErrorCode::bad_file,
        fmt::format("{} has no matrix product of these types: there is nothing to tune", o.shapes));
  return gemms;
}

// Random operands of one product, and what its first plan made of them.
template <class In, class Out>
class Product {
 public:
  Product(std::span<device::Device* const> devices, const BenchCase& c, unsigned repetitions,
          const kernels::GemmOptions& options)
      : devices_(devices),
        shape_(std::get<kernels::GemmShape>(c.shape)),
        types_(*c.types),
        repetitions_(repetitions),
        options_(options),
        a_(std::size_t{shape_.m} * shape_.k),
        b_(std::size_t{shape_.n} * shape_.k),
        c_(std::size_t{shape_.m} * shape_.n) {
    std::mt19937 rng(1);
    // fp16 holds every whole sum to 2048, in whatever order slices of K are added.
    const int most = types_.out == DataType::f16 ? 1 : 7;
    std::uniform_int_distribution<int> value(-most, most);
    for (auto* matrix : {&a_, &b_})
      for (In& x : *matrix) x = element(value(rng));
  }

  // Median of whole runs by the device's clock: around a chip packing and reading are in it, the
  // simulator's knows the NPU only.
  double operator()(const kernels::GemmChoice& choice) {
    kernels::GemmOptions options = options_;
    options.choice = choice;
    options.chained = choice.chained;
    kernels::Gemm gemm(devices_, shape_, types_, options);
    gemm.set_weights(b_);
    if (types_.out == DataType::i8) gemm.set_requant({.scale = 1, .shift = 4});
    gemm.run(a_, c_);
    compare();
    std::vector<double> seconds;
    for (unsigned i = 0; i < repetitions_; ++i) {
      const std::chrono::nanoseconds begin = devices_[0]->now();
      gemm.run(a_, c_);
      seconds.push_back(std::chrono::duration<double>(devices_[0]->now() - begin).count());
    }
    return spread_of(std::move(seconds)).median;
  }

 private:
  In element(int value) const {
    switch (types_.in) {
      case DataType::f16: return static_cast<In>(sim::float_to_fp16(static_cast<float>(value)));
      case DataType::bf16: {
        const float x = static_cast<float>(value);
        std::uint32_t bits = 0;
        std::memcpy(&bits, &x, sizeof bits);
        return static_cast<In>(bits >> 16);
      }
      default: return static_cast<In>(value);
    }
  }
  // Sums of such integers are exact in every type and order: all plans give the same.
  void compare() {
    if (first_.empty())
      first_ = c_;
    else if (first_ != c_)
      throw Error(ErrorCode::device_fault, "this plan gives another result than the usual one");
  }

  std::span<device::Device* const> devices_;
  kernels::GemmShape shape_;
  kernels::GemmTypes types_;
  unsigned repetitions_;
  kernels::GemmOptions options_;
  std::vector<In> a_, b_;
  std::vector<Out> c_, first_;
};

template <class In>
kernels::GemmTimer device_timer(std::span<device::Device* const> devices, const BenchCase& c,
                                unsigned repetitions, const kernels::GemmOptions& options) {
  const auto make = [&]<class Out>(Out) -> kernels::GemmTimer {
    const auto product = std::make_shared<Product<In, Out>>(devices, c, repetitions, options);
    return [product](const kernels::GemmChoice& choice) { return (*product)(choice); };
  };
  switch (c.types->out) {
    case DataType::i8: return make(std::int8_t{});
    case DataType::i16: return make(std::int16_t{});
    case DataType::f16: return make(std::uint16_t{});
    case DataType::f32: return make(float{});
    default: return make(std::int32_t{});
  }
}

kernels::GemmTimer device_timer(std::span<device::Device* const> devices, const BenchCase& c,
                                unsigned repetitions, const kernels::GemmOptions& options) {
  switch (c.types->in) {
    case DataType::f16:
    case DataType::bf16: return device_timer<std::uint16_t>(devices, c, repetitions, options);
    case DataType::tf32: return device_timer<float>(devices, c, repetitions, options);
    default: return device_timer<std::int8_t>(devices, c, repetitions, options);
  }
}

struct Row {
  std::string name;
  kernels::TuneResult result;
};

void print_text(const std::vector<Row>& rows, const kernels::TunedMachine& machine,
                std::ostream& out) {
  fmt::print(out, "tuned on {}\n\n", to_string(machine));
  fmt::print(out, "| {:24} | {:>18} | {:10} | {:>5} | {:>10} | {:>10} | {:>5} | plan\n", "name",
             "m x k x n", "types", "cores", "usual ms", "tuned ms", "ratio");
  fmt::print(out, "|{:-<26}|{:->20}|{:-<12}|{:->7}|{:->12}|{:->12}|{:->7}|-----\n", "", ":", "",
             ":", ":", ":", ":");
  for (const Row& row : rows) {
    const kernels::TunedGemm& g = row.result.gemm;
    fmt::print(out, "| {:24} | {:>18} | {:10} | {:>5} | {:>10.3f} | {:>10.3f} | {:>5.2f} | {}\n",
               row.name, fmt::format("{}x{}x{}", g.shape.m, g.shape.k, g.shape.n),
               types_text(g.types), g.cores, g.usual_seconds * 1e3, g.seconds * 1e3,
               g.usual_seconds / g.seconds, to_string(g.choice));
  }
}

void print_json(const std::vector<Row>& rows, const kernels::TunedPlans& plans, std::ostream& out) {
  ordered_json json = ordered_json::parse(to_json(plans));
  ordered_json& list = json["search"] = ordered_json::array();
  for (const Row& row : rows)
    list.push_back({{"name", row.name},
                    {"choices", row.result.choices},
                    {"timed", row.result.timed},
                    {"failed", row.result.failed}});
  out << json.dump(2) << '\n';
}

void run_tune(const Options& o, Io& io) {
  // What can go wrong with files goes wrong before any time is spent.
  const std::vector<BenchCase> gemms = cases(o);
  const bool exists = !o.output.empty() && std::filesystem::exists(o.output);
  if (exists && !o.force && !o.update)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} exists: --update adds to it, --force replaces it", o.output));
  kernels::TunedPlans plans;
  if (exists && o.update) plans = kernels::load_tuned_plans(o.output);

  const auto device = device::open_device(o.device);
  const device::DeviceInfo& info = device->info();
  const kernels::TunedMachine machine = kernels::machine_of(info, o.mhz);
  if (exists && o.update) {
    if (const std::string why = kernels::other_machine(plans, machine); !why.empty())
      throw Error(ErrorCode::bad_file, fmt::format("{}: {}", o.output, why));
  }
  plans.machine = machine;

  const bool by_model =
      o.search == "model" || (o.search == "auto" && info.time_base != device::TimeBase::chip);
  if (by_model && info.time_base == device::TimeBase::chip) plans.machine.provenance = "modelled";
  sim::Calibration calibration = sim::default_calibration().values;
  kernels::GemmOptions options{.on_chip_sums = o.on_chip_sums, .chained = info.chains};
  if (machine.npu_mhz != 0) options.npu_hz = machine.npu_mhz * 1e6;
  if (info.time_base == device::TimeBase::model)
    calibration = device::sim_timing(*device).calibration;
  options.calibration = &calibration;

  std::vector<Row> rows;
  for (const unsigned cores : o.cores) {
    std::vector<device::Device*> devices{device.get()};
    std::vector<std::unique_ptr<device::Device>> files;
    while (!by_model && devices.size() < cores) {
      files.push_back(device->open_another());
      devices.push_back(files.back().get());
    }
    for (const BenchCase& c : gemms) {
      const auto& shape = std::get<kernels::GemmShape>(c.shape);
      kernels::GemmOptions mine = options;
      mine.on_chip_sums &= *c.types == kernels::GemmTypes{DataType::f16, DataType::f16};
      if (io.err_is_terminal) fmt::print(io.err, "\r\033[K{} on {} core(s)", shape_text(c), cores);
      const kernels::TuneSearch search{
          .beam = by_model || o.search == "exhaustive" ? 0 : o.beam,
          .most = by_model ? std::numeric_limits<std::size_t>::max() : o.most};
      Row& row = rows.emplace_back();
      row.name = c.name;
      row.result =
          kernels::tune_gemm(shape, *c.types, cores, mine, search,
                             by_model ? kernels::modelled_timer(shape, *c.types, cores, mine)
                                      : device_timer(devices, c, o.repetitions, mine));
      kernels::store(plans, row.result.gemm);
    }
  }
  if (io.err_is_terminal) fmt::print(io.err, "\r\033[K");
  if (!o.output.empty()) save_file(o.output, to_json(plans), o.force || o.update);
  if (o.as_json)
    print_json(rows, plans, io.out);
  else
    print_text(rows, plans.machine, io.out);
}

}  // namespace

void add_tune(cli::App& app, Io& io) {
  cli::App* sub = app.add_subcommand("tune", "Look for faster plans of matrix products");
  const auto o = std::make_shared<Options>();
  sub->add_option("shapes", o->shapes,
                  "a file of shapes (docs/bench.md), or a set: qwen2.5-0.5b, qwen2.5-1.5b, ...")
      ->required();
  sub->add_option("-o,--output", o->output, "write the fastest plans here")->type_name("FILE.json");
  sub->add_flag("--update", o->update, "add to an existing file of the same machine");
  sub->add_flag("--force", o->force, "replace an existing file");
  sub->add_option("--device", o->device, "sim[:ITEM,...], rocket[:PATH], mmio[:ITEM,...]");
  sub->add_option("--cores", o->cores, "NPU cores to plan for, 1 to 3; several with commas")
      ->delimiter(',')
      ->check(cli::Range(1u, 3u));
  sub->add_option("--dtype", o->dtypes, "types where a shape names none: i8, i8->i32, f16, ...");
  sub->add_option("--search", o->search,
                  "model: the timing model alone, host work included; beam, exhaustive: runs some "
                  "or all plans; auto: model on sim, beam on a chip")
      ->check(cli::IsMember({"auto", "model", "beam", "exhaustive"}));
  sub->add_option("--beam", o->beam, "plans that are run first, and neighbours at a time")
      ->check(cli::Range(1, 1000));
  sub->add_option("--most", o->most, "plans that are run for one product at most")
      ->check(cli::Range(1, 1000000));
  sub->add_option("-r,--repetitions", o->repetitions, "runs of each plan on a chip: the median")
      ->check(cli::Range(1u, 10000u));
  sub->add_option("--mhz", o->mhz, "clock of the NPU where the device does not tell it")
      ->check(cli::Range(1.0, 4000.0));
  sub->add_flag("--on-chip-sums", o->on_chip_sums,
                "f16->f16: the chip may add slices of K in fp16 (another arithmetic)");
  sub->add_flag("--json", o->as_json, "print JSON only");
  sub->footer(
      "Example: npu-probe tune qwen2.5-1.5b --dtype f16 --cores 3 -o tuned.json\n"
      "Exit codes: 0 done, 2 usage, 3 no device, 4 bad file, 5 no plan works on the device");
  sub->callback([o, &io] { run_tune(*o, io); });
}

}  // namespace npu::probe
