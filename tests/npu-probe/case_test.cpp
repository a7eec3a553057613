// SPDX-License-Identifier: MIT
#include "npu-probe/case.hpp"

#include <gtest/gtest.h>

#include <random>

#include "npu-probe/replay.hpp"
#include "regdb/error.hpp"
#include "tool.hpp"

namespace npu::probe::test {
namespace {

using nlohmann::json;

class CaseTest : public ::testing::Test {
 protected:
  CaseTest() {
    std::filesystem::copy(mesa("add_14_32"), dir / "c");
    good = json::parse(slurp(dir / "c" / "case.json"));
  }
  // The refusal of a changed case.json, or "" if it loads.
  std::string refusal(const json& changed) {
    spill(dir / "c" / "case.json", changed.dump());
    return load();
  }
  std::string load() {
    try {
      (void)load_case(dir / "c");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_file);
      return error.what();
    }
    return "";
  }
  TempDir dir;
  json good;
};

TEST_F(CaseTest, PublicCaseLoads) {
  const Case c = load_case(mesa("mobilenet_v1_0.25_128"));
  EXPECT_EQ(c.submits.size(), 2u);
  EXPECT_EQ(c.regcmd.size() % 130, 0u);
  EXPECT_TRUE(c.agrees_with_cpu);
  EXPECT_EQ(load_case(mesa("conv3x3_66_112_32_s2")).submits[0].jobs[0].tasks.size(), 2u);
}

TEST_F(CaseTest, EveryMissingMemberIsNamed) {
  for (const char* key : {"format", "name", "kind", "model", "input_files", "reference_files",
                          "submits", "checks", "agrees_with_cpu"}) {
    json changed = good;
    changed.erase(key);
    EXPECT_NE(refusal(changed).find(std::string("no member \"") + key), std::string::npos);
  }
}

TEST_F(CaseTest, WrongTypesRangesAndReferencesAreRefused) {
  const std::vector<std::pair<std::string, json>> patches = {
      {"/format", 2},
      {"/name", 7},
      {"/agrees_with_cpu", "yes"},
      {"/model/tensors/0/dims/0", -1},
      {"/model/tensors/0/dims/1", 1e9},
      {"/model/tensors/0/dims/1", 4000000000u},
      {"/model/tensors/0/dims", json::array({1, 4096, 4096, 4096})},
      {"/model/tensors/0/type", "FLOAT64"},
      {"/model/tensors/1/id", 0},
      {"/submits/0/bos/0/iova", 100},
      {"/submits/0/bos/0/iova", 4096},
      {"/submits/0/bos/0/iova", -4096},
      {"/submits/0/bos/5/iova", 4294963200u},
      {"/submits/0/bos/0/size", 0},
      {"/submits/0/bos/0/size", 18446744073709551615u},
      {"/submits/0/bos/0/handle", 2},
      {"/submits/0/bos/0/handle", 0},
      {"/submits/0/bos/0/file", "../add_14_32/bo-001.bin"},
      {"/submits/0/bos/0/file", "/etc/passwd"},
      {"/submits/0/bos/0/file", ""},
      {"/submits/0/bos/0/file", ".."},
      {"/submits/0/bos/0/file", "no-such-file.bin"},
      {"/submits/0/bos/5/tensor", 99},
      {"/submits/0/jobs/0/in/0", 99},
      {"/submits/0/jobs/0/out", json::array()},
      {"/submits/0/jobs/0/tasks", json::array()},
      {"/submits/0/jobs/0/tasks/0/regcmd_count", 0},
      {"/submits/0/jobs/0/tasks/0/regcmd_count", 261},
      {"/submits/0/jobs/0/tasks/0/first_word", 4294967295u},
      {"/submits/0/jobs", json::object()},
      {"/reference_files/3", "cpu-7.bin.gz"},
      {"/checks/0/tensor", 1000},
      {"/checks/0/executor_sha256", nullptr},
  };
  for (const auto& [pointer, value] : patches) {
    json changed = good;
    changed[json::json_pointer(pointer)] = value;
    EXPECT_NE(refusal(changed), "") << pointer << " = " << value;
  }
  EXPECT_EQ(refusal(good), "");
}

TEST_F(CaseTest, DamagedFilesAreRefused) {
  const auto with = [&](const char* name, const std::string& bytes) {
    const std::string old = slurp(dir / "c" / name);
    spill(dir / "c" / name, bytes);
    const std::string text = load();
    spill(dir / "c" / name, old);
    return text;
  };
  EXPECT_NE(with("case.json", ""), "");
  EXPECT_NE(with("case.json", "{"), "");
  EXPECT_NE(with("case.json", std::string(100000, '[')), "");
  EXPECT_NE(with("case.json", "{\"format\": 1e7407}"), "");  // found by the fuzzer
  EXPECT_NE(with("regcmd.bin", "12345"), "");
  EXPECT_NE(with("regcmd.bin", slurp(mesa("add_14_32") / "regcmd.bin").substr(0, 1040)), "");
  EXPECT_NE(with("cpu-3.bin", "short"), "");
  EXPECT_NE(with("bo-001.bin", std::string(5000, 'x')), "");  // longer than its buffer
  EXPECT_EQ(load(), "");
  std::filesystem::remove(dir / "c" / "input-0.bin");
  EXPECT_NE(load().find("no such file"), std::string::npos);
}

TEST_F(CaseTest, GzipBombIsCutAtTheDeclaredSize) {
  // 10 MiB of zeros for a buffer of 2 KiB.
  const std::string zeros(10 << 20, '\0');
  const auto path = (dir / "c" / "bo-001.bin.gz").string();
  spill(dir / "zeros", zeros);
  ASSERT_EQ(std::system(("gzip -c " + (dir / "zeros").string() + " > " + path).c_str()), 0);
  json changed = good;
  changed["submits"][0]["bos"][0]["file"] = "bo-001.bin.gz";
  EXPECT_NE(refusal(changed).find("more than"), std::string::npos);
  // Truncated gzip data is no end of file.
  const std::string packed = slurp(path);
  spill(path, packed.substr(0, packed.size() / 2));
  changed["submits"][0]["bos"][0]["size"] = 64 << 20;
  EXPECT_NE(refusal(changed), "");
}

TEST_F(CaseTest, SmallFilesThatStandForGigabytesAreRefused) {
  // 40 tensors of 64 MiB that name the same file, as a kilobyte of gzip could fill it.
  json changed = good;
  json tensor = changed["model"]["tensors"][0];
  tensor["dims"] = {1, 8192, 8192, 1};
  for (int id = 1000; id < 1040; ++id) {
    tensor["id"] = id;
    changed["model"]["tensors"].push_back(tensor);
    changed["reference_files"][std::to_string(id)] = "zeros";
  }
  std::size_t given = 0;
  const auto read = [&](const std::string& name, std::size_t max_bytes) {
    if (name != "zeros") {
      const std::string bytes = slurp(mesa("add_14_32") / name);
      const auto* from = reinterpret_cast<const std::byte*>(bytes.data());
      return std::vector<std::byte>(from, from + bytes.size());
    }
    if (max_bytes < std::size_t{64} << 20) throw Error(ErrorCode::bad_file, "too large");
    given += std::size_t{64} << 20;
    return std::vector<std::byte>(std::size_t{64} << 20);
  };
  try {
    (void)parse_case(changed.dump(), read);
    FAIL() << "loaded " << given << " bytes";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_file);
    EXPECT_NE(std::string(error.what()).find("together"), std::string::npos) << error.what();
  }
  EXPECT_LE(given, std::size_t{512} << 20);
}

TEST_F(CaseTest, ListsThatWouldTakeHoursAreRefused) {
  json many_bos = good;
  for (int i = 0; i < 8192; ++i)
    many_bos["submits"][0]["bos"].push_back(
        {{"handle", 1000 + i}, {"iova", 0x10000000 + 4096 * i}, {"size", 1}, {"role", "unused"}});
  EXPECT_NE(refusal(many_bos).find("the limit is"), std::string::npos);

  json many_handles = good;
  const json handle = good["submits"][0]["jobs"][0]["in"][0];
  for (int i = 0; i < 1024; ++i) many_handles["submits"][0]["jobs"][0]["in"].push_back(handle);
  EXPECT_NE(refusal(many_handles).find("the limit is"), std::string::npos);

  // 70,000 tasks of the same 130 words.
  json many_words = good;
  json& tasks = many_words["submits"][0]["jobs"][0]["tasks"];
  const json task = tasks[0];
  for (int i = 0; i < 35000; ++i) tasks.push_back(task);
  many_words["submits"][0]["jobs"][1]["tasks"] = tasks;
  EXPECT_NE(refusal(many_words).find("8 Mi words"), std::string::npos);

  // 20 jobs that each write a buffer of 900 MiB.
  json much_data = good;
  json& submit = much_data["submits"][0];
  submit["bos"].push_back(
      {{"handle", 999}, {"iova", 0x40000000}, {"size", 900 << 20}, {"role", "activation"}});
  json job = submit["jobs"][0];
  job["out"] = {999};
  for (int i = 0; i < 20; ++i) submit["jobs"].push_back(job);
  EXPECT_NE(refusal(much_data).find("16 GiB"), std::string::npos);
}

TEST_F(CaseTest, BitFlipsAreRefusedOrRunToAVerdict) {
  std::mt19937 rng(5);
  const auto device = device::open_device("sim");
  const std::string text = slurp(mesa("add_14_32") / "case.json");
  const std::string words = slurp(mesa("add_14_32") / "regcmd.bin");
  for (int i = 0; i < 300; ++i) {
    std::string json_text = text, word_bytes = words;
    std::string& victim = i % 2 == 0 ? json_text : word_bytes;
    for (int flips = 0; flips < 1 + i % 3; ++flips)
      victim[rng() % victim.size()] ^= static_cast<char>(1 << rng() % 8);
    if (i % 10 == 0) victim.resize(rng() % victim.size());
    spill(dir / "c" / "case.json", json_text);
    spill(dir / "c" / "regcmd.bin", word_bytes);
    try {
      (void)replay_case(*device, load_case(dir / "c"), i % 4 == 0);
    } catch (const Error&) {
    }
  }
  // And the device is none the worse for it.
  EXPECT_TRUE(replay_case(*device, load_case(mesa("add_14_32")), false).match());
}

TEST_F(CaseTest, LoadErrorIsExitFour) {
  EXPECT_EQ(tool({"replay", "/no/such/case"}).status, 4);
  spill(dir / "c" / "case.json", "{}");
  const Output r = tool({"replay", "--json", (dir / "c").string()});
  EXPECT_EQ(r.status, 4);
  EXPECT_EQ(r.json()["cases"][0]["error"]["code"], "bad-file");
}

}  // namespace
}  // namespace npu::probe::test
