// SPDX-License-Identifier: MIT
// Which descriptors are open files of an NPU. All opens of a real node have one inode, so they are
// told by their numbers.
#pragma once

#include <memory>

#include "preload/capture_file.hpp"

namespace npu::preload {

/// Looks at what open() gave: a node of the driver rocket or rknpu is watched from now on.
void opened(int fd, const char* path);
/// `copy` is a duplicate of `fd` (negative: it failed); what it stood for before is closed.
void duplicated(int fd, int copy);
/// A range of descriptors was closed, both ends included.
void closed(unsigned first, unsigned last);

/// nullptr: not one of ours.
std::shared_ptr<CapturedFile> captured_file(int fd);

}  // namespace npu::preload
