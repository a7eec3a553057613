// SPDX-License-Identifier: MIT
// Holds rocket_uapi.h to the layout that the kernel has [control-and-uapi.md C.1, C.2].
#include <cstddef>

#include "npu-device/rocket_uapi.h"

#define ROSENBLATT_FIELD(type, field, at) static_assert(offsetof(struct type, field) == (at))

static_assert(sizeof(drm_rocket_create_bo) == 24);
ROSENBLATT_FIELD(drm_rocket_create_bo, size, 0);
ROSENBLATT_FIELD(drm_rocket_create_bo, handle, 4);
ROSENBLATT_FIELD(drm_rocket_create_bo, dma_address, 8);
ROSENBLATT_FIELD(drm_rocket_create_bo, offset, 16);

static_assert(sizeof(drm_rocket_prep_bo) == 16);
ROSENBLATT_FIELD(drm_rocket_prep_bo, handle, 0);
ROSENBLATT_FIELD(drm_rocket_prep_bo, reserved, 4);
ROSENBLATT_FIELD(drm_rocket_prep_bo, timeout_ns, 8);

static_assert(sizeof(drm_rocket_fini_bo) == 8);
ROSENBLATT_FIELD(drm_rocket_fini_bo, handle, 0);
ROSENBLATT_FIELD(drm_rocket_fini_bo, reserved, 4);

static_assert(sizeof(drm_rocket_task) == 8);
ROSENBLATT_FIELD(drm_rocket_task, regcmd, 0);
ROSENBLATT_FIELD(drm_rocket_task, regcmd_count, 4);

static_assert(sizeof(drm_rocket_job) == 40);
ROSENBLATT_FIELD(drm_rocket_job, tasks, 0);
ROSENBLATT_FIELD(drm_rocket_job, in_bo_handles, 8);
ROSENBLATT_FIELD(drm_rocket_job, out_bo_handles, 16);
ROSENBLATT_FIELD(drm_rocket_job, task_count, 24);
ROSENBLATT_FIELD(drm_rocket_job, task_struct_size, 28);
ROSENBLATT_FIELD(drm_rocket_job, in_bo_handle_count, 32);
ROSENBLATT_FIELD(drm_rocket_job, out_bo_handle_count, 36);

static_assert(sizeof(drm_rocket_submit) == 24);
ROSENBLATT_FIELD(drm_rocket_submit, jobs, 0);
ROSENBLATT_FIELD(drm_rocket_submit, job_count, 8);
ROSENBLATT_FIELD(drm_rocket_submit, job_struct_size, 12);
ROSENBLATT_FIELD(drm_rocket_submit, reserved, 16);

static_assert(sizeof(rocket_gem_close) == 8);
ROSENBLATT_FIELD(rocket_gem_close, handle, 0);

static_assert(DRM_IOCTL_ROCKET_CREATE_BO == 0xC0186440);
static_assert(DRM_IOCTL_ROCKET_SUBMIT == 0x40186441);
static_assert(DRM_IOCTL_ROCKET_PREP_BO == 0x40106442);
static_assert(DRM_IOCTL_ROCKET_FINI_BO == 0x40086443);
static_assert(ROCKET_IOCTL_GEM_CLOSE == 0x40086409);
