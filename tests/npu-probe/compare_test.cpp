// SPDX-License-Identifier: MIT
#include "npu-probe/compare.hpp"

#include <set>

#include "capture_fixture.hpp"
#include "npu-device/register_access.hpp"
#include "npu-device/sim_device.hpp"
#include "npu-sim/quirk_names.hpp"
#include "regdb/error.hpp"

namespace npu::probe::test {
namespace {

using device::Capture;

struct Compared {
  CompareTotal total;
  std::vector<StepComparison> steps;
};

Compared compare(const Capture& capture, const sim::ChipOptions& b,
                 const CompareOptions& options = {}) {
  Compared result;
  result.total = compare_devices(device::open_sim(), device::open_sim(b), capture, options,
                                 [&](const StepComparison& s) { result.steps.push_back(s); });
  return result;
}

Capture recorded(const std::string& name, const RecordOptions& options = {}) {
  return record(load_case(mesa(name)), *device::open_sim(), options);
}

TEST(Compare, TwoDevicesAlikeAreEqualInRegistersAndBytes) {
  sim::ChipOptions one_core;
  one_core.cores = 1;
  const Compared r = compare(recorded("add_14_32", {.shift = 0x40000}), one_core);
  EXPECT_EQ(r.total.differ, 0u);
  ASSERT_EQ(r.steps.size(), 2u);
  for (const StepComparison& step : r.steps) {
    EXPECT_GT(step.compared, 0u);
    EXPECT_GT(step.registers_compared, 40u);
    EXPECT_EQ(step.off_a, 0u);
    EXPECT_EQ(step.off_b, 0u);
  }
}

TEST(Compare, QuirkIsFoundInTheJobThatTellsItsTwoReadingsApart) {
  // The case's note says it: half of the sums tie in CLIP_TRUNCATE.
  TempDir dir;
  const std::string file = (dir / "a.npucap").string();
  save(recorded("conv3x3_14_32_48_trunc_3c1642e3"), file);
  const Output r =
      tool({"compare", "--a", "sim", "--b", "sim:quirk=clip_truncate_tie=half_up", "--json", file});
  EXPECT_EQ(r.status, 1) << r.out;
  const auto step = r.json()["compared"][0];
  EXPECT_EQ(step["registers"].size(), 0u);
  EXPECT_EQ(step["bytes_off_recording_a"], 0);
  EXPECT_GT(step["bytes_off_recording_b"], 0);
  EXPECT_EQ(step["buffers"][0]["max_abs_diff"], 1);
  const Output same =
      tool({"compare", "--a", "sim", "--b", "sim:cores=1,quirk=mrdma_trap=off", file});
  EXPECT_EQ(same.status, 0) << same.out;
}

TEST(Compare, CorruptedBeatIsShownAndTheNextJobsAreJudgedByThemselves) {
  TempDir dir;
  const std::string file = (dir / "net.npucap").string();
  save(recorded("mobilenet_v1_0.25_128"), file);
  const auto run = [&](const std::vector<std::string>& more) {
    std::vector<std::string> args{"compare",    "--a",          "sim",    "--b", "sim:cores=1",
                                  "--inject-b", "corrupt@3000", "--json", file};
    args.insert(args.end(), more.begin(), more.end());
    const Output r = tool(args);
    EXPECT_EQ(r.status, 1) << r.out << r.err;
    return r.json();
  };
  const auto first = run({});
  EXPECT_TRUE(first["stopped"]);
  EXPECT_EQ(first["differ"], 1);
  const auto& last = first["compared"].back();
  EXPECT_TRUE(last["differs"]);
  EXPECT_EQ(last["bytes_off_recording_a"], 0);
  EXPECT_GT(last["bytes_off_recording_b"], 0);
  const auto all = run({"--all"});
  EXPECT_EQ(all["steps"], 28);
  EXPECT_EQ(all["differ"], 1);  // the recording's bytes stand in for the bad ones
  const auto chained = run({"--all", "--chained"});
  EXPECT_GT(chained["differ"], 1);
}

TEST(Compare, FaultOnOneSideIsADifference) {
  sim::ChipOptions b;
  b.injections = sim::parse_injections("drop-interrupt@1");
  const Compared r = compare(recorded("conv1x1_12_17_24"), b);
  ASSERT_EQ(r.steps.size(), 1u);
  EXPECT_TRUE(r.steps[0].outcome_differs());
  EXPECT_FALSE(r.steps[0].b.note.empty());
  EXPECT_EQ(r.steps[0].registers_compared, 0u);  // the core was reset
}

TEST(Compare, TilesOfAJobAreTakenOneByOneUnlessTheyShareWeights) {
  Case c = load_case(mesa("conv3x3_66_112_32_s2"));
  CompareOptions options;
  options.by_task = true;
  options.all = true;
  const auto run = [&] { return compare(record(c, *device::open_sim()), {}, options); };
  const Compared whole = run();
  ASSERT_EQ(whole.steps.size(), 1u);
  EXPECT_NE(whole.steps[0].whole.find("CBUF"), std::string::npos) << whole.steps[0].whole;
  EXPECT_EQ(whole.total.differ, 0u);
  // The same with the weights loaded again.
  using Con = regdb::cna::CBUF_CON0;
  for (std::uint64_t& word : c.regcmd)
    if (word >> 48 == static_cast<std::uint16_t>(Con::target) && (word & 0xFFFF) == Con::offset) {
      Con con = Con::decode(static_cast<std::uint32_t>(word >> 16));
      con.weight_reuse = false;
      word = (word & 0xFFFF00000000FFFF) | std::uint64_t{con.encode()} << 16;
    }
  const Compared split = run();
  ASSERT_EQ(split.steps.size(), 2u) << split.steps.at(0).whole;
  EXPECT_EQ(split.steps[1].task, 1u);
  EXPECT_EQ(split.total.differ, 0u);
  EXPECT_FALSE(split.steps[0].off_a);  // the recording has no state between tasks
  EXPECT_EQ(split.steps[1].off_a, 0u);
}

TEST(Compare, JobsWhoseTasksHangTogetherAreNotSplit) {
  namespace rd = npu::regdb;
  const auto word = [](auto reg) {
    using R = decltype(reg);
    return rd::Regcmd{static_cast<std::uint16_t>(R::target), reg.encode(), R::offset}.pack();
  };
  const std::uint64_t enable = rd::Regcmd{0x81, 0x1D, 8}.pack(),
                      pool = rd::Regcmd{0x81, 0x60, 8}.pack();
  const std::vector<std::uint64_t> full{word(rd::cna::CBUF_CON0{}), word(rd::dpu::OUT_CVT_SHIFT{}),
                                        enable};
  const std::vector<std::uint64_t> partial{word(rd::cna::CBUF_CON0{}), enable};
  const std::vector<std::uint64_t> reusing{word(rd::cna::CBUF_CON0{.weight_reuse = true}),
                                           word(rd::dpu::OUT_CVT_SHIFT{}), enable};
  EXPECT_EQ(why_not_split({full, full, full}), "");
  EXPECT_EQ(why_not_split({partial, full}), "");
  EXPECT_NE(why_not_split({full, partial}), "");
  EXPECT_NE(why_not_split({full, reusing}), "");
  EXPECT_EQ(why_not_split({reusing}), "");
  EXPECT_NE(why_not_split({{pool}, full}), "");
}

TEST(Compare, RegisterThatOneSideHoldsDifferentlyIsNamed) {
  // A device whose registers read back with one bit turned.
  class Turned final : public device::Device, device::RegisterAccess {
   public:
    explicit Turned(std::unique_ptr<device::Device> inner)
        : inner_(std::move(inner)), info_(inner_->info()) {
      info_.backend = "turned";
    }
    const device::DeviceInfo& info() const override { return info_; }
    device::Buffer create_buffer(std::size_t bytes) override {
      return inner_->create_buffer(bytes);
    }
    void prep(const device::Buffer& b, Clock::time_point d) override { inner_->prep(b, d); }
    void fini(const device::Buffer& b) override { inner_->fini(b); }
    void submit(std::span<const device::Job> jobs) override { inner_->submit(jobs); }
    std::unique_ptr<device::Device> open_another() const override {
      return std::make_unique<Turned>(inner_->open_another());
    }
    device::RegisterAccess* registers() override { return this; }
    std::vector<unsigned> cores() const override { return inner_->registers()->cores(); }
    std::uint32_t read(unsigned core, std::uint32_t offset) override {
      const std::uint32_t value = inner_->registers()->read(core, offset);
      return offset == regdb::dpu::DATA_CUBE_WIDTH::offset ? value ^ 1 : value;
    }
    void write(unsigned core, std::uint32_t offset, std::uint32_t value) override {
      inner_->registers()->write(core, offset, value);
    }
    bool has_iommu() const override { return false; }
    std::optional<unsigned> last_core() const override { return inner_->registers()->last_core(); }

   private:
    void destroy_buffer(std::uint32_t, std::span<std::byte>) noexcept override {}
    std::unique_ptr<device::Device> inner_;
    device::DeviceInfo info_;
  };
  const Capture capture = recorded("conv1x1_12_17_24");
  std::vector<StepComparison> steps;
  compare_devices(device::open_sim(), std::make_unique<Turned>(device::open_sim()), capture, {},
                  [&](const StepComparison& s) { steps.push_back(s); });
  ASSERT_EQ(steps.size(), 1u);
  ASSERT_EQ(steps[0].registers.size(), 1u);
  EXPECT_EQ(steps[0].registers[0].name, "DPU.DATA_CUBE_WIDTH");
  EXPECT_EQ(steps[0].registers[0].a ^ 1, steps[0].registers[0].b);
  EXPECT_TRUE(steps[0].buffers.empty());
}

TEST(Compare, SpecsAndFilesAreChecked) {
  TempDir dir;
  const std::string file = (dir / "a.npucap").string();
  save(recorded("conv1x1_12_17_24"), file);
  EXPECT_EQ(tool({"compare", "--a", "sim", "--b", "sim:quirk=nothing", file}).status, 2);
  EXPECT_EQ(tool({"compare", "--a", "sim", "--b", "sim:quirk=out_cvt_tie", file}).status, 2);
  EXPECT_EQ(tool({"compare", "--a", "sim", "--b", "sim:quirk=mrdma_trap=perhaps", file}).status, 2);
  EXPECT_EQ(tool({"compare", "--a", "sim", "--b", "sim:,quirk=mrdma_trap", file}).status, 2);
  EXPECT_EQ(tool({"compare", "--a", "sim", "--b", "sim:cores=1,", file}).status, 2);
  EXPECT_EQ(tool({"compare", "--a", "sim", file}).status, 2);
  EXPECT_EQ(tool({"compare", "--a", "sim", "--b", "sim", "--job", "5", file}).status, 2);
  EXPECT_EQ(tool({"compare", "--a", "sim", "--b", "sim", "/no/such/file"}).status, 4);
}

TEST(Compare, EverySwitchOfTheSimulatorHasAName) {
  const std::string header =
      slurp(std::filesystem::path(ROSENBLATT_VECTORS_DIR) / "../../npu-sim/quirks.hpp");
  std::set<std::string> in_header;
  std::istringstream lines(header);
  for (std::string type, line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name, equals;
    if (words >> type >> name >> equals && (type == "bool" || type == "TieRule") && equals == "=")
      in_header.insert(name);
  }
  EXPECT_GE(in_header.size(), 17u);
  const auto names = sim::quirk_names();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()), in_header);
  sim::Quirks quirks;
  sim::set_quirk(quirks, "mrdma_trap");
  EXPECT_FALSE(quirks.mrdma_trap);
  sim::set_quirk(quirks, "mrdma_trap=on");
  EXPECT_TRUE(quirks.mrdma_trap);
  sim::set_quirk(quirks, "ew_cvt_tie=half_away");
  EXPECT_EQ(quirks.ew_cvt_tie, sim::TieRule::half_away);
}

}  // namespace
}  // namespace npu::probe::test
