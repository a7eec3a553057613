// SPDX-License-Identifier: MIT
// Programs that nobody wrote: nothing is thrown, and what is said is consistent.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "npu-probe/explain_report.hpp"
#include "regdb/error.hpp"
#include "regdb/regcmd.hpp"
#include "regdb/tables.hpp"
#include "tool.hpp"

namespace npu::probe::test {
namespace {

using Words = std::vector<std::uint64_t>;

Words words_of(const std::filesystem::path& file) {
  const std::string bytes = slurp(file);
  return regdb::parse_regcmd_bytes(std::as_bytes(std::span(bytes)));
}

// Bytes lead to an element that holds them, and elements to bytes of theirs.
void check_tensor(const NpuTensor& t, std::mt19937_64& random) {
  const std::uint64_t span = span_bytes(t), width = std::max(1u, bits_of(t.type) / 8);
  for (int i = 0; i < 20; ++i) {
    const std::uint64_t offset = span == 0 ? random() : random() % span;
    if (const auto at = coordinate_of(t, offset)) {
      const auto first = offset_of(t, *at);
      ASSERT_TRUE(first.has_value()) << formula(t) << in_words(t);
      ASSERT_LE(*first, offset);
      ASSERT_LT(offset, *first + width) << formula(t) << ' ' << in_words(t);
    }
    const Coordinate c{static_cast<std::uint32_t>(random() % std::max(t.n, 1u)),
                       static_cast<std::uint32_t>(random() % std::max(t.h, 1u)),
                       static_cast<std::uint32_t>(random() % std::max(t.w, 1u)),
                       static_cast<std::uint32_t>(random() % std::max(t.c, 1u))};
    if (const auto at = offset_of(t, c)) {
      ASSERT_LE(*at + width, span) << formula(t) << ' ' << in_words(t);
    }
  }
}

void check(const Words& words, std::mt19937_64& random) {
  ExplainedInput input = explain_bytes(std::as_bytes(std::span(words)), {});
  for (std::size_t job = 0; job < input.jobs.size(); ++job) {
    std::size_t tasks = 0;
    for (const OperatorGroup& g : input.jobs[job].operators) tasks += g.tasks.size();
    ASSERT_EQ(tasks, input.jobs[job].tasks.size());
    for (const Operator& op : input.jobs[job].tasks)
      for (const NpuTensor& t : op.tensors) check_tensor(t, random);
    std::ostringstream out;
    print_text({&input, 600, job, std::nullopt}, out);
    to_json({&input, 600, job, std::nullopt}).dump();
  }
  std::ostringstream out;
  print_text({&input, 600, std::nullopt, std::nullopt}, out);
  EXPECT_FALSE(out.str().empty());
}

TEST(ExplainRandom, ProgramsWithChangedWords) {
  std::mt19937_64 random(1);
  std::vector<Words> seeds;
  for (const auto& entry : std::filesystem::directory_iterator(mesa()))
    if (entry.is_directory()) seeds.push_back(words_of(entry.path() / "regcmd.bin"));
  for (int i = 0; i < 400; ++i) {
    Words words = seeds[random() % seeds.size()];
    if (words.size() > 600) words.resize(600);
    for (std::uint64_t k = 1 + random() % 12; k > 0; --k) {
      std::uint64_t& word = words[random() % words.size()];
      switch (random() % 4) {
        case 0: word ^= std::uint64_t{1} << random() % 64; break;
        case 1: word = random(); break;
        case 2: word ^= (random() & 0xFFFFFFFF) << 16; break;
        default: word = 0;
      }
    }
    check(words, random);
    if (HasFatalFailure()) return;
  }
}

TEST(ExplainRandom, ProgramsOfRandomValues) {
  std::mt19937_64 random(2);
  const auto all = regdb::registers();
  constexpr std::uint32_t kMasks[] = {0x1D, 0x0D, 0x18, 0x60, 0x7D, 0x78, 0x3D, 0x38, 0, 0x7F};
  for (int i = 0; i < 400; ++i) {
    regdb::RegcmdStream s;
    for (int task = 0; task < 3; ++task) {
      for (const regdb::RegisterInfo& r : all) {
        const auto target = static_cast<std::uint16_t>(regdb::target_of(r.block));
        if (target == 0 || r.block == regdb::Block::pc || (r.offset & 0xFFF) <= 4) continue;
        if (random() % 8 == 0) continue;
        // Mostly small fields, so that programs come near to making sense.
        std::uint32_t value = 0;
        for (const regdb::FieldInfo& f : r.fields)
          if (random() % 3 != 0)
            value |= (static_cast<std::uint32_t>(random() >> random() % 62) & f.mask()) << f.low;
        s.raw(target, random() % 40 == 0 ? static_cast<std::uint32_t>(random()) : value, r.offset);
      }
      s.end(kMasks[random() % std::size(kMasks)]);
    }
    check(s.words(), random);
    if (HasFatalFailure()) return;
  }
}

TEST(ExplainRandom, BytesAreExplainedOrRefused) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 500; ++i) {
    std::vector<std::byte> bytes(random() % 300);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    if (i % 3 == 0 && bytes.size() > 8) std::memcpy(bytes.data(), "NPUCAP\x1a\n", 8);
    try {
      explain_bytes(bytes, {});
    } catch (const npu::Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_file);
    }
  }
}

}  // namespace
}  // namespace npu::probe::test
