// SPDX-License-Identifier: MIT
#include "llm-runtime/offload/npu_projector.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "llm-runtime/dequantize.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

using kernels::DataType;
using kernels::Gemm;
using std::chrono::nanoseconds;

constexpr std::size_t kLayerGroups = kGroups.size() - 1;
constexpr kernels::GemmTypes kTypes{DataType::i8, DataType::i32};

class Timer {
 public:
  explicit Timer(nanoseconds& to) : to_(to), start_(std::chrono::steady_clock::now()) {}
  ~Timer() { to_ += std::chrono::steady_clock::now() - start_; }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  nanoseconds& to_;
  std::chrono::steady_clock::time_point start_;
};

/// Of each column, over all rows of a matrix. In blocks of rows that are added in their order, so
/// that the result does not depend on the number of threads.
void add_squares(const WeightView& matrix, std::span<double> squares, cpu::ThreadPool& pool) {
  constexpr std::uint32_t kBlock = 256;
  std::vector<std::vector<float>> sums((matrix.rows + kBlock - 1) / kBlock);
  pool.parallel_for(sums.size(), 1, [&](std::size_t begin, std::size_t end) {
    std::vector<float> row(matrix.columns);
    for (std::size_t b = begin; b < end; ++b) {
      sums[b].assign(matrix.columns, 0.0f);
      const auto first = static_cast<std::uint32_t>(b) * kBlock;
      for (std::uint32_t r = first; r < std::min(first + kBlock, matrix.rows); ++r) {
        dequantize_row(matrix, r, row);
        for (std::size_t c = 0; c < row.size(); ++c) sums[b][c] += row[c] * row[c];
      }
    }
  });
  for (const std::vector<float>& sum : sums) {
    for (std::size_t c = 0; c < sum.size(); ++c) squares[c] += double{sum[c]};
  }
}

}  // namespace

/// The products of one group of one layer: for each part of the columns, one for each height.
struct NpuProjector::Weights {
  ColumnTransform transform;
  std::vector<float> scales, biases;  ///< [rows][parts], [rows] or empty
  std::vector<std::uint32_t> split;   ///< rows of each matrix of the group
  std::uint32_t rows = 0, columns = 0, part = 0, parts = 0;
  std::vector<std::map<std::uint32_t, std::unique_ptr<Gemm>>> products;
};

/// How the products of a group are cut, found once for all layers.
struct NpuProjector::Kind {
  std::map<std::pair<std::uint32_t, std::uint32_t>, kernels::GemmChoice>
      choices;  ///< columns, rows
};

std::vector<std::uint32_t> product_heights(std::uint32_t most_rows) {
  std::vector<std::uint32_t> heights;
  for (std::uint32_t h = 4; h < most_rows; h *= 2) {
    heights.push_back(h);
    if (h >= 8 && h + h / 2 < most_rows) heights.push_back(h + h / 2);
  }
  heights.push_back(most_rows);
  return heights;
}

kernels::GemmOptions product_options(const OffloadOptions& options,
                                     const sim::Calibration* calibration) {
  const sim::Calibration& c =
      calibration != nullptr ? *calibration : sim::default_calibration().values;
  return {.split = kernels::CoreSplit::columns,
          .convert_ns = options.quantisation.wide
                            ? 0
                            : c.llm_activation_ns * std::max(1.0, c.host_parallelism),
          .npu_hz = options.npu_hz,
          .calibration = calibration};
}

QuantisedGroup quantise_group(const Model& model, Group group, std::uint32_t layer,
                              const QuantisationOptions& options, cpu::ThreadPool& pool) {
  const ModelShape& shape = model.shape();
  const std::uint32_t columns = group_columns(shape, group);
  QuantisedGroup result;
  result.matrix = quantised_matrix(group_rows(shape, group), columns, options.part);
  std::vector<double> squares(columns);
  if (options.equalise) {
    for (const GroupWeight& weight : group_weights(model, group, layer)) {
      add_squares(weight.view, squares, pool);
    }
  }
  result.transform = column_transform(squares, options);
  std::uint32_t first = 0;
  for (const GroupWeight& weight : group_weights(model, group, layer)) {
    pool.parallel_for(weight.view.rows, 16, [&](std::size_t begin, std::size_t end) {
      std::vector<float> row(columns);
      for (std::size_t r = begin; r < end; ++r) {
        dequantize_row(weight.view, static_cast<std::uint32_t>(r), row);
        transform_row(result.transform.weights, result.transform.block, row);
        quantise_row(row, first + static_cast<std::uint32_t>(r), result.matrix);
      }
    });
    first += weight.view.rows;
  }
  return result;
}

QuantisedMatrix quantise_rows(const float* x, std::uint32_t m, std::uint32_t columns,
                              std::uint32_t part, const ColumnTransform& transform, bool wide,
                              cpu::ThreadPool& pool) {
  QuantisedMatrix to = quantised_matrix(wide ? 2 * m : m, columns, part);
  pool.parallel_for(m, 1, [&](std::size_t begin, std::size_t end) {
    std::vector<float> row;
    for (std::size_t i = begin; i < end; ++i) {
      row.assign(x + i * columns, x + (i + 1) * columns);
      transform_row(transform.inputs, transform.block, row);
      (wide ? quantise_row_wide : quantise_row)(row, static_cast<std::uint32_t>(i), to);
    }
  });
  return to;
}

NpuProjector::NpuProjector(const Model& model, cpu::ThreadPool& pool,
                           std::span<device::Device* const> devices, Projector* rest,
                           const OffloadOptions& options)
    : pool_(pool),
      devices_(devices.begin(), devices.end()),
      rest_(rest),
      options_(options),
      heights_(product_heights(options.most_rows)),
      kinds_(kGroups.size()) {
  if (options.most_rows < 4 || options.most_rows > 4096 || options.most_rows % 4 != 0) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} rows at a time are not possible: use a multiple of 4 up to 4096",
                            options.most_rows));
  }
  for (std::uint32_t layer = 0; layer < model.shape().layers; ++layer) {
    for (std::size_t i = 0; i < kLayerGroups; ++i) {
      weights_.push_back(pack(model, kGroups[i], layer));
    }
  }
  weights_.push_back(pack(model, Group::output, 0));
}

NpuProjector::~NpuProjector() = default;

NpuProjector::Weights NpuProjector::pack(const Model& model, Group group, std::uint32_t layer) {
  Weights weights;
  if (options_.plan.of(group) == OffloadPlan::kNever) return weights;
  auto [matrix, transform] = quantise_group(model, group, layer, options_.quantisation, pool_);
  weights.transform = std::move(transform);
  weights.rows = matrix.rows;
  weights.columns = matrix.columns;
  weights.part = matrix.part;
  weights.parts = matrix.parts();
  weights.scales = std::move(matrix.scales);
  for (const GroupWeight& weight : group_weights(model, group, layer)) {
    weights.split.push_back(weight.view.rows);
    if (!weight.bias.empty()) {
      weights.biases.insert(weights.biases.end(), weight.bias.begin(), weight.bias.end());
    }
  }
  weights.products.resize(weights.parts);
  for (std::uint32_t p = 0; p < weights.parts; ++p) {
    const std::uint32_t begin = p * matrix.part;
    const std::uint32_t columns = std::min(matrix.part, matrix.columns - begin);
    std::vector<std::int8_t> part;
    if (weights.parts == 1) {
      part = std::move(matrix.q);
    } else {
      part.resize(std::size_t{matrix.rows} * columns);
      for (std::size_t r = 0; r < matrix.rows; ++r) {
        std::copy_n(matrix.q.data() + r * matrix.columns + begin, columns,
                    part.data() + r * columns);
      }
    }
    // The tallest one packs for all.
    Gemm& tallest = product(kinds_[static_cast<std::size_t>(group)], weights, p, heights_.back());
    tallest.set_weights(part);
    weight_bytes_ += tallest.weight_bytes();
  }
  return weights;
}

/// The product of a part of the columns with `rows` rows, made when it is first asked for.
Gemm& NpuProjector::product(Kind& kind, Weights& weights, std::size_t part, std::uint32_t rows) {
  std::unique_ptr<Gemm>& gemm = weights.products[part][rows];
  if (gemm) return *gemm;
  const std::uint32_t columns =
      std::min(weights.part, weights.columns - static_cast<std::uint32_t>(part) * weights.part);
  const auto tallest = weights.products[part].find(heights_.back());
  kernels::GemmSharing sharing{.pool = &buffers_};
  kernels::GemmOptions options = product_options(options_);
  if (rows != heights_.back()) {
    sharing.weights = tallest->second.get();
    options = kernels::like_weights_of(sharing.weights->plan(), options);
  }
  if (const auto known = kind.choices.find({columns, rows}); known != kind.choices.end()) {
    options.choice = known->second;
  }
  gemm = std::make_unique<Gemm>(devices_, kernels::GemmShape{rows, weights.rows, columns}, kTypes,
                                options, sharing);
  kind.choices.emplace(std::pair(columns, rows), gemm->plan().choice);
  return *gemm;
}

void NpuProjector::project(Group group, std::uint32_t layer, const float* x, std::size_t m,
                           std::span<float* const> outs) {
  if (m < options_.plan.of(group)) {
    if (rest_ == nullptr) {
      throw Error(ErrorCode::invalid_argument, "this plan leaves work to a CPU that is not there");
    }
    return rest_->project(group, layer, x, m, outs);
  }
  Weights& weights = group == Group::output
                         ? weights_.back()
                         : weights_[layer * kLayerGroups + static_cast<std::size_t>(group)];
  std::vector<float*> at(outs.begin(), outs.end());
  const std::uint32_t most = heights_.back() / (options_.quantisation.wide ? 2 : 1);
  for (std::size_t done = 0; done < m;) {
    const auto rows = static_cast<std::uint32_t>(std::min<std::size_t>(m - done, most));
    run(group, weights, x + done * weights.columns, rows, at);
    for (std::size_t i = 0; i < at.size(); ++i) at[i] += std::size_t{rows} * weights.split[i];
    done += rows;
  }
  ++stats_.calls;
}

void NpuProjector::run(Group group, Weights& weights, const float* x, std::uint32_t m,
                       std::span<float* const> outs) {
  const bool wide = options_.quantisation.wide;
  const std::uint32_t rows_of_x = wide ? 2 * m : m;
  const std::uint32_t height = *std::ranges::lower_bound(heights_, rows_of_x);
  {
    const Timer timer(stats_.quantise);
    x_ = quantise_rows(x, m, weights.columns, weights.part, weights.transform, wide, pool_);
  }
  for (std::uint32_t p = 0; p < weights.parts; ++p) {
    Gemm& gemm = product(kinds_[static_cast<std::size_t>(group)], weights, p, height);
    const std::uint32_t begin = p * weights.part, columns = gemm.plan().shape.k;
    {
      const Timer timer(stats_.quantise);
      a_.assign(std::size_t{height} * columns, 0);
      for (std::size_t i = 0; i < rows_of_x; ++i) {
        std::copy_n(x_.q.data() + i * weights.columns + begin, columns, a_.data() + i * columns);
      }
    }
    kernels::GemmStats stats;
    if (!wide) {
      // Rows beyond m are padding.
      gemm.run(
          a_,
          [&](const kernels::Range& rows, const kernels::Range& sums_of, const std::byte* block,
              std::size_t stride) {
            for (std::size_t i = rows.begin; i < std::min<std::size_t>(rows.end(), m); ++i) {
              const auto* sums =
                  reinterpret_cast<const std::int32_t*>(block) + (i - rows.begin) * stride;
              scale({sums, sums_of.size}, sums_of.begin, weights, p,
                    x_.scales[i * weights.parts + p], i, outs, p == 0);
            }
          },
          &stats);
    } else {
      sums_.resize(std::size_t{height} * weights.rows);
      gemm.run(a_, sums_, &stats);
      const Timer timer(stats_.scale);
      pool_.parallel_for(m, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t i = first; i < last; ++i) {
          for (std::size_t half = i; half < rows_of_x; half += m) {
            scale({sums_.data() + half * weights.rows, weights.rows}, 0, weights, p,
                  x_.scales[half * weights.parts + p], i, outs, p == 0 && half == i);
          }
        }
      });
    }
    ++stats_.products;
    stats_.submits += stats.run.submits;
    stats_.jobs += stats.run.jobs;
    stats_.tasks += stats.run.tasks;
    stats_.macs += stats.macs;
    stats_.device += stats.run.device;
    stats_.pack += stats.pack;
    stats_.submit += stats.run.submit;
    stats_.wait += stats.run.wait;
    stats_.unpack += stats.unpack;
  }
}

/// Sums of row `i` of x and rows [begin, begin + sums.size()) of the group, part `p`, onto the
/// outputs; `first`: onto the bias, or 0.
void NpuProjector::scale(std::span<const std::int32_t> sums, std::size_t begin,
                         const Weights& weights, std::uint32_t p, float token_scale, std::size_t i,
                         std::span<float* const> outs, bool first) {
  const std::size_t end = begin + sums.size();
  std::size_t row = 0;  // of the matrix's first one in the group
  for (std::size_t j = 0; j < outs.size(); row += weights.split[j++]) {
    const std::size_t from = std::max(begin, row);
    const std::size_t to = std::min(end, row + weights.split[j]);
    if (from >= to) continue;
    const std::span<float> out(outs[j] + i * weights.split[j] + (from - row), to - from);
    if (first && weights.biases.empty()) std::ranges::fill(out, 0.0f);
    if (first && !weights.biases.empty()) {
      std::copy_n(weights.biases.data() + from, out.size(), out.data());
    }
    add_scaled(sums.subspan(from - begin, out.size()),
               std::span(weights.scales).subspan(from * weights.parts, out.size() * weights.parts),
               p, token_scale, out);
  }
}

}  // namespace npu::llm
