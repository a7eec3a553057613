// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu/matmul.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "llm-runtime/cpu/kernels.hpp"
#include "regdb/error.hpp"

namespace npu::llm::cpu {
namespace {

constexpr std::size_t kOutStride = kMaxPanels * kPanelRows;
// Rows of activations that meet a pair of panels before the next pair comes: their sums (64 KiB)
// and a slab of them (128 KiB) stay in the second-level cache.
constexpr std::size_t kRowsAtATime = 512;

/// Activations quantised in one way, and the memory that holds them.
struct Quantised {
  Buffer q, d, correction, sums;
  Activations rows;

  void make(ThreadPool& pool, ActivationBlock block, const float* x, std::size_t x_stride,
            std::size_t m, std::size_t n) {
    const std::size_t size = block == ActivationBlock::of_32 ? 32 : 256;
    const std::size_t corrected = block == ActivationBlock::of_32 ? 32 : 16;
    const ActivationRow first = {q.scratch<std::int8_t>(m * n), d.scratch<float>(m * (n / size)),
                                 correction.scratch<std::int32_t>(m * (n / corrected)),
                                 sums.scratch<std::int16_t>(m * (n / 32))};
    pool.parallel_for(m, 8, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i)
        quantize(block, x + i * x_stride, n,
                 {first.q + i * n, first.d + i * (n / size), first.correction + i * (n / corrected),
                  first.sums + i * (n / 32)});
    });
    rows = {m, n, first.q, first.d, first.correction, first.sums};
  }
};

/// A run of panels of one product, the piece of work that a thread takes.
struct Piece {
  const Product* product;
  std::size_t first, count;  // panels
};

void check(std::span<const Product> products, const float* x) {
  if (x == nullptr) throw Error(ErrorCode::invalid_argument, "a product without activations");
  for (const Product& product : products) {
    if (product.w == nullptr || product.out == nullptr || product.w->rows() == 0)
      throw Error(ErrorCode::invalid_argument, "a product without weights or without a result");
    if (product.w->columns() != products[0].w->columns())
      throw Error(ErrorCode::invalid_argument, "products of one call have " +
                                                   std::to_string(products[0].w->columns()) +
                                                   " and " + std::to_string(product.w->columns()) +
                                                   " columns; they must share their activations");
  }
}

/// Cuts the products into pieces of about `bytes` of weights each, an even number of panels.
std::vector<Piece> cut(std::span<const Product> products, std::size_t bytes) {
  std::vector<Piece> pieces;
  for (const Product& product : products) {
    const std::size_t all = panels(product.w->rows());
    const std::size_t one = panel_bytes(product.w->type(), product.w->columns());
    const std::size_t step = std::max(kMaxPanels, bytes / one / kMaxPanels * kMaxPanels);
    for (std::size_t p = 0; p < all; p += step)
      pieces.push_back({&product, p, std::min(step, all - p)});
  }
  return pieces;
}

/// Rows [first, last) of the results of one pair of panels to where they belong.
void put(const Product& product, std::size_t panel, const float* sums, std::size_t first,
         std::size_t last) {
  const std::size_t row = panel * kPanelRows;
  const std::size_t rows = std::min(kOutStride, product.w->rows() - row);
  for (std::size_t i = first; i < last; ++i, sums += kOutStride) {
    float* out = product.out + i * product.out_stride + row;
    if (product.bias == nullptr)
      std::copy_n(sums, rows, out);
    else
      for (std::size_t r = 0; r < rows; ++r) out[r] = sums[r] + product.bias[row + r];
  }
}

/// Bytes of weights a piece: enough for a thread to be worth waking, few enough to share evenly.
std::size_t piece_bytes(const ThreadPool& pool, std::span<const Product> products) {
  std::size_t bytes = 0;
  for (const Product& product : products) bytes += product.w->bytes();
  return std::min(std::size_t{256} << 10, bytes / (pool.threads() * 6) + 1);
}

template <class Multiply>
void all_pieces(ThreadPool& pool, std::span<const Product> products, std::size_t m,
                const Multiply& multiply_rows) {
  const std::vector<Piece> pieces = cut(products, piece_bytes(pool, products));
  for (std::size_t first = 0; first < m; first += kRowsAtATime) {
    const std::size_t last = std::min(m, first + kRowsAtATime);
    pool.parallel_for(pieces.size(), 1, [&](std::size_t begin, std::size_t) {
      thread_local Buffer scratch;
      const Piece& piece = pieces[begin];
      float* sums = scratch.scratch<float>((last - first) * kOutStride);
      for (std::size_t p = piece.first; p < piece.first + piece.count; p += kMaxPanels) {
        const Matrix& w = *piece.product->w;
        const std::size_t count = std::min(kMaxPanels, piece.first + piece.count - p);
        multiply_rows(Panels{w.type(), w.columns(), w.panel(p), count}, first, last, sums);
        put(*piece.product, p, sums, first, last);
      }
    });
  }
}

}  // namespace

void matmul(ThreadPool& pool, std::span<const Product> products, const float* x,
            std::size_t x_stride, std::size_t m) {
  if (m == 0 || products.empty()) return;
  check(products, x);
  thread_local Quantised of_32, of_256;
  bool made_32 = false, made_256 = false;
  const std::size_t n = products[0].w->columns();
  for (const Product& product : products) {
    const ActivationBlock block = activation_block(product.w->type());
    if (block == ActivationBlock::of_32 && !std::exchange(made_32, true))
      of_32.make(pool, block, x, x_stride, m, n);
    if (block == ActivationBlock::of_256 && !std::exchange(made_256, true))
      of_256.make(pool, block, x, x_stride, m, n);
  }
  const Activations rows_32 = of_32.rows, rows_256 = of_256.rows;
  all_pieces(pool, products, m,
             [&](const Panels& w, std::size_t first, std::size_t last, float* sums) {
               switch (activation_block(w.type)) {
                 case ActivationBlock::of_32: return multiply(w, rows_32, first, last, sums);
                 case ActivationBlock::of_256: return multiply(w, rows_256, first, last, sums);
                 case ActivationBlock::none:
                   return multiply_f32(w, x + first * x_stride, x_stride, last - first, sums);
               }
             });
}

void matmul_f32(ThreadPool& pool, std::span<const Product> products, const float* x,
                std::size_t x_stride, std::size_t m) {
  if (m == 0 || products.empty()) return;
  check(products, x);
  all_pieces(pool, products, m,
             [&](const Panels& w, std::size_t first, std::size_t last, float* sums) {
               multiply_f32(w, x + first * x_stride, x_stride, last - first, sums);
             });
}

}  // namespace npu::llm::cpu
