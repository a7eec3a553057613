// SPDX-License-Identifier: MIT
#include "microkernels/gemm_choice.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "microkernels/gemm_tiling.hpp"
#include "microkernels/layout.hpp"
#include "regdb/error.hpp"

namespace npu::kernels {
namespace {

using u32 = std::uint32_t;

template <class E>
E parse_name(const nlohmann::json& json, const char* key, std::array<E, 2> values) {
  const auto name = json.at(key).get<std::string>();
  for (const E value : values)
    if (name == to_string(value)) return value;
  throw Error(ErrorCode::bad_file,
              fmt::format("a plan's \"{}\" is \"{}\" or \"{}\", not \"{}\"", key,
                          to_string(values[0]), to_string(values[1]), name));
}

// The largest of the parts that split_by_limit() makes.
u32 largest_part(u32 whole, u32 parts, u32 step) {
  return ceil_div(ceil_div(whole, step), parts) * step;
}

// Sizes of at most `limit` that cut `whole` in ever more parts, `count` of them, largest first.
std::vector<u32> sizes(u32 whole, u32 limit, u32 step, u32 count) {
  std::vector<u32> found;
  const u32 steps = ceil_div(whole, step);
  for (u32 parts = ceil_div(steps, limit / step); parts <= steps && found.size() < count; ++parts) {
    const u32 size = largest_part(whole, parts, step);
    if (size <= limit && (found.empty() || found.back() != size)) found.push_back(size);
  }
  return found;
}

}  // namespace

std::string to_string(const GemmTypes& types) {
  return fmt::format("{}->{}", to_string(types.in), to_string(types.out));
}

std::string_view to_string(TaskOrder order) {
  return order == TaskOrder::features ? "features" : "weights";
}
std::string_view to_string(CoreSplit split) {
  return split == CoreSplit::columns ? "columns" : "rows";
}
std::string_view to_string(SliceSums sums) { return sums == SliceSums::host ? "host" : "chip"; }

std::string to_string(const GemmChoice& c) {
  return fmt::format(
      "{} core(s) by {}, {} x {} pass(es), tasks of {} rows x {} columns x k {}, {} stay{}, "
      "slices added by the {}{}",
      c.cores, to_string(c.split), c.row_passes, c.column_passes, c.rows, c.columns, c.k,
      to_string(c.order), c.reuse ? " in CBUF" : "", to_string(c.sums),
      c.chained ? ", chained" : "");
}

std::string to_json(const GemmChoice& c) {
  return nlohmann::ordered_json{{"cores", c.cores},
                                {"split", to_string(c.split)},
                                {"rows", c.rows},
                                {"columns", c.columns},
                                {"k", c.k},
                                {"order", to_string(c.order)},
                                {"row_passes", c.row_passes},
                                {"column_passes", c.column_passes},
                                {"reuse", c.reuse},
                                {"sums", to_string(c.sums)},
                                {"chained", c.chained}}
      .dump();
}

GemmChoice parse_gemm_choice(std::string_view text) {
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    const std::size_t kFields = 9 + json.contains("row_passes") + json.contains("column_passes");
    if (!json.is_object() || json.size() != kFields)
      throw Error(ErrorCode::bad_file,
                  "a GEMM's plan is an object of cores, split, rows, columns, k, row_passes, "
                  "column_passes, order, reuse, sums and chained");
    const auto number = [&](const char* key) {
      const nlohmann::json& value = json.at(key);
      if (!value.is_number_unsigned() || value.get<std::uint64_t>() > 0xFFFFFFFF)
        throw Error(ErrorCode::bad_file,
                    fmt::format("a plan's \"{}\" is a number from 0 to 4294967295", key));
      return value.get<u32>();
    };
    return {.cores = number("cores"),
            .split = parse_name(json, "split", std::array{CoreSplit::columns, CoreSplit::rows}),
            .rows = number("rows"),
            .columns = number("columns"),
            .k = number("k"),
            .order = parse_name(json, "order", std::array{TaskOrder::features, TaskOrder::weights}),
            .row_passes = json.contains("row_passes") ? number("row_passes") : 1,
            .column_passes = json.contains("column_passes") ? number("column_passes") : 1,
            .reuse = json.at("reuse").get<bool>(),
            .sums = parse_name(json, "sums", std::array{SliceSums::host, SliceSums::chip}),
            .chained = json.at("chained").get<bool>()};
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorCode::bad_file, fmt::format("a GEMM's plan cannot be read: {}", error.what()));
  }
}

std::vector<GemmChoice> gemm_choices(const GemmShape& shape, const GemmTypes& types, unsigned cores,
                                     const GemmOptions& o) {
  constexpr u32 kSlicings = 16, kRowSizes = 4, kColumnSizes = 3, kPassSizes = 4;
  check_gemm(shape, types, cores);
  if (o.choice) {
    check_choice(shape, types, cores, *o.choice);
    return {*o.choice};
  }
  const MacFormat format = mac_format(types.in);
  const CoreSplit split = o.split.value_or(usual_split(shape, cores, format.kernel_group));
  const std::vector<CorePart> parts = divide(shape, cores, split, format.kernel_group);
  u32 m = 0, n = 0;
  for (const CorePart& part : parts) {
    m = std::max(m, part.m.size);
    n = std::max(n, part.n.size);
  }
  const auto at_most = [](std::optional<u32> limit, u32 size, u32 step) {
    return limit ? std::min(size, std::max(*limit / step * step, step)) : size;
  };
  std::vector<GemmChoice> choices;
  const auto add = [&](GemmChoice choice) { choices.push_back(choice); };
  const bool chip = o.on_chip_sums && types == GemmTypes{DataType::f16, DataType::f16};
  for (const SliceSums sums : {SliceSums::host, SliceSums::chip}) {
    if (sums == SliceSums::chip && !chip) continue;
    const u32 longest =
        at_most(o.most_k, longest_k(task_rules(types, true, sums)), format.channel_block);
    for (const u32 k : sizes(shape.k, longest, format.channel_block, kSlicings)) {
      if (o.k && k != *o.k) continue;
      const bool sliced = k < shape.k;
      if (!sliced && sums == SliceSums::chip) continue;    // nothing to add
      if (sliced && types.out == DataType::i16) continue;  // nobody adds those
      const TaskRules rules = task_rules(types, sliced, sums);
      const u32 most_rows = at_most(o.most_rows, max_rows(rules, k), rules.row_step);
      if (most_rows == 0) continue;
      for (const u32 rows : sizes(m, most_rows, rules.row_step, kRowSizes)) {
        GemmChoice choice{.cores = static_cast<u32>(parts.size()),
                          .split = split,
                          .rows = rows,
                          .k = k,
                          .sums = sums,
                          .chained = o.chained && types.in != DataType::i4};
        const u32 padded = pad_rows(rows, rules).padded;
        const u32 m_tiles = ceil_div(ceil_div(m, rules.row_step), rows / rules.row_step);
        // Where the chip adds slices each tile of rows is a pass, and as many columns as one job
        // takes. Else the host may want its work in parts.
        std::vector<std::pair<u32, u32>> passes;
        if (rules.adds) {
          const u32 most = job_columns(rules, padded, align_up(shape.k, format.channel_block));
          for (const u32 columns :
               sizes(n, std::max(most, format.kernel_group), format.kernel_group, kPassSizes))
            passes.emplace_back(m_tiles, ceil_div(n, columns));
        } else if (sliced) {
          passes.emplace_back(1, 1);
        } else {
          for (u32 i = 1; i <= std::min(m_tiles, kPassSizes); ++i) passes.emplace_back(i, 1);
          if (n >= 2 * format.kernel_group) passes.emplace_back(1, 2);
        }
        for (const auto& [row_passes, column_passes] : passes) {
          choice.row_passes = row_passes;
          choice.column_passes = column_passes;
          const u32 pass_n =
              ceil_div(ceil_div(n, format.kernel_group), column_passes) * format.kernel_group;
          const u32 most =
              at_most(o.most_columns, max_columns(rules, padded, k), format.kernel_group);
          for (const u32 columns : sizes(pass_n, most, format.kernel_group, kColumnSizes)) {
            choice.columns = columns;
            choice.order = TaskOrder::features;
            choice.reuse = o.reuse && columns < pass_n && reuse_is_proven(types.in, choice.order);
            add(choice);
          }
          const u32 resident = std::min(most, resident_columns(rules, padded, k));
          if (!o.reuse || m_tiles <= row_passes || resident == 0 ||
              !reuse_is_proven(types.in, TaskOrder::weights))
            continue;
          choice.order = TaskOrder::weights;
          choice.reuse = true;
          for (const u32 columns : sizes(pass_n, resident, format.kernel_group, 2)) {
            choice.columns = columns;
            add(choice);
          }
        }
      }
    }
  }
  if (choices.empty())
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("there is no way to cut a K of {} into tiles of {}", shape.k, o.k.value_or(0)));
  return choices;
}

}  // namespace npu::kernels
