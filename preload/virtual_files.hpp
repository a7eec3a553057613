// SPDX-License-Identifier: MIT
// The nodes in /dev and /sys that a board with the rocket driver has.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace npu::preload {

enum class NodeKind { device, text, directory, link };

struct Node {
  NodeKind kind;
  std::string path;     ///< where it really is: no links, no dots
  std::string content;  ///< of a text, or where a link points
};

/// DRM_ACCEL's major number and the first minor [drm_accel.c].
inline constexpr unsigned kAccelMajor = 261, kAccelMinor = 0;

/// The node that an absolute path leads to, following links unless `path` itself is one and
/// `follow` is false. nullopt: not one of ours.
std::optional<Node> find_node(std::string_view path, bool follow = true);

/// Names in one of our directories, "." and ".." included.
std::vector<std::string> list_directory(const Node& directory);

}  // namespace npu::preload
