/* SPDX-License-Identifier: MIT */
/* The rocket driver's ioctl interface, written from its description (facts: sizes, offsets,
 * numbers). Plain C, so that C programs and the preload library can use it. All fields are
 * little endian and naturally aligned; no structure has padding. */
#ifndef ROSENBLATT_ROCKET_UAPI_H
#define ROSENBLATT_ROCKET_UAPI_H

#include <stdint.h>
#include <sys/ioctl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* CREATE_BO: allocates `size` bytes and maps them for the NPU in this file's window. */
struct drm_rocket_create_bo {
  uint32_t size;        /* in: bytes */
  uint32_t handle;      /* out: GEM handle, never 0 */
  uint64_t dma_address; /* out: IOVA, page aligned; 0 is valid */
  uint64_t offset;      /* out: cookie for mmap() on the node */
};

/* PREP_BO: waits for the jobs that write the buffer, then hands its memory to the CPU. */
struct drm_rocket_prep_bo {
  uint32_t handle;
  uint32_t reserved;  /* 0 */
  int64_t timeout_ns; /* absolute CLOCK_MONOTONIC; the past means "do not wait" */
};

/* FINI_BO: hands the buffer's memory back to the NPU. */
struct drm_rocket_fini_bo {
  uint32_t handle;
  uint32_t reserved; /* 0 */
};

/* One register program. */
struct drm_rocket_task {
  uint32_t regcmd;       /* IOVA of the program, 16-byte aligned */
  uint32_t regcmd_count; /* 64-bit words, trailer included */
};

/* Tasks that run in order on one core. Pointers are user addresses. */
struct drm_rocket_job {
  uint64_t tasks;          /* struct drm_rocket_task[], task_struct_size bytes apart */
  uint64_t in_bo_handles;  /* uint32_t[] */
  uint64_t out_bo_handles; /* uint32_t[] */
  uint32_t task_count;
  uint32_t task_struct_size;
  uint32_t in_bo_handle_count;
  uint32_t out_bo_handle_count;
};

/* SUBMIT: queues jobs and returns; errors of a single job are not reported. */
struct drm_rocket_submit {
  uint64_t jobs; /* struct drm_rocket_job[], job_struct_size bytes apart */
  uint32_t job_count;
  uint32_t job_struct_size;
  uint64_t reserved; /* 0 */
};

/* Generic DRM: drops a handle. Named apart from libdrm's drm_gem_close, which is the same. */
struct rocket_gem_close {
  uint32_t handle;
  uint32_t pad;
};

/* Driver ioctls of DRM (type 'd') start at 0x40. */
#define DRM_IOCTL_ROCKET_CREATE_BO _IOWR('d', 0x40, struct drm_rocket_create_bo)
#define DRM_IOCTL_ROCKET_SUBMIT _IOW('d', 0x41, struct drm_rocket_submit)
#define DRM_IOCTL_ROCKET_PREP_BO _IOW('d', 0x42, struct drm_rocket_prep_bo)
#define DRM_IOCTL_ROCKET_FINI_BO _IOW('d', 0x43, struct drm_rocket_fini_bo)
#define ROCKET_IOCTL_GEM_CLOSE _IOW('d', 0x09, struct rocket_gem_close)

#ifdef __cplusplus
}
#endif

#endif /* ROSENBLATT_ROCKET_UAPI_H */
