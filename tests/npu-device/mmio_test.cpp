// SPDX-License-Identifier: MIT
// The mmio device over the simulator's register windows: cores, IOMMU modes, failures, restoring.
#include "npu-device/mmio.hpp"

#include <gmock/gmock.h>

#include <map>

#include "npu-device/mmio_iommu.hpp"
#include "npu-device/register_access.hpp"
#include "regdb/error.hpp"
#include "small_gemm.hpp"

namespace npu::device {
namespace {

using test::SmallGemm;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Values;
namespace cna = regdb::cna;
namespace pc = regdb::pc;

constexpr std::chrono::seconds kWait{60};
constexpr std::uint64_t kHigh = 0x8'1234'5000;  // takes all fields of a table word

template <class Call>
std::string message_of(ErrorCode code, Call call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

void expect_works(Device& device, std::uint32_t seed = 99, std::size_t tasks = 1) {
  SmallGemm gemm(device, seed);
  device.submit(gemm.job(tasks));
  device.prep(gemm.c, kWait);
  EXPECT_EQ(gemm.result(), gemm.expected());
}

// --- Every core and mode, with the specs that users write.
class Mmio : public ::testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Device> device = open_device(GetParam());
};

TEST_P(Mmio, TellsWhatItIs) {
  EXPECT_EQ(device->info().backend, "mmio");
  EXPECT_EQ(device->info().driver, "");
  EXPECT_EQ(device->info().version, "1179210309");
  EXPECT_EQ(device->info().provenance, "modelled");
}

TEST_P(Mmio, GemmIsExactAgainAndAgain) {
  for (std::uint32_t seed = 0; seed < 5; ++seed) expect_works(*device, seed, 1 + seed);
}

TEST_P(Mmio, BuffersAreZeroedPageAlignedAndReused) {
  for (int round = 0; round < 3; ++round) {
    Buffer buffer = device->create_buffer(5000);
    EXPECT_EQ(buffer.iova() % 4096, 0u);
    EXPECT_THAT(buffer.host(), Each(std::byte{0}));
    device->prep(buffer, kWait);
    EXPECT_THAT(buffer.host(), Each(std::byte{0}));
    std::fill(buffer.host().begin(), buffer.host().end(), std::byte{0xFF});
    device->fini(buffer);
  }
}

TEST_P(Mmio, WhatTheCpuDidNotHandOverTheNpuDoesNotSee) {
  SmallGemm gemm(*device);
  const auto expected = gemm.expected();
  std::fill(gemm.a.host().begin(), gemm.a.host().end(), std::byte{1});  // no fini()
  device->submit(gemm.job());
  device->prep(gemm.c, kWait);
  EXPECT_EQ(gemm.result(), expected);
}

TEST_P(Mmio, TasksAndJobsRunInOrder) {
  SmallGemm first(*device), second(*device, 2);
  second.load(test::gemm_program(second.a.iova(), first.c.iova(), second.c.iova()));
  const Job consumer{{second.task}, {second.a.handle(), first.c.handle()}, {second.c.handle()}};
  const std::vector<Job> jobs{first.job(50), consumer};
  device->submit(jobs);
  device->prep(second.c, kWait);
  device->prep(first.c, kWait);
  EXPECT_EQ(first.result(), first.expected());
  const auto* bytes = reinterpret_cast<const std::byte*>(first.c.host().data());
  std::copy(bytes, bytes + first.c.size(), second.b.host().begin());
  std::fill(second.b.host().begin() + 512, second.b.host().end(), std::byte{0});
  EXPECT_EQ(second.result(), second.expected());
}

TEST_P(Mmio, FaultsNameTheAddressAndTheNextJobWorks) {
  SmallGemm gemm(*device);
  gemm.load(test::gemm_program(0xF0000000, gemm.b.iova(), gemm.c.iova()));
  device->submit(gemm.job(2));
  EXPECT_THAT(message_of(ErrorCode::device_fault, [&] { device->prep(gemm.c, kWait); }),
              AllOf(HasSubstr("Job 1, task 1 of 2"), HasSubstr("0xf0000000"),
                    HasSubstr("other tasks did not run")));
  EXPECT_NO_THROW(device->prep(gemm.c, kWait));  // told once
  expect_works(*device);
  gemm.load(test::gemm_program(gemm.a.iova(), gemm.b.iova(), 0xFFFFFF00));
  device->submit(gemm.job());
  message_of(ErrorCode::device_fault, [&] { device->prep(gemm.c, kWait); });
  expect_works(*device);
}

TEST_P(Mmio, HangIsATimeoutAndTheNextJobWorks) {
  SmallGemm gemm(*device);
  gemm.load(std::vector<std::uint64_t>(4, 0));  // no enable word
  device->submit(gemm.job());
  message_of(ErrorCode::timeout, [&] { device->prep(gemm.c, kWait); });
  expect_works(*device);
}

TEST_P(Mmio, BadJobsAreRefusedAsAWhole) {
  SmallGemm gemm(*device);
  Job unknown = gemm.job();
  unknown.out_handles = {1000};
  const std::vector<Job> jobs{gemm.job(), unknown};
  EXPECT_THAT(message_of(ErrorCode::invalid_argument, [&] { device->submit(jobs); }),
              HasSubstr("jobs[1]"));
  message_of(ErrorCode::invalid_argument, [&] { device->create_buffer(0); });
  auto another = device->open_another();
  message_of(ErrorCode::invalid_argument, [&] { another->prep(gemm.c, kWait); });
}

TEST_P(Mmio, BuffersFreedInFlightStayUntilTheJobEnds) {
  for (int i = 0; i < 10; ++i) {
    SmallGemm gemm(*device, 7);
    const auto expected = gemm.expected();
    device->submit(gemm.job(50));
    gemm.program = Buffer();  // which no list names
    gemm.a = Buffer();
    device->prep(gemm.c, kWait);
    EXPECT_EQ(gemm.result(), expected);
  }
}

TEST_P(Mmio, DeviceClosedWithQueuedJobsLeavesOthersAlone) {
  auto another = device->open_another();
  {
    SmallGemm gemm(*another);
    for (int i = 0; i < 20; ++i) another->submit(gemm.job(20));
  }
  another.reset();
  expect_works(*device);
}

TEST_P(Mmio, RegistersShowTheCoreAfterAJob) {
  RegisterAccess* registers = device->registers();
  ASSERT_NE(registers, nullptr);
  EXPECT_TRUE(registers->has_iommu());
  EXPECT_FALSE(registers->last_core());
  SmallGemm gemm(*device);
  device->submit(gemm.job());
  device->prep(gemm.c, kWait);
  const unsigned core = *registers->last_core();
  EXPECT_EQ(registers->read(core, pc::BASE_ADDRESS::offset), gemm.program.iova());
  const std::uint32_t at = regdb::dpu::DST_BASE_ADDR::offset;
  EXPECT_EQ(read_group(*registers, core, at, last_group(*registers, core, at)), gemm.c.iova());
  EXPECT_EQ(registers->read(core, 0xA000 + mmu::kStatus) & 1, 0u);  // paging is off between jobs
  message_of(ErrorCode::invalid_argument, [&] { registers->read(core, 0x2210); });
  message_of(ErrorCode::invalid_argument, [&] { registers->read(3, 0); });
}

INSTANTIATE_TEST_SUITE_P(Specs, Mmio,
                         Values("mmio:sim", "mmio:1,sim", "mmio:2,sim", "mmio:sim,iommu=bypass",
                                "mmio:1,sim,iommu=bypass", "mmio:2,sim,iommu=bypass",
                                "mmio:0,1,2,sim"));

TEST(MmioFiles, OwnPageTablesGiveTheIovasOfTheDriver) {
  auto device = open_device("mmio:sim");
  const std::size_t sizes[] = {2048, 128, 2048, 128, 6272, 12544, 12544, 1088, 1088};
  std::vector<Buffer> buffers;
  std::vector<std::uint32_t> iovas;
  for (std::size_t size : sizes) {
    buffers.push_back(device->create_buffer(size));
    iovas.push_back(buffers.back().iova());
  }
  EXPECT_THAT(iovas,
              ElementsAre(0, 0x1000, 0x2000, 0x3000, 0x4000, 0x6000, 0xa000, 0xe000, 0xf000));
  EXPECT_EQ(device->open_another()->create_buffer(1).iova(), 0u);
}

TEST(MmioFiles, BypassGivesPhysicalAddresses) {
  MmioSpec spec = parse_mmio_spec("sim,iommu=bypass");
  auto device = open_mmio(spec, simulated_board({}, 0x12340000, 1 << 20));
  EXPECT_EQ(device->create_buffer(1).iova(), 0x12340000u);
  EXPECT_EQ(device->open_another()->create_buffer(1).iova(), 0x12340000u);
}

TEST(MmioFiles, AreSpreadOverTheCores) {
  auto first = open_device("mmio:0,1,2,sim");
  auto second = first->open_another(), third = first->open_another();
  std::vector<unsigned> cores;
  for (Device* device : {first.get(), second.get(), third.get()}) {
    expect_works(*device);
    cores.push_back(*device->registers()->last_core());
  }
  EXPECT_THAT(cores, ElementsAre(0u, 1u, 2u));
}

TEST(MmioMemory, AboveFourGigabytesNeedsAPageTable) {
  auto own = open_mmio(parse_mmio_spec("sim"), simulated_board({}, kHigh, 4 << 20));
  for (std::uint32_t seed = 0; seed < 3; ++seed) expect_works(*own, seed);
  auto bypass = open_mmio(parse_mmio_spec("sim,iommu=bypass"), simulated_board({}, kHigh, 4 << 20));
  EXPECT_THAT(message_of(ErrorCode::out_of_memory, [&] { bypass->create_buffer(1); }),
              HasSubstr("4 GiB"));
}

TEST(MmioMemory, UsedUpIsOutOfMemoryAndComesBack) {
  auto device = open_mmio(parse_mmio_spec("sim"), simulated_board({}, 0x40000000, 1 << 20));
  std::vector<Buffer> buffers;
  message_of(ErrorCode::out_of_memory, [&] {
    for (int i = 0; i < 20; ++i) buffers.push_back(device->create_buffer(100'000));
  });
  EXPECT_GT(buffers.size(), 5u);
  buffers.clear();
  for (int i = 0; i < 50; ++i) expect_works(*device);
}

// --- A board whose register traffic is seen, and which can be broken.
struct Access {
  bool write;
  std::uint32_t offset, value;
};

struct Wires {
  std::vector<Access> log;
  std::map<std::uint32_t, std::uint32_t> stuck;  // offsets that read so whatever happens
  bool deaf = false;                             // starts nothing
  bool no_reset = false, interrupt = false, driver_bound = false;
  std::string no_power;
  unsigned resets = 0, armed = 0, waited = 0, power_checks = 0;
  std::chrono::milliseconds timeout{0};
};

class WiredWindow final : public RegisterWindow {
 public:
  WiredWindow(std::unique_ptr<RegisterWindow> window, Wires& wires)
      : window_(std::move(window)), wires_(wires) {}
  std::uint32_t read32(std::uint32_t offset) override {
    EXPECT_TRUE(wires_.no_power.empty()) << "a read without power";
    EXPECT_NE(offset >> 12, 2u);
    const auto stuck = wires_.stuck.find(offset);
    const std::uint32_t value =
        stuck == wires_.stuck.end() ? window_->read32(offset) : stuck->second;
    wires_.log.push_back({false, offset, value});
    return value;
  }
  void write32(std::uint32_t offset, std::uint32_t value) override {
    EXPECT_TRUE(wires_.no_power.empty()) << "a write without power";
    wires_.log.push_back({true, offset, value});
    if (wires_.deaf && offset == pc::OPERATION_ENABLE::offset) return;
    window_->write32(offset, value);
  }
  bool has_interrupt() const override { return wires_.interrupt; }
  void arm_interrupt() override { ++wires_.armed; }
  void wait_interrupt(std::chrono::steady_clock::time_point) override { ++wires_.waited; }

 private:
  std::unique_ptr<RegisterWindow> window_;
  Wires& wires_;
};

class WiredBoard final : public MmioPlatform {
 public:
  explicit WiredBoard(Wires& wires) : wires_(wires) {}
  std::string path() const override { return "wired"; }
  std::string provenance() const override { return "modelled"; }
  void check_power(unsigned core) override {
    ++wires_.power_checks;
    if (!wires_.no_power.empty()) throw Error(ErrorCode::no_device, wires_.no_power);
    board_->check_power(core);
  }
  std::unique_ptr<RegisterWindow> window(unsigned core) override {
    return std::make_unique<WiredWindow>(board_->window(core), wires_);
  }
  DmaAllocator& memory() override { return board_->memory(); }
  std::chrono::milliseconds job_timeout() const override { return wires_.timeout; }
  bool reset(unsigned core) override {
    ++wires_.resets;
    return !wires_.no_reset && board_->reset(core);
  }
  bool kernel_driver_bound(unsigned) const override { return wires_.driver_bound; }

 private:
  Wires& wires_;
  std::unique_ptr<MmioPlatform> board_ = simulated_board({});
};

std::unique_ptr<Device> wired(Wires& wires, const char* spec = "sim") {
  return open_mmio(parse_mmio_spec(spec), std::make_unique<WiredBoard>(wires));
}

std::vector<std::pair<std::uint32_t, std::uint32_t>> writes_below(const Wires& wires,
                                                                  std::uint32_t limit) {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> found;
  for (const Access& access : wires.log)
    if (access.write && access.offset < limit) found.emplace_back(access.offset, access.value);
  return found;
}

TEST(MmioSequence, IsTheDriversForEachTask) {
  Wires wires;
  auto device = wired(wires, "1,sim");
  EXPECT_THAT(writes_below(wires, 0x10000), ElementsAre()) << "opening writes nothing";
  SmallGemm gemm(*device);
  wires.log.clear();
  device->submit(gemm.job());
  device->prep(gemm.c, kWait);
  using P = std::pair<std::uint32_t, std::uint32_t>;
  const std::uint32_t count = gemm.task.regcmd_count;
  EXPECT_THAT(writes_below(wires, 0x8000),
              ElementsAre(P(0x10, 1), P(0x1004, 0x1000000E), P(0x3004, 0x1000000E),
                          P(0x10, gemm.program.iova()), P(0x14, (count + 1) / 2 - 1), P(0x20, 0),
                          P(0x24, 0x300), P(0x30, 0x7001), P(0x34, 0), P(0x08, 1), P(0x20, 0),
                          P(0x08, 0), P(0x24, 0x1FFFF)));
}

TEST(MmioSequence, WithAnInterruptTheMaskIsTheDrivers) {
  Wires wires;
  wires.interrupt = true;
  auto device = wired(wires);
  SmallGemm gemm(*device);
  device->submit(gemm.job(3));
  device->prep(gemm.c, kWait);
  std::vector<std::uint32_t> masks;
  for (const auto& [offset, value] : writes_below(wires, 0x8000))
    if (offset == pc::INTERRUPT_MASK::offset) masks.push_back(value);
  EXPECT_THAT(masks, ElementsAre(0x300, 0, 0x300, 0, 0x300, 0));
  EXPECT_EQ(wires.armed, 3u);
}

TEST(MmioSequence, TheIommuIsStalledResetAndLoadedInEveryWindow) {
  Wires wires;
  auto device = wired(wires);
  expect_works(*device);
  for (const std::uint32_t base : {0x9000u, 0xA000u}) {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> writes;
    for (const auto& [offset, value] : writes_below(wires, 0x10000))
      if (offset >> 12 == base >> 12) writes.emplace_back(offset & 0xFFF, value);
    const std::uint32_t dte = writes.size() > 2 ? writes[2].second : 0;
    EXPECT_EQ(dte & 1, 1u);
    using P = std::pair<std::uint32_t, std::uint32_t>;
    EXPECT_THAT(writes, ElementsAre(P(0x00, 0xCAFEB000), P(0x08, 6), P(0x00, dte), P(0x08, 4),
                                    P(0x1C, 0), P(0x08, 0), P(0x08, 3),  // the job
                                    P(0x08, 2), P(0x08, 1), P(0x1C, 0), P(0x00, 0), P(0x08, 3)));
  }
}

TEST(MmioFailures, SilentCoreIsATimeoutAndAReset) {
  Wires wires;
  wires.timeout = std::chrono::milliseconds(5);
  wires.deaf = true;
  auto device = wired(wires);
  SmallGemm gemm(*device);
  device->submit(gemm.job());
  EXPECT_THAT(message_of(ErrorCode::timeout, [&] { device->prep(gemm.c, kWait); }),
              HasSubstr("no DPU interrupt"));
  EXPECT_EQ(wires.resets, 1u);
  wires.deaf = false;
  expect_works(*device);
}

TEST(MmioFailures, WithoutResetLinesAHungCoreTakesNoMoreJobs) {
  Wires wires;
  wires.deaf = wires.no_reset = true;
  auto device = wired(wires);
  SmallGemm gemm(*device);
  device->submit(gemm.job());
  message_of(ErrorCode::timeout, [&] { device->prep(gemm.c, kWait); });
  wires.deaf = false;
  device->submit(gemm.job());
  EXPECT_THAT(message_of(ErrorCode::device_fault, [&] { device->prep(gemm.c, kWait); }),
              AllOf(HasSubstr("hangs since an earlier job"), HasSubstr("reset lines")));
}

TEST(MmioFailures, LoneDmaErrorIsAFault) {
  Wires wires;
  auto device = wired(wires);
  SmallGemm gemm(*device);
  wires.stuck[pc::INTERRUPT_RAW_STATUS::offset] = 1u << 12;
  device->submit(gemm.job());
  EXPECT_THAT(message_of(ErrorCode::device_fault, [&] { device->prep(gemm.c, kWait); }),
              HasSubstr("DMA error"));
}

TEST(MmioFailures, LonePpuInterruptSucceedsAsWithTheDriverAfterItsTimeout) {
  Wires wires;
  auto device = wired(wires);
  SmallGemm gemm(*device);
  wires.stuck[pc::INTERRUPT_RAW_STATUS::offset] = 1u << 10;
  device->submit(gemm.job());
  EXPECT_NO_THROW(device->prep(gemm.c, kWait));
  EXPECT_EQ(wires.resets, 1u);
  device->submit(gemm.job(2));
  EXPECT_THAT(message_of(ErrorCode::timeout, [&] { device->prep(gemm.c, kWait); }),
              HasSubstr("PPU"));
}

TEST(MmioFailures, IommuThatDoesNotAnswerIsAFault) {
  Wires wires;
  auto device = wired(wires);
  wires.stuck[0xA000 + mmu::kDteAddr] = 0;
  SmallGemm gemm(*device);
  device->submit(gemm.job());
  EXPECT_THAT(message_of(ErrorCode::device_fault, [&] { device->prep(gemm.c, kWait); }),
              HasSubstr("IOMMU"));
}

TEST(MmioFailures, PowerThatGoesStopsJobsBeforeTheyTouchTheCore) {
  Wires wires;
  auto device = wired(wires);
  SmallGemm gemm(*device);
  device->submit(gemm.job());
  device->prep(gemm.c, kWait);
  wires.no_power = "the domain is off";
  device->submit(gemm.job());
  EXPECT_THAT(message_of(ErrorCode::no_device, [&] { device->prep(gemm.c, kWait); }),
              HasSubstr("the domain is off"));
  message_of(ErrorCode::no_device, [&] { device->registers()->read(0, 0); });
  // Closing does not touch it either.
}

TEST(MmioFailures, WithoutPowerNothingIsOpened) {
  Wires wires;
  wires.no_power = "the domain is off";
  message_of(ErrorCode::no_device, [&] { wired(wires); });
  EXPECT_TRUE(wires.log.empty());
}

TEST(MmioFailures, AnotherChipIsRefused) {
  Wires wires;
  wires.stuck[pc::VERSION::offset] = 0;
  EXPECT_THAT(message_of(ErrorCode::no_device, [&] { wired(wires); }), HasSubstr("VERSION"));
}

TEST(MmioFailures, BoundDriverInTheMiddleOfAJobIsLeftAlone) {
  Wires wires;
  wires.driver_bound = true;
  auto device = wired(wires);
  wires.stuck[0xA000 + mmu::kStatus] = 1;  // paging: the driver has its domain attached
  SmallGemm gemm(*device);
  device->submit(gemm.job());
  EXPECT_THAT(message_of(ErrorCode::device_fault, [&] { device->prep(gemm.c, kWait); }),
              HasSubstr("/dev/accel"));
  EXPECT_THAT(writes_below(wires, 0x10000), ElementsAre());
}

struct Borrowed final : MmioPlatform {  // outlives the device
  explicit Borrowed(MmioPlatform& p) : board(p) {}
  MmioPlatform& board;
  std::string path() const override { return board.path(); }
  std::string provenance() const override { return board.provenance(); }
  void check_power(unsigned core) override { board.check_power(core); }
  std::unique_ptr<RegisterWindow> window(unsigned core) override { return board.window(core); }
  DmaAllocator& memory() override { return board.memory(); }
  std::chrono::milliseconds job_timeout() const override { return board.job_timeout(); }
  bool reset(unsigned core) override { return board.reset(core); }
};

TEST(MmioRestore, PutsBackWhatItFound) {
  Wires wires;
  auto board = std::make_unique<WiredBoard>(wires);
  auto window = board->window(1);
  // As a driver leaves a core, with an IOMMU domain attached.
  const std::map<std::uint32_t, std::uint32_t> before{
      {cna::S_POINTER::offset, 0x1000000E}, {regdb::core::S_POINTER::offset, 0x1000000E},
      {pc::INTERRUPT_MASK::offset, 0x300},  {pc::BASE_ADDRESS::offset, 1},
      {pc::REGISTER_AMOUNTS::offset, 77},   {pc::TASK_CON::offset, 0x5001},
      {0xA000 + mmu::kDteAddr, 0x12345670}, {0xA000 + mmu::kIntMask, 3},
  };
  for (const auto& [offset, value] : before) window->write32(offset, value);
  window->write32(0xA000 + mmu::kCommand, 0);  // paging on
  wires.log.clear();
  MmioPlatform* platform = board.get();
  for (const char* spec : {"1,sim", "1,sim,iommu=bypass"}) {
    auto device = open_mmio(parse_mmio_spec(spec), std::make_unique<Borrowed>(*platform));
    expect_works(*device);
    EXPECT_NE(window->read32(pc::BASE_ADDRESS::offset), 1u) << spec;
    device.reset();
    for (const auto& [offset, value] : before)
      EXPECT_EQ(window->read32(offset) & ~0x10001u, value & ~0x10001u) << spec << " " << offset;
    EXPECT_EQ(window->read32(pc::BASE_ADDRESS::offset), 1u);
    EXPECT_EQ(window->read32(0xA000 + mmu::kStatus) & 1, 1u) << spec;
  }
}

// Seen on the virtual board: a core out of reset, one task, closed, and no later job ended.
TEST(MmioRestore, TheNextSessionWorksAfterAnyNumberOfTasks) {
  Wires wires;
  WiredBoard board(wires);
  for (const std::size_t tasks : {1, 1, 2, 3, 1}) {
    auto device = open_mmio(parse_mmio_spec("1,sim"), std::make_unique<Borrowed>(board));
    expect_works(*device, 5, tasks);
  }
}

TEST(MmioRestore, ADeviceThatRanNothingWritesNothing) {
  Wires wires;
  wired(wires).reset();
  for (const Access& access : wires.log) EXPECT_FALSE(access.write);
}

// --- The spec.
TEST(MmioSpecs, ParseAndPrint) {
  for (const char* spec :
       {"mmio:0", "mmio:0,1,2,sim", "mmio:2,force,iommu=bypass,uio=/dev/uio3",
        "mmio:1,mem=0x10000000+0x4000000", "mmio:0,heap=system", "mmio:0,sim,iommu=bypass"}) {
    EXPECT_EQ(to_string(parse_mmio_spec(std::string_view(spec).substr(5))), spec);
  }
  EXPECT_EQ(to_string(parse_mmio_spec("")), "mmio:0");
  EXPECT_EQ(to_string(parse_mmio_spec("2,0")), "mmio:0,2");
  EXPECT_EQ(parse_mmio_spec("mem=0x10000000+64M").mem_bytes, 64u << 20);
  EXPECT_EQ(parse_mmio_spec("mem=4096+4K").mem_address, 4096u);
}

TEST(MmioSpecs, BadOnesNameTheItem) {
  for (const char* spec : {"3",
                           "0,0",
                           "-1",
                           "sim,",
                           ",",
                           "0,,sim",
                           "Sim",
                           "iommu=",
                           "iommu=on",
                           "uio=uio0",
                           "heap=",
                           "heap=a/b",
                           "mem=",
                           "mem=0x1000",
                           "mem=0x1000+",
                           "mem=+0x1000",
                           "mem=1+4096",
                           "mem=0x1000+0",
                           "mem=0x1000+1",
                           "mem=0xFFFFFFFFFFFFFFFFFF+0x1000",
                           "mem=0x10000000000+0x1000",
                           "mem=0x1000+0x10000000000G",
                           "mem=0+1G,heap=x",
                           "sim,force",
                           "sim,mem=0+4K",
                           "0,1,uio=/dev/uio0",
                           "=",
                           "force=1"}) {
    EXPECT_THAT(message_of(ErrorCode::invalid_argument, [&] { parse_mmio_spec(spec); }),
                HasSubstr("device spec"))
        << spec;
  }
}

}  // namespace
}  // namespace npu::device
