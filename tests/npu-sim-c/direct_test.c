/* SPDX-License-Identifier: MIT */
/* Host memory mapped at IOVAs, in the three modes. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "matmul.h"

struct seen {
  unsigned kinds[16];
  unsigned by_program;
  uint64_t macs, read, written;
  int levels[64], level_count;
  char operation[128], fault[256];
};

static void on_trace(void* opaque, const npusim_trace_event* event) {
  struct seen* seen = opaque;
  if (event->size < sizeof *event || event->kind >= 16) return;
  ++seen->kinds[event->kind];
  if (event->kind == NPUSIM_TRACE_REGISTER) seen->by_program += event->by_program;
  if (event->kind == NPUSIM_TRACE_MAC) seen->macs += event->count;
  if (event->kind == NPUSIM_TRACE_DMA_READ) seen->read += event->count;
  if (event->kind == NPUSIM_TRACE_DMA_WRITE) seen->written += event->count;
  if (event->kind == NPUSIM_TRACE_TASK)
    snprintf(seen->operation, sizeof seen->operation, "%s", event->text);
  if (event->kind == NPUSIM_TRACE_FAULT)
    snprintf(seen->fault, sizeof seen->fault, "%s", event->text);
}

static void on_irq(void* opaque, unsigned core, int level) {
  struct seen* seen = opaque;
  (void)core;
  if (seen->level_count < 64) seen->levels[seen->level_count++] = level;
}

struct bench {
  npusim* sim;
  struct matmul matmul;
  char *program, *hanging, *a, *b, *c;
};

enum { HANGING = PROGRAM + PAGE };

static size_t pages(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

static char* map(npusim* sim, uint32_t iova, const void* data, size_t bytes) {
  char* memory = aligned_alloc(PAGE, pages(bytes));
  memset(memory, 0x5A, pages(bytes));
  if (data != NULL) memcpy(memory, data, bytes);
  CHECK_EQ(npusim_map(sim, iova, memory, pages(bytes)), 0);
  return memory;
}

static void open_bench(struct bench* bench, const npusim_options* options) {
  CHECK_EQ(npusim_create(options, &bench->sim), 0);
  if (bench->sim == NULL) exit(1);
  matmul_make(&bench->matmul, 1);
  bench->program = map(bench->sim, PROGRAM, matmul_words, sizeof matmul_words);
  bench->hanging = map(bench->sim, HANGING, hanging_words, sizeof hanging_words);
  bench->a = map(bench->sim, A, bench->matmul.a, A_BYTES);
  bench->b = map(bench->sim, B, bench->matmul.b, B_BYTES);
  bench->c = map(bench->sim, C, NULL, C_BYTES);
}

static void close_bench(struct bench* bench) {
  npusim_destroy(bench->sim);
  free(bench->program), free(bench->hanging), free(bench->a), free(bench->b), free(bench->c);
}

static void start(struct bench* bench, unsigned core, uint32_t program) {
  memset(bench->c, 0x5A, C_BYTES);
  start_program(bench->sim, core, program, sizeof matmul_words / 8);
}

static int right(const struct bench* bench) {
  return memcmp(bench->c, bench->matmul.c, C_BYTES) == 0;
}

static void synchronous(void) {
  struct bench bench;
  npusim_options options = {.size = sizeof options, .threads = 1};
  npusim_fault fault = {.size = sizeof fault};

  open_bench(&bench, &options);
  for (unsigned core = 0; core < 3; ++core) {
    start(&bench, core, PROGRAM);
    CHECK_EQ(npusim_irq(bench.sim, core), 1);
    CHECK_EQ(get(bench.sim, core, PC_INTERRUPT_STATUS), 0x100);
    CHECK(right(&bench));
    set(bench.sim, core, PC_INTERRUPT_MASK, 0);
    CHECK_EQ(npusim_irq(bench.sim, core), 0);
    set(bench.sim, core, PC_INTERRUPT_CLEAR, 0x1FFFF);
    CHECK_EQ(get(bench.sim, core, PC_INTERRUPT_RAW_STATUS) & 0x1FFFF, 0);
    CHECK_EQ(npusim_last_fault(bench.sim, core, &fault), 0);
  }

  /* A hang: no interrupt, not even for good programs, until the reset. */
  start(&bench, 1, HANGING);
  CHECK_EQ(npusim_irq(bench.sim, 1), 0);
  CHECK_EQ(npusim_last_fault(bench.sim, 1, &fault), 1);
  CHECK_EQ(fault.kind, NPUSIM_FAULT_HANG);
  CHECK(strstr(fault.where, "RDMA") != NULL);
  start(&bench, 1, PROGRAM);
  CHECK_EQ(npusim_irq(bench.sim, 1), 0);
  CHECK(!right(&bench));
  CHECK_EQ(npusim_reset_core(bench.sim, 1), 0);
  CHECK_EQ(npusim_last_fault(bench.sim, 1, &fault), 0);
  start(&bench, 1, PROGRAM);
  CHECK_EQ(npusim_irq(bench.sim, 1), 1);
  CHECK(right(&bench));

  /* Memory that is not there. */
  CHECK_EQ(npusim_unmap(bench.sim, A), 0);
  start(&bench, 0, PROGRAM);
  CHECK_EQ(npusim_irq(bench.sim, 0), 0);
  CHECK_EQ(get(bench.sim, 0, PC_INTERRUPT_RAW_STATUS) & 0x1FFFF, 0x1000);
  CHECK_EQ(npusim_last_fault(bench.sim, 0, &fault), 1);
  CHECK_EQ(fault.kind, NPUSIM_FAULT_DMA_READ);
  CHECK_EQ(fault.iova, A);
  CHECK(strcmp(fault.where, "CNA.FEATURE_DATA_ADDR") == 0);
  CHECK_EQ(npusim_map(bench.sim, A, bench.a, pages(A_BYTES)), 0);
  CHECK_EQ(npusim_map(bench.sim, A, bench.a, pages(A_BYTES)), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_map(bench.sim, 0x1001, bench.a, PAGE), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_map(bench.sim, 0x1000, bench.a, 100), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_map(bench.sim, 0x1000, bench.a, 0), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_map(bench.sim, 0xFFFFF000, bench.a, 2 * PAGE), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_map(bench.sim, 0x1000, NULL, PAGE), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_reset(bench.sim), 0);
  start(&bench, 0, PROGRAM);
  CHECK(right(&bench));
  /* There is no IOMMU then. */
  CHECK_EQ(get(bench.sim, 1, 0xA004), 0);
  close_bench(&bench);
}

static void manual(void) {
  struct bench bench;
  npusim_options options = {.size = sizeof options, .mode = NPUSIM_MANUAL, .threads = 1};

  open_bench(&bench, &options);
  CHECK_EQ(npusim_run(bench.sim, 0), 0);
  start(&bench, 0, PROGRAM);
  CHECK_EQ(npusim_irq(bench.sim, 0), 0);
  CHECK_EQ(npusim_wait(bench.sim, 0, 1), NPUSIM_ERR_TIMEOUT);
  CHECK_EQ(get(bench.sim, 0, PC_BASE_ADDRESS), PROGRAM);
  CHECK(!right(&bench));
  CHECK_EQ(npusim_run(bench.sim, 0), 1);
  CHECK_EQ(npusim_irq(bench.sim, 0), 1);
  CHECK(right(&bench));
  CHECK_EQ(npusim_run(bench.sim, 0), 0);
  start(&bench, 0, PROGRAM);
  CHECK_EQ(npusim_reset_core(bench.sim, 0), 0);
  CHECK_EQ(npusim_run(bench.sim, 0), 0);
  CHECK(!right(&bench));
  close_bench(&bench);
}

static void asynchronous(void) {
  struct bench bench;
  struct seen seen = {.level_count = 0};
  npusim_options options = {
      .size = sizeof options, .mode = NPUSIM_ASYNCHRONOUS, .opaque = &seen, .irq = on_irq};
  npusim_fault fault = {.size = sizeof fault};

  open_bench(&bench, &options);
  for (int round = 0; round < 20; ++round) {
    start(&bench, 2, PROGRAM);
    CHECK(wait_level(bench.sim, 2, 1));
    /* What the driver's handler and its thread do. */
    set(bench.sim, 2, PC_INTERRUPT_MASK, 0);
    set(bench.sim, 2, PC_OPERATION_ENABLE, 0);
    set(bench.sim, 2, PC_INTERRUPT_CLEAR, 0x1FFFF);
    CHECK(right(&bench));
  }
  start(&bench, 2, HANGING);
  CHECK_EQ(npusim_wait(bench.sim, 2, 20000), 0);
  CHECK_EQ(npusim_last_fault(bench.sim, 2, &fault), 1);
  CHECK_EQ(fault.kind, NPUSIM_FAULT_HANG);
  CHECK_EQ(npusim_reset_core(bench.sim, 2), 0);
  start(&bench, 2, PROGRAM);
  CHECK(wait_level(bench.sim, 2, 1));
  CHECK(right(&bench));
  CHECK_EQ(npusim_wait(bench.sim, 2, 20000), 0);
  close_bench(&bench);
  CHECK_EQ(seen.level_count, 41);
  for (int i = 0; i < seen.level_count; ++i) CHECK_EQ(seen.levels[i], i % 2 == 0);
}

/* Faults are added while the cores are in use. */
static void broken_later(void) {
  struct bench bench;
  npusim_options options = {.size = sizeof options, .mode = NPUSIM_ASYNCHRONOUS};
  npusim_fault fault = {.size = sizeof fault};

  open_bench(&bench, &options);
  start(&bench, 1, PROGRAM);
  CHECK(wait_level(bench.sim, 1, 1));
  set(bench.sim, 1, PC_INTERRUPT_CLEAR, 0x1FFFF);
  CHECK_EQ(npusim_wait(bench.sim, 1, 20000), 0);
  CHECK_EQ(npusim_inject(bench.sim, "hang@2/core=1,drop-interrupt@1"), 0);
  CHECK_EQ(npusim_inject(bench.sim, "explode@1"), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_inject(bench.sim, NULL), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_inject(NULL, "hang@1"), NPUSIM_ERR_ARGUMENT);

  start(&bench, 1, PROGRAM);
  CHECK_EQ(npusim_wait(bench.sim, 1, 20000), 0);
  CHECK_EQ(npusim_irq(bench.sim, 1), 0);
  CHECK(right(&bench));
  CHECK_EQ(npusim_last_fault(bench.sim, 1, &fault), 0);

  start(&bench, 1, PROGRAM);
  CHECK_EQ(npusim_wait(bench.sim, 1, 20000), 0);
  CHECK_EQ(npusim_irq(bench.sim, 1), 0);
  CHECK(!right(&bench));
  CHECK_EQ(npusim_last_fault(bench.sim, 1, &fault), 1);
  CHECK_EQ(fault.kind, NPUSIM_FAULT_HANG);
  CHECK_EQ(npusim_reset_core(bench.sim, 1), 0);
  start(&bench, 1, PROGRAM);
  CHECK(wait_level(bench.sim, 1, 1));
  CHECK(right(&bench));
  close_bench(&bench);
}

static void traced(void) {
  struct bench bench;
  struct seen seen = {.level_count = 0};
  npusim_options options = {.size = sizeof options,
                            .threads = 1,
                            .opaque = &seen,
                            .trace = on_trace,
                            .npu_hz = 600000000,
                            .inject = "drop-interrupt@2,corrupt@1/core=1"};
  npusim_start_info info = {.size = sizeof info};
  const size_t words = sizeof matmul_words / 8;

  open_bench(&bench, &options);
  start(&bench, 0, PROGRAM);
  CHECK(right(&bench));
  CHECK_EQ(seen.kinds[NPUSIM_TRACE_START], 1);
  CHECK_EQ(seen.kinds[NPUSIM_TRACE_TASK], 1);
  CHECK_EQ(seen.kinds[NPUSIM_TRACE_MAC], 1);
  CHECK_EQ(seen.kinds[NPUSIM_TRACE_END], 1);
  CHECK_EQ(seen.kinds[NPUSIM_TRACE_INTERRUPT], 1);
  CHECK_EQ(seen.macs, M * N * K);
  CHECK_EQ(seen.read, A_BYTES + B_BYTES);
  CHECK_EQ(seen.written, C_BYTES);
  CHECK_EQ(seen.kinds[NPUSIM_TRACE_REGISTER] - seen.by_program, 10);
  CHECK(seen.by_program > 30 && seen.by_program < words);
  CHECK(strstr(seen.operation, "int8") != NULL);
  CHECK_EQ(npusim_last_start(bench.sim, 0, &info), 0);
  CHECK_EQ(info.tasks, 1);
  CHECK_EQ(info.macs, M * N * K);
  CHECK_EQ(info.bytes, A_BYTES + B_BYTES + C_BYTES + words * 8);
  /* Not less than the array's peak allows, and not absurdly more. */
  CHECK(info.modelled_ns > M * N * K / 1024 * 10 / 6 / 10);
  CHECK(info.modelled_ns < 1000000);

  /* The second start of each core loses its interrupt, not its output. */
  set(bench.sim, 0, PC_INTERRUPT_CLEAR, 0x1FFFF);
  start(&bench, 0, PROGRAM);
  CHECK_EQ(npusim_irq(bench.sim, 0), 0);
  CHECK(right(&bench));
  start(&bench, 0, PROGRAM);
  CHECK_EQ(npusim_irq(bench.sim, 0), 1);

  start(&bench, 0, HANGING);
  CHECK_EQ(seen.kinds[NPUSIM_TRACE_FAULT], 1);
  CHECK(strlen(seen.fault) > 10);
  close_bench(&bench);
}

/* One start, twice the same task: its fetch and its loads hide behind the one before. */
static void chained(void) {
  struct bench bench;
  npusim_options options = {.size = sizeof options, .threads = 1, .npu_hz = 600000000};
  npusim_start_info one = {.size = sizeof one}, two = {.size = sizeof two};
  enum { WORDS = sizeof matmul_words / 8 };
  uint64_t words[WORDS];

  open_bench(&bench, &options);
  start(&bench, 0, PROGRAM);
  CHECK_EQ(npusim_last_start(bench.sim, 0, &one), 0);

  memcpy(words, matmul_words, sizeof words);
  words[WORDS - 4] = 0x0101ULL << 48 | (uint64_t)PROGRAM << 16 | PC_BASE_ADDRESS;
  words[WORDS - 3] = 0x0101ULL << 48 | (uint64_t)(WORDS / 2 - 1) << 16 | PC_REGISTER_AMOUNTS;
  memcpy(bench.program, words, sizeof words);
  set(bench.sim, 0, PC_INTERRUPT_CLEAR, 0x1FFFF);
  memset(bench.c, 0x5A, C_BYTES);
  start_chain(bench.sim, 0, PROGRAM, WORDS, 2);
  CHECK(right(&bench));
  CHECK_EQ(npusim_last_start(bench.sim, 0, &two), 0);
  CHECK_EQ(two.tasks, 2);
  CHECK_EQ(two.macs, 2 * one.macs);
  CHECK(two.modelled_ns > one.modelled_ns);
  CHECK(two.modelled_ns < 2 * one.modelled_ns);
  close_bench(&bench);
}

void test_direct(void) {
  chained();
  synchronous();
  manual();
  asynchronous();
  broken_later();
  traced();
}
