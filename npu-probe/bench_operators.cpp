// SPDX-License-Identifier: MIT
// Operators with random operands, as `bench` runs them.
#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <variant>

#include "microkernels/activation.hpp"
#include "microkernels/conv2d.hpp"
#include "microkernels/copy.hpp"
#include "microkernels/elementwise.hpp"
#include "microkernels/gemm.hpp"
#include "microkernels/pool.hpp"
#include "npu-probe/bench_run.hpp"
#include "npu-probe/bench_shapes.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using device::Device;
using kernels::DataType;
using kernels::RunStats;

// int4 lies in bytes on the host.
std::size_t host_size(DataType type) { return type == DataType::i4 ? 1 : kernels::bits(type) / 8; }

// Bits that are an ordinary number of the type: operands that are NaN or subnormal say little.
std::uint32_t ordinary(DataType type, std::uint32_t random) {
  switch (type) {
    case DataType::i4: {
      const std::uint32_t v = random & 0xF;
      return v >= 8 ? v | 0xF0 : v;
    }
    case DataType::f16: return (random & 0x83FF) | 0x3800;  // 0.5 to 1, either sign
    case DataType::bf16: return (random & 0x807F) | 0x3F00;
    case DataType::tf32:
    case DataType::f32: return (random & 0x807FFFFF) | 0x3F000000;
    default: return random;
  }
}

// Elements by their size; which type they are is the operator's business.
class HostArray {
 public:
  HostArray(DataType type, std::uint64_t n, bool random) {
    switch (host_size(type)) {
      case 1: data_.emplace<0>(n); break;
      case 2: data_.emplace<1>(n); break;
      default: data_.emplace<2>(n); break;
    }
    if (!random) return;
    std::uint64_t state = n;  // splitmix64: the same operands in every run
    std::visit(
        [&](auto& values) {
          for (auto& value : values) {
            state += 0x9E3779B97F4A7C15u;
            std::uint64_t z = state;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
            value = static_cast<std::remove_reference_t<decltype(value)>>(
                ordinary(type, static_cast<std::uint32_t>(z >> 32)));
          }
        },
        data_);
  }
  kernels::ConstElements in() const {
    return std::visit([](const auto& values) { return kernels::ConstElements(values); }, data_);
  }
  kernels::Elements out() {
    return std::visit([](auto& values) { return kernels::Elements(values); }, data_);
  }
  std::span<const std::uint16_t> halves() const { return std::get<1>(data_); }
  std::span<std::uint16_t> halves() { return std::get<1>(data_); }

 private:
  std::variant<std::vector<std::uint8_t>, std::vector<std::uint16_t>, std::vector<std::uint32_t>>
      data_;
};

// About what brings sums of k products of random bytes into a byte.
kernels::Requant byte_requant(std::uint64_t k) {
  return kernels::requant_from_float(1.0f / (128.0f * static_cast<float>(1 + k / 64)));
}

BenchSubject gemm_subject(const kernels::GemmShape& s, const kernels::GemmTypes& types,
                          std::span<Device* const> devices, const kernels::TunedPlans* plans) {
  const device::DeviceInfo& info = devices.front()->info();
  kernels::GemmOptions options{.chained = info.chains};
  if (info.npu_mhz > 0) options.npu_hz = info.npu_mhz * 1e6;
  if (plans != nullptr)
    options = tuned(*plans, s, types, static_cast<unsigned>(devices.size()), options);
  struct State {
    kernels::Gemm gemm;
    HostArray a, c;
  };
  const std::uint64_t m = s.m, n = s.n, k = s.k;
  const auto state = std::make_shared<State>(State{kernels::Gemm(devices, s, types, options),
                                                   HostArray(types.in, m * k, true),
                                                   HostArray(types.out, m * n, false)});
  state->gemm.set_weights(HostArray(types.in, n * k, true).in());
  if (types.out == DataType::i8) state->gemm.set_requant(byte_requant(k));
  BenchSubject subject;
  subject.run = [state] {
    kernels::GemmStats stats;
    state->gemm.run(state->a.in(), state->c.out(), &stats);
    return stats.run;
  };
  subject.macs = m * n * k;
  subject.read_bytes = kernels::type_bytes(types.in, m * k) + kernels::type_bytes(types.in, n * k);
  subject.write_bytes = kernels::type_bytes(types.out, m * n);
  subject.type = kernels::mac_type(types.in);
  return subject;
}

BenchSubject conv_subject(const kernels::Conv2dShape& s, const kernels::GemmTypes& types,
                          std::span<Device* const> devices) {
  struct State {
    kernels::Conv2d conv;
    HostArray in, out;
  };
  const auto elements = [](std::uint64_t a, std::uint64_t b, std::uint64_t c) { return a * b * c; };
  const std::uint64_t in = elements(s.in_height, s.in_width, s.in_channels),
                      out = elements(s.out_height(), s.out_width(), s.out_channels),
                      taps = elements(s.kernel_height, s.kernel_width, s.in_channels),
                      weights = s.depthwise ? taps : taps * s.out_channels;
  const auto state = std::make_shared<State>(State{kernels::Conv2d(devices, s, types),
                                                   HostArray(types.in, in, true),
                                                   HostArray(types.out, out, false)});
  state->conv.set_weights(HostArray(types.in, weights, true).in());
  if (types.out == DataType::i8)
    state->conv.set_post({.requant = byte_requant(s.depthwise ? taps / s.in_channels : taps)});
  BenchSubject subject;
  subject.run = [state] {
    RunStats stats;
    state->conv.run(state->in.in(), state->out.out(), &stats);
    return stats;
  };
  subject.macs = s.macs();
  subject.read_bytes = kernels::type_bytes(types.in, in) + kernels::type_bytes(types.in, weights);
  subject.write_bytes = kernels::type_bytes(types.out, out);
  subject.type = kernels::mac_type(types.in);
  subject.depthwise = s.depthwise;
  return subject;
}

BenchSubject vector_subject(const BenchVector& v, DataType type, std::span<Device* const> devices) {
  const std::vector<std::string> names = bench_functions();
  const auto at =
      static_cast<std::size_t>(std::find(names.begin(), names.end(), v.function) - names.begin());
  constexpr std::size_t kTwoOperands = 5;
  BenchSubject subject;
  subject.type = kernels::mac_type(type);
  subject.write_bytes = kernels::type_bytes(type, v.n);
  if (at < kTwoOperands) {
    struct State {
      kernels::Elementwise op;
      HostArray a, b, c;
    };
    const auto state = std::make_shared<State>(
        State{kernels::Elementwise(devices, type, static_cast<kernels::ElementwiseOp>(at), v.n),
              HostArray(type, v.n, true), HostArray(type, v.n, true), HostArray(type, v.n, false)});
    subject.run = [state] {
      RunStats stats;
      state->op.run(state->a.in(), state->b.in(), state->c.out(), &stats);
      return stats;
    };
    subject.read_bytes = 2 * kernels::type_bytes(type, v.n);
    return subject;
  }
  struct State {
    kernels::ActivationF16 op;
    HostArray x, y;
  };
  const auto function = static_cast<kernels::Activation>(at - kTwoOperands);
  const auto state =
      std::make_shared<State>(State{kernels::ActivationF16(devices, function, v.n),
                                    HostArray(type, v.n, true), HostArray(type, v.n, false)});
  subject.run = [state] {
    RunStats stats;
    state->op.run(std::as_const(state->x).halves(), state->y.halves(), &stats);
    return stats;
  };
  subject.read_bytes = kernels::type_bytes(type, v.n);
  return subject;
}

BenchSubject pool_subject(const BenchPool& p, DataType type, std::span<Device* const> devices) {
  const auto inputs = [](const kernels::Pool2dShape& s) {
    return std::uint64_t{s.in_height} * s.in_width * s.channels;
  };
  const auto outputs = [](const kernels::Pool2dShape& s) {
    return std::uint64_t{s.out_height()} * s.out_width() * s.channels;
  };
  struct State {
    kernels::Pool2d op;
    std::optional<HostArray> in, out;
  };
  const std::shared_ptr<State> state(new State{
      kernels::Pool2d(devices, p.shape, type, {.method = p.method, .path = p.path}), {}, {}});
  state->in.emplace(type, inputs(p.shape), true);
  state->out.emplace(type, outputs(p.shape), false);
  BenchSubject subject;
  subject.run = [state] {
    RunStats stats;
    state->op.run(state->in->in(), state->out->out(), &stats);
    return stats;
  };
  subject.type = kernels::mac_type(type);
  subject.read_bytes = kernels::type_bytes(type, inputs(p.shape));
  subject.write_bytes = kernels::type_bytes(type, outputs(p.shape));
  return subject;
}

BenchSubject copy_subject(const BenchCopy& v, DataType type, std::span<Device* const> devices) {
  struct State {
    kernels::Copy op;
    HostArray from, to;
  };
  const auto state = std::make_shared<State>(State{
      kernels::Copy(devices, type, v.n), HostArray(type, v.n, true), HostArray(type, v.n, false)});
  BenchSubject subject;
  subject.run = [state] {
    RunStats stats;
    state->op.run(state->from.in(), state->to.out(), &stats);
    return stats;
  };
  subject.type = kernels::mac_type(type);
  subject.read_bytes = subject.write_bytes = kernels::type_bytes(type, v.n);
  return subject;
}

}  // namespace

BenchSubject make_subject(const BenchCase& c, std::span<Device* const> devices,
                          const kernels::TunedPlans* plans) {
  if (!c.types)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} {} has no type to run with", to_string(c.op), shape_text(c)));
  const kernels::GemmTypes& types = *c.types;
  switch (c.op) {
    case BenchOp::gemm:
      return gemm_subject(std::get<kernels::GemmShape>(c.shape), types, devices, plans);
    case BenchOp::conv:
    case BenchOp::dw: return conv_subject(std::get<kernels::Conv2dShape>(c.shape), types, devices);
    case BenchOp::add: return vector_subject(std::get<BenchVector>(c.shape), types.in, devices);
    case BenchOp::pool: return pool_subject(std::get<BenchPool>(c.shape), types.in, devices);
    case BenchOp::copy: return copy_subject(std::get<BenchCopy>(c.shape), types.in, devices);
    case BenchOp::submit: return make_submit_subject(std::get<BenchSubmit>(c.shape), devices);
  }
  throw Error(ErrorCode::invalid_argument, "no such operator");
}

// As docs/benchmarks.md saw the simulator on two x86-64 cores, to the next decade: 60 G products of
// int8 and 10 G of fp16 per second, some tens of millions of elements through the DPU alone.
double simulation_seconds(const BenchCase& c) {
  const bool floating = c.types && kernels::is_float(c.types->in);
  if (const auto* s = std::get_if<kernels::GemmShape>(&c.shape))
    return static_cast<double>(s->m) * s->n * s->k / (floating ? 10e9 : 60e9);
  if (const auto* s = std::get_if<kernels::Conv2dShape>(&c.shape))
    return static_cast<double>(s->macs()) / (s->depthwise ? 1e9 : floating ? 10e9 : 60e9);
  if (const auto* v = std::get_if<BenchVector>(&c.shape)) return static_cast<double>(v->n) / 20e6;
  if (const auto* p = std::get_if<BenchPool>(&c.shape))
    return static_cast<double>(p->shape.out_height()) * p->shape.out_width() * p->shape.channels *
           p->shape.kernel_height * p->shape.kernel_width / 20e6;
  if (const auto* v = std::get_if<BenchCopy>(&c.shape)) return static_cast<double>(v->n) / 20e6;
  const auto& s = std::get<BenchSubmit>(c.shape);
  return static_cast<double>(s.tasks) * s.jobs * 50e-6;
}

}  // namespace npu::probe
