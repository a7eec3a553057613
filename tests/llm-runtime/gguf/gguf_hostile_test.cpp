// SPDX-License-Identifier: MIT
// Truncated, corrupt and hostile files end in a sentence.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>

#include "llm-runtime/dequantize.hpp"
#include "llm-runtime/gguf.hpp"
#include "regdb/error.hpp"
#include "small_gguf.hpp"

namespace npu::llm {
namespace {

using testing::HasSubstr;

std::string refusal(std::span<const std::byte> bytes) {
  try {
    GgufFile::parse(bytes, "f");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_file);
    return error.what();
  }
  return "accepted";
}

std::string refusal(const Raw& raw) { return refusal(raw.bytes); }

constexpr std::uint64_t kHuge = ~std::uint64_t{0};

TEST(GgufHostile, TruncatedAtEveryByteIsRefused) {
  const auto whole = small_gguf();
  ASSERT_EQ(refusal(whole), "accepted");
  // Memory of its own for each length, so that ASan sees a read of one byte too many.
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::unique_ptr<std::byte[]> part(new std::byte[size]);
    std::copy_n(whole.begin(), size, part.get());
    ASSERT_THAT(refusal({part.get(), size}), HasSubstr("f: ")) << "accepted " << size << " bytes";
  }
}

TEST(GgufHostile, CountsAndSizesThatOverflowAreRefused) {
  EXPECT_THAT(refusal(Raw().header(kHuge, 0)), HasSubstr("tensors do not fit"));
  EXPECT_THAT(refusal(Raw().header(0, kHuge)), HasSubstr("metadata entries do not fit"));
  EXPECT_THAT(refusal(Raw().header(0, 1).u64(kHuge).data(64)), HasSubstr("metadata entry 0 needs"));
  EXPECT_THAT(refusal(Raw().header(0, 1).entry("k", MetaType::string).u64(kHuge - 7).data(64)),
              HasSubstr("metadata 'k' needs"));
  EXPECT_THAT(refusal(Raw().header(0, 1).entry("k", MetaType::array).u32(11).u64(kHuge / 8 + 2)),
              HasSubstr("more than fit"));
  EXPECT_THAT(refusal(Raw().header(0, 1).entry("k", MetaType::array).u32(8).u64(kHuge).data(64)),
              HasSubstr("more than fit"));
  EXPECT_THAT(refusal(Raw().header(1, 0).tensor("t", {kHuge}, 0, 0).data(64)),
              HasSubstr("more values than can be counted"));
  const std::uint64_t big = std::uint64_t{1} << 32;
  EXPECT_THAT(refusal(Raw().header(1, 0).tensor("t", {big, big}, 0, 0).data(64)),
              HasSubstr("more values than can be counted"));
  EXPECT_THAT(refusal(Raw().header(1, 0).tensor("t", {big, big / 4}, 0, 0).data(64)),
              HasSubstr("more bytes than can be counted"));
  EXPECT_THAT(refusal(Raw().header(1, 0).tensor("t", {16}, 0, kHuge - 31).data(64)),
              HasSubstr("reaches beyond the end"));
  EXPECT_THAT(refusal(Raw().header(1, 0).tensor("t", {16}, 0, 32).data(64)),
              HasSubstr("tensor 't' (64 bytes at 32 of the data) reaches beyond the end"));
  EXPECT_THAT(refusal(Raw().header(1, 0).tensor("t", {1, 1, 1, 1, 1}, 0, 0).data(64)),
              HasSubstr("has 5 axes"));
}

TEST(GgufHostile, WhatMakesNoSenseIsRefused) {
  EXPECT_THAT(refusal(Raw().u64(0x0102030405060708)), HasSubstr("not a GGUF file"));
  EXPECT_THAT(refusal(Raw().header(0, 0, 1)), HasSubstr("GGUF version 1"));
  EXPECT_THAT(refusal(Raw().header(0, 0, 0x03000000)), HasSubstr("big-endian"));
  EXPECT_THAT(refusal(Raw()
                          .header(0, 2)
                          .entry("k", MetaType::u8)
                          .number('a')
                          .entry("k", MetaType::u8)
                          .number('b')),
              HasSubstr("metadata 'k' is there twice"));
  EXPECT_THAT(refusal(Raw().header(0, 1).text("k").u32(13).data(64)), HasSubstr("has type 13"));
  EXPECT_THAT(refusal(Raw().header(2, 0).tensor("t", {1}, 0, 0).tensor("t", {1}, 0, 32).data(64)),
              HasSubstr("tensor 't' is there twice"));
  EXPECT_THAT(refusal(Raw().header(2, 0).tensor("s", {9}, 0, 0).tensor("t", {1}, 0, 32).data(64)),
              HasSubstr("tensors 's' and 't' overlap"));
  EXPECT_THAT(refusal(Raw().header(1, 0).tensor("t", {1}, 0, 4).data(64)),
              HasSubstr("not aligned to 32"));
  EXPECT_THAT(refusal(Raw().header(1, 0).tensor("t", {31}, 8, 0).data(64)),
              HasSubstr("no multiple of the 32 of a Q8_0 block"));
  for (const std::uint32_t alignment : {0u, 3u, 33u}) {
    EXPECT_THAT(
        refusal(Raw().header(0, 1).entry("general.alignment", MetaType::u32).u32(alignment)),
        HasSubstr("not a power of two"));
  }
  EXPECT_THAT(refusal(Raw().header(0, 1).entry("general.alignment", MetaType::f32).u32(32)),
              HasSubstr("of type u32"));
  EXPECT_THAT(refusal(Raw().header(0, 1).text("a\n\x1b[31m").u32(77).data(64)),
              HasSubstr("'a??[31m'"));
}

TEST(GgufHostile, DeepArraysEndBeforeTheStackDoes) {
  Raw raw;
  raw.header(0, 1).entry("k", MetaType::array);
  for (int i = 0; i < 100000; ++i) raw.u32(9).u64(1);
  EXPECT_THAT(refusal(raw), HasSubstr("nests arrays too deep"));
}

TEST(GgufHostile, AnUnknownTypeMattersOnlyToWhoAsksForTheTensor) {
  const Raw raw = Raw()
                      .header(3, 0)
                      .tensor("a", {256}, 10, 0)
                      .tensor("b", {1}, 0, 96)
                      .tensor("c", {7}, 1234, 0)
                      .data(128);
  const GgufFile file = GgufFile::parse(raw.bytes, "f");
  EXPECT_EQ(file.weight_view("b").columns, 1u);
  try {
    file.weight_view("a");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("tensor 'a' is Q2_K (type 10), which is not supported"));
  }
  EXPECT_THROW(file.weight_view("c"), Error);
  EXPECT_EQ(describe_type(39), "MXFP4 (type 39)");
  EXPECT_EQ(describe_type(31), "of type 31, unknown here");
}

TEST(GgufHostile, DataThatIsNotAlignedToItsNumbersIsRefused) {
  Raw raw;
  raw.header(2, 1).entry("general.alignment", MetaType::u32).u32(1);
  raw.tensor("t", {1}, 0, 0).tensor("u", {1}, 0, 6);
  raw.u32(0).u32(0).u32(0);
  const GgufFile file = GgufFile::parse(raw.bytes, "f");
  int refused = 0;
  for (const char* name : {"t", "u"}) {
    try {
      file.weight_view(name);
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("not aligned to 4 bytes"));
      ++refused;
    }
  }
  EXPECT_GE(refused, 1);  // they lie 6 bytes apart: at most one of them can be aligned
}

TEST(GgufHostile, AnythingWithAFewWrongBytesIsRefusedOrUsable) {
  const auto whole = small_gguf();
  std::mt19937 random(3);
  int accepted = 0, refused = 0;
  for (int round = 0; round < 20000; ++round) {
    auto bytes = whole;
    for (int i = 0; i < 3; ++i) bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    try {
      const GgufFile file = GgufFile::parse(bytes, "f");
      for (const TensorInfo& tensor : file.tensors()) {
        try {
          const WeightView view = file.weight_view(tensor.name);
          std::vector<float> row(view.columns);
          dequantize_row(view, view.rows - 1, row);
        } catch (const Error&) {
        }
      }
      ++accepted;
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::bad_file);
      ++refused;
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace npu::llm
