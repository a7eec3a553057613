// SPDX-License-Identifier: MIT
// The nodes in /dev and /sys that a board has: with the rocket driver of mainline, or with the
// driver of the vendor's kernels.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace npu::preload {

enum class NodeKind { device, text, directory, link };

/// Whose device a node is. The vendor's driver has a node of its own in a build without DRM.
enum class NodeDriver { rocket, rknpu_card, rknpu_render, rknpu_misc };

struct Node {
  NodeKind kind;
  std::string path;     ///< where it really is: no links, no dots
  std::string content;  ///< of a text, or where a link points
  NodeDriver driver{};  ///< of a device
  unsigned major = 0, minor = 0;
};

/// DRM_ACCEL's major number and the first minor [drm_accel.c].
inline constexpr unsigned kAccelMajor = 261, kAccelMinor = 0;
/// Of DRM, and of miscellaneous devices [drm_drv.c; devices.txt].
inline constexpr unsigned kDrmMajor = 226, kMiscMajor = 10;

/// The node that an absolute path leads to, following links unless `path` itself is one and
/// `follow` is false. nullopt: not one of ours.
std::optional<Node> find_node(std::string_view path, bool follow = true);

/// Names in one of our directories, "." and ".." included.
std::vector<std::string> list_directory(const Node& directory);

/// Our entries of a directory that the system has itself: "accel" of /dev. Empty for others.
std::vector<std::string> names_added_to(std::string_view directory);

/// Whether a relative path could lead to a node from some real directory: a quick look at its first
/// name.
bool begins_like_a_node(std::string_view relative);

}  // namespace npu::preload
