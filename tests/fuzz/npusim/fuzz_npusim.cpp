// SPDX-License-Identifier: MIT
// A hostile guest: any sequence of register writes, page tables and programs keeps the C
// interface's promises. Each 8 bytes are one deed: what, core, 16 bits, 32 bits.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "npu-sim/iommu.hpp"
#include "npu-sim/npusim.h"
#include "program.h"

namespace {

constexpr std::uint64_t kRamBase = 0x12'4000'0000;
constexpr std::size_t kPage = 4096, kPages = 32;

// RAM with a directory in page 0, one table for each 4 MiB that the program uses behind it, and the
// program and its buffers behind those.
struct Guest {
  std::vector<unsigned char> fresh = std::vector<unsigned char>(kPage * kPages), ram;
  std::size_t used = 1;

  Guest() {
    const auto buffer = [this](std::uint32_t iova, const void* data, std::size_t bytes) {
      for (std::size_t at = 0; at < bytes; at += kPage) {
        const std::size_t page = used++;
        *entry(iova + static_cast<std::uint32_t>(at)) = npu::sim::fold_address(address(page)) | 7;
        if (data != nullptr)
          std::memcpy(fresh.data() + page * kPage, static_cast<const char*>(data) + at,
                      std::min(kPage, bytes - at));
      }
    };
    buffer(PROGRAM, matmul_words, sizeof matmul_words);
    buffer(PROGRAM + kPage, hanging_words, sizeof hanging_words);
    std::vector<unsigned char> operands(M * K + N * K);
    for (std::size_t i = 0; i < operands.size(); ++i)
      operands[i] = static_cast<unsigned char>(i * 7);
    buffer(A, operands.data(), M * K);
    buffer(B, operands.data(), N * K);
    buffer(C, nullptr, M * N * 4);
    ram = fresh;
  }
  static std::uint64_t address(std::size_t page) { return kRamBase + page * kPage; }
  std::uint32_t* entry(std::uint32_t iova) {
    auto* slot = reinterpret_cast<std::uint32_t*>(fresh.data()) + (iova >> 22);
    if (*slot == 0) *slot = npu::sim::fold_address(address(used++)) | 1;
    const std::uint64_t table = npu::sim::unfold_address(*slot) - kRamBase;
    return reinterpret_cast<std::uint32_t*>(fresh.data() + table) + (iova >> 12 & 0x3FF);
  }
  unsigned char* at(std::uint64_t where, std::size_t bytes) {
    if (where < kRamBase || where - kRamBase > ram.size() - bytes) return nullptr;
    return ram.data() + (where - kRamBase);
  }
};

int dma_read(void* opaque, std::uint64_t address, void* data, std::size_t bytes) {
  const unsigned char* from = static_cast<Guest*>(opaque)->at(address, bytes);
  if (from != nullptr) std::memcpy(data, from, bytes);
  return from == nullptr;
}

int dma_write(void* opaque, std::uint64_t address, const void* data, std::size_t bytes) {
  unsigned char* to = static_cast<Guest*>(opaque)->at(address, bytes);
  if (to != nullptr) std::memcpy(to, data, bytes);
  return to == nullptr;
}

void must(bool condition) {
  if (!condition) std::abort();
}

struct Board {
  Guest guest;
  npusim* sim = nullptr;
  bool manual;

  explicit Board(bool by_hand) : manual(by_hand) {
    npusim_options options{};
    options.size = sizeof options;
    options.cores = 2;
    options.threads = 1;
    options.mode = by_hand ? NPUSIM_MANUAL : NPUSIM_SYNCHRONOUS;
    options.opaque = &guest;
    options.dma_read = dma_read;
    options.dma_write = dma_write;
    options.mac_budget = 4'000'000;
    options.npu_hz = 600'000'000;
    must(npusim_create(&options, &sim) == 0);
  }
  ~Board() { npusim_destroy(sim); }

  std::uint32_t get(unsigned core, std::uint32_t offset) const {
    std::uint32_t value = 0;
    must(npusim_mmio_read(sim, core, offset, &value) == 0);
    return value;
  }
  void set(unsigned core, std::uint32_t offset, std::uint32_t value) const {
    must(npusim_mmio_write(sim, core, offset, value) == 0);
    if (manual && offset == PC_OPERATION_ENABLE) must(npusim_run(sim, core) >= 0);
  }
  void each_window(unsigned core, std::uint32_t offset, std::uint32_t value) const {
    if (core == 0) set(core, 0x9000 + offset, value);
    set(core, 0xA000 + offset, value);
  }

  void attach(unsigned core, bool on) const {
    each_window(core, 0x08, 2);
    if (on) {
      each_window(core, 0x08, 6);
      each_window(core, 0x00, npu::sim::fold_address(kRamBase));
      each_window(core, 0x1C, 3);
      each_window(core, 0x08, 0);
    } else {
      each_window(core, 0x08, 1);
    }
    each_window(core, 0x08, 3);
  }
  void start(unsigned core, std::uint32_t program) const {
    set(core, PC_BASE_ADDRESS, 1);
    set(core, CNA_S_POINTER, 0xE + 0x10000000 * core);
    set(core, CORE_S_POINTER, 0xE + 0x10000000 * core);
    set(core, PC_BASE_ADDRESS, program);
    set(core, PC_REGISTER_AMOUNTS, sizeof matmul_words / 16);
    set(core, PC_INTERRUPT_MASK, 0x300);
    set(core, PC_INTERRUPT_CLEAR, 0x1FFFF);
    set(core, PC_TASK_CON, 0x7001);
    set(core, PC_OPERATION_ENABLE, 1);
    // A start ends: with an interrupt status, or with a reason why there is none.
    npusim_fault fault{};
    fault.size = sizeof fault;
    const int faulted = npusim_last_fault(sim, core, &fault);
    must(faulted == 0 ||
         (faulted == 1 && fault.kind != NPUSIM_FAULT_NONE && fault.message[0] != 0));
    must(faulted == 1 || (get(core, PC_INTERRUPT_RAW_STATUS) & 0x1FFFF) != 0);
    npusim_start_info info{};
    info.size = sizeof info;
    must(npusim_last_start(sim, core, &info) == 0);
  }
  void deed(unsigned what, unsigned core, std::uint32_t wide, std::uint32_t value) {
    switch (what) {
      case 0: set(core, wide & 0xFFFC, value); break;
      case 1: get(core, wide & 0xFFFC); break;
      case 2:
        if (unsigned char* word = guest.at(kRamBase + wide % (kPages * kPage / 4) * 4, 4))
          std::memcpy(word, &value, 4);
        break;
      case 3: start(core, value); break;
      case 4: start(core, PROGRAM + (wide & 1) * kPage); break;
      case 5: attach(core, (wide & 1) != 0); break;
      case 6:
        must((wide & 1) != 0 ? npusim_reset(sim) == 0 : npusim_reset_core(sim, core) == 0);
        break;
      case 7:  // the page fault handler
        each_window(core, 0x08, 4);
        each_window(core, 0x08, 5);
        each_window(core, 0x18, 3);
        break;
      default: break;
    }
    const int level = npusim_irq(sim, core);
    const bool pending = get(core, PC_INTERRUPT_STATUS) != 0 || get(core, 0xA020) != 0 ||
                         (core == 0 && get(core, 0x9020) != 0);
    must(level == (pending ? 1 : 0));
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Board boards[] = {Board(false), Board(true)};
  if (size == 0) return 0;
  Board& board = boards[data[0] & 1];
  board.guest.ram = board.guest.fresh;
  must(npusim_reset(board.sim) == 0);
  for (std::size_t at = 1; at + 8 <= size && at < 8 * 256; at += 8) {
    std::uint16_t wide;
    std::uint32_t value;
    std::memcpy(&wide, data + at + 2, 2);
    std::memcpy(&value, data + at + 4, 4);
    board.deed(data[at] & 7, data[at + 1] & 1, wide, value);
  }
  return 0;
}
