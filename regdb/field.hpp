// SPDX-License-Identifier: MIT
// How a register field's member value becomes bits and back. Used by the generated registers.hpp.
#pragma once

#include <cstdint>
#include <string>

#include "regdb/error.hpp"

namespace npu::regdb::detail {

[[noreturn]] inline void out_of_range(const char* field, std::int64_t value, std::int64_t low,
                                      std::int64_t high) {
  throw Error(ErrorCode::invalid_argument, std::string(field) + " = " + std::to_string(value) +
                                               " is outside " + std::to_string(low) + ".." +
                                               std::to_string(high));
}

template <unsigned High, unsigned Low>
constexpr std::uint32_t kMask = High - Low == 31 ? 0xFFFFFFFFu : (1u << (High - Low + 1)) - 1;

template <unsigned High, unsigned Low>
constexpr std::uint32_t put_raw(const char* field, std::uint32_t value) {
  if (value > kMask<High, Low>) out_of_range(field, value, 0, kMask<High, Low>);
  return value << Low;
}
template <unsigned High, unsigned Low>
constexpr std::uint32_t get_raw(std::uint32_t word) {
  return word >> Low & kMask<High, Low>;
}

/// The member is a count; the field holds one less.
template <unsigned High, unsigned Low>
constexpr std::uint32_t put_count(const char* field, std::uint32_t value) {
  if (value - 1 > kMask<High, Low>)
    out_of_range(field, value, 1, std::int64_t{kMask<High, Low>} + 1);
  return (value - 1) << Low;
}
template <unsigned High, unsigned Low>
constexpr std::uint32_t get_count(std::uint32_t word) {
  return get_raw<High, Low>(word) + 1;
}

/// Two's complement of the field's width.
template <unsigned High, unsigned Low>
constexpr std::uint32_t put_signed(const char* field, std::int32_t value) {
  constexpr std::int64_t limit = std::int64_t{1} << (High - Low);
  if (value < -limit || value >= limit) out_of_range(field, value, -limit, limit - 1);
  return (static_cast<std::uint32_t>(value) & kMask<High, Low>) << Low;
}
template <unsigned High, unsigned Low>
constexpr std::int32_t get_signed(std::uint32_t word) {
  constexpr std::uint32_t sign = 1u << (High - Low);
  return static_cast<std::int32_t>((get_raw<High, Low>(word) ^ sign) - sign);
}

/// The member is the whole byte address; the field leaves out its low bits, which must be 0.
template <unsigned High, unsigned Low>
constexpr std::uint32_t put_address(const char* field, std::uint32_t value) {
  static_assert(High == 31);
  if constexpr (Low > 0)
    if ((value & ((1u << Low) - 1)) != 0)
      throw Error(ErrorCode::invalid_argument, std::string(field) + " = " + std::to_string(value) +
                                                   " is not aligned to " +
                                                   std::to_string(1u << Low) + " bytes");
  return value;
}
template <unsigned High, unsigned Low>
constexpr std::uint32_t get_address(std::uint32_t word) {
  return word & (kMask<High, Low> << Low);
}

}  // namespace npu::regdb::detail
