// SPDX-License-Identifier: MIT
#include "npu-probe/bench_shapes.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "microkernels/activation.hpp"
#include "microkernels/elementwise.hpp"
#include "npu-probe/timing_workloads.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using kernels::Conv2dShape;
using kernels::DataType;
using kernels::GemmShape;
using kernels::GemmTypes;
using enum kernels::DataType;

// [operators.md]; the first of an input type is its usual output.
constexpr GemmTypes kGemmTypes[] = {{i8, i32},  {i8, i8},   {i4, i32},   {i4, i16},
                                    {f16, f32}, {f16, f16}, {bf16, f32}, {tf32, f32}};
constexpr GemmTypes kConvTypes[] = {{i8, i8},   {i8, i32},   {f16, f16},
                                    {f16, f32}, {bf16, f32}, {i4, i16}};
constexpr GemmTypes kDepthwiseTypes[] = {{i8, i8}, {f16, f16}};
constexpr GemmTypes kVectorTypes[] = {{i8, i8}, {f16, f16}, {i16, i16}, {i32, i32}};
constexpr GemmTypes kPoolTypes[] = {{i8, i8}, {f16, f16}};
constexpr GemmTypes kSubmitTypes[] = {{i8, i32}};

Conv2dShape square(std::uint32_t size, std::uint32_t in, std::uint32_t out, std::uint32_t kernel,
                   std::uint32_t kernel_height, std::uint32_t stride, bool depthwise) {
  Conv2dShape s{.in_height = size,
                .in_width = size,
                .in_channels = in,
                .out_channels = out,
                .kernel_height = kernel_height,
                .kernel_width = kernel,
                .stride_y = stride,
                .stride_x = stride,
                .depthwise = depthwise};
  pad_same(s);
  return s;
}

BenchCase pool(std::string name, std::uint32_t size, std::uint32_t channels, std::uint32_t kernel,
               std::uint32_t stride, kernels::PoolMethod method) {
  const Conv2dShape s = square(size, channels, channels, kernel, kernel, stride, true);
  return {BenchOp::pool,
          std::move(name),
          BenchPool{{.in_height = size,
                     .in_width = size,
                     .channels = channels,
                     .kernel_height = kernel,
                     .kernel_width = kernel,
                     .stride_y = stride,
                     .stride_x = stride,
                     .pad_top = s.pad_top,
                     .pad_left = s.pad_left,
                     .pad_bottom = s.pad_bottom,
                     .pad_right = s.pad_right},
                    method},
          {}};
}

BenchCase conv(std::string name, const Conv2dShape& shape) {
  return {shape.depthwise ? BenchOp::dw : BenchOp::conv, std::move(name), shape, {}};
}

std::vector<BenchCase> default_set() {
  std::vector<BenchCase> all;
  const auto gemm = [&](const char* name, GemmShape shape) {
    all.push_back({BenchOp::gemm, name, shape, {}});
  };
  gemm("square", {256, 256, 256});
  gemm("square", {512, 512, 512});
  gemm("square", {1024, 1024, 1024});
  gemm("published", {512, 4096, 3840});  // the best published figure of an open stack is of it
  gemm("gemv", {1, 8960, 1536});
  all.push_back(conv("first", square(224, 3, 32, 3, 3, 2, false)));
  all.push_back(conv("3x3", square(56, 64, 64, 3, 3, 1, false)));
  all.push_back(conv("3x3", square(28, 128, 128, 3, 3, 1, false)));
  all.push_back(conv("1x1", square(14, 512, 512, 1, 1, 1, false)));
  all.push_back(conv("wide", square(112, 32, 32, 3, 3, 1, true)));
  all.push_back(conv("strided", square(56, 128, 128, 3, 3, 2, true)));
  all.push_back(conv("deep", square(14, 512, 512, 3, 3, 1, true)));
  for (const char* function : {"add", "mul", "relu", "silu"})
    all.push_back({BenchOp::add, function, BenchVector{1u << 20, function}, {}});
  all.push_back(pool("strided", 112, 64, 3, 2, kernels::PoolMethod::max));
  all.push_back(pool("halving", 56, 128, 2, 2, kernels::PoolMethod::average));
  all.push_back({BenchOp::pool,
                 "global",
                 BenchPool{kernels::global_pool(7, 7, 1280), kernels::PoolMethod::average},
                 {}});
  for (const std::uint64_t n : {1u << 12, 1u << 16, 1u << 20, 1u << 24})
    all.push_back({BenchOp::copy, "copy", BenchCopy{n}, {}});
  for (const std::uint32_t tasks : {1u, 2u, 4u, 8u, 16u, 32u, 64u})
    all.push_back({BenchOp::submit, "tasks", BenchSubmit{tasks, 1}, {}});
  for (const std::uint32_t jobs : {4u, 16u, 64u})
    all.push_back({BenchOp::submit, "queue", BenchSubmit{1, jobs}, {}});
  return all;
}

// One decoder layer; the output head is a product of the same kind. Names are those of GGUF.
std::vector<BenchCase> language_set(const LanguageModel& model) {
  std::vector<BenchCase> all;
  const auto width = static_cast<std::uint32_t>(model.width);
  const auto ff = static_cast<std::uint32_t>(model.feed_forward);
  const auto query = static_cast<std::uint32_t>(model.query);
  for (const std::uint32_t m : {1u, 128u, 512u}) {
    const auto gemm = [&](const char* name, std::uint32_t n, std::uint32_t k) {
      all.push_back({BenchOp::gemm, name, GemmShape{m, n, k}, {}});
    };
    gemm("attn_q", query, width);
    gemm("attn_k, attn_v", static_cast<std::uint32_t>(model.key_value), width);
    gemm("attn_output", width, query);
    gemm("ffn_gate, ffn_up", ff, width);
    gemm("ffn_down", width, ff);
  }
  for (const std::uint32_t m : {1u, 128u, 512u}) {
    const GemmTypes half{f16, f16};
    all.push_back({BenchOp::add, "residual", BenchVector{std::uint64_t{m} * width, "add"}, {half}});
    all.push_back({BenchOp::add, "silu", BenchVector{std::uint64_t{m} * ff, "silu"}, {half}});
    all.push_back({BenchOp::add, "gate x up", BenchVector{std::uint64_t{m} * ff, "mul"}, {half}});
  }
  return all;
}

std::vector<BenchCase> network_set(const std::vector<Layer>& layers) {
  std::vector<BenchCase> all;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const Layer& l = layers[i];
    const std::string name = fmt::format("layer {}", i);
    if (l.kind == LayerKind::conv || l.kind == LayerKind::depthwise)
      all.push_back(conv(name, square(l.size, l.in, l.out, l.kernel, l.height(), l.stride,
                                      l.kind == LayerKind::depthwise)));
    if (l.kind == LayerKind::pool)
      all.push_back(pool(name, l.size, l.in, l.kernel, l.stride, kernels::PoolMethod::max));
    if (!l.residual) continue;
    const std::uint64_t size = (l.size + l.stride - 1) / l.stride;
    all.push_back({BenchOp::add, name + " residual", BenchVector{size * size * l.out, "add"}, {}});
  }
  // The networks of the tables are int8.
  for (BenchCase& c : all) c.types = GemmTypes{i8, i8};
  return all;
}

bool accepts(const TypeFilter& filter, const GemmTypes& types) {
  return filter.in == types.in && (!filter.out || *filter.out == types.out);
}

std::optional<DataType> data_type(std::string_view name) {
  for (const DataType type : {i4, i8, i16, f16, bf16, tf32, i32, f32})
    if (name == to_string(type)) return type;
  return std::nullopt;
}

// Functions of one vector are fp16's.
bool one_operand(std::string_view function) {
  const std::vector<std::string> all = bench_functions();
  return std::find(all.begin() + 5, all.end(), function) != all.end();
}

bool possible(const BenchCase& c, const GemmTypes& types) {
  const auto all = bench_types(c.op);
  if (std::find(all.begin(), all.end(), types) == all.end()) return false;
  const auto* vector = std::get_if<BenchVector>(&c.shape);
  if (vector == nullptr) return true;
  if (one_operand(vector->function)) return types.in == f16;
  return types.in != i32 || vector->function != "mul";
}

}  // namespace

void pad_same(Conv2dShape& s) {
  const auto sides = [](std::uint32_t size, std::uint32_t kernel, std::uint32_t stride,
                        std::uint32_t dilation, std::uint32_t& before, std::uint32_t& after) {
    const std::uint32_t window = (kernel - 1) * dilation + 1;
    const std::uint32_t needed = ((size + stride - 1) / stride - 1) * stride + window;
    const std::uint32_t all = needed > size ? needed - size : 0;
    before = all / 2;
    after = all - before;
  };
  sides(s.in_height, s.kernel_height, s.stride_y, s.dilation_y, s.pad_top, s.pad_bottom);
  sides(s.in_width, s.kernel_width, s.stride_x, s.dilation_x, s.pad_left, s.pad_right);
}

std::string_view to_string(BenchOp op) {
  switch (op) {
    case BenchOp::gemm: return "gemm";
    case BenchOp::conv: return "conv";
    case BenchOp::dw: return "dw";
    case BenchOp::add: return "add";
    case BenchOp::pool: return "pool";
    case BenchOp::copy: return "copy";
    case BenchOp::submit: return "submit";
  }
  return "?";
}

std::optional<BenchOp> bench_op(std::string_view name) {
  for (const BenchOp op : kBenchOps)
    if (name == to_string(op)) return op;
  return std::nullopt;
}

std::string types_text(const GemmTypes& types) {
  return types.in == types.out ? std::string(to_string(types.in)) : kernels::to_string(types);
}

std::string shape_text(const BenchCase& c) {
  if (const auto* g = std::get_if<GemmShape>(&c.shape))
    return fmt::format("{}x{}x{}", g->m, g->k, g->n);
  if (const auto* s = std::get_if<Conv2dShape>(&c.shape)) {
    std::string text = fmt::format("{}x{}x{}", s->in_height, s->in_width, s->in_channels);
    if (!s->depthwise) text += fmt::format("->{}", s->out_channels);
    text += fmt::format(" {}x{}", s->kernel_height, s->kernel_width);
    if (s->stride_y != 1 || s->stride_x != 1)
      text += s->stride_y == s->stride_x ? fmt::format(" s{}", s->stride_y)
                                         : fmt::format(" s{}x{}", s->stride_y, s->stride_x);
    if (s->dilation_y != 1 || s->dilation_x != 1)
      text += s->dilation_y == s->dilation_x ? fmt::format(" d{}", s->dilation_y)
                                             : fmt::format(" d{}x{}", s->dilation_y, s->dilation_x);
    return text;
  }
  if (const auto* v = std::get_if<BenchVector>(&c.shape))
    return fmt::format("{} {}", v->n, v->function);
  if (const auto* p = std::get_if<BenchPool>(&c.shape)) {
    const kernels::Pool2dShape& s = p->shape;
    std::string text = fmt::format("{}x{}x{} {} {}x{}", s.in_height, s.in_width, s.channels,
                                   kernels::to_string(p->method), s.kernel_height, s.kernel_width);
    if (s.stride_y != 1 || s.stride_x != 1)
      text += s.stride_y == s.stride_x ? fmt::format(" s{}", s.stride_y)
                                       : fmt::format(" s{}x{}", s.stride_y, s.stride_x);
    if (p->path != kernels::PoolPath::automatic)
      text += " " + std::string(kernels::to_string(p->path));
    return text;
  }
  if (const auto* v = std::get_if<BenchCopy>(&c.shape)) return fmt::format("{}", v->n);
  const auto& s = std::get<BenchSubmit>(c.shape);
  return fmt::format("{} job{} of {}", s.jobs, s.jobs == 1 ? "" : "s", s.tasks);
}

std::vector<std::string> bench_functions() {
  std::vector<std::string> all;
  using E = kernels::ElementwiseOp;
  for (const E op : {E::add, E::sub, E::mul, E::max, E::min})
    all.emplace_back(kernels::to_string(op));
  using A = kernels::Activation;
  for (const A function :
       {A::relu, A::relu6, A::sigmoid, A::hard_sigmoid, A::tanh, A::exp, A::silu, A::gelu})
    all.emplace_back(kernels::to_string(function));
  return all;
}

std::span<const GemmTypes> bench_types(BenchOp op) {
  switch (op) {
    case BenchOp::gemm: return kGemmTypes;
    case BenchOp::conv: return kConvTypes;
    case BenchOp::dw: return kDepthwiseTypes;
    case BenchOp::add:
    case BenchOp::copy: return kVectorTypes;
    case BenchOp::pool: return kPoolTypes;
    case BenchOp::submit: return kSubmitTypes;
  }
  return {};
}

std::vector<GemmTypes> default_types(BenchOp op) {
  switch (op) {
    case BenchOp::gemm: return {{i8, i32}, {f16, f32}};
    case BenchOp::conv:
    case BenchOp::dw:
    case BenchOp::add:
    case BenchOp::pool: return {{i8, i8}, {f16, f16}};
    case BenchOp::copy: return {{i8, i8}};
    case BenchOp::submit: return {{i8, i32}};
  }
  return {};
}

TypeFilter parse_type_filter(std::string_view text) {
  const std::size_t arrow = text.find("->");
  const auto in = data_type(text.substr(0, arrow));
  const auto out =
      arrow == std::string_view::npos ? std::nullopt : data_type(text.substr(arrow + 2));
  const bool known = in && (out || arrow == std::string_view::npos);
  const TypeFilter filter{in.value_or(i8), out};
  for (const BenchOp op : kBenchOps)
    for (const GemmTypes& types : bench_types(op))
      if (known && accepts(filter, types)) return filter;
  std::string all;
  for (const GemmTypes& types : kGemmTypes) all += types_text(types) + ", ";
  for (const char* more : {"i8", "f16", "i16"}) all += std::string(more) + ", ";
  throw Error(ErrorCode::invalid_argument,
              fmt::format("no operator has the type \"{}\"; known are {}i32", text, all));
}

std::optional<std::vector<BenchCase>> bench_set(std::string_view name) {
  if (name == "default") return default_set();
  if (const LanguageModel* model = find_language_model(name)) return language_set(*model);
  if (const auto layers = network_layers(name)) return network_set(*layers);
  return std::nullopt;
}

std::vector<BenchCase> expand_cases(std::span<const BenchCase> cases, std::span<const BenchOp> ops,
                                    std::span<const TypeFilter> asked) {
  std::vector<BenchCase> out;
  const auto wanted = [&](const GemmTypes& types) {
    return std::any_of(asked.begin(), asked.end(),
                       [&](const TypeFilter& f) { return accepts(f, types); });
  };
  for (const BenchCase& c : cases) {
    if (!ops.empty() && std::find(ops.begin(), ops.end(), c.op) == ops.end()) continue;
    if (c.types) {
      if (asked.empty() || wanted(*c.types)) out.push_back(c);
      continue;
    }
    std::vector<GemmTypes> types;
    if (asked.empty()) types = default_types(c.op);
    for (const TypeFilter& filter : asked) {
      const auto all = bench_types(c.op);
      const auto first = std::find_if(all.begin(), all.end(),
                                      [&](const GemmTypes& t) { return accepts(filter, t); });
      if (first != all.end()) types.push_back(*first);
    }
    for (const GemmTypes& t : types) {
      if (!possible(c, t)) continue;
      out.push_back(c);
      out.back().types = t;
    }
  }
  return out;
}

}  // namespace npu::probe
