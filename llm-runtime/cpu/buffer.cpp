// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu/buffer.hpp"

#include <sys/mman.h>

#include <string>

#include "llm-runtime/cpu/layout.hpp"
#include "regdb/error.hpp"

namespace npu::llm::cpu {
namespace {
constexpr std::size_t kHugePage = std::size_t{2} << 20;
}

Buffer::Buffer(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  const bool huge = bytes >= kHugePage;
  mapped_ = align_up(bytes, huge ? kHugePage : 4096);
  // A mapping starts anywhere: ask for one huge page more and give back what sticks out.
  const std::size_t asked = huge ? mapped_ + kHugePage : mapped_;
  void* at = mmap(nullptr, asked, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED)
    throw Error(ErrorCode::out_of_memory,
                "no memory for " + std::to_string(bytes >> 20) +
                    " MiB of weights or scratch; use a smaller model or a stronger quantisation");
  data_ = static_cast<std::byte*>(at);
  if (!huge) return;
  const std::size_t head = align_up(reinterpret_cast<std::uintptr_t>(at), kHugePage) -
                           reinterpret_cast<std::uintptr_t>(at);
  if (head != 0) munmap(data_, head);
  if (head != kHugePage) munmap(data_ + head + mapped_, kHugePage - head);
  data_ += head;
  madvise(data_, mapped_, MADV_HUGEPAGE);  // advice only: refused where huge pages are off
}

Buffer::~Buffer() {
  if (data_ != nullptr) munmap(data_, mapped_);
}

}  // namespace npu::llm::cpu
