// SPDX-License-Identifier: MIT
// The file of packed weights: used only if it is whole and of this very model, written at once or
// not at all.
#include "llm-runtime/packed_cache.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>

#include "llm-runtime/cpu_projector.hpp"
#include "llm-runtime/engine.hpp"
#include "regdb/error.hpp"
#include "tiny_models.hpp"

namespace npu::llm {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<char> read_bytes(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void write_bytes(const fs::path& path, const std::vector<char>& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), std::ssize(bytes));
}

class PackedCache : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / ("packed_cache_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
    fs::copy_file(vector_path("tinyA-Q4_K_M.gguf"), model_);
    fs::permissions(model_, fs::perms::owner_write, fs::perm_options::add);
    ::setenv("XDG_CACHE_HOME", (folder_ / "home").c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("XDG_CACHE_HOME");
    fs::remove_all(folder_);
  }

  /// Logits of an engine that may use the cache; notices_ are those of this start.
  std::vector<float> start(std::uint64_t smallest = 0) {
    notices_.clear();
    const Model model = Model::load(model_);
    Engine engine(model, {.threads = 2, .context = 32, .weight_cache = options(smallest)});
    const auto logits = engine.append(0, std::vector<std::int32_t>{1, 2, 3});
    return {logits.begin(), logits.end()};
  }
  PackedCacheOptions options(std::uint64_t smallest = 0) {
    return {.enabled = true, .smallest = smallest, .notice = [this](std::string_view text) {
              notices_.emplace_back(text);
            }};
  }
  /// Whether a start takes the weights from the file, which nothing tells of.
  bool used() {
    const auto before = fs::exists(cache_) ? fs::last_write_time(cache_) : fs::file_time_type{};
    start();
    return notices_.empty() && fs::exists(cache_) && fs::last_write_time(cache_) == before;
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
  }

  fs::path folder_;
  fs::path model_ =
      fs::path(testing::TempDir()) / ("packed_cache_" + std::to_string(::getpid())) / "model.gguf";
  fs::path cache_ = model_.string() + ".npu-cache";
  std::vector<std::string> notices_;
};

TEST_F(PackedCache, SecondStartUsesWhatTheFirstWrote) {
  const auto packed = start();
  EXPECT_THAT(notices_, ElementsAre(HasSubstr("kept in " + cache_.string())));
  EXPECT_THAT(files(), ElementsAre("model.gguf", "model.gguf.npu-cache"));
  EXPECT_TRUE(used());
  EXPECT_EQ(start(), packed);

  // What was read back lies in the file and not in memory of its own.
  const Model model = Model::load(model_);
  cpu::ThreadPool pool(1);
  const PackedFile file = PackedFile::open(cache_, pool);
  EXPECT_EQ(file.size(), 7 * model.layers().size() + 1);
  EXPECT_EQ(file.model(), identify(model));
  const cpu::Matrix own(model.layers()[0].q, pool), kept = file.matrix(0, model.layers()[0].q);
  EXPECT_TRUE(std::ranges::equal(own.packed_bytes(), kept.packed_bytes()));
  EXPECT_EQ(kept.packed_bytes().data(), file.matrix(0, model.layers()[0].q).packed_bytes().data());
  EXPECT_THROW(file.matrix(0, model.layers()[0].k), Error);
}

TEST_F(PackedCache, SmallModelsAndThoseThatDoNotAskLeaveNothing) {
  start(PackedCacheOptions{}.smallest);
  EXPECT_THAT(notices_, IsEmpty());
  const Model model = Model::load(model_);
  const Engine engine(model, {.threads = 1, .context = 32, .weight_cache = {.smallest = 0}});
  EXPECT_THAT(files(), ElementsAre("model.gguf"));
}

TEST_F(PackedCache, ChangedModelIsPackedAnew) {
  const auto before = start();
  // The same bytes, written later.
  fs::last_write_time(model_, fs::last_write_time(model_) + std::chrono::seconds(2));
  EXPECT_EQ(start(), before);
  EXPECT_THAT(notices_, ElementsAre(HasSubstr("as it was"), HasSubstr("kept in")));
  EXPECT_TRUE(used());
  // Other weights of the same shapes, size and time.
  const auto time = fs::last_write_time(model_);
  auto bytes = read_bytes(model_);
  {
    const Model model = Model::load(model_);
    const TensorInfo& last = model.file().tensors().back();
    const auto at = bytes.size() - last.bytes + 8;  // within the file's last tensor
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
  }
  write_bytes(model_, bytes);
  fs::last_write_time(model_, time);
  start();
  EXPECT_THAT(notices_, ElementsAre(HasSubstr("as it was"), HasSubstr("kept in")));
}

TEST_F(PackedCache, DamagedFilesAreReplaced) {
  const auto logits = start();
  const auto good = read_bytes(cache_);
  std::uint32_t matrices = 0;
  std::memcpy(&matrices, &good[offsetof(PackedHeader, matrices)], sizeof(matrices));
  std::mt19937 random(1);
  std::vector<std::size_t> places{0,  8,  12, 16, 32, 40,  48,   56,
                                  64, 72, 80, 88, 96, 104, 4096, good.size() - 1};
  for (int i = 0; i < 24; ++i) places.push_back(random() % good.size());
  for (const std::size_t at : places) {
    // The few bytes between the entries and the first matrix belong to nobody.
    if (at >= sizeof(PackedHeader) + matrices * sizeof(PackedEntry) && at < 4096) continue;
    auto bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ 1 << random() % 8);
    write_bytes(cache_, bytes);
    EXPECT_EQ(start(), logits) << at;
    EXPECT_EQ(notices_.size(), 2u) << at;
    EXPECT_EQ(read_bytes(cache_), good) << at;
  }
  for (const std::size_t length : {std::size_t{0}, std::size_t{71}, std::size_t{72},
                                   std::size_t{4096}, good.size() - 64, good.size() - 1}) {
    write_bytes(cache_, {good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length)});
    EXPECT_EQ(start(), logits) << length;
    EXPECT_EQ(read_bytes(cache_), good) << length;
  }
  auto longer = good;
  longer.push_back(0);
  write_bytes(cache_, longer);
  EXPECT_EQ(start(), logits);
  EXPECT_EQ(read_bytes(cache_), good);
}

TEST(PackedHeaderTest, NumbersThatDoNotFitAreRefusedWhateverTheChecksumSays) {
  PackedHeader header;
  header.magic = PackedHeader::kMagic;
  header.version = PackedHeader::kVersion;
  cpu::packed_layout().copy(header.layout.data(), header.layout.size());
  header.matrices = 2;
  const PackedEntry first{.type = 8, .rows = 16, .columns = 32, .offset = 4096, .bytes = 576};
  PackedEntry second = first;
  second.offset += first.bytes;
  header.bytes = second.offset + second.bytes;
  const auto parse = [&](PackedHeader h, PackedEntry a, PackedEntry b, std::uint64_t size) {
    const PackedEntry entries[] = {a, b};
    h.checksum = table_checksum(h, entries);
    std::vector<std::byte> file(size);
    std::memcpy(file.data(), &h, sizeof h);
    std::memcpy(file.data() + sizeof h, entries, sizeof entries);
    return parse_packed(file).entries.size();
  };
  EXPECT_EQ(parse(header, first, second, header.bytes), 2u);
  using Change = std::function<void(PackedHeader&, PackedEntry&, PackedEntry&)>;
  const Change changes[] = {
      [](auto& h, auto&, auto&) { h.matrices = 0; },
      [](auto& h, auto&, auto&) { h.matrices = 0xFFFFFFFF; },
      [](auto& h, auto&, auto&) { h.version = 2; },
      [](auto& h, auto&, auto&) { h.layout[7] = '9'; },
      [](auto& h, auto&, auto&) { h.bytes = ~std::uint64_t{0}; },
      [](auto&, auto& a, auto&) { a.type = 99; },
      [](auto&, auto& a, auto&) { a.reserved = 1; },
      [](auto&, auto& a, auto&) { a.rows = 0; },
      [](auto&, auto& a, auto&) { a.rows = 0xFFFFFFFF; },
      [](auto&, auto& a, auto&) { a.columns = 33; },
      [](auto&, auto& a, auto&) { a.columns = 0xFFFFFFE0; },
      [](auto&, auto& a, auto&) { a.offset = 4032; },
      [](auto&, auto& a, auto&) { a.bytes = 577; },
      [](auto&, auto& a, auto& b) { b.offset = a.offset; },
      [](auto&, auto&, auto& b) { b.offset = ~std::uint64_t{0} - 63; },
      [](auto&, auto&, auto& b) { b.rows = 17, b.bytes = 1152; },
      [](auto& h, auto&, auto& b) { b = {}, h.matrices = 1; },
  };
  for (const Change& change : changes) {
    PackedHeader h = header;
    PackedEntry a = first, b = second;
    change(h, a, b);
    EXPECT_THROW(parse(h, a, b, header.bytes), Error) << &change - changes;
  }
}

TEST_F(PackedCache, FolderThatTakesNoFileMeansTheUsersOwn) {
  // A folder in the way, which root's rights do not help against.
  fs::create_directories(cache_ / "full");
  const auto logits = start();
  ASSERT_EQ(notices_.size(), 2u);
  EXPECT_THAT(notices_[0], HasSubstr("is no regular file"));
  EXPECT_THAT(notices_[1], HasSubstr("home/rosenblatt/model.gguf-"));
  EXPECT_EQ(start(), logits);
  EXPECT_THAT(notices_, ElementsAre(HasSubstr("is no regular file")));
  EXPECT_THAT(files(), ElementsAre("home", "model.gguf", "model.gguf.npu-cache"));
}

TEST_F(PackedCache, FullDiskIsANoticeAndLeavesNothing) {
  rlimit before{}, now{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  now = before;
  now.rlim_cur = 10000;
  auto* old = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &now), 0);
  const auto logits = start();
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old);
  EXPECT_THAT(notices_, ElementsAre(HasSubstr("are not kept")));
  EXPECT_THAT(files(), ElementsAre("home", "model.gguf"));
  EXPECT_TRUE(fs::is_empty(folder_ / "home/rosenblatt"));
  EXPECT_EQ(start(), logits);
  EXPECT_TRUE(used());
}

TEST_F(PackedCache, StrangersFileIsNotUsed) {
  start();
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  ASSERT_EQ(::chown(cache_.c_str(), 12345, 12345), 0);
  start();
  EXPECT_THAT(notices_, ElementsAre(HasSubstr("belongs to another user"), HasSubstr("kept in")));
}

TEST_F(PackedCache, TwoAtOnceLeaveOneGoodFile) {
  const Model model = Model::load(model_);
  std::vector<std::thread> starts;
  PackedCacheOptions silent = options();
  silent.notice = nullptr;
  for (int i = 0; i < 4; ++i) {
    starts.emplace_back([&] {
      for (int j = 0; j < 5; ++j) {
        cpu::ThreadPool pool(1);
        fs::remove(cache_);
        const CpuProjector projector(model, pool, false, silent);
      }
    });
  }
  for (std::thread& one : starts) one.join();
  if (!fs::exists(cache_)) start();
  EXPECT_TRUE(used());
  EXPECT_THAT(files(), ElementsAre("model.gguf", "model.gguf.npu-cache"));
}

}  // namespace
}  // namespace npu::llm
