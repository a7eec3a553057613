// SPDX-License-Identifier: MIT
#include "npu-device/capture.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "regdb/error.hpp"

namespace npu::device {
namespace {

[[noreturn]] void bad(const std::string& what) {
  throw Error(ErrorCode::bad_file, fmt::format("The capture contradicts itself: {}.", what));
}

}  // namespace

void CaptureMemory::apply(const CaptureEvent& event) {
  if (const auto* create = std::get_if<CaptureCreate>(&event.what)) {
    if (create->size == 0 || create->size > kMaxBufferBytes)
      bad(fmt::format("buffer {} has {} bytes", create->handle, create->size));
    Bo bo{create->iova, std::vector<std::byte>(create->size)};
    const File file{event.process, create->file};
    if (!files_[file].emplace(create->handle, std::move(bo)).second)
      bad(fmt::format("buffer {} is created twice", create->handle));
  } else if (const auto* destroy = std::get_if<CaptureDestroy>(&event.what)) {
    const auto file = files_.find({event.process, destroy->file});
    if (file == files_.end() || file->second.erase(destroy->handle) == 0)
      bad(fmt::format("buffer {} is closed and was never created", destroy->handle));
  } else if (const auto* write = std::get_if<CaptureWrite>(&event.what)) {
    const auto file = files_.find({event.process, write->file});
    if (file == files_.end() || !file->second.contains(write->handle))
      bad(fmt::format("there is data for buffer {}, which was never created", write->handle));
    std::vector<std::byte>& bytes = file->second.at(write->handle).bytes;
    if (!write->bytes || write->offset > bytes.size() ||
        write->bytes->size() > bytes.size() - write->offset)
      bad(fmt::format("there is data beyond the end of buffer {}", write->handle));
    std::copy(write->bytes->begin(), write->bytes->end(),
              bytes.begin() + static_cast<std::ptrdiff_t>(write->offset));
  } else if (const auto* close = std::get_if<CaptureClose>(&event.what)) {
    files_.erase({event.process, close->file});
  }
}

const CaptureMemory::Bos& CaptureMemory::bos(File file) const {
  static const Bos none;
  const auto it = files_.find(file);
  return it == files_.end() ? none : it->second;
}

std::span<const std::byte> CaptureMemory::at(File file, std::uint64_t iova) const {
  for (const auto& [handle, bo] : bos(file))
    if (iova >= bo.iova && iova - bo.iova < bo.bytes.size())
      return std::span(bo.bytes).subspan(iova - bo.iova);
  return {};
}

}  // namespace npu::device
