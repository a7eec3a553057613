// SPDX-License-Identifier: MIT
#include "npu-device/capture_writer.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <type_traits>
#include <unordered_set>

#include "npu-device/capture_format.hpp"
#include "regdb/error.hpp"

namespace npu::device {
namespace {

using namespace capture_format;

[[noreturn]] void fail(const std::string& path, const std::string& why,
                       ErrorCode code = ErrorCode::bad_file) {
  throw Error(code, fmt::format("{}: {}", path, why));
}

// Plain system calls: in a preloaded library those of libc may be stand-ins of our own.
int open_append(const std::string& path) {
  return static_cast<int>(syscall(SYS_openat, AT_FDCWD, path.c_str(),
                                  O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666));
}

std::pair<dev_t, ino_t> identity(int fd) {
  struct stat st;
  if (syscall(SYS_fstat, fd, &st) != 0) return {};
  return {st.st_dev, st.st_ino};
}

// Out of the way of programs that count on low numbers, or close all of those.
int move_up(int fd) {
  const int high = static_cast<int>(syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 512));
  if (high < 0) return fd;
  syscall(SYS_close, fd);
  return high;
}

class Bytes {
 public:
  template <class T>
  void put(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    put(&value, sizeof value);
  }
  void put(const void* data, std::size_t size) {
    const auto* bytes = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), bytes, bytes + size);
  }
  void put_text(const std::string& text) {
    if (text.size() > kMaxText)
      throw Error(ErrorCode::invalid_argument, "A capture cannot hold a text of over 64 KiB.");
    put(static_cast<std::uint32_t>(text.size()));
    put(text.data(), text.size());
  }
  template <class T>
  void put_list(const std::vector<T>& list, std::size_t most) {
    if (list.size() > most)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("A capture cannot hold a list of {} elements.", list.size()));
    put(static_cast<std::uint32_t>(list.size()));
    put(list.data(), list.size() * sizeof(T));
  }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace

struct CaptureWriter::State {
  std::string path;
  int fd = -1;
  std::pair<dev_t, ino_t> id{};
  bool failed = false;
  std::uint64_t written = 0;
  std::uint32_t process = 0;  // of the buffered records
  Bytes buffered;
  std::vector<std::byte> frame;
  ZSTD_CCtx* zstd = nullptr;
  // Blocks that the file has: in frames that were written, and in the buffered one.
  std::unordered_set<BlockHash, BlockHashHash> known;

  ~State() {
    ZSTD_freeCCtx(zstd);
    if (fd >= 0 && identity(fd) == id) syscall(SYS_close, fd);
  }

  void begin();
  void reopen();
  void flush();
  template <class Fill>
  void record(std::uint32_t of, Record kind, Fill fill);
  void put(std::uint32_t of, const CaptureStart& start);
  void put(std::uint32_t of, const CaptureOpen& open);
  void put(std::uint32_t of, const CaptureClose& close);
  void put(std::uint32_t of, const CaptureIoctl& ioctl);
  void put(std::uint32_t of, const CaptureCreate& create);
  void put(std::uint32_t of, const CaptureDestroy& destroy);
  void put(std::uint32_t of, const CaptureWrite& write);
  void put(std::uint32_t of, const CaptureJob& job);
  void put_begin(std::uint32_t of, const CaptureJob& job);
  void put_end(std::uint32_t of, const CaptureJob& job);
};

// Under a lock: of two processes that find an empty file, one writes the header.
void CaptureWriter::State::begin() {
  fd = open_append(path);
  if (fd < 0)
    fail(path, std::strerror(errno),
         errno == EACCES || errno == EPERM ? ErrorCode::permission_denied : ErrorCode::bad_file);
  fd = move_up(fd);
  id = identity(fd);
  struct stat st;
  if (syscall(SYS_fstat, fd, &st) != 0 || !S_ISREG(st.st_mode))
    fail(path, "this is not a plain file; a capture needs one");
  while (syscall(SYS_flock, fd, LOCK_EX) != 0 && errno == EINTR) {
  }
  FileHeader header;
  const long have = syscall(SYS_pread64, fd, &header, sizeof header, 0L);
  const bool foreign = have != 0 && (have != static_cast<long>(sizeof header) ||
                                     header.magic != kMagic || header.version != kVersion);
  long wrote = sizeof header;
  if (have == 0) {
    header = {};
    wrote = syscall(SYS_write, fd, &header, sizeof header);
    written += sizeof header;
  }
  const int error = errno;
  syscall(SYS_flock, fd, LOCK_UN);
  if (foreign) fail(path, "the file exists and is no capture of this version; give another name");
  if (wrote != static_cast<long>(sizeof header))
    fail(path, fmt::format("cannot write: {}", wrote < 0 ? std::strerror(error) : "disk full"));
}

// The program around us may have closed the descriptor, and may use its number for a file of its
// own, which must not get our frames.
void CaptureWriter::State::reopen() {
  if (fd >= 0 && identity(fd) == id) return;
  fd = -1;
  const int again = static_cast<int>(
      syscall(SYS_openat, AT_FDCWD, path.c_str(), O_RDWR | O_APPEND | O_CLOEXEC | O_NOCTTY));
  if (again < 0) fail(path, fmt::format("cannot be opened again: {}", std::strerror(errno)));
  if (identity(again) != id) {
    syscall(SYS_close, again);
    fail(path, "another file has taken the capture's place");
  }
  fd = move_up(again);
}

void CaptureWriter::State::flush() {
  std::vector<std::byte>& raw = buffered.bytes();
  if (raw.empty()) return;
  if (failed) fail(path, "writing failed before");
  failed = true;  // unless all goes well
  if (zstd == nullptr && (zstd = ZSTD_createCCtx()) == nullptr) throw std::bad_alloc();
  FrameHeader header;
  frame.resize(sizeof header + ZSTD_compressBound(raw.size()));
  const std::size_t packed = ZSTD_compressCCtx(
      zstd, frame.data() + sizeof header, frame.size() - sizeof header, raw.data(), raw.size(), 1);
  const bool smaller = ZSTD_isError(packed) == 0 && packed < raw.size();
  if (!smaller) std::memcpy(frame.data() + sizeof header, raw.data(), raw.size());
  header.codec = smaller ? Codec::zstd : Codec::none;
  header.process = process;
  header.unpacked = static_cast<std::uint32_t>(raw.size());
  header.stored = static_cast<std::uint32_t>(smaller ? packed : raw.size());
  header.stored_sum = XXH3_64bits(frame.data() + sizeof header, header.stored);
  header.header_sum = sum_of(header);
  std::memcpy(frame.data(), &header, sizeof header);
  const std::size_t size = sizeof header + header.stored;
  reopen();
  // A second write() for the rest might land behind another process's frame: all or nothing.
  const long wrote = syscall(SYS_write, fd, frame.data(), size);
  if (wrote != static_cast<long>(size))
    fail(path, fmt::format("cannot write: {}", wrote < 0 ? std::strerror(errno) : "disk full"));
  written += size;
  raw.clear();
  failed = false;
}

template <class Fill>
void CaptureWriter::State::record(std::uint32_t of, Record kind, Fill fill) {
  if (of != process) flush();
  process = of;
  std::vector<std::byte>& bytes = buffered.bytes();
  const std::size_t at = bytes.size();
  try {
    buffered.put(kind);
    buffered.put(std::uint32_t{0});
    fill();
  } catch (...) {
    bytes.resize(at);
    throw;
  }
  const auto length = static_cast<std::uint32_t>(bytes.size() - at - kRecordHeader);
  std::memcpy(bytes.data() + at + sizeof kind, &length, sizeof length);
  // The largest record, a job, is 16 MiB: with one more a frame stays below its limit.
  if (bytes.size() > kMaxFrameBytes / 4) flush();
}

void CaptureWriter::State::put(std::uint32_t of, const CaptureStart& start) {
  record(of, Record::start, [&] {
    buffered.put(start.process);
    buffered.put(start.cores);
    for (const std::string* text :
         {&start.program, &start.driver, &start.backend, &start.path, &start.provenance,
          &start.machine, &start.kernel, &start.tool, &start.time})
      buffered.put_text(*text);
  });
}

void CaptureWriter::State::put(std::uint32_t of, const CaptureOpen& open) {
  record(of, Record::open, [&] { buffered.put(open.file); });
}

void CaptureWriter::State::put(std::uint32_t of, const CaptureClose& close) {
  record(of, Record::close, [&] { buffered.put(close.file); });
}

void CaptureWriter::State::put(std::uint32_t of, const CaptureIoctl& ioctl) {
  record(of, Record::ioctl, [&] {
    buffered.put(ioctl.file);
    buffered.put(ioctl.thread);
    buffered.put(ioctl.request);
    buffered.put(ioctl.result);
    buffered.put(ioctl.start_ns);
    buffered.put(ioctl.end_ns);
    buffered.put_list(ioctl.before, kMaxIoctlBytes);
    buffered.put_list(ioctl.after, kMaxIoctlBytes);
  });
}

void CaptureWriter::State::put(std::uint32_t of, const CaptureCreate& create) {
  record(of, Record::create, [&] {
    buffered.put(create.file);
    buffered.put(create.handle);
    buffered.put(create.iova);
    buffered.put(create.size);
  });
}

void CaptureWriter::State::put(std::uint32_t of, const CaptureDestroy& destroy) {
  record(of, Record::destroy, [&] {
    buffered.put(destroy.file);
    buffered.put(destroy.handle);
  });
}

void CaptureWriter::State::put(std::uint32_t of, const CaptureWrite& write) {
  if (!write.bytes) throw Error(ErrorCode::invalid_argument, "A captured write has no bytes.");
  std::size_t done = 0;
  do {
    const auto rest = std::span(*write.bytes).subspan(done);
    const auto part = rest.first(std::min<std::size_t>(rest.size(), kMaxWriteBytes));
    record(of, Record::write, [&] {
      buffered.put(write.by);
      buffered.put(write.file);
      buffered.put(write.handle);
      buffered.put(write.offset + done);
      buffered.put(static_cast<std::uint32_t>(part.size()));
      for (std::size_t at = 0; at < part.size(); at += kBlockBytes) {
        const auto block = part.subspan(at, std::min<std::size_t>(kBlockBytes, part.size() - at));
        // A reference takes 17 bytes: what is not longer is stored as it is.
        const BlockHash hash = hash_of(block);
        const bool fresh = block.size() <= sizeof hash || known.insert(hash).second;
        buffered.put(static_cast<std::uint8_t>(fresh ? 1 : 0));
        if (fresh)
          buffered.put(block.data(), block.size());
        else
          buffered.put(hash);
      }
    });
    done += part.size();
  } while (done < write.bytes->size());
}

void CaptureWriter::State::put(std::uint32_t of, const CaptureJob& job) {
  put_begin(of, job);
  put_end(of, job);
}

void CaptureWriter::State::put_begin(std::uint32_t of, const CaptureJob& job) {
  record(of, Record::job, [&] {
    buffered.put(job.file);
    buffered.put(job.submit);
    buffered.put(job.index);
    static_assert(sizeof(Task) == 8);
    buffered.put_list(job.job.tasks, kMaxJobElements);
    buffered.put_list(job.job.in_handles, kMaxJobElements);
    buffered.put_list(job.job.out_handles, kMaxJobElements);
  });
}

void CaptureWriter::State::put_end(std::uint32_t of, const CaptureJob& job) {
  record(of, Record::job_end, [&] {
    buffered.put(job.file);
    buffered.put(job.submit);
    buffered.put(job.index);
    buffered.put(job.outcome);
    buffered.put(job.start_ns);
    buffered.put(job.end_ns);
    buffered.put_text(job.note);
  });
}

CaptureWriter::CaptureWriter(const std::string& path) : state_(std::make_unique<State>()) {
  state_->path = path;
  state_->begin();
}
CaptureWriter::~CaptureWriter() = default;
CaptureWriter::CaptureWriter(CaptureWriter&&) noexcept = default;
CaptureWriter& CaptureWriter::operator=(CaptureWriter&&) noexcept = default;

void CaptureWriter::append(const CaptureEvent& event) {
  std::visit([&](const auto& what) { state_->put(event.process, what); }, event.what);
}
void CaptureWriter::begin_job(std::uint32_t process, const CaptureJob& job) {
  state_->put_begin(process, job);
}
void CaptureWriter::end_job(std::uint32_t process, const CaptureJob& job) {
  state_->put_end(process, job);
}
void CaptureWriter::flush() { state_->flush(); }
std::uint64_t CaptureWriter::bytes_written() const { return state_->written; }

}  // namespace npu::device
