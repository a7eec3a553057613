// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <algorithm>

#include "npu-probe/bench_shapes.hpp"
#include "npu-probe/timing_workloads.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using kernels::Conv2dShape;
using kernels::DataType;
using kernels::GemmShape;
using kernels::GemmTypes;

std::string complaint(std::string_view json) {
  try {
    (void)parse_bench_shapes(json, "file");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_file);
    return error.what();
  }
  return "accepted";
}

TEST(BenchShapes, EveryMemberOfAFileArrives) {
  const auto cases = parse_bench_shapes(R"({
    "submit": [{"tasks": 8, "jobs": 4}, {}],
    "gemm": [{"name": "qkv", "m": 128, "n": 2048, "k": 1536, "dtype": "f16->f32"}],
    "conv": [{"height": 9, "width": 17, "in_channels": 3, "out_channels": 5, "kernel": [3, 5],
              "stride": [2, 1], "dilation": 2, "pad": [1, 2, 3, 4]}],
    "dw": [{"height": 28, "width": 29, "channels": 96, "kernel": 3, "stride": 2, "pad": 1}],
    "add": [{"n": 4096, "function": "silu", "dtype": "f16"}],
    "pool": [{"height": 6, "width": 8, "channels": 24, "kernel": [2, 3], "stride": 2, "pad": 1,
              "method": "average", "path": "ppu"}],
    "copy": [{"n": 65536}]})",
                                        "file");
  ASSERT_EQ(cases.size(), 8u);
  EXPECT_EQ(cases[0].op, BenchOp::gemm);  // the tool's order, not the file's
  EXPECT_EQ(cases[0].name, "qkv");
  EXPECT_EQ(std::get<GemmShape>(cases[0].shape), (GemmShape{128, 2048, 1536}));
  EXPECT_EQ(cases[0].types, (GemmTypes{DataType::f16, DataType::f32}));
  const Conv2dShape conv{.in_height = 9,
                         .in_width = 17,
                         .in_channels = 3,
                         .out_channels = 5,
                         .kernel_height = 3,
                         .kernel_width = 5,
                         .stride_y = 2,
                         .stride_x = 1,
                         .dilation_y = 2,
                         .dilation_x = 2,
                         .pad_top = 1,
                         .pad_left = 2,
                         .pad_bottom = 3,
                         .pad_right = 4};
  EXPECT_EQ(std::get<Conv2dShape>(cases[1].shape), conv);
  EXPECT_FALSE(cases[1].types);
  EXPECT_EQ(shape_text(cases[1]), "9x17x3->5 3x5 s2x1 d2");
  const auto& dw = std::get<Conv2dShape>(cases[2].shape);
  EXPECT_TRUE(dw.depthwise);
  EXPECT_EQ(dw.out_channels, 96u);
  EXPECT_EQ(dw.pad_right, 1u);
  EXPECT_EQ(std::get<BenchVector>(cases[3].shape).function, "silu");
  EXPECT_EQ(shape_text(cases[4]), "6x8x24 average 2x3 s2 ppu");
  EXPECT_EQ(std::get<BenchPool>(cases[4].shape).shape.pad_right, 1u);
  EXPECT_EQ(std::get<BenchCopy>(cases[5].shape).n, 65536u);
  EXPECT_EQ(std::get<BenchSubmit>(cases[6].shape).jobs, 4u);
  EXPECT_EQ(std::get<BenchSubmit>(cases[7].shape).tasks, 1u);
}

TEST(BenchShapes, EveryComplaintNamesThePathOfTheValue) {
  EXPECT_EQ(complaint(R"({"gemm":[{"m":1,"n":2,"k":3},{"m":0,"n":2,"k":3}]})"),
            "file: gemm[1].m must be an integer from 1 to 16777216");
  EXPECT_EQ(complaint(R"({"gemm":[{"m":1.5,"n":2,"k":3}]})"),
            "file: gemm[0].m must be an integer from 1 to 16777216");
  EXPECT_EQ(complaint(R"({"gemm":[{"m":1,"n":2}]})"), "file: gemm[0] has no \"k\"");
  EXPECT_EQ(complaint(R"({"gemm":[{"m":1,"n":2,"k":3,"dtype":"i8->f32"}]})"),
            "file: gemm[0].dtype is \"i8->f32\"; gemm has i8->i32, i8, i4->i32, i4->i16, f16->f32, "
            "f16, bf16->f32, tf32->f32");
  EXPECT_EQ(complaint(R"({"gemm":[{"m":1,"n":2,"k":3,"x":4}]})"),
            "file: gemm[0] has an unknown member \"x\"; known are dtype, k, m, n, name");
  EXPECT_EQ(complaint(R"({"gemm":[7]})"), "file: gemm[0] must be an object");
  EXPECT_EQ(complaint(R"({"gemm":{}})"), "file: gemm must be a list of shapes");
  EXPECT_EQ(complaint(R"({"gemv":[]})"),
            "file: has no operator \"gemv\"; known are gemm, conv, dw, add, pool, copy, submit");
  EXPECT_EQ(complaint(R"({"conv":[{"height":5,"width":5,"in_channels":1,"out_channels":1,
                          "pad":[1,2,3]}]})"),
            "file: conv[0].pad must be \"same\", a number or [top, left, bottom, right]");
  EXPECT_EQ(complaint(R"({"conv":[{"height":5,"width":5,"in_channels":1,"out_channels":1,
                          "stride":[1,8]}]})"),
            "file: conv[0].stride[1] must be an integer from 1 to 7");
  EXPECT_EQ(complaint(R"({"add":[{"n":1,"function":"log"}]})"),
            "file: add[0].function is \"log\"; known are add, sub, mul, max, min, relu, relu6, "
            "sigmoid, hard_sigmoid, tanh, exp, silu, gelu");
  EXPECT_EQ(complaint(R"({"pool":[{"height":4,"width":4,"channels":1,"method":"mean"}]})"),
            "file: pool[0].method is \"mean\"; known are max, min, average");
  EXPECT_EQ(complaint(R"({"copy":[{"n":1,"name":"a\u0007b"}]})"),
            "file: copy[0].name has a control character");
  EXPECT_EQ(complaint(R"({"gemm":[{"m":1,"m":2,"n":2,"k":3}]})"),
            "file: has \"m\" twice in one object");
  EXPECT_EQ(complaint("{}"), "file: has no shapes");
  EXPECT_EQ(complaint("7").substr(0, 24), "file: must be an object ");
  EXPECT_EQ(complaint("[1, 2").substr(0, 18), "file: is no JSON: ");
}

TEST(BenchShapes, SetsHaveTheShapesOfTheirModels) {
  const auto qwen = bench_set("qwen2.5-1.5b");
  ASSERT_TRUE(qwen);
  const auto has = [&](GemmShape want) {
    return std::any_of(qwen->begin(), qwen->end(), [&](const BenchCase& c) {
      const auto* shape = std::get_if<GemmShape>(&c.shape);
      return shape != nullptr && *shape == want;
    });
  };
  for (const std::uint32_t m : {1u, 128u, 512u})
    for (const GemmShape layer : {GemmShape{m, 1536, 1536}, GemmShape{m, 256, 1536},
                                  GemmShape{m, 8960, 1536}, GemmShape{m, 1536, 8960}})
      EXPECT_TRUE(has(layer)) << layer.m << ' ' << layer.n << ' ' << layer.k;

  // MobileNetV1 has 27 convolutions and a classifier; the products are those of the table.
  const auto net = bench_set("mobilenet_v1");
  ASSERT_TRUE(net);
  EXPECT_EQ(net->size(), 28u);
  std::uint64_t macs = 0, table = 0;
  for (const BenchCase& c : *net) macs += std::get<Conv2dShape>(c.shape).macs();
  const auto layers = network_layers("mobilenet_v1");
  for (const Layer& layer : layers.value()) table += layer.macs();
  EXPECT_EQ(macs, table);
  EXPECT_EQ(std::get<Conv2dShape>(net->front().shape).out_height(), 112u);
  EXPECT_FALSE(bench_set("shapes.json"));
}

TEST(BenchShapes, TypesAreThoseAskedForWhereAnOperatorTakesThem) {
  const auto texts = [](std::string_view json, std::vector<TypeFilter> asked,
                        std::vector<BenchOp> ops = {}) {
    std::string all;
    for (const BenchCase& c : expand_cases(parse_bench_shapes(json, "file"), ops, asked))
      all += std::string(to_string(c.op)) + " " + types_text(*c.types) + ";";
    return all;
  };
  constexpr auto gemm = R"({"gemm":[{"m":1,"n":2,"k":3}]})";
  EXPECT_EQ(texts(gemm, {}), "gemm i8->i32;gemm f16->f32;");
  EXPECT_EQ(texts(gemm, {parse_type_filter("i8->i8"), parse_type_filter("tf32")}),
            "gemm i8;gemm tf32->f32;");
  EXPECT_EQ(texts(gemm, {parse_type_filter("i16")}), "");
  constexpr auto fixed = R"({"gemm":[{"m":1,"n":2,"k":3,"dtype":"f16"}],"copy":[{"n":5}]})";
  EXPECT_EQ(texts(fixed, {}), "gemm f16;copy i8;");
  EXPECT_EQ(texts(fixed, {parse_type_filter("f16")}), "gemm f16;copy f16;");
  EXPECT_EQ(texts(fixed, {parse_type_filter("f16->f32")}), "");
  EXPECT_EQ(texts(fixed, {}, {BenchOp::copy}), "copy i8;");
  // A table is fp16's, and int32 vectors are not multiplied.
  EXPECT_EQ(texts(R"({"add":[{"n":5,"function":"gelu"}]})", {}), "add f16;");
  EXPECT_EQ(texts(R"({"add":[{"n":5,"function":"mul"}]})", {parse_type_filter("i32")}), "");
  for (const char* bad : {"", "i9", "i8->", "->i8", "i8->f32", "f32"})
    EXPECT_THROW((void)parse_type_filter(bad), Error) << bad;
}

TEST(BenchStatistics, MedianAndMad) {
  const BenchSpread odd = spread_of({5, 1, 2, 100, 3});
  EXPECT_EQ(odd.median, 3);
  EXPECT_EQ(odd.min, 1);
  EXPECT_EQ(odd.max, 100);
  EXPECT_EQ(odd.mad, 2);  // of 0, 1, 2, 2, 97
  EXPECT_EQ(odd.samples, 5u);
  const BenchSpread even = spread_of({4, 1, 3, 2});
  EXPECT_EQ(even.median, 2.5);
  EXPECT_EQ(even.mad, 1);
  EXPECT_EQ(spread_of({7}).mad, 0);
}

}  // namespace
}  // namespace npu::probe
