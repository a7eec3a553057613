// SPDX-License-Identifier: MIT
// What an open file of any of our nodes can do. Each is a descriptor of a memfd, told by its inode.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

namespace npu::preload {

/// What mmap() on the node has to map instead.
struct MapTarget {
  int fd;
  std::uint64_t offset;
};

/// Thread safe.
class OpenFile {
 public:
  virtual ~OpenFile() = default;

  virtual dev_t number() const = 0;  ///< of the node, as stat() tells it

  /// `fd`: any descriptor of this file. 0 or a negative errno.
  virtual int ioctl(int fd, unsigned long request, void* argument) = 0;

  /// 0 or an errno, as mmap() on the node. `target`: this descriptor and offset, or others.
  virtual int check_mapping(std::size_t bytes, int flags, std::uint64_t offset,
                            MapTarget& target) = 0;
  virtual void add_mapping(std::uint64_t offset) = 0;
  virtual void remove_mapping(std::uint64_t offset) = 0;

  /// The last descriptor is gone; mappings may be left.
  virtual void closed() {}

  /// Held across fork(), so that the child copies whole tables.
  virtual std::mutex& mutex() = 0;
  /// In a child: the same file, over the child's own chip.
  virtual std::shared_ptr<OpenFile> in_child() const = 0;
};

}  // namespace npu::preload
