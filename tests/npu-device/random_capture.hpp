// SPDX-License-Identifier: MIT
// Random sessions, and equality of events, for the tests of the capture file.
#pragma once

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "npu-device/capture.hpp"

namespace npu::device {

inline bool same(const CaptureEvent& a, const CaptureEvent& b) {
  if (a.process != b.process || a.what.index() != b.what.index()) return false;
  return std::visit(
      [&]<class T>(const T& x) {
        const T& y = std::get<T>(b.what);
        if constexpr (std::is_same_v<T, CaptureStart>) {
          return x.process == y.process && x.program == y.program && x.driver == y.driver &&
                 x.backend == y.backend && x.path == y.path && x.provenance == y.provenance &&
                 x.machine == y.machine && x.kernel == y.kernel && x.tool == y.tool &&
                 x.time == y.time && x.cores == y.cores;
        } else if constexpr (std::is_same_v<T, CaptureIoctl>) {
          return x.file == y.file && x.thread == y.thread && x.request == y.request &&
                 x.result == y.result && x.start_ns == y.start_ns && x.end_ns == y.end_ns &&
                 x.before == y.before && x.after == y.after;
        } else if constexpr (std::is_same_v<T, CaptureCreate>) {
          return x.file == y.file && x.handle == y.handle && x.iova == y.iova && x.size == y.size;
        } else if constexpr (std::is_same_v<T, CaptureDestroy>) {
          return x.file == y.file && x.handle == y.handle;
        } else if constexpr (std::is_same_v<T, CaptureWrite>) {
          return x.by == y.by && x.file == y.file && x.handle == y.handle && x.offset == y.offset &&
                 *x.bytes == *y.bytes;
        } else if constexpr (std::is_same_v<T, CaptureJob>) {
          const auto& s = x.job.tasks;
          const auto& t = y.job.tasks;
          return x.file == y.file && x.submit == y.submit && x.index == y.index &&
                 x.outcome == y.outcome && x.note == y.note && x.start_ns == y.start_ns &&
                 x.end_ns == y.end_ns && x.job.in_handles == y.job.in_handles &&
                 x.job.out_handles == y.job.out_handles && s.size() == t.size() &&
                 (s.empty() || std::memcmp(s.data(), t.data(), s.size() * sizeof(Task)) == 0);
        } else {
          return x.file == y.file;
        }
      },
      a.what);
}

/// Any events, in any order that the format knows: they need not make sense to a driver.
class RandomCapture {
 public:
  explicit RandomCapture(unsigned seed) : random_(seed) {}

  CaptureEvent event() {
    const std::uint32_t process = number(3);
    switch (number(8)) {
      case 0: return {process, start()};
      case 1: return {process, CaptureOpen{next_file_++}};
      case 2:
        return {process, CaptureIoctl{number(9), number(9), word(), -5, word(), word(),
                                      bytes(number(64)), bytes(number(64))}};
      case 3: return {process, CaptureCreate{number(9), number(9), word(), word()}};
      case 4: return {process, CaptureDestroy{number(9), number(9)}};
      case 5: return {process, CaptureClose{word()}};
      case 6: return {process, write()};
      default: return {process, job()};
    }
  }

  CaptureJob job() {
    CaptureJob job;
    job.file = number(9);
    job.submit = submit_++;
    job.index = number(30);
    for (std::uint32_t n = number(5); n > 0; --n) job.job.tasks.push_back({word(), word()});
    for (std::uint32_t n = number(4); n > 0; --n) job.job.in_handles.push_back(word());
    for (std::uint32_t n = number(4); n > 0; --n) job.job.out_handles.push_back(word());
    job.outcome = static_cast<CaptureJob::Outcome>(number(5));
    job.note = text();
    job.start_ns = word();
    job.end_ns = std::uint64_t{word()} << 32;
    return job;
  }

  CaptureWrite write() {
    // Few contents and odd lengths: blocks are shared, and the last one is a part.
    std::vector<std::byte> content(number(3) == 0 ? number(40) : number(20000));
    const auto fill = static_cast<std::byte>(number(3));
    for (std::size_t i = 0; i < content.size(); ++i)
      content[i] = number(50) == 0 ? static_cast<std::byte>(word()) : fill;
    if (number(2) == 0) std::fill(content.begin(), content.end(), fill);
    return {number(2) == 0 ? CaptureWrite::By::host : CaptureWrite::By::device, number(9),
            number(9), word(), std::make_shared<std::vector<std::byte>>(std::move(content))};
  }

  std::uint32_t number(std::uint32_t below) { return word() % below; }
  std::uint32_t word() { return static_cast<std::uint32_t>(random_()); }

 private:
  CaptureStart start() {
    // A number that is used again closes files (a test of its own): each has another one.
    return {next_process_++, text(), text(), text(), text(),   text(),
            text(),          text(), text(), text(), number(4)};
  }
  std::string text() { return std::string(number(20), static_cast<char>('a' + number(26))); }
  std::vector<std::byte> bytes(std::size_t size) {
    std::vector<std::byte> out(size);
    for (std::byte& b : out) b = static_cast<std::byte>(word());
    return out;
  }

  std::mt19937 random_;
  std::uint32_t next_file_ = 0, next_process_ = 1000;
  std::uint64_t submit_ = 0;
};

}  // namespace npu::device
