// SPDX-License-Identifier: MIT
// Which shapes `npu-probe bench` measures: sets that come with the tool, and files.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "npu-probe/bench.hpp"

namespace npu::probe {

/// Padding as TFLite's SAME: an output pixel for every stride-th input pixel, the odd one goes
/// last.
void pad_same(kernels::Conv2dShape& shape);

/// Functions of the operator `add`: those of two vectors, then those of one.
std::vector<std::string> bench_functions();

/// Pairs of types that an operator takes, the usual output of an input type first.
std::span<const kernels::GemmTypes> bench_types(BenchOp op);
/// Those that are measured if nobody asks for any.
std::vector<kernels::GemmTypes> default_types(BenchOp op);

/// "i8->i32", or "i8": any output. Throws invalid_argument with the known ones.
struct TypeFilter {
  kernels::DataType in = kernels::DataType::i8;
  std::optional<kernels::DataType> out;
};
TypeFilter parse_type_filter(std::string_view text);

/// The shapes of a set; all operators if `ops` is empty. Sets: "default", "qwen2.5-0.5b",
/// "qwen2.5-1.5b" (any language model of timing_language.cpp), "mobilenet_v1" (any network of
/// timing_networks.cpp). nullopt: there is no such set.
std::optional<std::vector<BenchCase>> bench_set(std::string_view name);

/// A file of shapes, docs/bench.md. Throws bad_file with `where` and the path of the value.
std::vector<BenchCase> parse_bench_shapes(std::string_view json, std::string_view where);

/// What a user names: a set, or a file of shapes. Throws bad_file if it is neither.
std::vector<BenchCase> named_shapes(const std::string& name);

/// With types: a case that has some is kept if `asked` is empty or names them, one that has none is
/// there once for each asked or usual pair. Only of `ops`, if that is not empty.
std::vector<BenchCase> expand_cases(std::span<const BenchCase> cases, std::span<const BenchOp> ops,
                                    std::span<const TypeFilter> asked);

}  // namespace npu::probe
