// SPDX-License-Identifier: MIT
// Open files of the simulated nodes. Each is a memfd (of rocket's, its pages are the buffers'
// memory), so mmap(), dup(), fork() and close() mean what they mean for any file, and nothing
// outlives the processes.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "preload/open_file.hpp"
#include "preload/virtual_files.hpp"

namespace npu::preload {

/// A new open file of a node of kind `device`; -1 with errno.
int open_device(const Node& node, int flags);

/// Whether the descriptor is one of ours (also a duplicate, also inherited by fork()).
bool is_device(int fd);
/// The number of its node; nullopt for what is not ours.
std::optional<dev_t> device_number(int fd);

/// An ioctl on one of ours: result as of ioctl(), errno set on -1.
int device_ioctl(int fd, unsigned long request, void* argument);

/// The range of a mapping that mmap() is asked for: 0, or the errno that the kernel would give.
/// `target` is what to map: the same, or other memory that the node stands for.
int check_mapping(int fd, std::size_t bytes, int flags, off_t offset, MapTarget& target);
/// A mapping was made or removed.
void mapped(int fd, void* address, std::size_t bytes, off_t offset);
void unmapped(void* address, std::size_t bytes);
/// Whether a mapping of ours lies there; it was moved, or became shorter.
bool is_mapped(void* address);
void remapped(void* from, std::size_t bytes, void* to, std::size_t new_bytes);

/// After a descriptor of ours was closed or replaced: frees what no descriptor refers to.
void descriptors_changed();

}  // namespace npu::preload
