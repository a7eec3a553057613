// SPDX-License-Identifier: MIT
#include "llm-runtime/packed_cache.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "llm-runtime/cpu/layout.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kChunk = std::size_t{1} << 20;
constexpr std::uint32_t kMostMatrices = 1u << 16, kMostSize = 1u << 24;

static_assert(sizeof(PackedHeader) == 72 && sizeof(PackedEntry) == 40, "they are written whole");

[[noreturn]] void bad(const std::string& reason) { throw Error(ErrorCode::bad_file, reason); }

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15u;  // 2^64 divided by the golden ratio
  return hash ^ hash >> 29;
}

std::uint64_t mix(std::uint64_t hash, std::span<const std::byte> bytes) {
  for (const std::byte byte : bytes) hash = mix(hash, std::to_integer<std::uint64_t>(byte));
  return hash;
}

/// Sums and sums of sums, as Fletcher's: at the speed of memory with any vector unit, and no change
/// of a single word goes unseen.
std::uint64_t checksum_of_chunk(std::span<const std::byte> bytes) {
  constexpr std::size_t kLanes = 16;
  std::uint32_t a[kLanes] = {}, b[kLanes] = {}, words[kLanes];
  std::size_t at = 0;
  for (; at + sizeof(words) <= bytes.size(); at += sizeof(words)) {
    std::memcpy(words, bytes.data() + at, sizeof(words));
    for (std::size_t i = 0; i < kLanes; ++i) {
      a[i] += words[i];
      b[i] += a[i];
    }
  }
  std::uint64_t hash = mix(bytes.size(), bytes.subspan(at));
  for (std::size_t i = 0; i < kLanes; ++i) hash = mix(hash, std::uint64_t{a[i]} << 32 | b[i]);
  return hash;
}

/// Of each of them, chunk by chunk.
std::vector<std::uint64_t> checksums(std::span<const std::span<const std::byte>> matrices,
                                     cpu::ThreadPool& pool) {
  std::vector<std::span<const std::byte>> chunks;
  for (const auto matrix : matrices) {
    for (std::size_t at = 0; at < matrix.size(); at += kChunk) {
      chunks.push_back(matrix.subspan(at, std::min(kChunk, matrix.size() - at)));
    }
  }
  std::vector<std::uint64_t> parts(chunks.size());
  pool.parallel_for(chunks.size(), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) parts[i] = checksum_of_chunk(chunks[i]);
  });
  std::vector<std::uint64_t> sums;
  std::size_t next = 0;
  for (const auto matrix : matrices) {
    std::uint64_t& sum = sums.emplace_back(matrix.size());
    for (std::size_t at = 0; at < matrix.size(); at += kChunk) sum = mix(sum, parts[next++]);
  }
  return sums;
}

std::array<char, 16> layout_name() {
  std::array<char, 16> name{};
  const std::string_view text = cpu::packed_layout();
  std::copy_n(text.begin(), std::min(text.size(), name.size()), name.begin());
  return name;
}

std::uint64_t first_offset(std::size_t matrices) {
  return cpu::align_up(sizeof(PackedHeader) + matrices * sizeof(PackedEntry), kPage);
}

}  // namespace

ModelIdentity identify(const Model& model) {
  constexpr std::size_t kSample = 64;
  ModelIdentity identity{.size = model.file().size(), .hash = 1};
  struct stat status {};
  if (::stat(model.file().path().c_str(), &status) == 0) {
    identity.changed = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
  }
  const std::span<const TensorInfo> tensors = model.file().tensors();
  for (const TensorInfo& tensor : tensors) {
    identity.hash = mix(identity.hash, std::as_bytes(std::span(tensor.name)));
    for (const std::uint64_t size : tensor.dims) identity.hash = mix(identity.hash, size);
    identity.hash = mix(identity.hash, tensor.type_number);
    identity.hash =
        mix(identity.hash, static_cast<std::uint64_t>(tensor.data - tensors.front().data));
    // Both ends: neighbours share pages, so that a cold disk has little to fetch.
    const std::uint64_t sample = std::min<std::uint64_t>(tensor.bytes, kSample);
    identity.hash = mix(identity.hash, {tensor.data, sample});
    identity.hash = mix(identity.hash, {tensor.data + (tensor.bytes - sample), sample});
  }
  return identity;
}

std::uint64_t table_checksum(PackedHeader header, std::span<const PackedEntry> entries) {
  header.checksum = 0;
  return mix(mix(0, std::as_bytes(std::span(&header, 1))), std::as_bytes(entries));
}

PackedContents parse_packed(std::span<const std::byte> file) {
  PackedHeader header;
  if (file.size() < sizeof header) bad("is too short to be a file of packed weights");
  std::memcpy(&header, file.data(), sizeof header);
  if (header.magic != PackedHeader::kMagic) bad("is no file of packed weights");
  if (header.version != PackedHeader::kVersion || header.layout != layout_name()) {
    bad("was written by another version");
  }
  if (header.bytes != file.size()) bad("has not the size that its header tells");
  if (header.matrices == 0 || header.matrices > kMostMatrices ||
      first_offset(header.matrices) > file.size()) {
    bad("has not room for the matrices that its header tells");
  }
  PackedContents contents{header.model, std::vector<PackedEntry>(header.matrices)};
  std::memcpy(contents.entries.data(), file.data() + sizeof header,
              contents.entries.size() * sizeof(PackedEntry));
  if (header.checksum != table_checksum(header, contents.entries)) bad("has a damaged header");
  std::uint64_t offset = first_offset(header.matrices);
  for (const PackedEntry& entry : contents.entries) {
    const auto type = tensor_type(entry.type);
    if (!type || entry.reserved != 0 || entry.rows == 0 || entry.columns == 0 ||
        entry.rows > kMostSize || entry.columns > kMostSize ||
        entry.columns % block_shape(*type).values != 0 ||
        entry.bytes != cpu::packed_size(*type, entry.rows, entry.columns) ||
        entry.offset != offset || entry.bytes > file.size() - offset) {
      bad("describes a matrix that cannot be there");
    }
    offset += entry.bytes;
  }
  if (offset != file.size()) bad("holds more than its matrices");
  return contents;
}

PackedFile::PackedFile(PackedFile&& other) noexcept
    : contents_(std::move(other.contents_)), bytes_(std::exchange(other.bytes_, {})) {}
PackedFile& PackedFile::operator=(PackedFile&& other) noexcept {
  std::swap(contents_, other.contents_);
  std::swap(bytes_, other.bytes_);
  return *this;
}
PackedFile::~PackedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

PackedFile PackedFile::open(const fs::path& path, cpu::ThreadPool& pool) {
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!file || ::fstat(file.fd(), &status) != 0) bad(std::strerror(errno));
  if (!S_ISREG(status.st_mode)) bad("is no regular file");
  // In a folder that all may write to, anyone could put weights beside another's model.
  if (status.st_uid != 0 && status.st_uid != ::geteuid()) bad("belongs to another user");
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size < sizeof(PackedHeader)) bad("is too short to be a file of packed weights");
  void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd(), 0);
  if (mapping == MAP_FAILED) bad(std::strerror(errno));
  PackedFile packed;
  packed.bytes_ = {static_cast<const std::byte*>(mapping), size};
  packed.contents_ = parse_packed(packed.bytes_);
  ::madvise(mapping, size, MADV_WILLNEED);
  std::vector<std::span<const std::byte>> matrices;
  for (const PackedEntry& entry : packed.contents_.entries) {
    matrices.push_back(packed.bytes_.subspan(entry.offset, entry.bytes));
  }
  const std::vector<std::uint64_t> sums = checksums(matrices, pool);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    if (sums[i] != packed.contents_.entries[i].checksum) bad("is damaged");
  }
  return packed;
}

cpu::Matrix PackedFile::matrix(std::size_t i, const WeightView& view) const {
  const PackedEntry& entry = contents_.entries.at(i);
  if (entry.type != static_cast<std::uint32_t>(view.type) || entry.rows != view.rows ||
      entry.columns != view.columns) {
    bad("holds other matrices");
  }
  return cpu::Matrix::from_packed(view.type, view.rows, view.columns,
                                  bytes_.subspan(entry.offset, entry.bytes));
}

std::vector<fs::path> packed_cache_paths(const fs::path& model) {
  std::vector<fs::path> paths{model};
  paths[0] += ".npu-cache";
  fs::path root;
  // A relative path in this variable is to be ignored [XDG Base Directory Specification].
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/') {
    root = cache;
  } else if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    root = fs::path(home) / ".cache";
  } else {
    return paths;
  }
  std::error_code ignored;
  const std::string whole = fs::weakly_canonical(model, ignored).string();
  paths.push_back(root / "rosenblatt" /
                  fmt::format("{}-{:016x}.npu-cache", model.filename().string(),
                              mix(0, std::as_bytes(std::span(whole)))));
  return paths;
}

std::optional<PackedFile> find_packed(const Model& model, std::span<const WeightView> matrices,
                                      cpu::ThreadPool& pool, const PackedCacheOptions& options) {
  if (!options.enabled) return std::nullopt;
  std::optional<ModelIdentity> identity;
  for (const fs::path& path : packed_cache_paths(model.file().path())) {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) continue;
    try {
      PackedFile file = PackedFile::open(path, pool);
      if (!identity) identity = identify(model);
      if (file.model() != *identity) bad("was made of another model, or of this one as it was");
      if (file.size() != matrices.size()) bad("holds other matrices");
      for (std::size_t i = 0; i < matrices.size(); ++i) file.matrix(i, matrices[i]);
      return file;
    } catch (const Error& error) {
      if (options.notice) {
        options.notice(
            fmt::format("{} {}: the weights are packed anew", path.string(), error.what()));
      }
    }
  }
  return std::nullopt;
}

namespace {

bool write_all(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::pwrite(fd, bytes.data(), std::min(bytes.size(), std::size_t{1} << 30),
                                   static_cast<off_t>(offset));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(wrote));
    offset += static_cast<std::uint64_t>(wrote);
  }
  return true;
}

/// Room for the file, and for as much again that others may want.
bool has_room(int fd, std::uint64_t bytes) {
  struct statvfs disk {};
  if (::fstatvfs(fd, &disk) != 0) return true;
  if (std::uint64_t{disk.f_bavail} * disk.f_frsize >= 2 * bytes) return true;
  errno = ENOSPC;
  return false;
}

struct Contents {
  PackedHeader header;
  std::vector<PackedEntry> entries;
  std::vector<std::span<const std::byte>> matrices;
};

bool write_contents(int fd, const Contents& contents) {
  const std::uint64_t bytes = contents.header.bytes;
  if (!has_room(fd, bytes)) return false;
  // Tells of a full disk before it is full; not every file system can.
  if (::fallocate(fd, 0, 0, static_cast<off_t>(bytes)) != 0 && errno != EOPNOTSUPP &&
      errno != ENOSYS) {
    return false;
  }
  const auto header = std::as_bytes(std::span(&contents.header, 1));
  bool good = write_all(fd, header, 0) &&
              write_all(fd, std::as_bytes(std::span(contents.entries)), header.size());
  for (std::size_t i = 0; good && i < contents.matrices.size(); ++i) {
    good = write_all(fd, contents.matrices[i], contents.entries[i].offset);
  }
  return good;
}

/// False, and errno, if it is not there afterwards.
bool write_file(const fs::path& path, const Contents& contents) {
  fs::path part = path;
  part += fmt::format(".part-{}-{}", ::getpid(), ::gettid());
  // A file without a name vanishes by itself if this process ends before it is whole.
  const File nameless(::open(path.parent_path().empty() ? "." : path.parent_path().c_str(),
                             O_TMPFILE | O_RDWR | O_CLOEXEC, 0644));
  const File named(nameless ? -1
                            : ::open(part.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644));
  if (!nameless && !named) return false;
  const int fd = nameless ? nameless.fd() : named.fd();
  bool good = write_contents(fd, contents);
  if (good && nameless) {
    good = ::linkat(AT_FDCWD, fmt::format("/proc/self/fd/{}", fd).c_str(), AT_FDCWD, part.c_str(),
                    AT_SYMLINK_FOLLOW) == 0;
  }
  good = good && ::rename(part.c_str(), path.c_str()) == 0;
  const int error = errno;
  if (!good) ::unlink(part.c_str());
  errno = error;
  return good;
}

}  // namespace

void keep_packed(const Model& model, std::span<const cpu::Matrix* const> matrices,
                 cpu::ThreadPool& pool, const PackedCacheOptions& options) {
  Contents contents;
  std::uint64_t offset = first_offset(matrices.size()), bytes = 0;
  for (const cpu::Matrix* matrix : matrices) bytes += matrix->bytes();
  if (!options.enabled || bytes < options.smallest || matrices.empty() ||
      matrices.size() > kMostMatrices) {
    return;
  }
  for (const cpu::Matrix* matrix : matrices) contents.matrices.push_back(matrix->packed_bytes());
  const std::vector<std::uint64_t> sums = checksums(contents.matrices, pool);
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    contents.entries.push_back({.type = static_cast<std::uint32_t>(matrices[i]->type()),
                                .rows = static_cast<std::uint32_t>(matrices[i]->rows()),
                                .columns = static_cast<std::uint32_t>(matrices[i]->columns()),
                                .offset = offset,
                                .bytes = matrices[i]->bytes(),
                                .checksum = sums[i]});
    offset += matrices[i]->bytes();
  }
  contents.header = {.magic = PackedHeader::kMagic,
                     .version = PackedHeader::kVersion,
                     .matrices = static_cast<std::uint32_t>(matrices.size()),
                     .layout = layout_name(),
                     .model = identify(model),
                     .bytes = offset};
  contents.header.checksum = table_checksum(contents.header, contents.entries);
  std::string failed;
  for (const fs::path& path : packed_cache_paths(model.file().path())) {
    std::error_code ignored;
    if (path.has_parent_path()) fs::create_directories(path.parent_path(), ignored);
    if (write_file(path, contents)) {
      if (options.notice) {
        options.notice(fmt::format("packed weights kept in {} ({} MiB) for the next start",
                                   path.string(), contents.header.bytes >> 20));
      }
      return;
    }
    failed = fmt::format("{}: {}", path.string(), std::strerror(errno));
  }
  if (options.notice) {
    options.notice(fmt::format("packed weights are not kept for the next start ({})", failed));
  }
}

}  // namespace npu::llm
