/* SPDX-License-Identifier: MIT */
/* What a program that was compiled against an earlier libnpusim.so.0 relies on. */
#include <string.h>

#include "check.h"

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " has another size")
#define FIELD(type, field, at) \
  _Static_assert(offsetof(type, field) == (at), #type "." #field " lies elsewhere")

SIZE(npusim_fault, 336);
FIELD(npusim_fault, size, 0);
FIELD(npusim_fault, kind, 4);
FIELD(npusim_fault, iova, 8);
FIELD(npusim_fault, where, 16);
FIELD(npusim_fault, message, 80);

SIZE(npusim_start_info, 32);
FIELD(npusim_start_info, tasks, 4);
FIELD(npusim_start_info, modelled_ns, 8);
FIELD(npusim_start_info, macs, 16);
FIELD(npusim_start_info, bytes, 24);

SIZE(npusim_trace_event, 48);
FIELD(npusim_trace_event, kind, 4);
FIELD(npusim_trace_event, core, 8);
FIELD(npusim_trace_event, by_program, 12);
FIELD(npusim_trace_event, offset, 16);
FIELD(npusim_trace_event, value, 20);
FIELD(npusim_trace_event, iova, 24);
FIELD(npusim_trace_event, count, 32);
FIELD(npusim_trace_event, text, 40);

SIZE(npusim_options, 80);
FIELD(npusim_options, cores, 4);
FIELD(npusim_options, mode, 8);
FIELD(npusim_options, threads, 12);
FIELD(npusim_options, opaque, 16);
FIELD(npusim_options, dma_read, 24);
FIELD(npusim_options, dma_write, 32);
FIELD(npusim_options, irq, 40);
FIELD(npusim_options, trace, 48);
FIELD(npusim_options, inject, 56);
FIELD(npusim_options, mac_budget, 64);
FIELD(npusim_options, npu_hz, 72);

_Static_assert(NPUSIM_ERR_ARGUMENT == -1 && NPUSIM_ERR_MEMORY == -2 && NPUSIM_ERR_STATE == -3 &&
                   NPUSIM_ERR_TIMEOUT == -4 && NPUSIM_ERR_INTERNAL == -5,
               "error codes");
_Static_assert(NPUSIM_SYNCHRONOUS == 0 && NPUSIM_MANUAL == 1 && NPUSIM_ASYNCHRONOUS == 2, "modes");
_Static_assert(NPUSIM_FAULT_NONE == 0 && NPUSIM_FAULT_BAD_PROGRAM == 5, "fault kinds");
_Static_assert(NPUSIM_TRACE_REGISTER == 1 && NPUSIM_TRACE_INTERRUPT == 10, "trace kinds");

struct newer_options {
  npusim_options known;
  uint64_t unknown;
};

static void refuse(npusim_options options) {
  npusim* sim = (npusim*)1;
  CHECK_EQ(npusim_create(&options, &sim), NPUSIM_ERR_ARGUMENT);
  CHECK(sim == NULL);
  CHECK(strlen(npusim_last_error()) > 10);
}

static int no_read(void* opaque, uint64_t address, void* data, size_t bytes) {
  (void)opaque, (void)address, (void)data, (void)bytes;
  return -1;
}

void test_layout(void) {
  npusim* sim = NULL;
  npusim_options options = {.size = sizeof options};
  struct newer_options newer = {.known = {.size = sizeof newer}};
  npusim_fault fault = {.size = sizeof fault};
  npusim_start_info info = {.size = sizeof info};
  uint32_t value = 0;

  CHECK_EQ(npusim_abi_version(), NPUSIM_ABI_MAJOR << 16 | NPUSIM_ABI_MINOR);
  CHECK(npusim_version()[0] >= '0' && npusim_version()[0] <= '9');

  /* Sizes: a field that the library does not know must be 0. */
  CHECK_EQ(npusim_create(&newer.known, &sim), 0);
  npusim_destroy(sim);
  newer.unknown = 1;
  CHECK_EQ(npusim_create(&newer.known, &sim), NPUSIM_ERR_ARGUMENT);
  refuse((npusim_options){.size = 0});
  refuse((npusim_options){.size = sizeof options - 4});
  refuse((npusim_options){.size = 0xFFFFFFFF});
  refuse((npusim_options){.size = sizeof options, .cores = 4});
  refuse((npusim_options){.size = sizeof options, .mode = 3});
  refuse((npusim_options){.size = sizeof options, .threads = 1000000});
  refuse((npusim_options){.size = sizeof options, .npu_hz = UINT64_MAX});
  refuse((npusim_options){.size = sizeof options, .dma_read = no_read});
  refuse((npusim_options){.size = sizeof options, .inject = "explode@1"});
  CHECK_EQ(npusim_create(&options, NULL), NPUSIM_ERR_ARGUMENT);

  CHECK_EQ(npusim_create(NULL, &sim), 0);
  CHECK_EQ(npusim_mmio_read(sim, 2, 0, &value), 0);
  CHECK_EQ(value, 0x46495245);
  CHECK_EQ(npusim_mmio_read(sim, 3, 0, &value), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_mmio_read(sim, 0, 2, &value), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_mmio_read(sim, 0, NPUSIM_CORE_BYTES, &value), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_mmio_read(sim, 0, 0, NULL), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_mmio_write(NULL, 0, 0, 0), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_mmio_write(sim, 0xFFFFFFFF, 0, 0), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_irq(sim, 7), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_irq(sim, 0), 0);
  CHECK_EQ(npusim_run(sim, 0), NPUSIM_ERR_STATE);
  CHECK_EQ(npusim_wait(sim, 0, 0), 0);
  CHECK_EQ(npusim_reset_core(sim, 3), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_reset(NULL), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_last_fault(sim, 0, &fault), 0);
  CHECK_EQ(fault.kind, NPUSIM_FAULT_NONE);
  CHECK_EQ(fault.message[0], 0);
  fault.size = 8;
  CHECK_EQ(npusim_last_fault(sim, 0, &fault), NPUSIM_ERR_ARGUMENT);
  CHECK_EQ(npusim_last_start(sim, 0, &info), NPUSIM_ERR_STATE);
  npusim_destroy(sim);
  npusim_destroy(NULL);
}
