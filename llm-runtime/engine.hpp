// SPDX-License-Identifier: MIT
// A model ready to run: its kernels or its NPU, and the keys and values of several sequences.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "llm-runtime/graph.hpp"
#include "llm-runtime/model.hpp"
#include "llm-runtime/offload/npu_projector.hpp"
#include "llm-runtime/offload/plan.hpp"
#include "llm-runtime/packed_cache.hpp"

namespace npu::llm {

struct EngineOptions {
  /// "cpu": no NPU. A device specification as everywhere ("sim", "rocket", ...): all matrix
  /// products on it. "auto:SPECIFICATION": what a plan gives to it, the rest on the CPU; "auto": on
  /// the chip if there is one, else on the simulator. The plan counts with the speed of this
  /// computer's CPU beside a chip, with that of an RK3588 beside a simulator. Where offload.plan
  /// leaves work in spite of a specification without "auto", the CPU takes it.
  std::string device = "cpu";
  unsigned threads = 0;       ///< 0: one for each CPU
  std::uint32_t context = 0;  ///< tokens of a sequence; 0: the model's, at most 4096
  std::uint32_t sequences = 1;
  std::uint32_t batch = 512;  ///< rows evaluated at a time
  cpu::KvType kv_type = cpu::KvType::f16;
  bool exact = false;  ///< on the CPU: weights as F32, F32 arithmetic and cache, for comparisons
  PackedCacheOptions weight_cache;  ///< of the CPU's weights; off unless asked for
  OffloadOptions offload;
};

class Engine {
 public:
  /// `model` must outlive it. Throws invalid_argument for options out of range, out_of_memory if
  /// the cache does not fit, what opening the device throws.
  Engine(const Model& model, const EngineOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const Model& model() const;
  const EngineOptions& options() const;  ///< with the defaults filled in
  std::uint32_t context() const { return options().context; }
  /// What the NPU did so far; nullptr without one.
  const OffloadStats* offload_stats() const;
  /// By which "auto" shares the products out; nullptr for other devices.
  const Plan* plan() const;
  /// Of the NPU; nullptr without one.
  const device::DeviceInfo* device_info() const;

  /// What the cache holds of a sequence.
  std::span<const std::int32_t> tokens(std::uint32_t sequence) const;
  /// Forgets all from position `length` on.
  void truncate(std::uint32_t sequence, std::uint32_t length);

  /// A token behind those of its sequence.
  struct Append {
    std::uint32_t sequence = 0;
    std::int32_t token = 0;
    bool logits = false;  ///< wanted behind this token
  };
  /// Evaluates, in batches of at most options().batch rows. Logits of the marked rows, in their
  /// order: [marked][vocabulary]; valid until the next call. Throws invalid_argument for a token
  /// outside the vocabulary or a sequence that would outgrow the context, before anything is
  /// changed; what the device throws, and then the sequences of this call are as before.
  std::span<const float> append(std::span<const Append> rows);

  /// Tokens behind those of one sequence; logits behind the last one.
  std::span<const float> append(std::uint32_t sequence, std::span<const std::int32_t> tokens);

  /// Makes a sequence hold `tokens` but for the last one, which is evaluated anew: what both have
  /// in common is kept. Logits behind the last token. At least one token.
  std::span<const float> set(std::uint32_t sequence, std::span<const std::int32_t> tokens);

  /// Removes tokens [begin, begin + count) and evaluates those behind them anew.
  void remove(std::uint32_t sequence, std::uint32_t begin, std::uint32_t count);

  /// Keys and values of a sequence on disk. A file of another model, cache type or version is
  /// refused with bad_file, one cut short too, and nothing changes.
  void save(std::uint32_t sequence, const std::filesystem::path& path) const;
  void load(std::uint32_t sequence, const std::filesystem::path& path);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace npu::llm
