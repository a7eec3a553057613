// SPDX-License-Identifier: MIT
// C = A . B^T of fp16 matrices on the NPU, beside the same on the CPU.
//
//   matmul [DEVICE]        DEVICE: sim (the default), rocket, rocket:/dev/accel/accel0
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <vector>

#include "microkernels/gemm.hpp"
#include "npu-sim/float_types.hpp"

using namespace npu;

int main(int argc, char** argv) try {
  const kernels::GemmShape shape{.m = 128, .n = 512, .k = 768};

  // One open file for each core: the kernel keeps a file's work on one core.
  std::vector<std::unique_ptr<device::Device>> files;
  files.push_back(device::open_device(argc > 1 ? argv[1] : "sim"));
  while (files.size() < 3) files.push_back(files[0]->open_another());
  std::vector<device::Device*> cores;
  for (const auto& file : files) cores.push_back(file.get());

  // Row-major: A [m][k], B [n][k], one row for each column of C.
  std::vector<std::uint16_t> a(shape.m * shape.k), b(shape.n * shape.k);
  for (std::size_t i = 0; i < a.size(); ++i)
    a[i] = sim::float_to_fp16(std::sin(static_cast<float>(i)));
  for (std::size_t i = 0; i < b.size(); ++i)
    b[i] = sim::float_to_fp16(std::cos(static_cast<float>(i)));

  // Weights are packed once and serve any number of products.
  kernels::Gemm gemm(cores, shape, {kernels::DataType::f16, kernels::DataType::f32});
  gemm.set_weights(b);
  std::vector<float> c(shape.m * shape.n);
  kernels::GemmStats stats;
  gemm.run(a, c, &stats);

  double worst = 0;
  for (std::size_t i = 0; i < c.size(); ++i) {
    double sum = 0;
    for (std::size_t k = 0; k < shape.k; ++k)
      sum += static_cast<double>(sim::fp16_to_float(a[i / shape.n * shape.k + k])) *
             sim::fp16_to_float(b[i % shape.n * shape.k + k]);
    worst = std::max(worst, std::abs(sum - c[i]));
  }
  std::printf("%u x %u x %u on %s: %u tasks on %u cores, %.0f us modelled, largest error %.1e\n",
              shape.m, shape.n, shape.k, files[0]->info().path.c_str(), stats.run.tasks,
              stats.cores, gemm.plan().seconds * 1e6, worst);
  return worst < 1e-3 ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "matmul: %s\n", error.what());
  return 5;
}
