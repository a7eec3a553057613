// SPDX-License-Identifier: MIT
// A device tree as plain data: nodes in the order of the tree with the raw bytes of their
// properties, from a blob (.dtb) or from the folder of files that a running kernel shows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "npu-probe/dt/text.hpp"

namespace npu::probe {

struct DtNode {
  std::string path;                               ///< "/npu@fdab0000"; "/" for the root
  std::map<std::string, std::string> properties;  ///< raw bytes
  int parent = -1;                                ///< index in DeviceTree::nodes

  bool has(const std::string& name) const { return properties.count(name) != 0; }
  std::vector<std::string> strings(const std::string& name) const;
  std::vector<std::uint32_t> cells(const std::string& name) const;
  std::string string(const std::string& name) const;  ///< the first one, or empty
  bool compatible_with(std::string_view name) const;
  /// "okay", "ok" or no property at all: enabled.
  bool enabled() const;
};

/// One entry of a reg property.
struct DtRegion {
  std::uint64_t start = 0, size = 0;
};

struct DeviceTree {
  std::string base;  ///< put before a path when it is named; empty for a blob
  std::vector<DtNode> nodes;
  std::map<std::uint32_t, std::size_t> phandles;  ///< of the first node that has it
  std::vector<std::string> same_phandle;          ///< nodes whose phandle another one has already

  bool present() const { return !nodes.empty(); }
  const DtNode* by_path(std::string_view path) const;
  const DtNode* by_phandle(std::uint32_t phandle) const;
  const DtNode* parent_of(const DtNode& node) const;
  /// The node and all that it lies in are enabled: the kernel makes a device of it.
  bool reachable(const DtNode& node) const;
  /// The reg property, by the parent's #address-cells and #size-cells (not translated by ranges).
  std::vector<DtRegion> reg(const DtNode& node) const;
};

/// One entry of a property such as clocks: a node, and as many cells as that node asks for.
struct DtReference {
  const DtNode* target = nullptr;  ///< nullptr: phandle 0, an entry left empty
  std::vector<std::uint32_t> arguments;
  bool operator==(const DtReference&) const = default;
};

struct DtReferences {
  std::vector<DtReference> list;  ///< up to the first that cannot be read
  std::string error;              ///< a clause that says why not, or empty
};

/// Reads a list of references, whose targets say in `cells_name` ("#clock-cells") how many cells
/// follow the phandle; with an empty `cells_name` none does.
DtReferences references(const DeviceTree& dt, const DtNode& node, const std::string& property,
                        const std::string& cells_name);

/// Reads a flattened device tree. Throws npu::Error(bad_file), with `name` in the sentence, if it
/// is none, is damaged, or is an overlay.
DeviceTree read_blob(std::span<const std::byte> blob, const std::string& name);

/// As read_blob(), for an overlay too.
DeviceTree read_any_blob(std::span<const std::byte> blob, const std::string& name);

/// Reads the folder of a live tree; symlinks in it are not followed. `wanted` chooses properties
/// by their name, nullptr takes all. What cannot be read is left out; nothing throws.
DeviceTree read_folder(const std::string& folder, bool (*wanted)(std::string_view));

/// Fills `phandles` and `same_phandle`; for who builds a tree by hand.
void index_phandles(DeviceTree& dt);

}  // namespace npu::probe
