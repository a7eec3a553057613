// SPDX-License-Identifier: MIT
// MobileNetV1 1.0 224 in int8 on the simulated NPU, layer by layer, beside the same layers on the
// host. Every layer's bytes must be equal, or the exit code is 1.
//
//   sim_mobilenet [--repeats=5]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>

#include "bench_common.hpp"
#include "mobilenet.hpp"

namespace {

namespace sim = npu::sim;
namespace bench = npu::bench;

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

std::vector<std::int8_t> random_image(const bench::Layer& first) {
  std::mt19937 rng(2);
  std::vector<std::int8_t> image(std::size_t{first.in_size} * first.in_size * first.in_channels);
  for (auto& pixel : image) pixel = static_cast<std::int8_t>(rng());
  return image;
}

// Between [position][channel] and the NPU's [channel / 16][position][16].
std::vector<std::int8_t> to_cube(const std::vector<std::int8_t>& in, std::size_t channels) {
  const std::size_t positions = in.size() / channels;
  std::vector<std::int8_t> cube((channels + 15) / 16 * positions * 16);
  for (std::size_t p = 0; p < positions; ++p)
    for (std::size_t c = 0; c < channels; ++c)
      cube[(c / 16 * positions + p) * 16 + c % 16] = in[p * channels + c];
  return cube;
}

// True if the cube holds the same bytes.
bool equal(const std::byte* cube, const std::vector<std::int8_t>& want, std::size_t channels) {
  const std::size_t positions = want.size() / channels;
  for (std::size_t p = 0; p < positions; ++p)
    for (std::size_t c = 0; c < channels; ++c)
      if (static_cast<std::int8_t>(cube[(c / 16 * positions + p) * 16 + c % 16]) !=
          want[p * channels + c])
        return false;
  return true;
}

struct NpuLayer {
  bench::Tasks tasks;
  std::uint32_t output;
  std::uint32_t done;
};

// All buffers of the network in one address space; the output of a layer is the input of the next.
std::vector<NpuLayer> load(sim::AddressSpace& space, const std::vector<bench::Layer>& layers,
                           const std::vector<std::int8_t>& image) {
  std::uint32_t next = 0;
  const auto place = [&](const void* data, std::size_t bytes, std::size_t room) {
    const std::uint32_t at = next;
    bench::map(space, at, data, bytes, room);
    next += static_cast<std::uint32_t>((std::max(bytes, room) + 4095) / 4096 * 4096);
    return at;
  };
  const auto cube = to_cube(image, layers.front().in_channels);
  std::uint32_t input = place(cube.data(), cube.size(), 0);
  std::vector<NpuLayer> out;
  for (const bench::Layer& l : layers) {
    bench::LayerBuffers at{input, 0, 0, 0};
    const bool pool = l.kind == bench::Layer::Kind::average_pool;
    if (!pool) {
      const auto weights = bench::npu_weights(l);
      at.weights = place(weights.data(), weights.size(), 0);
      at.bias = place(l.bias.data(), l.bias.size() * 4, (l.bias.size() + 63) / 64 * 256);
    }
    at.output =
        place(nullptr, 0, std::size_t{l.out_size} * l.out_size * 16 * ((l.out_channels + 15) / 16));
    const bench::Tasks tasks = bench::map_programs(space, next, bench::layer_programs(l, at));
    next = tasks.iova.back() + 4096;
    out.push_back({tasks, at.output, pool ? bench::kPpuDone : bench::kDpuDone});
    input = at.output;
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  int repeats = 5;
  bench::take_flag(argc, argv, "repeats", &repeats);
  if (argc > 1 || repeats > 1000) {
    std::fprintf(stderr, "sim_mobilenet: the only option is --repeats=N, N from 1 to 1000\n");
    return 2;
  }
  const std::vector<bench::Layer> layers = bench::mobilenet_v1();
  const std::vector<std::int8_t> image = random_image(layers.front());
  const auto space = std::make_shared<sim::AddressSpace>();
  const std::vector<NpuLayer> npu = load(*space, layers, image);
  sim::Chip chip;
  chip.attach(0, space);
  bench::PlainNetwork plain(layers);

  std::vector<double> simulated(layers.size(), 1e9), host(layers.size(), 1e9);
  double simulated_total = 1e9, host_total = 1e9;
  bool same = true;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    double sum = 0;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const auto start = Clock::now();
      if (!bench::run(chip, 0, npu[i].tasks, npu[i].done)) {
        std::fprintf(stderr, "sim_mobilenet: layer %zu (%s): %s\n", i, layers[i].name.c_str(),
                     chip.fault(0) ? chip.fault(0)->message.c_str() : "no interrupt");
        return 1;
      }
      const double ms = milliseconds_since(start);
      simulated[i] = std::min(simulated[i], ms);
      sum += ms;
    }
    simulated_total = std::min(simulated_total, sum);
    sum = 0;
    std::vector<std::int8_t> data = image;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const auto start = Clock::now();
      std::vector<std::int8_t> out = plain.run(i, data);
      const double ms = milliseconds_since(start);
      host[i] = std::min(host[i], ms);
      sum += ms;
      if (repeat == 0) {
        const auto view = space->resolve(npu[i].output, 1);
        if (!equal(view.data(), out, layers[i].out_channels)) {
          std::fprintf(stderr, "sim_mobilenet: layer %zu (%s): the bytes differ\n", i,
                       layers[i].name.c_str());
          same = false;
        }
      }
      data = std::move(out);
    }
    host_total = std::min(host_total, sum);
  }

  std::printf("%2s %-17s %13s %13s %6s %6s %9s %9s %6s\n", "#", "layer", "in", "out", "MMAC",
              "tasks", "sim ms", "plain ms", "ratio");
  double macs = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const bench::Layer& l = layers[i];
    char in[32], out[32];
    std::snprintf(in, sizeof in, "%ux%ux%u", l.in_size, l.in_size, l.in_channels);
    std::snprintf(out, sizeof out, "%ux%ux%u", l.out_size, l.out_size, l.out_channels);
    std::printf("%2zu %-17s %13s %13s %6.1f %6zu %9.3f %9.3f %6.2f\n", i, l.name.c_str(), in, out,
                l.macs() * 1e-6, npu[i].tasks.iova.size(), simulated[i], host[i],
                simulated[i] / host[i]);
    if (l.kind != bench::Layer::Kind::average_pool) macs += l.macs();
  }
  std::printf(
      "MobileNetV1 1.0 224 int8, %.0f MMAC: simulated %.1f ms, plain %.1f ms (host times, "
      "best of %d)\n",
      macs * 1e-6, simulated_total, host_total, repeats);
  std::printf("ratio of times, simulated / plain: %.2f; bytes of all layers %s\n",
              simulated_total / host_total, same ? "equal" : "DIFFER");
  return same ? 0 : 1;
}
