// SPDX-License-Identifier: MIT
// Packing for the NPU against the memory of this machine: the weights of Qwen2.5-1.5B against
// read() of a warm file of the same size, and activations against memcpy. Host times.
//
//   packing [--layers=4] [--repeats=7] [--threads=0]
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <new>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bench_common.hpp"
#include "microkernels/layout.hpp"

namespace {

using namespace npu::kernels;

// On a page of its own, as the buffers of a device are.
template <class T>
struct PageAllocator {
  using value_type = T;
  static constexpr std::align_val_t kPage{4096};
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kPage)); }
  void deallocate(T* p, std::size_t) { ::operator delete(p, kPage); }
  friend bool operator==(const PageAllocator&, const PageAllocator&) { return true; }
};
using Buffer = std::vector<std::byte, PageAllocator<std::byte>>;

struct Matrix {
  std::size_t rows, columns;
};
// q, k, v, o, gate, up, down of one layer.
constexpr Matrix kLayer[] = {{1536, 1536}, {256, 1536},  {256, 1536}, {1536, 1536},
                             {8960, 1536}, {8960, 1536}, {1536, 8960}};

std::size_t layer_elements() {
  std::size_t sum = 0;
  for (const Matrix& m : kLayer) sum += m.rows * m.columns;
  return sum;
}

// A file that is gone when the program ends, however it does: nobody else can open it.
class WarmFile {
 public:
  explicit WarmFile(const Buffer& data) {
    std::string name = (std::filesystem::temp_directory_path() / "packing-XXXXXX").string();
    fd_ = mkstemp(name.data());
    if (fd_ < 0) fail("create", name);
    unlink(name.c_str());
    for (std::size_t done = 0; done < data.size();) {
      const ssize_t n = write(fd_, data.data() + done, data.size() - done);
      if (n <= 0) fail("write", name);
      done += static_cast<std::size_t>(n);
    }
  }
  ~WarmFile() { close(fd_); }
  WarmFile(const WarmFile&) = delete;
  WarmFile& operator=(const WarmFile&) = delete;

  void read(std::byte* to, std::size_t at, std::size_t size) const {
    for (std::size_t done = 0; done < size;) {
      const ssize_t n = pread(fd_, to + done, size - done, static_cast<off_t>(at + done));
      if (n <= 0) fail("read", "the file");
      done += static_cast<std::size_t>(n);
    }
  }

 private:
  [[noreturn]] static void fail(const char* what, const std::string& name) {
    std::fprintf(stderr, "packing: cannot %s %s: is there room in the temporary directory?\n", what,
                 name.c_str());
    std::exit(4);
  }
  int fd_ = -1;
};

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The best of the repetitions of each, taken in turns: other work on the machine only adds time.
std::vector<double> best_of(int repeats, const std::vector<std::function<void()>>& works) {
  std::vector<double> best(works.size(), 1e30);
  for (int i = 0; i < repeats; ++i)
    for (std::size_t w = 0; w < works.size(); ++w) best[w] = std::min(best[w], seconds(works[w]));
  return best;
}

void fill(Buffer& data) {
  std::mt19937_64 random(1);
  std::size_t i = 0;
  for (; i + 8 <= data.size(); i += 8) {
    const std::uint64_t value = random();
    std::memcpy(data.data() + i, &value, 8);
  }
  for (; i < data.size(); ++i) data[i] = std::byte{0x55};
}

// A way of working on one matrix: the bytes [at, at + size) of all.
using Work = std::function<void(const Matrix&, std::size_t at, std::size_t size)>;

// Each way goes through all matrices in turns. Of each matrix the best time counts, for other work
// on the machine only adds time; by then the caches hold later matrices.
std::vector<double> sums_of_best(int repeats, int layers, std::size_t element,
                                 const std::vector<Work>& works) {
  const std::size_t count = std::size(kLayer) * static_cast<std::size_t>(layers);
  std::vector<std::vector<double>> best(works.size(), std::vector<double>(count, 1e30));
  for (int i = 0; i < repeats; ++i)
    for (std::size_t w = 0; w < works.size(); ++w) {
      std::size_t at = 0;
      for (std::size_t k = 0; k < count; ++k) {
        const Matrix& m = kLayer[k % std::size(kLayer)];
        const std::size_t size = m.rows * m.columns * element;
        best[w][k] = std::min(best[w][k], seconds([&] { works[w](m, at, size); }));
        at += size;
      }
    }
  std::vector<double> sums;
  for (const auto& times : best) sums.push_back(std::accumulate(times.begin(), times.end(), 0.0));
  return sums;
}

void weights(DataType type, int layers, int repeats, unsigned threads) {
  const std::size_t element = host_bytes(type);
  const std::size_t bytes = layer_elements() * element * static_cast<std::size_t>(layers);
  Buffer source(bytes), packed(bytes);  // all sizes are whole groups and blocks
  fill(source);
  const WarmFile file(source);
  Buffer piece(std::size_t{1} << 18);
  const auto pack = [&](unsigned count) {
    return [&, count](const Matrix& m, std::size_t at, std::size_t size) {
      pack_weights(type, {source.data() + at, m.rows, m.columns, m.columns}, m.rows, m.columns,
                   {packed.data() + at, size}, count);
    };
  };
  const auto times =
      sums_of_best(repeats, layers, element,
                   {[&](const Matrix&, std::size_t at, std::size_t size) {
                      file.read(source.data() + at, at, size);
                    },
                    [&](const Matrix&, std::size_t at, std::size_t size) {
                      for (std::size_t done = 0; done < size; done += piece.size())
                        file.read(piece.data(), at + done, std::min(piece.size(), size - done));
                    },
                    [&](const Matrix&, std::size_t at, std::size_t size) {
                      std::memcpy(packed.data() + at, source.data() + at, size);
                    },
                    pack(1), pack(threads)});
  const double gb = static_cast<double>(bytes) * 1e-9;
  std::printf(
      "%-36s %7s     %-9s of read   of read again\n",
      fmt::format("weights {}, {} layers, {:.0f} MB", to_string(type), layers, gb * 1e3).c_str(),
      "time", "speed");
  const auto line = [&](const std::string& what, double time) {
    std::printf("  %-34s %7.1f ms %6.1f GB/s %8.2f %8.2f\n", what.c_str(), time * 1e3, gb / time,
                time / times[0], time / times[1]);
  };
  line("read() of the warm file", times[0]);
  line("read() to 256 KiB, again and again", times[1]);
  line("memcpy", times[2]);
  line("packing, 1 thread", times[3]);
  line(fmt::format("packing, {} threads", threads), times[4]);
  const double all = 28.0 / layers;
  std::printf("  all 28 layers: read %.0f ms, packed %.0f ms\n", times[0] * all * 1e3,
              std::min(times[3], times[4]) * all * 1e3);
}

void features(DataType type, std::size_t rows, std::size_t channels, int repeats) {
  const std::size_t bytes = rows * channels * host_bytes(type);
  Buffer nhwc(bytes), cube(bytes), back(bytes);
  fill(nhwc);
  const MatrixView<const std::byte> in{nhwc.data(), rows, channels, channels};
  const MatrixView<std::byte> out{back.data(), rows, channels, channels};
  // Small ones several times, so that a measurement is longer than the clock's step.
  const std::size_t times = std::max<std::size_t>(1, (std::size_t{32} << 20) / bytes);
  const auto repeat = [&](const std::function<void()>& work) {
    return [times, work] {
      for (std::size_t i = 0; i < times; ++i) work();
    };
  };
  const auto best =
      best_of(repeats, {repeat([&] { std::memcpy(cube.data(), nhwc.data(), bytes); }),
                        repeat([&] { pack_features(type, in, rows, channels, cube); }),
                        repeat([&] { unpack(type, cube, rows, out); })});
  const double gb = static_cast<double>(bytes * times) * 1e-9;
  std::printf("  %-4s %7zu x %-6zu %8.1f MB  memcpy %6.1f  pack %6.1f  unpack %6.1f GB/s%s\n",
              std::string(to_string(type)).c_str(), rows, channels,
              static_cast<double>(bytes) * 1e-6, gb / best[0], gb / best[1], gb / best[2],
              back == nhwc ? "" : "  DIFFERS");
  if (back != nhwc) std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  int layers = 4, repeats = 7, threads = 0;
  npu::bench::take_flag(argc, argv, "layers", &layers);
  npu::bench::take_flag(argc, argv, "repeats", &repeats);
  npu::bench::take_flag(argc, argv, "threads", &threads);
  if (argc > 1 || layers < 1 || layers > 28 || repeats < 1 || threads < 0) {
    std::fprintf(stderr, "usage: packing [--layers=1..28] [--repeats=N] [--threads=N, 0: all]\n");
    return 2;
  }
  const unsigned count = threads != 0 ? static_cast<unsigned>(threads)
                                      : std::max(1u, std::thread::hardware_concurrency());
  weights(DataType::i8, layers, repeats, count);
  weights(DataType::f16, layers, repeats, count);
  std::printf("features: NHWC to NC1HWC2 and back\n");
  for (const DataType type : {DataType::i8, DataType::f16, DataType::f32}) {
    features(type, 128, 1536, repeats);
    features(type, 112 * 112, 64, repeats);
    features(type, 4096, 8960, repeats);
  }
  return 0;
}
