// SPDX-License-Identifier: MIT
#include "npu-device/capture_reader.hpp"

#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>

#include "npu-device/capture_format.hpp"
#include "regdb/error.hpp"

namespace npu::device {
namespace {

using namespace capture_format;

[[noreturn]] void bad(const std::string& what) { throw Error(ErrorCode::bad_file, what); }

// Fields of one record. `where` is the frame's offset, for messages.
class Fields {
 public:
  Fields(std::span<const std::byte> bytes, std::size_t where) : bytes_(bytes), where_(where) {}

  template <class T>
  T get() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::span<const std::byte> take(std::size_t size) {
    if (size > bytes_.size()) damaged("a record ends before its fields do");
    const auto part = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return part;
  }
  std::string get_text() {
    const auto size = get<std::uint32_t>();
    if (size > kMaxText) damaged("a text is too long");
    const auto part = take(size);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  template <class T>
  std::vector<T> get_list(std::size_t most) {
    const auto count = get<std::uint32_t>();
    if (count > most) damaged("a list is too long");
    const auto part = take(std::size_t{count} * sizeof(T));
    std::vector<T> list(count);
    if (count != 0) std::memcpy(list.data(), part.data(), part.size());
    return list;
  }
  template <class T>
  T get_enum(T last) {
    const auto value = get<std::uint8_t>();
    if (value > static_cast<std::uint8_t>(last)) damaged("a field has a value without a meaning");
    return static_cast<T>(value);
  }
  bool empty() const { return bytes_.empty(); }
  [[noreturn]] void damaged(const char* what) const {
    bad(fmt::format("The capture is damaged in the frame at offset {}: {}.", where_, what));
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t where_;
};

class Reader {
 public:
  Reader(std::span<const std::byte> file, const CaptureLimits& limits)
      : file_(file), left_(limits.bytes) {}
  Capture read();

 private:
  using Block = std::pair<CaptureBytes, std::uint32_t>;  // in these bytes, at this offset
  using JobId = std::tuple<std::uint32_t, std::uint32_t, std::uint64_t, std::uint32_t>;

  std::optional<FrameHeader> header_at(std::size_t at) const;
  bool whole_at(std::size_t at) const;
  std::optional<std::size_t> next_frame(std::size_t first, std::size_t end);
  void read_frame(const FrameHeader& header, std::span<const std::byte> stored, std::size_t at);
  void read_record(Record kind, std::uint32_t process, Fields f);
  void read_start(std::uint32_t process, Fields& f);
  void read_write(std::uint32_t process, Fields& f);
  void read_job(std::uint32_t process, Fields& f);
  void read_job_end(std::uint32_t process, Fields& f);
  void charge(std::uint64_t bytes);
  template <class T>
  void add(std::uint32_t process, T what) {
    charge(sizeof(CaptureEvent));
    // In place: g++ 12 believes that a moved variant may be uninitialized.
    CaptureEvent& event = capture_.events.emplace_back();
    event.process = process;
    event.what.emplace<T>(std::move(what));
  }

  std::span<const std::byte> file_;
  std::uint64_t left_;
  Capture capture_;
  std::vector<std::byte> unpacked_;
  std::unordered_map<BlockHash, Block, BlockHashHash> blocks_;
  std::map<JobId, std::size_t> running_;                       // index of the event
  std::map<std::uint32_t, std::set<std::uint32_t>> programs_;  // process: its open files
};

void Reader::charge(std::uint64_t bytes) {
  if (bytes > left_)
    bad("The capture unpacks to more than the limit; it is damaged, or too large for this tool.");
  left_ -= bytes;
}

// A header that its writer finished.
std::optional<FrameHeader> Reader::header_at(std::size_t at) const {
  FrameHeader header;
  if (file_.size() - at < sizeof header) return std::nullopt;
  std::memcpy(&header, file_.data() + at, sizeof header);
  if (header.magic != kFrameMagic || header.header_sum != sum_of(header)) return std::nullopt;
  return header;
}

bool Reader::whole_at(std::size_t at) const {
  const auto header = header_at(at);
  if (!header || header->stored > file_.size() - at - sizeof *header) return false;
  return XXH3_64bits(file_.data() + at + sizeof *header, header->stored) == header->stored_sum;
}

std::optional<std::size_t> Reader::next_frame(std::size_t first, std::size_t end) {
  const auto last = file_.begin() + static_cast<std::ptrdiff_t>(std::min(end, file_.size()));
  auto it = file_.begin() + static_cast<std::ptrdiff_t>(std::min(first, file_.size()));
  const auto magic = std::as_bytes(std::span(kFrameMagic));
  for (; it < last; ++it) {
    it = std::find(it, last, magic[0]);
    const auto at = static_cast<std::size_t>(it - file_.begin());
    if (it == last) break;
    // A hostile file may have many headers that each want most of it hashed.
    if (const auto header = header_at(at)) charge(header->stored);
    if (whole_at(at)) return at;
  }
  return std::nullopt;
}

Capture Reader::read() {
  FileHeader begin;
  const std::size_t have = std::min(file_.size(), sizeof begin);
  if (have != 0) std::memcpy(&begin, file_.data(), have);
  if (!std::equal(kMagic.begin(), kMagic.begin() + std::min(have, kMagic.size()),
                  begin.magic.begin()))
    bad("This is not a capture: it does not begin as .npucap files do.");
  if (have < sizeof begin)
    bad(fmt::format("The capture ends inside of its header, after {} bytes: nothing is left of it.",
                    have));
  if (begin.version != kVersion)
    bad(fmt::format("The capture has version {} of the format; this tool reads version {}.",
                    begin.version, kVersion));
  if (begin.reserved != 0) bad("The capture is damaged in its header, at offset 12.");
  capture_.version = begin.version;
  for (std::size_t at = sizeof begin; at < file_.size();) {
    const auto header = header_at(at);
    const std::size_t rest = file_.size() - at;
    const std::size_t frame = sizeof(FrameHeader) + (header ? header->stored : 0);
    if (header && rest >= frame && whole_at(at)) {
      read_frame(*header, file_.subspan(at + sizeof *header, header->stored), at);
      at += frame;
      continue;
    }
    // A process that dies inside of its write() leaves the beginning of a frame. Another one may
    // have gone on behind it, which shows as a whole frame before the end of this one.
    if (const auto next = next_frame(at + 1, at + frame)) {
      capture_.truncated = true;
      at = *next;
      continue;
    }
    // What a cut leaves, or a power failure: file systems may keep the new size without the bytes.
    const auto tail = file_.subspan(at);
    const bool zeros =
        std::all_of(tail.begin(), tail.end(), [](std::byte b) { return b == std::byte{0}; });
    const bool begun = std::equal(
        tail.begin(), tail.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(rest, 4)),
        std::as_bytes(std::span(kFrameMagic)).begin());
    if (zeros || (begun && rest < frame && (header || rest < sizeof(FrameHeader)))) {
      capture_.truncated = true;
      break;
    }
    bad(fmt::format("The capture is damaged: the frame at offset {} does not match its checksum.",
                    at));
  }
  return std::move(capture_);
}

void Reader::read_frame(const FrameHeader& header, std::span<const std::byte> stored,
                        std::size_t at) {
  const auto damaged = [&](const char* what) {
    bad(fmt::format("The capture is damaged in the frame at offset {}: {}.", at, what));
  };
  if (header.type != kEvents) damaged("this tool does not know its type");
  if (header.unpacked > kMaxFrameBytes) damaged("it claims to be larger than frames are");
  std::span<const std::byte> records = stored;
  if (header.codec == Codec::zstd) {
    unpacked_.resize(header.unpacked);
    const std::size_t size =
        ZSTD_decompress(unpacked_.data(), unpacked_.size(), stored.data(), stored.size());
    if (ZSTD_isError(size) != 0 || size != header.unpacked) damaged("it does not unpack");
    records = unpacked_;
  } else if (header.codec != Codec::none || header.stored != header.unpacked) {
    damaged("this tool does not know its compression");
  }
  Fields frame(records, at);
  while (!frame.empty()) {
    const auto kind = frame.get<Record>();
    const auto size = frame.get<std::uint32_t>();
    read_record(kind, header.process, Fields(frame.take(size), at));
  }
}

void Reader::read_record(Record kind, std::uint32_t process, Fields f) {
  switch (kind) {
    case Record::start: read_start(process, f); break;
    case Record::open: {
      const CaptureOpen open{f.get<std::uint32_t>()};
      programs_[process].insert(open.file);
      add(process, open);
      break;
    }
    case Record::close: {
      const CaptureClose close{f.get<std::uint32_t>()};
      programs_[process].erase(close.file);
      add(process, close);
      break;
    }
    case Record::ioctl: {
      CaptureIoctl ioctl;
      ioctl.file = f.get<std::uint32_t>();
      ioctl.thread = f.get<std::uint32_t>();
      ioctl.request = f.get<std::uint32_t>();
      ioctl.result = f.get<std::int32_t>();
      ioctl.start_ns = f.get<std::uint64_t>();
      ioctl.end_ns = f.get<std::uint64_t>();
      ioctl.before = f.get_list<std::byte>(kMaxIoctlBytes);
      ioctl.after = f.get_list<std::byte>(kMaxIoctlBytes);
      charge(ioctl.before.size() + ioctl.after.size());
      add(process, std::move(ioctl));
      break;
    }
    case Record::create: {
      CaptureCreate create;
      create.file = f.get<std::uint32_t>();
      create.handle = f.get<std::uint32_t>();
      create.iova = f.get<std::uint64_t>();
      create.size = f.get<std::uint64_t>();
      add(process, create);
      break;
    }
    case Record::destroy: {
      CaptureDestroy destroy;
      destroy.file = f.get<std::uint32_t>();
      destroy.handle = f.get<std::uint32_t>();
      add(process, destroy);
      break;
    }
    case Record::write: read_write(process, f); break;
    case Record::job: read_job(process, f); break;
    case Record::job_end: read_job_end(process, f); break;
    default: f.damaged("a record of unknown kind");
  }
  if (!f.empty()) f.damaged("a record is longer than its fields");
}

void Reader::read_start(std::uint32_t process, Fields& f) {
  CaptureStart start;
  start.process = f.get<std::uint32_t>();
  start.cores = f.get<std::uint32_t>();
  for (std::string* text :
       {&start.program, &start.driver, &start.backend, &start.path, &start.provenance,
        &start.machine, &start.kernel, &start.tool, &start.time}) {
    *text = f.get_text();
    charge(text->size());
  }
  // The number is in use again: exec(), or a new process. What it had open is gone.
  for (const std::uint32_t file : std::exchange(programs_[process], {}))
    add(process, CaptureClose{file});
  running_.erase(running_.lower_bound({process, 0, 0, 0}),
                 running_.upper_bound({process, ~0u, ~std::uint64_t{0}, ~0u}));
  add(process, std::move(start));
}

void Reader::read_write(std::uint32_t process, Fields& f) {
  CaptureWrite write;
  write.by = f.get_enum(CaptureWrite::By::device);
  write.file = f.get<std::uint32_t>();
  write.handle = f.get<std::uint32_t>();
  write.offset = f.get<std::uint64_t>();
  const auto size = f.get<std::uint32_t>();
  if (size > kMaxWriteBytes) f.damaged("a write is too long");
  charge(size);
  const auto bytes = std::make_shared<std::vector<std::byte>>(size);
  for (std::uint32_t at = 0; at < size; at += kBlockBytes) {
    const std::uint32_t n = std::min(kBlockBytes, size - at);
    std::span<const std::byte> block;
    if (f.get_enum(std::uint8_t{1}) == 1) {
      block = f.take(n);
      if (n > sizeof(BlockHash)) {
        // 100 bytes: what an entry costs.
        charge(100);
        blocks_.insert_or_assign(hash_of(block), Block{bytes, at});
      }
    } else {
      const auto it = blocks_.find(f.get<BlockHash>());
      if (it == blocks_.end()) f.damaged("it refers to a block that the file does not have");
      const auto& [owner, from] = it->second;
      if (owner->size() - from < n) f.damaged("it refers to a block of another length");
      block = std::span(*owner).subspan(from, n);
    }
    std::copy(block.begin(), block.end(), bytes->begin() + at);
  }
  write.bytes = bytes;
  add(process, std::move(write));
}

void Reader::read_job(std::uint32_t process, Fields& f) {
  CaptureJob job;
  job.file = f.get<std::uint32_t>();
  job.submit = f.get<std::uint64_t>();
  job.index = f.get<std::uint32_t>();
  job.job.tasks = f.get_list<Task>(kMaxJobElements);
  job.job.in_handles = f.get_list<std::uint32_t>(kMaxJobElements);
  job.job.out_handles = f.get_list<std::uint32_t>(kMaxJobElements);
  charge(job.job.tasks.size() * sizeof(Task) +
         4 * (job.job.in_handles.size() + job.job.out_handles.size()));
  running_[{process, job.file, job.submit, job.index}] = capture_.events.size();
  add(process, std::move(job));
}

void Reader::read_job_end(std::uint32_t process, Fields& f) {
  const auto file = f.get<std::uint32_t>();
  const auto submit = f.get<std::uint64_t>();
  const auto index = f.get<std::uint32_t>();
  const auto it = running_.find({process, file, submit, index});
  if (it == running_.end()) f.damaged("a job ends that never began");
  auto& job = std::get<CaptureJob>(capture_.events[it->second].what);
  running_.erase(it);
  job.outcome = f.get_enum(CaptureJob::Outcome::unknown);
  job.start_ns = f.get<std::uint64_t>();
  job.end_ns = f.get<std::uint64_t>();
  job.note = f.get_text();
  charge(job.note.size());
}

}  // namespace

Capture read_capture(std::span<const std::byte> file, const CaptureLimits& limits) {
  return Reader(file, limits).read();
}

Capture read_capture(const std::string& path, const CaptureLimits& limits) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(ErrorCode::bad_file, fmt::format("{}: {}", path, std::strerror(errno)));
  std::vector<std::byte> bytes;
  constexpr std::size_t piece = std::size_t{4} << 20;
  while (in) {
    const std::size_t had = bytes.size();
    bytes.resize(had + piece);
    in.read(reinterpret_cast<char*>(bytes.data() + had), piece);
    bytes.resize(had + static_cast<std::size_t>(in.gcount()));
  }
  if (in.bad() || !in.eof())
    throw Error(ErrorCode::bad_file, fmt::format("{}: cannot be read", path));
  try {
    return read_capture(bytes, limits);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", path, error.what()));
  }
}

}  // namespace npu::device
