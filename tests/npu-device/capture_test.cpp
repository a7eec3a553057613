// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "npu-device/capture_reader.hpp"
#include "npu-device/capture_writer.hpp"
#include "regdb/error.hpp"
#include "tests/npu-device/random_capture.hpp"

namespace npu::device {
namespace {

using ::testing::HasSubstr;
using Bytes = std::vector<std::byte>;

class CaptureFile : public ::testing::Test {
 protected:
  CaptureFile() {
    char name[] = "/tmp/capture_test.XXXXXX";
    directory_ = mkdtemp(name);
    path_ = directory_ + "/a.npucap";
  }
  ~CaptureFile() override { std::filesystem::remove_all(directory_); }

  Bytes file() const {
    std::ifstream in(path_, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const auto all = std::as_bytes(std::span(text));
    return {all.begin(), all.end()};
  }
  void overwrite(const Bytes& bytes) const {
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }

  std::string directory_, path_;
};

std::string refusal(const Bytes& bytes, const CaptureLimits& limits = {}) {
  try {
    (void)read_capture(bytes, limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_file);
    return error.what();
  }
  return {};
}

// One CaptureStart per process, first: as programs record.
std::vector<CaptureEvent> session(unsigned seed, std::size_t events) {
  RandomCapture random(seed);
  std::vector<CaptureEvent> all;
  bool started[3] = {};
  while (all.size() < events) {
    CaptureEvent event = random.event();
    if (std::holds_alternative<CaptureStart>(event.what) &&
        std::exchange(started[event.process], true))
      continue;
    all.push_back(event);
  }
  return all;
}

TEST_F(CaptureFile, GivesBackWhatWasWritten) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::filesystem::remove(path_);
    const auto events = session(seed, 1 + seed * 3);
    CaptureWriter writer(path_);
    RandomCapture random(seed);
    for (const CaptureEvent& event : events) {
      writer.append(event);
      if (random.number(4) == 0) writer.flush();
    }
    writer.flush();
    EXPECT_EQ(writer.bytes_written(), std::filesystem::file_size(path_));
    const Capture back = read_capture(path_);
    EXPECT_FALSE(back.truncated);
    EXPECT_EQ(back.version, 1u);
    // An Open or a Start may close: never here, since files and processes are used once. But a
    // Start that comes after its process opened files closes those.
    std::vector<CaptureEvent> want;
    std::map<std::uint32_t, std::set<std::uint32_t>> open;
    for (const CaptureEvent& event : events) {
      if (const auto* o = std::get_if<CaptureOpen>(&event.what))
        open[event.process].insert(o->file);
      if (const auto* c = std::get_if<CaptureClose>(&event.what))
        open[event.process].erase(c->file);
      if (std::holds_alternative<CaptureStart>(event.what))
        for (const auto f : std::exchange(open[event.process], {}))
          want.push_back({event.process, CaptureClose{f}});
      want.push_back(event);
    }
    ASSERT_EQ(back.events.size(), want.size()) << "seed " << seed;
    for (std::size_t i = 0; i < want.size(); ++i)
      ASSERT_TRUE(same(back.events[i], want[i])) << "seed " << seed << ", event " << i;
  }
}

TEST_F(CaptureFile, OpensOrFailsClearlyAtEveryCut) {
  const auto events = session(7, 40);
  std::vector<std::size_t> ends;  // of frames
  {
    CaptureWriter writer(path_);
    ends.push_back(writer.bytes_written());
    for (const CaptureEvent& event : events) {
      writer.append(event);
      writer.flush();
      ends.push_back(writer.bytes_written());
    }
  }
  const Bytes whole = file();
  ASSERT_EQ(whole.size(), ends.back());
  const std::size_t all = read_capture(whole).events.size();
  std::size_t last = 0;
  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    const Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(cut));
    if (cut < 16) {
      EXPECT_THAT(refusal(part), HasSubstr("ends inside of its header")) << cut;
      continue;
    }
    const Capture capture = read_capture(part);
    const bool between = std::find(ends.begin(), ends.end(), cut) != ends.end();
    EXPECT_EQ(capture.truncated, !between) << cut;
    EXPECT_GE(capture.events.size(), last) << cut;
    EXPECT_EQ(capture.events.size() == all, cut == whole.size()) << cut;
    last = capture.events.size();
  }
}

TEST_F(CaptureFile, DetectsEverySingleBitError) {
  CaptureWriter writer(path_);
  for (const CaptureEvent& event : session(3, 12)) {
    writer.append(event);
    writer.flush();
  }
  const Bytes whole = file();
  for (std::size_t at = 0; at < whole.size(); ++at) {
    // Every bit of headers and of a sample of the rest.
    for (unsigned bit = 0; bit < 8; bit += (at < 600 ? 1 : 7)) {
      Bytes bad = whole;
      bad[at] ^= static_cast<std::byte>(1u << bit);
      ASSERT_NE(refusal(bad), "") << "byte " << at << " bit " << bit;
    }
  }
  Bytes bad = whole;
  bad[16 + 40] ^= std::byte{1};
  EXPECT_THAT(refusal(bad), HasSubstr("the frame at offset 16 "));
}

// A process that dies inside of a write leaves a part of a frame; others write on behind it.
TEST_F(CaptureFile, GoesOnBehindATornFrame) {
  const auto events = session(11, 3);
  std::vector<std::size_t> ends;
  {
    CaptureWriter writer(path_);
    ends.push_back(writer.bytes_written());
    for (const CaptureEvent& event : events) {
      CaptureEvent alone = event;  // no blocks of the frame that will be torn
      if (auto* write = std::get_if<CaptureWrite>(&alone.what))
        write->bytes = std::make_shared<Bytes>(5);
      writer.append(alone);
      writer.flush();
      ends.push_back(writer.bytes_written());
    }
  }
  const Bytes whole = file();
  const std::size_t count = read_capture(whole).events.size();
  for (std::size_t keep = 1; keep < ends[2] - ends[1]; ++keep) {
    Bytes torn = whole;
    torn.erase(torn.begin() + static_cast<std::ptrdiff_t>(ends[1] + keep),
               torn.begin() + static_cast<std::ptrdiff_t>(ends[2]));
    const Capture capture = read_capture(torn);
    EXPECT_TRUE(capture.truncated) << keep;
    EXPECT_GE(capture.events.size() + 2, count) << keep;
    EXPECT_TRUE(same(capture.events.back(), read_capture(whole).events.back())) << keep;
  }
  // What a power failure leaves: the size without the bytes.
  Bytes zeros(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(ends[2]));
  zeros.resize(zeros.size() + 5000);
  EXPECT_TRUE(read_capture(zeros).truncated);
}

TEST_F(CaptureFile, StoresABlockOnce) {
  RandomCapture random(1);
  Bytes noise(1 << 16);
  for (std::byte& b : noise) b = static_cast<std::byte>(random.word());
  const auto bytes = std::make_shared<const Bytes>(noise);
  CaptureWriter writer(path_);
  for (std::uint32_t i = 0; i < 100; ++i) {
    writer.append({1, CaptureWrite{CaptureWrite::By::host, 0, i, i, bytes}});
    writer.flush();
  }
  EXPECT_LT(writer.bytes_written(), 2 * noise.size());
  const Capture capture = read_capture(path_);
  ASSERT_EQ(capture.events.size(), 100u);
  for (const CaptureEvent& event : capture.events)
    EXPECT_EQ(*std::get<CaptureWrite>(event.what).bytes, noise);
}

TEST_F(CaptureFile, SplitsLongWrites) {
  Bytes bytes((5 << 20) + 77);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * i >> 7);
  CaptureWriter writer(path_);
  writer.append({1, CaptureCreate{0, 1, 0, bytes.size() + 3}});
  writer.append(
      {1, CaptureWrite{CaptureWrite::By::host, 0, 1, 3, std::make_shared<const Bytes>(bytes)}});
  writer.flush();
  CaptureMemory memory;
  for (const CaptureEvent& event : read_capture(path_).events) memory.apply(event);
  const auto at = memory.at({1, 0}, 3);
  EXPECT_TRUE(std::equal(at.begin(), at.end(), bytes.begin(), bytes.end()));
}

TEST_F(CaptureFile, ShowsAJobThatTheMachineDidNotSurvive) {
  CaptureJob job = RandomCapture(5).job();
  job.outcome = CaptureJob::Outcome::done;
  CaptureWriter writer(path_);
  writer.begin_job(4, job);
  writer.flush();
  const auto read_job = [&] { return std::get<CaptureJob>(read_capture(path_).events.at(0).what); };
  EXPECT_EQ(read_job().outcome, CaptureJob::Outcome::unknown);
  EXPECT_EQ(read_job().job.tasks.size(), job.job.tasks.size());
  writer.end_job(4, job);
  writer.flush();
  EXPECT_EQ(read_job().outcome, CaptureJob::Outcome::done);
  EXPECT_EQ(read_job().note, job.note);
}

TEST_F(CaptureFile, ClosesWhatAFormerProcessOfTheSameNumberHadOpen) {
  CaptureWriter writer(path_);
  for (int round = 0; round < 2; ++round) {
    writer.append({8, CaptureStart{.process = 8}});
    writer.append({8, CaptureOpen{0}});
    writer.append({8, CaptureCreate{0, 1, 0, 4096}});
  }
  writer.flush();
  const Capture capture = read_capture(path_);
  ASSERT_EQ(capture.events.size(), 7u);
  EXPECT_TRUE(std::holds_alternative<CaptureClose>(capture.events[3].what));
  CaptureMemory memory;
  for (const CaptureEvent& event : capture.events) EXPECT_NO_THROW(memory.apply(event));
}

// Each writer has a descriptor of its own, as a process has. (Threads, since emulators of another
// architecture may not survive a fork(); tests/preload has the processes.)
TEST_F(CaptureFile, IsSharedByWriters) {
  constexpr std::uint32_t processes = 6, each = 150;
  const auto block = std::make_shared<const Bytes>(Bytes(9000, std::byte{7}));
  std::vector<std::thread> writers;
  for (std::uint32_t p = 0; p < processes; ++p)
    writers.emplace_back([&, p] {
      CaptureWriter writer(path_);  // all at once: one of them makes the header
      for (std::uint32_t i = 0; i < each; ++i) {
        writer.append({p, CaptureOpen{i}});
        writer.append({p, CaptureWrite{CaptureWrite::By::host, 0, 0, i, block}});
        writer.flush();
      }
    });
  for (std::thread& writer : writers) writer.join();
  std::map<std::uint32_t, std::uint32_t> next;
  const Capture capture = read_capture(path_);
  EXPECT_EQ(capture.events.size(), processes * each * 2);
  for (const CaptureEvent& event : capture.events) {
    const auto* open = std::get_if<CaptureOpen>(&event.what);
    if (open == nullptr) continue;
    EXPECT_EQ(open->file, next[event.process]++);
  }
}

TEST_F(CaptureFile, SurvivesThatItsDescriptorIsClosedAndUsedForAnother) {
  CaptureWriter writer(path_);
  const int other = open((directory_ + "/other").c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_GE(other, 0);
  for (int fd = 500; fd < 700; ++fd) dup2(other, fd);
  writer.append({1, CaptureOpen{5}});
  writer.flush();
  for (int fd = 500; fd < 700; ++fd) close(fd);
  writer.append({1, CaptureClose{5}});
  writer.flush();
  EXPECT_EQ(read_capture(path_).events.size(), 2u);
  EXPECT_EQ(std::filesystem::file_size(directory_ + "/other"), 0u);
  close(other);
}

TEST_F(CaptureFile, RefusesWhatIsNoCapture) {
  EXPECT_THAT(refusal(Bytes(100, std::byte{'x'})), HasSubstr("not a capture"));
  Bytes newer(16);
  std::memcpy(newer.data(), "NPUCAP\x1a\n\x02", 9);
  EXPECT_THAT(refusal(newer), HasSubstr("version 2"));
  EXPECT_THROW(read_capture(directory_ + "/none"), Error);
  overwrite(Bytes(100, std::byte{'x'}));
  EXPECT_THROW(CaptureWriter{path_}, Error);
  EXPECT_EQ(file(), Bytes(100, std::byte{'x'}));  // untouched
  EXPECT_THROW(CaptureWriter{directory_}, Error);
  EXPECT_THROW(CaptureWriter{"/dev/null"}, Error);
}

TEST_F(CaptureFile, HasALimitToWhatItUnpacksTo) {
  CaptureWriter writer(path_);
  const auto zeros = std::make_shared<const Bytes>(Bytes(1 << 20));
  for (int i = 0; i < 64; ++i)
    writer.append({1, CaptureWrite{CaptureWrite::By::host, 0, 0, 0, zeros}});
  writer.flush();
  EXPECT_LT(writer.bytes_written(), 20'000u);
  EXPECT_THAT(refusal(file(), {.bytes = 10 << 20}), HasSubstr("limit"));
  EXPECT_EQ(read_capture(file(), {.bytes = 100 << 20}).events.size(), 64u);
}

TEST_F(CaptureFile, SaysSoWhenTheDiskIsFull) {
  CaptureWriter writer(path_);
  RandomCapture random(2);
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{4000, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  std::string said;
  try {
    for (int i = 0; i < 1000; ++i) {
      writer.append(random.event());
      writer.flush();
    }
  } catch (const Error& error) {
    said = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(said, HasSubstr("cannot write"));
  EXPECT_TRUE(read_capture(path_).truncated || std::filesystem::file_size(path_) < 4000);
}

}  // namespace
}  // namespace npu::device
