// SPDX-License-Identifier: MIT
#include "npu-probe/lint_model.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "npu-sim/fault.hpp"
#include "npu-sim/pool_feed.hpp"
#include "regdb/registers.hpp"

namespace npu::probe {
namespace {

using sim::ConvConfig;
using sim::Engine;
using sim::FaultKind;
using sim::Transfer;

// Rows of docs/open-questions.md that have a rule of their own, as faults and as notes.
struct QuirkRule {
  std::string_view quirk, fault, note;
};
constexpr QuirkRule kQuirks[] = {
    {"mrdma_trap", "mrdma-trap", ""},
    {"mac_gating_bit_24", "mac-gating", ""},
    {"size_e_counts_surfaces", "size-e", "size-e-short"},
    {"pool_line_buffer", "pool-line-buffer", ""},
    {"pool_stride_beyond_kernel", "pool-stride", ""},
    {"clip_truncate_tie", "", "clip-tie"},
    {"lut_zero_decodes_as_2_17", "", "lut-zero"},
    {"gemm_height_below_4", "", "gemm-height"},
    {"pad_byte_lanes", "", "pad-lanes"},
    {"flying_width_limit", "", "flying-width"},
    {"stage_mul_partial_surface", "", "partial-multiplier"},
    {"dpu_feeds_ppu", "", "dpu-feeds-ppu"},
    {"pool_raises_no_dpu_interrupt", "", "pool-timeout"},
};

std::string without_quirk(std::string text) {
  if (const auto at = text.find(" (quirk "); at != text.npos) text.resize(at);
  return text;
}

ModelFinding finding_of(const sim::Fault& fault) {
  std::string message = without_quirk(fault.message);
  if (fault.where == "DPU.LUT_ACCESS_DATA") return {"lut-not-loaded", fault.where, message};
  for (const QuirkRule& q : kQuirks)
    if (!q.fault.empty() && q.quirk == fault.quirk) return {q.fault, fault.where, message};
  if (fault.kind == FaultKind::hang) return {"never-ends", fault.where, message};
  if (fault.kind == FaultKind::bad_program) return {"contradiction", fault.where, message};
  return {"unproven", fault.where, message};
}

// The register that gives an engine its address.
const char* address_of(Engine engine) {
  switch (engine) {
    case Engine::program: return "PC.BASE_ADDRESS";
    case Engine::feature: return "CNA.FEATURE_DATA_ADDR";
    case Engine::weight: return "CNA.DCOMP_ADDR0";
    case Engine::brdma: return "DPU_RDMA.RDMA_BS_BASE_ADDR";
    case Engine::nrdma: return "DPU_RDMA.RDMA_BN_BASE_ADDR";
    case Engine::erdma: return "DPU_RDMA.RDMA_EW_BASE_ADDR";
    case Engine::mrdma: return "DPU_RDMA.RDMA_SRC_BASE_ADDR";
    case Engine::dpu_write: return "DPU.DST_BASE_ADDR";
    case Engine::pool_read: return "PPU_RDMA.RDMA_SRC_BASE_ADDR";
    case Engine::pool_write: return "PPU.DST_BASE_ADDR";
  }
  return "";
}

// First to last byte that a plane of a transfer touches.
struct Range {
  std::uint64_t first, end;
};
Range plane_range(const Transfer& t, std::uint64_t plane) {
  const std::uint64_t first = t.iova + plane * t.plane_stride;
  return {first, first + (t.rows - 1) * t.row_stride + t.bytes};
}

bool inside(const std::vector<LintBuffer>& areas, std::uint64_t first, std::uint64_t end) {
  const auto after =
      std::upper_bound(areas.begin(), areas.end(), first,
                       [](std::uint64_t at, const LintBuffer& area) { return at < area.iova; });
  return after != areas.begin() && end >= first && end <= (after - 1)->iova + (after - 1)->bytes;
}

// The first address of a transfer that no buffer holds.
std::optional<std::uint64_t> outside(const std::vector<LintBuffer>& areas, const Transfer& t) {
  for (std::uint64_t plane = 0; plane < t.planes; ++plane) {
    const Range range = plane_range(t, plane);
    if (inside(areas, range.first, range.end)) continue;
    for (std::uint64_t row = 0; row < t.rows; ++row) {
      const std::uint64_t first = range.first + row * t.row_stride;
      if (!inside(areas, first, first + t.bytes)) return first;
    }
  }
  return std::nullopt;
}

// Any byte in common, taking planes for what lies between their first and last byte.
bool touches(const Transfer& t, std::uint64_t first, std::uint64_t end) {
  for (std::uint64_t plane = 0; plane < t.planes; ++plane) {
    const Range range = plane_range(t, plane);
    if (range.first < end && first < range.end) return true;
  }
  return false;
}

void check_memory(const LintJob& job, const std::vector<LintBuffer>& areas,
                  const sim::TaskRecord& record, std::vector<ModelFinding>& findings) {
  for (const Transfer& t : record.transfers) {
    if (t.bytes == 0 || t.rows == 0) continue;
    if (const auto at = outside(areas, t))
      findings.push_back(
          {"address-outside", address_of(t.engine),
           fmt::format("{} {} {:#x}, which is in no buffer", sim::to_string(t.engine),
                       sim::is_write(t.engine) ? "writes to" : "reads from", *at)});
    if (!sim::is_write(t.engine)) continue;
    for (std::size_t i = 0; i < job.task_iova.size() && i < job.tasks.size(); ++i) {
      const std::uint64_t program = job.task_iova[i];
      if (!touches(t, program, program + job.tasks[i].count * 8)) continue;
      findings.push_back({"output-over-program", address_of(t.engine),
                          fmt::format("{} reaches the program of task {} at {:#x}",
                                      sim::to_string(t.engine), i, program)});
      break;
    }
  }
}

// Planes of an output that share bytes: row-major outputs interleave theirs, which is fine.
bool planes_overlap(const Transfer& t) {
  if (t.planes < 2 || t.rows == 0) return false;
  const std::uint64_t span = (t.rows - 1) * t.row_stride + t.bytes;
  if (t.plane_stride >= span) return false;
  if (t.plane_stride == 0) return true;
  // Side by side within a line: the next plane's columns have to end before the next line.
  const bool columns = t.bytes <= 16 || t.plane_stride >= t.bytes;
  return !columns || (t.planes - 1) * t.plane_stride + t.bytes > t.row_stride;
}

void check_output(const sim::TaskRecord& record, std::vector<ModelFinding>& findings) {
  for (const Transfer& t : record.transfers)
    if (sim::is_write(t.engine) && planes_overlap(t)) {
      findings.push_back(
          {"plane-overlap",
           t.engine == Engine::dpu_write ? "DPU.DST_SURF_STRIDE" : "PPU.DST_SURF_STRIDE",
           fmt::format("{} planes, {:#x} bytes apart, of {} rows of {} bytes", t.planes,
                       t.plane_stride, t.rows, t.bytes)});
      return;
    }
}

void check_operand(const ConvConfig& c, const sim::TaskRecord& record,
                   std::vector<ModelFinding>& findings) {
  if (!c.ew.active) return;
  const std::uint64_t positions = std::uint64_t{c.shape.out_width} * c.shape.out_height;
  if (positions < 12 && c.out_channels > 2 * 16 / bytes_of(c.out_type))
    findings.push_back({"small-plane-operand", "DPU_RDMA.RDMA_SURF_NOTCH",
                        fmt::format("planes of {} positions", positions)});
  for (const Transfer& read : record.transfers) {
    if (read.engine != Engine::mrdma && read.engine != Engine::erdma) continue;
    for (const Transfer& write : record.transfers) {
      if (!sim::is_write(write.engine)) continue;
      bool shared = false;
      for (std::uint64_t plane = 0; plane < read.planes && !shared; ++plane) {
        const Range range = plane_range(read, plane);
        shared = touches(write, range.first, range.end);
      }
      if (!shared) continue;
      findings.push_back({"in-place-operand", "DPU.DST_BASE_ADDR",
                          fmt::format("the output at {:#x} lies over the operand at {:#x}",
                                      write.iova, read.iova)});
      return;
    }
  }
}

void check_pool(const sim::PoolConfig& c, std::vector<ModelFinding>& findings) {
  const std::uint64_t used =
      std::uint64_t{c.out_height - 1} * c.stride_y + c.kernel_height - c.pad_top;
  if (c.stride_y > 2 && used < c.in_height && c.kernel_height + c.out_height > c.pad_top)
    findings.push_back(
        {"pool-rows-unread", "PPU.DATA_CUBE_IN_HEIGHT",
         fmt::format("{} rows of input, of which the windows read {}", c.in_height, used)});
}

std::vector<LintBuffer> joined(std::vector<LintBuffer> buffers) {
  std::sort(buffers.begin(), buffers.end(),
            [](const LintBuffer& a, const LintBuffer& b) { return a.iova < b.iova; });
  std::vector<LintBuffer> out;
  for (LintBuffer& b : buffers) {
    if (!out.empty() && b.iova <= out.back().iova + out.back().bytes)
      out.back().bytes = std::max(out.back().bytes, b.iova + b.bytes - out.back().iova);
    else
      out.push_back(std::move(b));
  }
  return out;
}

}  // namespace

ModelLint::ModelLint(const LintJob& job)
    : job_(job), checker_({}, job.chained), areas_(joined(job.buffers)) {}

std::vector<ModelFinding> ModelLint::task(std::size_t index) {
  const regdb::LintTask& range = job_.tasks[index];
  const sim::TaskCheck check = checker_.check(job_.words.subspan(range.first, range.count));
  std::vector<ModelFinding> findings;
  if (check.fault) findings.push_back(finding_of(*check.fault));
  for (const sim::TaskRecord& record : check.records) {
    // A task that writes nothing at all has a rule of its own.
    const bool nothing = check.conv && check.conv->written_planes == 0;
    for (const sim::QuirkNote& note : record.quirks)
      for (const QuirkRule& q : kQuirks)
        if (!q.note.empty() && q.quirk == note.quirk && !(nothing && q.note == "size-e-short"))
          findings.push_back({q.note, note.where, note.effect});
    if (!areas_.empty()) check_memory(job_, areas_, record, findings);
    check_output(record, findings);
    if (check.conv) check_operand(*check.conv, record, findings);
  }
  if (check.conv) {
    lint_cbuf(*check.conv, check.cbuf_con0, check.data_entries, findings);
    if (check.conv->written_planes == 0)
      findings.push_back({"tf32-in-dpu", "DPU.DATA_FORMAT.in_precision",
                          "DPU.DATA_FORMAT.in_precision=7: nothing is written"});
  }
  if (check.pool) check_pool(*check.pool, findings);
  return findings;
}

void lint_cbuf(const ConvConfig& c, std::uint32_t con0, std::uint32_t entries,
               std::vector<ModelFinding>& findings) {
  constexpr std::uint64_t kBank = 32768;  // bytes [mesa rkt_ml.h]
  const auto banks = regdb::cna::CBUF_CON0::decode(con0);
  const sim::ConvShape& s = c.shape;
  const std::uint32_t bits = sim::layout_of(s.precision).bits;
  const std::uint64_t channel_bytes = c.feature.pixel_channels != 0 ? c.feature.pixel_channels
                                      : c.feature.pixel_bytes != 0
                                          ? c.feature.pixel_bytes
                                          : std::uint64_t{s.channels} * bits / 8;
  const std::uint64_t row = s.in_width * channel_bytes, cube = row * s.in_height;
  if (cube > banks.data_bank * kBank)
    findings.push_back({"cbuf-features", "CNA.CBUF_CON0.data_bank",
                        fmt::format("the features take {} bytes, {} banks hold {}", cube,
                                    banks.data_bank, banks.data_bank * kBank)});
  else if (s.precision == sim::Precision::int8 && s.in_width == 1 && cube != 0 &&
           (cube + kBank - 1) / kBank == banks.data_bank && banks.data_bank < 11)
    findings.push_back(
        {"cbuf-slack", "CNA.CBUF_CON0.data_bank",
         fmt::format("{} bytes of int8 in exactly {} banks", cube, banks.data_bank)});
  if (entries < (row + 63) / 64)
    findings.push_back({"cbuf-entries", "CNA.CBUF_CON1.data_entries",
                        fmt::format("CNA.CBUF_CON1.data_entries={}, a row of {} bytes takes {}",
                                    entries, row, (row + 63) / 64)});
  const std::uint64_t kernel = s.kernels == 0 || s.depthwise ? 0 : c.weight_bytes / s.kernels;
  if (kernel > kBank)
    findings.push_back({"cbuf-kernel", "CNA.WEIGHT_SIZE1.weight_bytes_per_kernel",
                        fmt::format("a kernel of {} bytes", kernel)});
  if (c.weight_reuse && c.weight_bytes > banks.weight_bank * kBank)
    findings.push_back({"cbuf-reuse", "CNA.CBUF_CON0.weight_reuse",
                        fmt::format("{} bytes of kernels, {} banks hold {}", c.weight_bytes,
                                    banks.weight_bank, banks.weight_bank * kBank)});
  // Atoms in fours, the last four not counted [iree-rocket LIMITS.md, exact at 2048].
  const std::uint64_t atoms = channel_bytes / 16;
  if (c.feature.pixel_channels == 0 && c.feature.pixel_bytes == 0 && atoms > 4 &&
      ((atoms + 3) / 4 - 1) * s.in_width > 2047)
    findings.push_back({"cbuf-row", "CNA.DATA_SIZE0.datain_width",
                        fmt::format("{} columns of {} atoms take {} entries before the last four",
                                    s.in_width, atoms, ((atoms + 3) / 4 - 1) * s.in_width)});
}

}  // namespace npu::probe
