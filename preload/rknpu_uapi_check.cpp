// SPDX-License-Identifier: MIT
// Holds rknpu_uapi.h to the layout that the vendor's driver has [control-and-uapi.md E].
#include <cstddef>

#include "preload/rknpu_uapi.h"

#define ROSENBLATT_FIELD(type, field, at) static_assert(offsetof(struct type, field) == (at))

static_assert(sizeof(rknpu_action) == 8);

static_assert(sizeof(rknpu_mem_create) == 48);
ROSENBLATT_FIELD(rknpu_mem_create, flags, 4);
ROSENBLATT_FIELD(rknpu_mem_create, size, 8);
ROSENBLATT_FIELD(rknpu_mem_create, obj_addr, 16);
ROSENBLATT_FIELD(rknpu_mem_create, dma_addr, 24);
ROSENBLATT_FIELD(rknpu_mem_create, sram_size, 32);
ROSENBLATT_FIELD(rknpu_mem_create, iommu_domain_id, RKNPU_MEM_CREATE_OLD_SIZE);
ROSENBLATT_FIELD(rknpu_mem_create, core_mask, 44);

static_assert(sizeof(rknpu_mem_map) == 16);
ROSENBLATT_FIELD(rknpu_mem_map, offset, 8);
static_assert(sizeof(rknpu_mem_destroy) == 16);
ROSENBLATT_FIELD(rknpu_mem_destroy, obj_addr, 8);
static_assert(sizeof(rknpu_mem_sync) == 32);
ROSENBLATT_FIELD(rknpu_mem_sync, obj_addr, 8);
ROSENBLATT_FIELD(rknpu_mem_sync, size, 24);

static_assert(sizeof(rknpu_task) == 40);
ROSENBLATT_FIELD(rknpu_task, int_mask, 12);
ROSENBLATT_FIELD(rknpu_task, int_status, 20);
ROSENBLATT_FIELD(rknpu_task, regcfg_amount, 24);
ROSENBLATT_FIELD(rknpu_task, regcmd_addr, 32);

static_assert(sizeof(rknpu_submit) == 104);
ROSENBLATT_FIELD(rknpu_submit, task_counter, 16);
ROSENBLATT_FIELD(rknpu_submit, task_obj_addr, 24);
ROSENBLATT_FIELD(rknpu_submit, iommu_domain_id, 32);
ROSENBLATT_FIELD(rknpu_submit, task_base_addr, 40);
ROSENBLATT_FIELD(rknpu_submit, hw_elapse_time, 48);
ROSENBLATT_FIELD(rknpu_submit, core_mask, 56);
ROSENBLATT_FIELD(rknpu_submit, fence_fd, 60);
ROSENBLATT_FIELD(rknpu_submit, subcore_task, 64);

static_assert(DRM_IOCTL_RKNPU_ACTION == 0xC0086440);
static_assert(DRM_IOCTL_RKNPU_SUBMIT == 0xC0686441);
static_assert(DRM_IOCTL_RKNPU_MEM_CREATE == 0xC0306442);
static_assert(DRM_IOCTL_RKNPU_MEM_MAP == 0xC0106443);
static_assert(DRM_IOCTL_RKNPU_MEM_DESTROY == 0xC0106444);
static_assert(DRM_IOCTL_RKNPU_MEM_SYNC == 0xC0206445);
static_assert(IOCTL_RKNPU_SUBMIT == 0xC0687201);
