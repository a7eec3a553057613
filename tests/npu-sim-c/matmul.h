/* SPDX-License-Identifier: MIT */
/* The matrix product of program.h: operands, the result by plain loops, and how the driver starts
 * it. */
#ifndef MATMUL_H
#define MATMUL_H

#include "program.h"

enum { A_BYTES = M * K, B_BYTES = N * K, C_BYTES = M * N * 4 };
enum { PAGE = 4096 };

struct matmul {
  int8_t a[A_BYTES], b[B_BYTES]; /* as the chip has them */
  int32_t c[M * N];              /* what must come out, as the chip has it */
};

/* Random operands and their product. */
void matmul_make(struct matmul* m, uint32_t seed);

/* Writes the registers of the PC, of CNA and CORE as rocket_job.c does, the start included. */
void start_program(npusim* sim, unsigned core, uint32_t iova, size_t words);
/* The same for a program that names the next one, and that the next, `tasks` in all. */
void start_chain(npusim* sim, unsigned core, uint32_t iova, size_t words, unsigned tasks);

uint32_t get(npusim* sim, unsigned core, uint32_t offset);
void set(npusim* sim, unsigned core, uint32_t offset, uint32_t value);

/* 1 if the line has the level within some seconds. */
int wait_level(npusim* sim, unsigned core, int level);

#endif
