// SPDX-License-Identifier: MIT
// Groups of products through the NPU path, and the same from the CPU's integer reference.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "llm-runtime/offload/npu_projector.hpp"

namespace npu::llm {

/// The simulator, a device for each core.
struct Npu {
  explicit Npu(std::size_t cores) {
    devices.push_back(device::open_device("sim"));
    while (devices.size() < cores) devices.push_back(devices.front()->open_another());
    for (const auto& device : devices) pointers.push_back(device.get());
  }
  std::vector<std::unique_ptr<device::Device>> devices;
  std::vector<device::Device*> pointers;
};

inline std::vector<float> random_rows(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw;
  std::vector<float> values(n);
  for (float& v : values) v = draw(random);
  return values;
}

inline std::string to_text(const QuantisationOptions& o) {
  return fmt::format("part {}{}{}{}", o.part, o.equalise ? ", equalise" : "",
                     o.rotate ? ", rotate" : "", o.wide ? ", wide" : "");
}

/// Room for m rows of every output of a group.
inline std::vector<std::vector<float>> outputs(const Model& model, Group group, std::size_t m) {
  std::vector<std::vector<float>> outs;
  for (const GroupWeight& w : group_weights(model, group, 0)) outs.emplace_back(m * w.view.rows);
  return outs;
}

inline std::vector<std::vector<float>> project(Projector& projector, const Model& model,
                                               Group group, std::uint32_t layer,
                                               const std::vector<float>& x, std::size_t m) {
  auto outs = outputs(model, group, m);
  std::vector<float*> at;
  for (auto& out : outs) at.push_back(out.data());
  projector.project(group, layer, x.data(), m, at);
  return outs;
}

/// From the sums of reference_sums(), in the order in which the projector adds its parts.
inline std::vector<std::vector<float>> reference(const Model& model, Group group,
                                                 std::uint32_t layer, const std::vector<float>& x,
                                                 std::uint32_t m,
                                                 const QuantisationOptions& options,
                                                 cpu::ThreadPool& pool) {
  const auto [w, transform] = quantise_group(model, group, layer, options, pool);
  const QuantisedMatrix q =
      quantise_rows(x.data(), m, w.columns, w.part, transform, options.wide, pool);
  auto outs = outputs(model, group, m);
  const std::uint32_t parts = w.parts();
  for (std::uint32_t p = 0; p < parts; ++p) {
    const auto sums = reference_sums(w, q, p);
    std::uint32_t first = 0;
    std::size_t j = 0;
    for (const GroupWeight& weight : group_weights(model, group, layer)) {
      const std::uint32_t rows = weight.view.rows;
      for (std::uint32_t i = 0; i < q.rows; ++i) {  // row m + i: the low bytes of row i
        const std::span<float> out(outs[j].data() + std::size_t{i % m} * rows, rows);
        if (p == 0 && i < m && !weight.bias.empty()) std::ranges::copy(weight.bias, out.begin());
        add_scaled(
            std::span(sums).subspan(std::size_t{i} * w.rows + first, rows),
            std::span(w.scales).subspan(std::size_t{first} * parts, std::size_t{rows} * parts), p,
            q.scales[std::size_t{i} * parts + p], out);
      }
      first += rows;
      ++j;
    }
  }
  return outs;
}

}  // namespace npu::llm
