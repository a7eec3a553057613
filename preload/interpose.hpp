// SPDX-License-Identifier: MIT
// What the interposed functions share.
#pragma once

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <optional>
#include <string>

#include "preload/virtual_files.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace npu::preload {

template <class F>
F* next_definition(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}
// NEXT(open)(path, flags): the next definition of a function, looked up once.
#define NEXT(name)                                                                     \
  ([] {                                                                                \
    static const auto next = ::npu::preload::next_definition<decltype(::name)>(#name); \
    return next;                                                                       \
  }())

/// Descriptors of our directories: a memfd stands for each.
int open_directory(const Node& node, int flags);
std::optional<Node> directory_of(int fd);
/// A directory's descriptor was closed by closedir().
void forget_directory(int fd);

/// Where a directory's descriptor points, or AT_FDCWD; empty if nowhere.
std::string path_of(int fd);

/// The node that a path leads to; errno is as it was.
std::optional<Node> node_at(int dirfd, const char* path, bool follow = true);

/// open() of one of ours: -1 with errno.
int open_node(const Node& node, int flags);

/// What stat() says of a node; of a descriptor, if it is one of ours.
void fill(const Node& node, struct stat* st);
void fill(const Node& node, struct stat64* st);

}  // namespace npu::preload
