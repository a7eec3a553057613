/* SPDX-License-Identifier: MIT */
/* The ioctl interface of the vendor kernels' driver rknpu (0.8 to 0.9.8), written from its
 * description (facts: sizes, offsets, numbers) [control-and-uapi.md E; public driver sources].
 * All fields are little endian; no structure has padding. The DRM build is a node in /dev/dri
 * (type 'd', numbers from 0x40), the build without DRM is /dev/rknpu (type 'r', from 0). */
#ifndef ROSENBLATT_RKNPU_UAPI_H
#define ROSENBLATT_RKNPU_UAPI_H

#include <stdint.h>
#include <sys/ioctl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ACTION: one value in or out. */
struct rknpu_action {
  uint32_t flags; /* enum rknpu_action_code */
  uint32_t value;
};

enum rknpu_action_code {
  RKNPU_GET_HW_VERSION = 0,
  RKNPU_GET_DRV_VERSION = 1, /* major * 10000 + minor * 100 + patch */
  RKNPU_GET_FREQ = 2,        /* Hz */
  RKNPU_SET_FREQ = 3,
  RKNPU_GET_VOLT = 4, /* microvolt */
  RKNPU_SET_VOLT = 5,
  RKNPU_ACT_RESET = 6,
  RKNPU_GET_BW_PRIORITY = 7,
  RKNPU_SET_BW_PRIORITY = 8,
  RKNPU_GET_BW_EXPECT = 9,
  RKNPU_SET_BW_EXPECT = 10,
  RKNPU_GET_BW_TW = 11,
  RKNPU_SET_BW_TW = 12,
  RKNPU_ACT_CLR_TOTAL_RW_AMOUNT = 13,
  RKNPU_GET_DT_WR_AMOUNT = 14,
  RKNPU_GET_DT_RD_AMOUNT = 15,
  RKNPU_GET_WT_RD_AMOUNT = 16,
  RKNPU_GET_TOTAL_RW_AMOUNT = 17,
  RKNPU_GET_IOMMU_EN = 18,
  RKNPU_SET_PROC_NICE = 19,
  RKNPU_POWER_ON = 20,
  RKNPU_POWER_OFF = 21,
  RKNPU_GET_TOTAL_SRAM_SIZE = 22,
  RKNPU_GET_FREE_SRAM_SIZE = 23,
  RKNPU_GET_IOMMU_DOMAIN_ID = 24,
  RKNPU_SET_IOMMU_DOMAIN_ID = 25
};

/* MEM_CREATE. Drivers before 0.9.7 know the first 40 bytes only. */
struct rknpu_mem_create {
  uint32_t handle; /* out; in: a handle in use asks for that object. /dev/rknpu: a dma-buf */
  uint32_t flags;
  uint64_t size;     /* in: bytes; out: whole pages */
  uint64_t obj_addr; /* out: the driver's object; SUBMIT and MEM_SYNC name it by this */
  uint64_t dma_addr; /* out: IOVA */
  uint64_t sram_size;
  int32_t iommu_domain_id;
  uint32_t core_mask;
};
#define RKNPU_MEM_CREATE_OLD_SIZE 40

enum rknpu_mem_flags {
  RKNPU_MEM_NON_CONTIGUOUS = 1 << 0,
  RKNPU_MEM_CACHEABLE = 1 << 1,
  RKNPU_MEM_WRITE_COMBINE = 1 << 2,
  RKNPU_MEM_KERNEL_MAPPING = 1 << 3, /* a buffer of tasks needs it */
  RKNPU_MEM_IOMMU = 1 << 4,
  RKNPU_MEM_ZEROING = 1 << 5,
  RKNPU_MEM_SECURE = 1 << 6,
  RKNPU_MEM_NON_DMA32 = 1 << 7,
  RKNPU_MEM_TRY_ALLOC_SRAM = 1 << 8
};

/* MEM_MAP: the cookie for mmap() on the node. */
struct rknpu_mem_map {
  uint32_t handle;
  uint32_t reserved;
  uint64_t offset; /* out */
};

struct rknpu_mem_destroy {
  uint32_t handle;
  uint32_t reserved;
  uint64_t obj_addr;
};

enum rknpu_mem_sync_mode { RKNPU_MEM_SYNC_TO_DEVICE = 1 << 0, RKNPU_MEM_SYNC_FROM_DEVICE = 1 << 1 };
struct rknpu_mem_sync {
  uint32_t flags;
  uint32_t reserved;
  uint64_t obj_addr;
  uint64_t offset;
  uint64_t size;
};

/* In a buffer object, packed. */
struct rknpu_task {
  uint32_t flags;
  uint32_t op_idx;
  uint32_t enable_mask;
  uint32_t int_mask; /* of a start's last task: what ends it */
  uint32_t int_clear;
  uint32_t int_status;    /* out, of a blocking job's last task */
  uint32_t regcfg_amount; /* 64-bit words, the four of the trailer not counted */
  uint32_t regcfg_offset;
  uint64_t regcmd_addr; /* IOVA of the program */
} __attribute__((packed));
#define RKNPU_PC_DATA_EXTRA_AMOUNT 4

struct rknpu_subcore_task {
  uint32_t task_start;
  uint32_t task_number;
};

enum rknpu_job_flags {
  RKNPU_JOB_PC = 1 << 0,
  RKNPU_JOB_NONBLOCK = 1 << 1,
  RKNPU_JOB_PINGPONG = 1 << 2,
  RKNPU_JOB_FENCE_IN = 1 << 3,
  RKNPU_JOB_FENCE_OUT = 1 << 4
};

/* SUBMIT: the tasks of each core are one chain, up to 4095 in one hardware start. */
struct rknpu_submit {
  uint32_t flags;
  uint32_t timeout; /* ms */
  uint32_t task_start;
  uint32_t task_number;
  uint32_t task_counter; /* out */
  int32_t priority;
  uint64_t task_obj_addr;
  uint32_t iommu_domain_id;
  uint32_t reserved;
  uint64_t task_base_addr; /* added to every DMA address of the tasks */
  int64_t hw_elapse_time;  /* out: ns */
  uint32_t core_mask;      /* 0: the driver's choice, told here */
  int32_t fence_fd;
  struct rknpu_subcore_task subcore_task[5]; /* [core]; with three cores [core + 2] */
};

#define DRM_IOCTL_RKNPU_ACTION _IOWR('d', 0x40, struct rknpu_action)
#define DRM_IOCTL_RKNPU_SUBMIT _IOWR('d', 0x41, struct rknpu_submit)
#define DRM_IOCTL_RKNPU_MEM_CREATE _IOWR('d', 0x42, struct rknpu_mem_create)
#define DRM_IOCTL_RKNPU_MEM_MAP _IOWR('d', 0x43, struct rknpu_mem_map)
#define DRM_IOCTL_RKNPU_MEM_DESTROY _IOWR('d', 0x44, struct rknpu_mem_destroy)
#define DRM_IOCTL_RKNPU_MEM_SYNC _IOWR('d', 0x45, struct rknpu_mem_sync)

#define IOCTL_RKNPU_ACTION _IOWR('r', 0, struct rknpu_action)
#define IOCTL_RKNPU_SUBMIT _IOWR('r', 1, struct rknpu_submit)
#define IOCTL_RKNPU_MEM_CREATE _IOWR('r', 2, struct rknpu_mem_create)
#define IOCTL_RKNPU_MEM_MAP _IOWR('r', 3, struct rknpu_mem_map)
#define IOCTL_RKNPU_MEM_DESTROY _IOWR('r', 4, struct rknpu_mem_destroy)
#define IOCTL_RKNPU_MEM_SYNC _IOWR('r', 5, struct rknpu_mem_sync)

#ifdef __cplusplus
}
#endif

#endif /* ROSENBLATT_RKNPU_UAPI_H */
