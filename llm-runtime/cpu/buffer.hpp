// SPDX-License-Identifier: MIT
// Memory for weights and scratch.
#pragma once

#include <cstddef>
#include <utility>

namespace npu::llm::cpu {

/// Zeroed memory, 64-byte aligned; large ones ask for huge pages, since a forward pass that walks
/// through a gigabyte in 4 KiB pages misses the TLB all the time.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        mapped_(std::exchange(other.mapped_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(mapped_, other.mapped_);
    return *this;
  }

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

  /// At least `bytes`, contents undefined: for scratch that is kept from call to call.
  template <class T>
  T* scratch(std::size_t count) {
    if (count * sizeof(T) > bytes_) *this = Buffer(count * sizeof(T));
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;   // asked for
  std::size_t mapped_ = 0;  // of the mapping that holds them
};

}  // namespace npu::llm::cpu
