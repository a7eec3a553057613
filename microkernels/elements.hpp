// SPDX-License-Identifier: MIT
// Matrices of any element type as arguments.
#pragma once

#include <cstddef>
#include <ranges>
#include <span>
#include <type_traits>

namespace npu::kernels {

/// A view of host elements that remembers how large they are: made from any vector, array or span.
template <class Byte>
class BasicElements {
 public:
  BasicElements() = default;
  template <std::ranges::contiguous_range R>
  requires(!std::is_same_v<std::remove_cvref_t<R>, BasicElements> &&
           std::is_trivially_copyable_v<std::ranges::range_value_t<R>> &&
           (std::is_const_v<Byte> ||
            !std::is_const_v<std::remove_reference_t<std::ranges::range_reference_t<R>>>))
      BasicElements(R&& range)  // NOLINT: meant to convert
      : data_(reinterpret_cast<Byte*>(std::ranges::data(range))),
        count_(std::ranges::size(range)),
        element_bytes_(sizeof(std::ranges::range_value_t<R>)) {}

  Byte* data() const { return data_; }
  std::size_t size() const { return count_; }  ///< elements
  std::size_t element_bytes() const { return element_bytes_; }
  bool empty() const { return count_ == 0; }

 private:
  Byte* data_ = nullptr;
  std::size_t count_ = 0, element_bytes_ = 1;
};

using ConstElements = BasicElements<const std::byte>;
using Elements = BasicElements<std::byte>;

}  // namespace npu::kernels
