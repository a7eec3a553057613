// SPDX-License-Identifier: MIT
// The programs whose speed was published, as work for the timing model: matrix products as the
// open library cuts them, convolution networks, language models.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "npu-sim/timing.hpp"

namespace npu::probe {

/// A matrix product C[m][n] = A[m][k] . B[n][k]^T and how it is run.
struct GemmRun {
  std::uint64_t m = 0, n = 0, k = 0;
  sim::MacType type = sim::MacType::fp16;
  unsigned files = 1, cores = 1;
  bool resident = false;            ///< B was packed before
  bool accumulate = false;          ///< K slices are added by the DPU
  bool data_reuse = false;          ///< A's tile stays in CBUF over the tiles of N
  bool asymmetric = false;          ///< tiles of 256 x 128 where K is sliced
  bool output_right_sized = false;  ///< else the output buffer holds 64 tiles
  bool device_only = false;         ///< no host work
  bool waits = false;               ///< but for the synchronisation that waiting for a job includes
  bool fast_read = false;           ///< the library since July 2026 reads back with vector code
  bool cold = false;                ///< one-shot call: allocates and packs everything
  double host_parallelism = 0;      ///< 0: the calibration's
};

/// Tiles of one file's columns [gregordinary/rocket-userspace, rocket_matmul_plan; facts].
struct GemmTiles {
  std::uint64_t m = 0, n = 0, k = 0;                    ///< of a tile
  std::uint64_t count_m = 0, count_n = 0, count_k = 0;  ///< tiles along each
};
GemmTiles gemm_tiles(const GemmRun& run, std::uint64_t columns);
std::vector<sim::TaskWork> gemm_tasks(const GemmRun& run, const GemmTiles& tiles,
                                      std::uint64_t columns);

/// What a modelled figure is made of: wall time, and what one thread spends it on.
struct Modelled {
  double seconds = 0;                 ///< of the whole
  double host = 0;                    ///< packing, reading back, synchronising, the framework
  double dispatch = 0;                ///< submits, and an interrupt and a restart per task
  double device = 0;                  ///< on its core
  double mac = 0;                     ///< of that, with the MAC array at work
  double mac_share = 0;               ///< of `seconds`, over all cores: arrays at work, 0 to 1
  std::uint64_t bytes = 0, macs = 0;  ///< all threads
  std::size_t tasks = 0, jobs = 0;    ///< all threads
  unsigned streams = 1;  ///< networks: inferences that run side by side, each in `seconds`
};

/// The parts of a thread's time, largest first: "host 67 %, MAC array 16 %, ...".
std::string shares(const Modelled& modelled);

Modelled gemm_time(const GemmRun& run, const sim::Calibration& c, const sim::Operating& clock,
                   const sim::Dispatch& dispatch);

/// What a layer does besides multiplying. A table of the DPU serves SiLU, sigmoid and the like.
enum class Activation : std::uint8_t { none, clip, table };
enum class LayerKind : std::uint8_t { conv, depthwise, pool, upsample };

/// A layer of a convolution network; planes and windows are square.
struct Layer {
  std::uint32_t size, in, out, kernel, stride;  ///< size: input height and width
  LayerKind kind;
  Activation activation;
  bool residual;                    ///< adds another tensor of the output's shape
  std::uint32_t kernel_height = 0;  ///< 0: as wide as high
  std::uint32_t height() const { return kernel_height == 0 ? kernel : kernel_height; }
  std::uint64_t macs() const;
};
/// The layers of a network by its name, with input size and width multiplier where the name says
/// them: "MobileNetV1 224", "mobilenet_v2_0.35_96", "YOLOv5s 640". nullopt: not in the tables.
std::optional<std::vector<Layer>> network_layers(std::string_view name);
/// In int8 or fp16: what one of `cores` does that share the rows of the output.
std::vector<sim::TaskWork> layer_tasks(const Layer& layer, sim::MacType type,
                                       const sim::Calibration& c, unsigned cores = 1);

/// Shapes of a decoder-only language model.
struct LanguageModel {
  std::string_view name;
  std::uint64_t layers, width, feed_forward, query, key_value, vocabulary;
  std::uint64_t layer_weights() const;
  std::uint64_t weights() const;  ///< read per token: layers and output head
};
const LanguageModel* find_language_model(std::string_view text);
/// For a model that is not in the table: the one nearest to the size in its name ("7B"), if any is
/// near and the name is not that of another kind of model.
const LanguageModel* similar_language_model(std::string_view text);

}  // namespace npu::probe
