/* SPDX-License-Identifier: MIT */
/* Physical memory by callbacks, page tables as the kernel driver writes them. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "matmul.h"

/* IOMMU registers and commands [rockchip-iommu.c]. */
enum {
  DTE_ADDR = 0,
  STATUS = 4,
  COMMAND = 8,
  FAULT_ADDR = 0xC,
  INT_CLEAR = 0x18,
  INT_MASK = 0x1C,
  INT_STATUS = 0x20
};
enum {
  ENABLE_PAGING,
  DISABLE_PAGING,
  ENABLE_STALL,
  DISABLE_STALL,
  ZAP_CACHE,
  FAULT_DONE,
  FORCE_RESET
};
enum { READABLE = 2, WRITABLE = 4 };

/* RAM of the machine: 64 pages, above 4 GiB. Page 0 is the directory. */
enum { RAM_PAGES = 64 };
#define RAM_BASE UINT64_C(0x1240000000)

struct machine {
  npusim* sim;
  unsigned char ram[RAM_PAGES * PAGE];
  unsigned used; /* pages */
  struct matmul matmul;
};

static int access_ram(struct machine* machine, uint64_t address, void* data, size_t bytes,
                      int out) {
  unsigned char* at;
  if (address < RAM_BASE || address - RAM_BASE > sizeof machine->ram - bytes) return -1;
  at = machine->ram + (address - RAM_BASE);
  if (out)
    memcpy(at, data, bytes);
  else
    memcpy(data, at, bytes);
  return 0;
}

static int dma_read(void* opaque, uint64_t address, void* data, size_t bytes) {
  return access_ram(opaque, address, data, bytes, 0);
}

static int dma_write(void* opaque, uint64_t address, const void* data, size_t bytes) {
  return access_ram(opaque, address, (void*)data, bytes, 1);
}

static uint32_t fold(uint64_t address) {
  return (uint32_t)((address & 0xFFFFF000u) | (address >> 32 & 0xF) << 8 |
                    (address >> 36 & 0xF) << 4);
}

static uint64_t new_page(struct machine* machine) {
  if (machine->used == RAM_PAGES) abort();
  return RAM_BASE + (uint64_t)PAGE * machine->used++;
}

static uint32_t* word_at(struct machine* machine, uint64_t address) {
  return (uint32_t*)(void*)(machine->ram + (address - RAM_BASE));
}

static uint32_t* table_entry(struct machine* machine, uint32_t iova) {
  uint32_t* slot = word_at(machine, RAM_BASE) + (iova >> 22);
  uint64_t table;
  if (*slot == 0) *slot = fold(new_page(machine)) | 1;
  table = (*slot & 0xFFFFF000u) | (uint64_t)(*slot >> 8 & 0xF) << 32 |
          (uint64_t)(*slot >> 4 & 0xF) << 36;
  return word_at(machine, table) + (iova >> 12 & 0x3FF);
}

/* Maps a buffer page by page; every second page of RAM stays unused in between. */
static void map(struct machine* machine, uint32_t iova, const void* data, size_t bytes) {
  for (size_t at = 0; at < bytes; at += PAGE) {
    const uint64_t page = new_page(machine);
    const size_t piece = bytes - at < PAGE ? bytes - at : PAGE;
    new_page(machine);
    *table_entry(machine, iova + (uint32_t)at) = fold(page) | READABLE | WRITABLE | 1;
    memset(word_at(machine, page), 0x5A, PAGE);
    if (data != NULL) memcpy(word_at(machine, page), (const char*)data + at, piece);
  }
}

static int right(struct machine* machine) {
  int good = 1;
  for (size_t at = 0; at < C_BYTES; at += PAGE) {
    const uint32_t entry = *table_entry(machine, C + (uint32_t)at);
    const uint64_t page = (entry & 0xFFFFF000u) | (uint64_t)(entry >> 8 & 0xF) << 32 |
                          (uint64_t)(entry >> 4 & 0xF) << 36;
    const size_t piece = C_BYTES - at < PAGE ? C_BYTES - at : PAGE;
    good = good && memcmp(word_at(machine, page), (char*)machine->matmul.c + at, piece) == 0;
  }
  return good;
}

/* Writes one register of all IOMMU windows of a core. */
static void each(struct machine* machine, unsigned core, uint32_t offset, uint32_t value) {
  if (core == 0) set(machine->sim, core, 0x9000 + offset, value);
  set(machine->sim, core, 0xA000 + offset, value);
}

static uint32_t mmu(struct machine* machine, unsigned core, uint32_t offset) {
  return get(machine->sim, core, 0xA000 + offset);
}

/* The driver's rk_iommu_enable(). */
static void attach(struct machine* machine, unsigned core) {
  if ((mmu(machine, core, STATUS) & 5) == 1) each(machine, core, COMMAND, ENABLE_STALL);
  each(machine, core, DTE_ADDR, 0xCAFEB000);
  CHECK_EQ(mmu(machine, core, DTE_ADDR), 0xCAFEB000);
  if (core == 0) CHECK_EQ(get(machine->sim, 0, 0x9000 + DTE_ADDR), 0xCAFEB000);
  each(machine, core, COMMAND, FORCE_RESET);
  CHECK_EQ(mmu(machine, core, DTE_ADDR), 0);
  each(machine, core, DTE_ADDR, fold(RAM_BASE) | 1);
  each(machine, core, COMMAND, ZAP_CACHE);
  each(machine, core, INT_MASK, 3);
  each(machine, core, COMMAND, ENABLE_PAGING);
  CHECK_EQ(mmu(machine, core, STATUS) & 5, 1);
}

static void detach(struct machine* machine, unsigned core) {
  each(machine, core, COMMAND, ENABLE_STALL);
  CHECK_EQ(mmu(machine, core, STATUS) & 4, 4);
  each(machine, core, COMMAND, DISABLE_PAGING);
  each(machine, core, INT_MASK, 0);
  each(machine, core, DTE_ADDR, 0);
  each(machine, core, COMMAND, DISABLE_STALL);
  CHECK_EQ(mmu(machine, core, STATUS) & 5, 0);
}

static struct machine* open_machine(uint32_t mode, const char* inject) {
  struct machine* machine = calloc(1, sizeof *machine);
  npusim_options options = {.size = sizeof options,
                            .mode = mode,
                            .opaque = machine,
                            .dma_read = dma_read,
                            .dma_write = dma_write,
                            .inject = inject};
  CHECK_EQ(npusim_create(&options, &machine->sim), 0);
  if (machine->sim == NULL) exit(1);
  new_page(machine);
  matmul_make(&machine->matmul, 2);
  map(machine, PROGRAM, matmul_words, sizeof matmul_words);
  map(machine, A, machine->matmul.a, A_BYTES);
  map(machine, B, machine->matmul.b, B_BYTES);
  map(machine, C, NULL, C_BYTES);
  CHECK_EQ(npusim_map(machine->sim, 0, machine->ram, PAGE), NPUSIM_ERR_STATE);
  CHECK_EQ(npusim_unmap(machine->sim, 0), NPUSIM_ERR_STATE);
  return machine;
}

static void close_machine(struct machine* machine) {
  npusim_destroy(machine->sim);
  free(machine);
}

static void start(struct machine* machine, unsigned core) {
  start_program(machine->sim, core, PROGRAM, sizeof matmul_words / 8);
}

static void finish(struct machine* machine, unsigned core) {
  set(machine->sim, core, PC_INTERRUPT_MASK, 0);
  set(machine->sim, core, PC_OPERATION_ENABLE, 0);
  set(machine->sim, core, PC_INTERRUPT_CLEAR, 0x1FFFF);
  detach(machine, core);
}

static void wipe_output(struct machine* machine) {
  for (size_t at = 0; at < C_BYTES; at += PAGE) {
    const uint32_t entry = *table_entry(machine, C + (uint32_t)at);
    memset(word_at(machine, ((entry & 0xFFFFF000u) | (uint64_t)(entry >> 8 & 0xF) << 32 |
                             (uint64_t)(entry >> 4 & 0xF) << 36)),
           0x5A, PAGE);
  }
}

static void jobs_run(uint32_t mode) {
  struct machine* machine = open_machine(mode, NULL);
  for (unsigned core = 0; core < 3; ++core) {
    wipe_output(machine);
    attach(machine, core);
    start(machine, core);
    CHECK(wait_level(machine->sim, core, 1));
    CHECK_EQ(mmu(machine, core, INT_STATUS), 0);
    CHECK(right(machine));
    finish(machine, core);
    CHECK_EQ(npusim_irq(machine->sim, core), 0);
  }
  close_machine(machine);
}

/* The page of A is not there: what the handler and the timeout of the driver do. */
static void page_fault_synchronous(void) {
  struct machine* machine = open_machine(NPUSIM_SYNCHRONOUS, NULL);
  const uint32_t entry = *table_entry(machine, A);
  npusim_fault fault = {.size = sizeof fault};

  *table_entry(machine, A) = 0;
  attach(machine, 1);
  start(machine, 1);
  CHECK_EQ(npusim_irq(machine->sim, 1), 1);
  CHECK_EQ(get(machine->sim, 1, PC_INTERRUPT_RAW_STATUS) & 0x1FFFF, 0);
  CHECK_EQ(mmu(machine, 1, INT_STATUS), 1);
  CHECK_EQ(mmu(machine, 1, FAULT_ADDR), A);
  CHECK_EQ(mmu(machine, 1, STATUS) & 0x22, 0x02);
  CHECK_EQ(npusim_last_fault(machine->sim, 1, &fault), 1);
  CHECK_EQ(fault.kind, NPUSIM_FAULT_DMA_READ);
  CHECK_EQ(fault.iova, A);
  CHECK(strstr(fault.message, "page fault") != NULL);
  each(machine, 1, COMMAND, ZAP_CACHE);
  each(machine, 1, COMMAND, FAULT_DONE);
  each(machine, 1, INT_CLEAR, 1);
  CHECK_EQ(npusim_irq(machine->sim, 1), 0);
  CHECK(!right(machine));
  detach(machine, 1);
  CHECK_EQ(npusim_reset_core(machine->sim, 1), 0);

  *table_entry(machine, A) = entry;
  attach(machine, 1);
  start(machine, 1);
  CHECK_EQ(npusim_irq(machine->sim, 1), 1);
  CHECK(right(machine));
  close_machine(machine);
}

/* The output may not be written; the fault comes again and again until the reset. */
static void page_fault_storm(void) {
  struct machine* machine = open_machine(NPUSIM_ASYNCHRONOUS, NULL);
  npusim_fault fault = {.size = sizeof fault};

  *table_entry(machine, C) &= ~(uint32_t)WRITABLE;
  attach(machine, 0);
  start(machine, 0);
  for (int i = 0; i < 3; ++i) {
    CHECK(wait_level(machine->sim, 0, 1));
    CHECK_EQ(mmu(machine, 0, INT_STATUS), 1);
    CHECK_EQ(mmu(machine, 0, FAULT_ADDR) & 0xFFFFF000, C & 0xFFFFF000);
    CHECK_EQ(mmu(machine, 0, STATUS) & 0x22, 0x22);
    CHECK_EQ(get(machine->sim, 0, PC_INTERRUPT_RAW_STATUS) & 0x1FFFF, 0);
    CHECK_EQ(get(machine->sim, 0, PC_BASE_ADDRESS), PROGRAM);
    each(machine, 0, COMMAND, ZAP_CACHE);
    each(machine, 0, INT_CLEAR, 1);
    each(machine, 0, COMMAND, FAULT_DONE);
  }
  CHECK_EQ(npusim_wait(machine->sim, 0, 10), NPUSIM_ERR_TIMEOUT);
  CHECK_EQ(npusim_last_fault(machine->sim, 0, &fault), 1);
  CHECK_EQ(fault.kind, NPUSIM_FAULT_DMA_WRITE);
  /* The timeout of the driver: detach, reset, and the next job on the same core at once. */
  CHECK(wait_level(machine->sim, 0, 1));
  detach(machine, 0);
  CHECK_EQ(npusim_reset_core(machine->sim, 0), 0);
  CHECK_EQ(get(machine->sim, 0, PC_BASE_ADDRESS), 0);
  CHECK_EQ(get(machine->sim, 0, PC_INTERRUPT_MASK), 0x1FFFF);
  CHECK(!right(machine));
  *table_entry(machine, C) |= WRITABLE;
  attach(machine, 0);
  start(machine, 0);
  CHECK(wait_level(machine->sim, 0, 1));
  CHECK_EQ(get(machine->sim, 0, PC_INTERRUPT_STATUS), 0x100);
  CHECK(right(machine));
  close_machine(machine);
}

/* A handler that mends the table: the access goes through when it is tried again. */
static void page_fault_mended(void) {
  struct machine* machine = open_machine(NPUSIM_ASYNCHRONOUS, NULL);
  const uint32_t entry = *table_entry(machine, B);
  npusim_fault fault = {.size = sizeof fault};

  *table_entry(machine, B) = 0;
  attach(machine, 2);
  start(machine, 2);
  CHECK(wait_level(machine->sim, 2, 1));
  CHECK_EQ(mmu(machine, 2, FAULT_ADDR), B);
  *table_entry(machine, B) = entry;
  each(machine, 2, COMMAND, ZAP_CACHE);
  each(machine, 2, INT_CLEAR, 1);
  each(machine, 2, COMMAND, FAULT_DONE);
  CHECK_EQ(npusim_wait(machine->sim, 2, 20000), 0);
  CHECK_EQ(npusim_irq(machine->sim, 2), 1);
  CHECK_EQ(get(machine->sim, 2, PC_INTERRUPT_STATUS), 0x100);
  CHECK_EQ(npusim_last_fault(machine->sim, 2, &fault), 0);
  CHECK(right(machine));
  close_machine(machine);
}

/* Simulators are destroyed while a core waits in a fault. */
static void destroyed_in_a_fault(void) {
  struct machine* machine = open_machine(NPUSIM_ASYNCHRONOUS, NULL);
  *table_entry(machine, A) = 0;
  attach(machine, 0);
  start(machine, 0);
  CHECK(wait_level(machine->sim, 0, 1));
  close_machine(machine);
}

static void injected_fault(void) {
  struct machine* machine = open_machine(NPUSIM_SYNCHRONOUS, "iommu-fault@1");
  attach(machine, 0);
  start(machine, 0);
  CHECK_EQ(npusim_irq(machine->sim, 0), 1);
  CHECK_EQ(mmu(machine, 0, INT_STATUS), 1);
  CHECK_EQ(mmu(machine, 0, FAULT_ADDR), PROGRAM);
  CHECK_EQ(npusim_reset(machine->sim), 0);
  CHECK_EQ(npusim_irq(machine->sim, 0), 0);
  CHECK_EQ(mmu(machine, 0, STATUS) & 3, 0);
  attach(machine, 0);
  start(machine, 0);
  CHECK(right(machine));
  close_machine(machine);
}

/* A page word that points to no RAM: the NPU sees an error on the bus, the IOMMU none. */
static void memory_that_is_not_there(void) {
  struct machine* machine = open_machine(NPUSIM_SYNCHRONOUS, NULL);
  *table_entry(machine, A) = fold(UINT64_C(0x8000000000)) | READABLE | WRITABLE | 1;
  attach(machine, 0);
  start(machine, 0);
  CHECK_EQ(mmu(machine, 0, INT_STATUS), 0);
  CHECK_EQ(get(machine->sim, 0, PC_INTERRUPT_RAW_STATUS) & 0x1FFFF, 0x1000);
  close_machine(machine);
}

void test_iommu(void) {
  jobs_run(NPUSIM_SYNCHRONOUS);
  jobs_run(NPUSIM_ASYNCHRONOUS);
  page_fault_synchronous();
  page_fault_storm();
  page_fault_mended();
  destroyed_in_a_fault();
  injected_fault();
  memory_that_is_not_there();
}
