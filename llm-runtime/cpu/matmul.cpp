// SPDX-License-Identifier: MIT
#include "llm-runtime/cpu/matmul.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "llm-runtime/cpu/kernels.hpp"
#include "regdb/error.hpp"

namespace npu::llm::cpu {
namespace {

// Rows of activations that meet a pair of panels before the next pair comes: their sums (64 KiB)
// and a slab of them (128 KiB) stay in the second-level cache.
constexpr std::size_t kRowsAtATime = 512;

/// m rows of n activations, quantised into `memory`, slab by slab: [n / 256][m].
template <class Slab>
const Slab* quantized(ThreadPool& pool, const float* x, std::size_t x_stride, std::size_t m,
                      std::size_t n, Buffer& memory) {
  Slab* slabs = memory.scratch<Slab>((n + kSlabColumns - 1) / kSlabColumns * m);
  pool.parallel_for(m, 8, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) quantize(x + i * x_stride, n, slabs + i, m);
  });
  return slabs;
}

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
  const std::size_t rows = std::min(kSumStride, product.w->rows() - row);
  for (std::size_t i = first; i < last; ++i, sums += kSumStride) {
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
      float* sums = scratch.scratch<float>((last - first) * kSumStride);
      for (std::size_t p = piece.first; p < piece.first + piece.count; p += kMaxPanels) {
        const Matrix& w = *piece.product->w;
        const std::size_t count = std::min(kMaxPanels, piece.first + piece.count - p);
        multiply_rows(Panels{w.type(), w.columns(), w.panel(p), count}, first, last - first, sums);
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
  thread_local Buffer memory_32, memory_256;
  const Activations32* of_32 = nullptr;
  const Activations256* of_256 = nullptr;
  const std::size_t n = products[0].w->columns();
  for (const Product& product : products) {
    const TensorType type = product.w->type();
    if (is_k_quant(type) && of_256 == nullptr)
      of_256 = quantized<Activations256>(pool, x, x_stride, m, n, memory_256);
    else if (!is_float(type) && !is_k_quant(type) && of_32 == nullptr)
      of_32 = quantized<Activations32>(pool, x, x_stride, m, n, memory_32);
  }
  all_pieces(pool, products, m,
             [&](const Panels& w, std::size_t first, std::size_t rows, float* sums) {
               if (is_float(w.type))
                 return multiply_f32(w, x + first * x_stride, x_stride, rows, sums);
               if (is_k_quant(w.type)) return multiply(w, of_256 + first, m, rows, sums);
               multiply(w, of_32 + first, m, rows, sums);
             });
}

void matmul_f32(ThreadPool& pool, std::span<const Product> products, const float* x,
                std::size_t x_stride, std::size_t m) {
  if (m == 0 || products.empty()) return;
  check(products, x);
  all_pieces(pool, products, m,
             [&](const Panels& w, std::size_t first, std::size_t rows, float* sums) {
               multiply_f32(w, x + first * x_stride, x_stride, rows, sums);
             });
}

}  // namespace npu::llm::cpu
