// SPDX-License-Identifier: MIT
// What `npu-probe bench` measures and what comes out: plain data that every writer shares.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "microkernels/conv2d_plan.hpp"
#include "microkernels/gemm_plan.hpp"
#include "microkernels/pool_plan.hpp"
#include "regdb/error.hpp"

namespace npu::probe {

enum class BenchOp : std::uint8_t { gemm, conv, dw, add, pool, copy, submit };
inline constexpr BenchOp kBenchOps[] = {BenchOp::gemm, BenchOp::conv, BenchOp::dw,    BenchOp::add,
                                        BenchOp::pool, BenchOp::copy, BenchOp::submit};
std::string_view to_string(BenchOp op);
std::optional<BenchOp> bench_op(std::string_view name);

/// `add`: an element-wise operation of two vectors, or a function of one.
struct BenchVector {
  std::uint64_t n = 0;
  std::string function = "add";  ///< one of bench_functions()
};
struct BenchPool {
  kernels::Pool2dShape shape;
  kernels::PoolMethod method = kernels::PoolMethod::max;
  kernels::PoolPath path = kernels::PoolPath::automatic;
};
struct BenchCopy {
  std::uint64_t n = 0;  ///< elements
};
/// `jobs` jobs of `tasks` tasks each, queued by one submit; a task multiplies 4 x 32 by 32 x 32.
struct BenchSubmit {
  std::uint32_t tasks = 1, jobs = 1;
};

/// One thing to measure, on any number of cores.
struct BenchCase {
  BenchOp op = BenchOp::gemm;
  std::string name;
  std::variant<kernels::GemmShape, kernels::Conv2dShape, BenchVector, BenchPool, BenchCopy,
               BenchSubmit>
      shape;
  /// What goes in and what comes out; nullopt in a set of shapes: what the caller asks for.
  std::optional<kernels::GemmTypes> types;
};

/// "128x1536x8960" (M x K x N), "56x56x64->128 3x3 s2", "1048576 relu", "8 tasks x 4"
std::string shape_text(const BenchCase& c);
/// "i8->i32", or "f16" where both are the same.
std::string types_text(const kernels::GemmTypes& types);

/// Of a sample; MAD is the median of the distances from the median.
struct BenchSpread {
  double median = 0, min = 0, max = 0, mad = 0;
  std::size_t samples = 0;
};
/// Of at least one value; none of them needs to be in order.
BenchSpread spread_of(std::vector<double> values);

/// What the timing model says of a row.
struct BenchModel {
  double seconds = 0;                          ///< of one run
  std::size_t jobs = 0, kicks = 0, tasks = 0;  ///< kicks: starts of a core, an interrupt each
  std::uint64_t regcmd_words = 0, bytes = 0;   ///< bytes: over the DRAM port, programs included
  std::uint64_t macs = 0;                      ///< padding included
  /// Where the cores' time goes, largest first, shares of the whole: "dispatch" (submit, waiting,
  /// IOMMU, interrupts) or what limits its tasks ("weight", "mac", ...; sim::Resource).
  std::vector<std::pair<std::string, double>> shares;
};

/// The least time that any program could take, and what it is that takes it.
struct BenchRoof {
  double seconds = 0;
  std::string bound;     ///< "array", "memory", "read port", "write port"
  double peak_macs = 0;  ///< per second, of all the row's cores; 0: an operator without products
  double intensity = 0;  ///< products per byte that has to be moved at least once
};

struct BenchRow {
  BenchOp op = BenchOp::gemm;
  std::string name, shape, dtype;
  unsigned cores = 1;             ///< open files, one per core
  std::string provenance;         ///< of `time`: "measured" or "modelled"
  bool computed = true;           ///< false: simulated for its time only, results were not computed
  BenchSpread time;               ///< s of the NPU: submit to the end of the wait
  BenchSpread host;               ///< s of this computer around it: packing, unpacking
  double prepare = 0;             ///< s of this computer, once: weights and programs
  std::uint64_t macs = 0;         ///< that the operator is made of, padding not included
  std::uint64_t least_bytes = 0;  ///< operands and results, each once
  std::uint32_t submits = 0;
  BenchModel model;
  std::optional<BenchRoof> roof;                      ///< nullopt without a clock
  std::uint32_t per_run_tasks = 0, per_run_jobs = 0;  ///< submit: in all, over all cores
  std::string error;                                  ///< why it has no figures
  ErrorCode error_code = ErrorCode::invalid_argument;
};

/// Products per second, bytes (moved, by the model) per second, and the share of the roof; 0: none.
double macs_per_second(const BenchRow& row);
double bytes_per_second(const BenchRow& row);
double roof_share(const BenchRow& row);

struct BenchReport {
  std::string tool;     ///< version
  std::string device;   ///< DeviceInfo::path
  std::string backend;  ///< DeviceInfo::backend
  std::string provenance;
  double clock_mhz = 0;      ///< 0: unknown
  std::string clock_source;  ///< "model", "--mhz", a file of the system, or why it is not known
  std::string calibration;
  unsigned repetitions = 0, warmup = 0;
  std::string host;  ///< this computer: "Linux 6.17 aarch64"
  double dram_bytes_per_second = 0, port_bytes_per_cycle = 0;
  std::vector<BenchRow> rows;
};

std::string to_json(const BenchReport& report);
/// Reads to_json() back. Throws bad_file with `where` and what is wrong.
BenchReport parse_bench_report(std::string_view json, std::string_view where);
/// A table per operator as Markdown, that reads well on a terminal too.
std::string to_markdown(const BenchReport& report);
std::string to_csv(const BenchReport& report);
/// One page without anything from elsewhere: roofline, bars, table.
std::string to_html(const BenchReport& report);

}  // namespace npu::probe
