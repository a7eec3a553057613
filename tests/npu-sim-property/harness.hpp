// SPDX-License-Identifier: MIT
// Random programs against the plain reference: every byte of memory is compared, so that a task
// that writes too much is found as well as one that writes the wrong thing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "npu-sim/chip.hpp"
#include "regdb/regcmd.hpp"

namespace npu::sim::property {

/// Random numbers of one case, the same on every platform.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : rng_(seed) {}
  std::uint64_t bits() { return rng_(); }
  /// low to high, both included.
  std::uint32_t pick(std::uint32_t low, std::uint32_t high) {
    return low + static_cast<std::uint32_t>(rng_() % (std::uint64_t{high} - low + 1));
  }
  std::int32_t pick_signed(std::int32_t low, std::int32_t high) {
    return low + static_cast<std::int32_t>(
                     rng_() % static_cast<std::uint64_t>(std::int64_t{high} - low + 1));
  }
  /// True once in `n`.
  bool once_in(std::uint32_t n) { return rng_() % n == 0; }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[rng_() % values.size()];
  }
  /// Any int32, small ones as likely as large ones.
  std::int32_t int32_any() {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(bits())) >> pick(0, 31);
  }
  /// A float between 2^low and 2^high in magnitude, or zero.
  float real(int low, int high);

 private:
  std::mt19937_64 rng_;
};

/// Memory that tasks work on, one buffer at `base`.
struct Image {
  std::uint32_t base = 0;
  std::vector<std::uint8_t> bytes;
  std::uint8_t* at(std::uint64_t iova) { return bytes.data() + (iova - base); }
  const std::uint8_t* at(std::uint64_t iova) const { return bytes.data() + (iova - base); }
  template <class T>
  T load(std::uint64_t iova) const {
    T value;
    __builtin_memcpy(&value, at(iova), sizeof value);
    return value;
  }
  template <class T>
  void store(std::uint64_t iova, T value) {
    __builtin_memcpy(at(iova), &value, sizeof value);
  }
};

/// Hands out pieces of an image that grows, random bytes in all of it.
class Arena {
 public:
  explicit Arena(Draw& draw);
  /// A 16-byte aligned piece at a random distance from the one before.
  std::uint32_t reserve(std::size_t bytes);
  Image image;
  std::uint32_t dma_base = 0;  ///< TASK_DMA_BASE_ADDR: what programs add to their addresses
  /// The register value that reaches `iova`.
  std::uint32_t address(std::uint32_t iova) const { return iova - dma_base; }
  Draw& draw;
};

/// What a core keeps between tasks, as the reference sees it: copies of the memory that the task
/// which loaded CBUF saw.
struct PlainCbuf {
  std::shared_ptr<const Image> features, weights;
  std::uint64_t feature_address = 0, weight_address = 0;
};

/// One register program (without its trailer) and what it must do to memory.
struct Task {
  std::vector<regdb::Regcmd> body;
  std::uint32_t enable = 0;
  std::function<void(Image&, PlainCbuf&)> effect;
  std::string text;      ///< for people, when a test fails
  bool may_drop = true;  ///< false: writes have side effects (tables), all of them are needed
};

template <regdb::Register R>
void put(Task& task, const R& reg) {
  task.body.push_back({static_cast<std::uint16_t>(R::target), reg.encode(), R::offset});
}

/// Several tasks on one core: each a job of its own, or all chained in one start; with `partial`
/// programs leave out what their register group already holds.
struct Session {
  std::vector<Task> tasks;
  bool chained = false, partial = false;
};

/// Programs of the run, one per task, linked if chained. `base` is where they will lie.
struct Programs {
  std::vector<std::uint64_t> words;
  std::vector<std::uint32_t> first, count;  ///< of each program: its word offset and words
  std::uint32_t base = 0;
};
Programs link(const Session& session, std::uint32_t base);

/// A space with the image at its base and programs of sessions beside it.
struct Bench {
  explicit Bench(const Arena& arena);
  /// Maps the programs of a session.
  Programs add(const Session& session);
  std::shared_ptr<AddressSpace> space = std::make_shared<AddressSpace>();
  std::shared_ptr<std::byte[]> memory;
  std::size_t bytes = 0;
  std::uint32_t next_program = 0, dma_base = 0;
};

/// Runs programs that are mapped on a core, as the kernel driver does; a fault's text, or nothing.
std::optional<std::string> start(Chip& chip, unsigned core, const Bench& bench,
                                 const Session& session, const Programs& programs);

/// Memory after the run, as the reference has it.
Image expected(const Arena& arena, const Session& session);

/// First difference as a sentence, or nothing.
std::optional<std::string> difference(const Bench& bench, const Image& want);

/// Runs on core 0 of `chip` (reset first) and compares.
std::optional<std::string> mismatch(Chip& chip, const Arena& arena, const Session& session);

/// Calls `body(draw)` NPU_TEST_ITERATIONS times (default `count`) from seed NPU_TEST_SEED on;
/// `body` returns a sentence if something is wrong. The test fails with the seed of that case.
void for_each_case(int count, const std::function<std::optional<std::string>(Draw&)>& body);

}  // namespace npu::sim::property
