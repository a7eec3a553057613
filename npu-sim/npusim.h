/* SPDX-License-Identifier: MIT */
/*
 * libnpusim: the NPU of the RK3588 behind its registers, for programs in any language.
 *
 * A simulator has 1 to 3 cores. Each is driven as a kernel driver drives the chip: write the
 * registers of the PC, write 1 to OPERATION_ENABLE, wait for the interrupt line. Memory comes in
 * one of two ways: host memory that is mapped at IOVAs (npusim_map), or callbacks for physical
 * memory; then each core works through a Rockchip IOMMU v2, whose registers and page tables are the
 * caller's to write. docs/libnpusim.md shows both.
 *
 * Functions return 0 or a positive answer, or a negative NPUSIM_ERR_...; npusim_last_error() then
 * says in a sentence what was wrong. No call aborts, and no exception leaves the library.
 *
 * Threads: every function may be called from any thread, and from the callbacks but `trace`, except
 * npusim_destroy(), which must be the last call and must not come from a callback.
 *
 * Structures carry their size, so that later versions can add fields at the end: a caller sets
 * `size` to sizeof the structure that it knows. Reserved fields are 0.
 */
#ifndef NPUSIM_H
#define NPUSIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

/* Major version: the SONAME. Minor: grows when something is added. */
#define NPUSIM_ABI_MAJOR 0
#define NPUSIM_ABI_MINOR 2

/* Where the chip has its cores: 64 KiB each, IOMMU windows included (0x9000 and 0xA000 of core 0,
 * 0xA000 of cores 1 and 2). Interrupt lines are GIC SPIs, level high. */
#define NPUSIM_CORE_ADDRESS(core) (0xFDAB0000u + 0x10000u * (core))
#define NPUSIM_CORE_BYTES 0x10000u
#define NPUSIM_CORE_SPI(core) (110u + (core))

enum npusim_error {
  NPUSIM_OK = 0,
  NPUSIM_ERR_ARGUMENT = -1, /* a value outside its range, a null pointer, an unknown size */
  NPUSIM_ERR_MEMORY = -2,   /* memory or addresses of the host are used up */
  NPUSIM_ERR_STATE = -3,    /* the call does not fit how the simulator was created */
  NPUSIM_ERR_TIMEOUT = -4,
  NPUSIM_ERR_INTERNAL = -5 /* a bug of the library */
};

enum npusim_mode {
  /* Writing OPERATION_ENABLE runs the program: the write returns when it has ended. */
  NPUSIM_SYNCHRONOUS = 0,
  /* The write returns at once; npusim_run() runs the program, on a thread of the caller's choice.
   */
  NPUSIM_MANUAL = 1,
  /* The write returns at once; each core runs on a thread of its own, and the interrupt callback
   * comes from there. Only here an access that meets a page fault waits and is tried again, as on
   * the chip; in the other modes it hangs the core at once. */
  NPUSIM_ASYNCHRONOUS = 2
};

enum npusim_fault_kind {
  NPUSIM_FAULT_NONE = 0,
  NPUSIM_FAULT_DMA_READ = 1, /* outside every mapping, or an IOMMU page fault */
  NPUSIM_FAULT_DMA_WRITE = 2,
  NPUSIM_FAULT_HANG = 3,         /* on the chip this program never ends */
  NPUSIM_FAULT_NOT_MODELLED = 4, /* the model does not know what a register asks for */
  NPUSIM_FAULT_BAD_PROGRAM = 5   /* the program contradicts itself */
};

/* After any of them no completion interrupt comes, and the core ignores starts until its reset. */
typedef struct npusim_fault {
  uint32_t size;
  uint32_t kind;     /* npusim_fault_kind */
  uint64_t iova;     /* of DMA faults: the first bad address */
  char where[64];    /* "CNA.FEATURE_DATA_ADDR": register or field, where known */
  char message[256]; /* a sentence */
} npusim_fault;

/* What the programs of the last start did, in the timing model's estimate. */
typedef struct npusim_start_info {
  uint32_t size;
  uint32_t tasks;
  uint64_t modelled_ns; /* at npu_hz; device time only, without the kernel's share */
  uint64_t macs;
  uint64_t bytes; /* moved by DMA */
} npusim_start_info;

enum npusim_trace_kind {
  NPUSIM_TRACE_REGISTER = 1, /* offset, value; by_program */
  NPUSIM_TRACE_START = 2,    /* OPERATION_ENABLE */
  NPUSIM_TRACE_TASK = 3,     /* value: enable mask; text: the operation in words */
  NPUSIM_TRACE_DMA_READ = 4, /* one run of consecutive bytes: iova, count; text: the engine */
  NPUSIM_TRACE_DMA_WRITE = 5,
  NPUSIM_TRACE_MAC = 6,       /* count: multiply-accumulates of the task */
  NPUSIM_TRACE_QUIRK = 7,     /* text: behaviour of the silicon that the task runs into */
  NPUSIM_TRACE_END = 8,       /* value: what INTERRUPT_RAW_STATUS holds */
  NPUSIM_TRACE_FAULT = 9,     /* iova; text: the sentence */
  NPUSIM_TRACE_INTERRUPT = 10 /* value: the level of the line from now on */
};

/* Valid during the callback only. */
typedef struct npusim_trace_event {
  uint32_t size;
  uint32_t kind; /* npusim_trace_kind */
  uint32_t core;
  uint32_t by_program; /* 1: written by the register program, 0: by the CPU */
  uint32_t offset;
  uint32_t value;
  uint64_t iova;
  uint64_t count;
  const char* text; /* never null */
} npusim_trace_event;

typedef struct npusim_options {
  uint32_t size;
  uint32_t cores;   /* 1 to 3; 0: 3 */
  uint32_t mode;    /* npusim_mode */
  uint32_t threads; /* of the host, for all cores together; 0: one for each CPU. With 1, all
                       callbacks for a core come from the thread that runs it. */
  void* opaque;     /* handed to the callbacks */

  /* Both or neither: physical memory (40-bit addresses, any number of bytes inside one 4 KiB page).
   * 0: done. Anything else: there is no such memory. */
  int (*dma_read)(void* opaque, uint64_t address, void* data, size_t bytes);
  int (*dma_write)(void* opaque, uint64_t address, const void* data, size_t bytes);

  /* May be null. The line of a core (shared with its IOMMU) has a new level. A call may come a
   * little after the fact; npusim_irq() gives the level of the moment. */
  void (*irq)(void* opaque, unsigned core, int level);

  /* May be null. Costs time for every event when it is not. Must not call into the library, nor
   * wait for a thread that does. */
  void (*trace)(void* opaque, const npusim_trace_event* event);

  /* May be null: "drop-interrupt@N", "hang@N", "delay@N:MS", "corrupt@N", "iommu-fault@N", each
   * with an optional "/core=K", separated by commas. N counts starts (the first three) or 16-byte
   * beats. */
  const char* inject;

  uint64_t mac_budget; /* int8 multiply-accumulates after which a start counts as hung; 0: the
                          500 ms of the driver */
  uint64_t npu_hz;     /* clock of the timing model; 0: no timing */
} npusim_options;

typedef struct npusim npusim;

/* NPUSIM_ABI_MAJOR << 16 | NPUSIM_ABI_MINOR of the library that is loaded. */
uint32_t npusim_abi_version(void);
/* "0.1.0". */
const char* npusim_version(void);
/* Of the last call of this thread that failed; "" if none did. */
const char* npusim_last_error(void);

/* `options` may be null: three cores, synchronous, npusim_map(). */
int npusim_create(const npusim_options* options, npusim** out);
/* Waits for running programs; the interrupt callback no longer comes. Null is allowed. */
void npusim_destroy(npusim* sim);

/* Without DMA callbacks: `bytes` of host memory at an IOVA, both multiples of 4096, for all cores.
 * The memory must live until it is unmapped, which waits for running programs. */
int npusim_map(npusim* sim, uint32_t iova, void* memory, size_t bytes);
int npusim_unmap(npusim* sim, uint32_t iova);

/* A register of a core: offset from its base, a multiple of 4 below NPUSIM_CORE_BYTES. */
int npusim_mmio_read(npusim* sim, unsigned core, uint32_t offset, uint32_t* value);
int npusim_mmio_write(npusim* sim, unsigned core, uint32_t offset, uint32_t value);

/* Level of the interrupt line: 0 or 1. */
int npusim_irq(npusim* sim, unsigned core);

/* NPUSIM_MANUAL: runs what was started. 1: a program ran, 0: there was none. */
int npusim_run(npusim* sim, unsigned core);
/* Returns 0 when the core runs nothing, NPUSIM_ERR_TIMEOUT if it still does after `ms`. */
int npusim_wait(npusim* sim, unsigned core, uint32_t ms);

/* The core's two reset lines (srst_a, srst_h), asserted and released. Returns at once, also while a
 * program runs: its output is lost. The IOMMU keeps its state, as the chip's does. */
int npusim_reset_core(npusim* sim, unsigned core);
/* Power on: all cores and IOMMUs. */
int npusim_reset(npusim* sim);

/* Since ABI 0.2. More faults as in npusim_options.inject; N counts from each core's next start on.
 */
int npusim_inject(npusim* sim, const char* faults);

/* 1: the last program of the core met a fault, which *out describes. 0: it did not. */
int npusim_last_fault(npusim* sim, unsigned core, npusim_fault* out);
/* Of the last start that has ended; NPUSIM_ERR_STATE unless npu_hz was given. */
int npusim_last_start(npusim* sim, unsigned core, npusim_start_info* out);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
