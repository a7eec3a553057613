/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L
#include <time.h>

#include "check.h"
#include "matmul.h"

int failures;

static uint32_t next(uint32_t* state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 16;
}

void matmul_make(struct matmul* m, uint32_t seed) {
  for (int i = 0; i < A_BYTES; ++i) m->a[i] = (int8_t)(next(&seed) & 0xFF);
  for (int i = 0; i < B_BYTES; ++i) m->b[i] = (int8_t)(next(&seed) & 0xFF);
  for (int row = 0; row < M; ++row)
    for (int n = 0; n < N; ++n) {
      int32_t sum = 0;
      for (int k = 0; k < K; ++k)
        sum += m->a[(k / 16 * M + row) * 16 + k % 16] *
               m->b[(n / 32 * K + k / 32 * 32) * 32 + n % 32 * 32 + k % 32];
      m->c[(n / 4 * M + row) * 4 + n % 4] = sum;
    }
}

uint32_t get(npusim* sim, unsigned core, uint32_t offset) {
  uint32_t value = 0xDEADBEEF;
  CHECK_EQ(npusim_mmio_read(sim, core, offset, &value), 0);
  return value;
}

void set(npusim* sim, unsigned core, uint32_t offset, uint32_t value) {
  CHECK_EQ(npusim_mmio_write(sim, core, offset, value), 0);
}

void start_program(npusim* sim, unsigned core, uint32_t iova, size_t words) {
  start_chain(sim, core, iova, words, 1);
}

void start_chain(npusim* sim, unsigned core, uint32_t iova, size_t words, unsigned tasks) {
  set(sim, core, PC_BASE_ADDRESS, 1);
  set(sim, core, CNA_S_POINTER, 0xE + 0x10000000 * core);
  set(sim, core, CORE_S_POINTER, 0xE + 0x10000000 * core);
  set(sim, core, PC_BASE_ADDRESS, iova);
  set(sim, core, PC_REGISTER_AMOUNTS, (uint32_t)((words + 1) / 2 - 1));
  set(sim, core, PC_INTERRUPT_MASK, 0x300);
  set(sim, core, PC_INTERRUPT_CLEAR, 0x300);
  set(sim, core, PC_TASK_CON, 0x7000 | tasks);
  set(sim, core, PC_TASK_DMA_BASE_ADDR, 0);
  set(sim, core, PC_OPERATION_ENABLE, 1);
}

int wait_level(npusim* sim, unsigned core, int level) {
  const struct timespec ms = {.tv_nsec = 1000000};
  for (int i = 0; i < 5000; ++i) {
    if (npusim_irq(sim, core) == level) return 1;
    nanosleep(&ms, NULL);
  }
  return 0;
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
  test_layout();
  test_direct();
  test_iommu();
  if (failures != 0) printf("%d checks failed\n", failures);
  return failures != 0;
}
