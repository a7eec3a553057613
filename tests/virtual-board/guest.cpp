// SPDX-License-Identifier: MIT
#include "guest.hpp"

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "fake_qemu.hpp"
#include "program.h"

namespace guest {
namespace {

using fake_qemu::kRamAddress;
using fake_qemu::load;
using fake_qemu::ram;
using fake_qemu::store;

constexpr std::uint32_t kPage = 4096, kABytes = M * K, kBBytes = N * K, kCBytes = M * N * 4;
constexpr std::uint32_t kReadable = 2, kWritable = 4;
// Page 0 is the directory; behind it come tables and, with gaps, the pages of the buffers.
constexpr std::uint64_t kDirectory = kRamAddress;

std::uint64_t next_page = 0;
std::vector<std::uint8_t> expected;

std::uint64_t new_page() {
  const std::uint64_t page = next_page;
  next_page += 2 * kPage;
  return page;
}

std::uint32_t* word(std::uint64_t address) {
  return reinterpret_cast<std::uint32_t*>(static_cast<void*>(ram(address)));
}

std::uint32_t* table_word(std::uint32_t iova) {
  std::uint32_t* slot = word(kDirectory) + (iova >> 22);
  if (*slot == 0) *slot = static_cast<std::uint32_t>(new_page()) | 1;
  return word(*slot & ~0xFFFu) + (iova >> 12 & 0x3FF);
}

void map(std::uint32_t iova, const void* data, std::uint32_t bytes) {
  for (std::uint32_t at = 0; at < bytes; at += kPage) {
    const std::uint64_t page = new_page();
    *table_word(iova + at) = static_cast<std::uint32_t>(page) | kReadable | kWritable | 1;
    std::memset(ram(page), 0x5A, kPage);
    if (data != nullptr)
      std::memcpy(ram(page), static_cast<const char*>(data) + at, std::min(bytes - at, kPage));
  }
}

// To every window of the core's IOMMU.
void each(unsigned index, std::uint32_t offset, std::uint32_t value) {
  if (index == 0) store(core(0) + 0x9000 + offset, value);
  store(core(index) + 0xA000 + offset, value);
}

enum : std::uint32_t { kDteAddr = 0, kCommand = 8, kIntMask = 0x1C };
enum : std::uint32_t {
  kEnablePaging,
  kDisablePaging,
  kEnableStall,
  kDisableStall,
  kZap,
  kForceReset = 6
};

}  // namespace

void lay_out() {
  std::memset(ram(kRamAddress), 0, fake_qemu::machine().ram_bytes);
  next_page = kDirectory + kPage;
  std::minstd_rand random(11);
  std::vector<std::int8_t> a(kABytes), b(kBBytes);
  for (std::int8_t& v : a) v = static_cast<std::int8_t>(random() >> 8);
  for (std::int8_t& v : b) v = static_cast<std::int8_t>(random() >> 8);
  std::vector<std::int32_t> c(M * N);
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n) {
      std::int32_t sum = 0;
      for (int k = 0; k < K; ++k)
        sum += a[(k / 16 * M + m) * 16 + k % 16] *
               b[(n / 32 * K + k / 32 * 32) * 32 + n % 32 * 32 + k % 32];
      c[(n / 4 * M + m) * 4 + n % 4] = sum;
    }
  expected.resize(kCBytes);
  std::memcpy(expected.data(), c.data(), kCBytes);
  map(PROGRAM, matmul_words, sizeof matmul_words);
  map(A, a.data(), kABytes);
  map(B, b.data(), kBBytes);
  map(C, nullptr, kCBytes);
}

bool output_is_right() {
  for (std::uint32_t at = 0; at < kCBytes; at += kPage)
    if (std::memcmp(ram(*table_word(C + at) & ~0xFFFu), expected.data() + at,
                    std::min(kCBytes - at, kPage)) != 0)
      return false;
  return true;
}

void hide_operand(bool hidden) { *table_word(A) = (*table_word(A) & ~1u) | (hidden ? 0 : 1); }

void redirect_output(std::uint64_t physical) {
  static std::uint32_t original;
  if (physical != 0) {
    original = *table_word(C);
    *table_word(C) = static_cast<std::uint32_t>(physical) | kReadable | kWritable | 1;
  } else {
    *table_word(C) = original;
  }
}

void attach_iommu(unsigned index) {
  each(index, kCommand, kForceReset);
  each(index, kDteAddr, static_cast<std::uint32_t>(kDirectory));
  each(index, kCommand, kZap);
  each(index, kIntMask, 3);
  each(index, kCommand, kEnablePaging);
}

void detach_iommu(unsigned index) {
  each(index, kCommand, kEnableStall);
  each(index, kCommand, kDisablePaging);
  each(index, kIntMask, 0);
  each(index, kDteAddr, 0);
  each(index, kCommand, kDisableStall);
}

void start(unsigned index) {
  const auto set = [index](std::uint32_t offset, std::uint32_t value) {
    store(core(index) + offset, value);
  };
  set(PC_BASE_ADDRESS, 1);
  set(CNA_S_POINTER, 0xE + 0x10000000 * index);
  set(CORE_S_POINTER, 0xE + 0x10000000 * index);
  set(PC_BASE_ADDRESS, PROGRAM);
  set(PC_REGISTER_AMOUNTS, (sizeof matmul_words / 8 + 1) / 2 - 1);
  set(PC_INTERRUPT_MASK, 0x300);
  set(PC_INTERRUPT_CLEAR, 0x300);
  set(PC_TASK_CON, 0x7001);
  set(PC_TASK_DMA_BASE_ADDR, 0);
  set(PC_OPERATION_ENABLE, 1);
}

void acknowledge(unsigned index) {
  store(core(index) + PC_INTERRUPT_MASK, 0);
  store(core(index) + PC_OPERATION_ENABLE, 0);
  store(core(index) + PC_INTERRUPT_CLEAR, 0x1FFFF);
}

void reset(unsigned index) {
  const std::uint32_t lines = 3u << 2 * index;
  store(kResets, load(kResets) | lines);
  store(kResets, load(kResets) & ~lines);
}

std::uint32_t iommu(unsigned index, std::uint32_t offset) {
  return load(core(index) + 0xA000 + offset);
}

std::uint32_t inject(const char* faults) {
  std::string text(faults);
  text.resize((text.size() / 4 + 1) * 4);
  for (std::size_t at = 0; at < text.size(); at += 4) {
    std::uint32_t value = 0;
    std::memcpy(&value, text.data() + at, sizeof value);
    store(kControl + 0x100 + at, value);
  }
  store(kControl + 4, 1);
  return load(kControl + 4);
}

}  // namespace guest
