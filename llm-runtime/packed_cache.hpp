// SPDX-License-Identifier: MIT
// A file of a model's packed weights (cpu/layout.hpp), so that the next start maps them instead of
// packing them anew: `<model>.npu-cache`, or in the user's cache folder if the model's is not
// writable.
//
//   header   PackedHeader, then one PackedEntry for each matrix
//   data     from the next multiple of 4096 on the matrices, one behind the other
//
// Every start compares checksums of all bytes: the file is read anyway, and a weight that has
// changed on disk would show in nothing but strange answers. A file that another process shortens
// while it is mapped raises SIGBUS, as with every mmap; this code only ever replaces it whole.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "llm-runtime/cpu/matrix.hpp"
#include "llm-runtime/cpu/thread_pool.hpp"
#include "llm-runtime/model.hpp"

namespace npu::llm {

/// Of the file that the weights were packed from. Equal means: the same weights.
struct ModelIdentity {
  std::uint64_t size = 0;
  std::int64_t changed = 0;  ///< ns since 1970
  std::uint64_t hash = 0;    ///< of names, shapes, types and some bytes of every tensor
  friend bool operator==(const ModelIdentity&, const ModelIdentity&) = default;
};
ModelIdentity identify(const Model& model);

struct PackedHeader {
  static constexpr std::array<char, 8> kMagic{'N', 'P', 'U', 'P', 'A', 'C', 'K', '\n'};
  static constexpr std::uint32_t kVersion = 1;

  std::array<char, 8> magic{};
  std::uint32_t version = 0, matrices = 0;
  std::array<char, 16> layout{};  ///< cpu::packed_layout(), filled up with zeros
  ModelIdentity model;
  std::uint64_t bytes = 0;     ///< of the whole file
  std::uint64_t checksum = 0;  ///< of the header, this field being 0, and the entries
};

struct PackedEntry {
  std::uint32_t type = 0, rows = 0, columns = 0, reserved = 0;
  std::uint64_t offset = 0, bytes = 0;
  std::uint64_t checksum = 0;  ///< of its bytes
};

struct PackedContents {
  ModelIdentity model;
  std::vector<PackedEntry> entries;
};

/// What header.checksum has to be.
std::uint64_t table_checksum(PackedHeader header, std::span<const PackedEntry> entries);

/// Header and entries of a cache file. Throws Error(bad_file) unless every number is the only one
/// that fits what stands before it; checksums of the data are not looked at.
PackedContents parse_packed(std::span<const std::byte> file);

/// A mapped cache file.
class PackedFile {
 public:
  /// Throws Error(bad_file) with a reason: not readable, belonging to someone who owns neither the
  /// model nor this process, not as parse_packed() and the checksums want it.
  static PackedFile open(const std::filesystem::path& path, cpu::ThreadPool& pool);

  PackedFile(PackedFile&& other) noexcept;
  PackedFile& operator=(PackedFile&& other) noexcept;
  ~PackedFile();

  const ModelIdentity& model() const { return contents_.model; }
  std::size_t size() const { return contents_.entries.size(); }
  /// Throws Error(bad_file) unless entry `i` has this type and shape.
  cpu::Matrix matrix(std::size_t i, const WeightView& view) const;

 private:
  PackedFile() = default;
  PackedContents contents_;
  std::span<const std::byte> bytes_;
};

struct PackedCacheOptions {
  bool enabled = false;
  /// Weights that take fewer bytes are packed faster than a file is found.
  std::uint64_t smallest = std::uint64_t{64} << 20;
  /// Told in one sentence that a file was written, or could not be, or had to be made anew.
  std::function<void(std::string_view)> notice;
};

/// Where the cache of a model may lie, in the order in which they are tried.
std::vector<std::filesystem::path> packed_cache_paths(const std::filesystem::path& model);

/// The model's weights from its cache, if there is one of these matrices. Never throws for what is
/// wrong with a file.
std::optional<PackedFile> find_packed(const Model& model, std::span<const WeightView> matrices,
                                      cpu::ThreadPool& pool, const PackedCacheOptions& options);

/// Writes them for the next start, at once or not at all. Never throws for what is wrong with a
/// disk.
void keep_packed(const Model& model, std::span<const cpu::Matrix* const> matrices,
                 cpu::ThreadPool& pool, const PackedCacheOptions& options);

}  // namespace npu::llm
