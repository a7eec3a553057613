// SPDX-License-Identifier: MIT
#include "llm-runtime/engine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <optional>
#include <thread>

#include "llm-runtime/cpu_projector.hpp"
#include "llm-runtime/kv_store.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

constexpr std::uint32_t kDefaultContext = 4096, kMostContext = 1u << 20, kMostSequences = 4096,
                        kMostBatch = 8192;
constexpr unsigned kMostThreads = 1024;

void in_range(std::uint64_t value, std::uint64_t most, const char* flag) {
  if (value == 0 || value > most) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} {} is out of range: use 1 to {}", flag, value, most));
  }
}

EngineOptions filled_in(const Model& model, EngineOptions options) {
  if (options.threads == 0) options.threads = std::max(1u, std::thread::hardware_concurrency());
  if (options.context == 0) options.context = std::min(model.shape().context, kDefaultContext);
  in_range(options.threads, kMostThreads, "--threads");
  in_range(options.context, kMostContext, "--ctx-size");
  in_range(options.sequences, kMostSequences, "--parallel");
  in_range(options.batch, kMostBatch, "--batch-size");
  if (options.exact) options.kv_type = cpu::KvType::f32;
  return options;
}

/// One file per core: the kernel keeps a file's work on one core.
std::vector<std::unique_ptr<device::Device>> open_cores(const std::string& spec) {
  std::vector<std::unique_ptr<device::Device>> devices;
  devices.push_back(device::open_device(spec));
  constexpr std::size_t kCores = 3;  // of a chip whose driver does not say
  const std::size_t cores = devices[0]->info().cores != 0 ? devices[0]->info().cores : kCores;
  while (devices.size() < cores) devices.push_back(devices[0]->open_another());
  return devices;
}

/// What "auto" stands for; nullopt for any other device.
std::optional<std::string> auto_device(std::string_view spec) {
  constexpr std::string_view kAuto = "auto", kChip = "rocket";
  if (spec.starts_with("auto:")) return std::string(spec.substr(kAuto.size() + 1));
  if (spec != kAuto) return std::nullopt;
  try {
    device::open_device(kChip);
    return std::string(kChip);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::no_device) throw;
    return "sim";
  }
}

// A saved sequence: this header, the tokens, then keys and values of every layer.
struct SavedHeader {
  std::array<char, 8> magic{'R', 'B', 'K', 'V', '0', '0', '0', '1'};
  std::uint64_t model = 0;  ///< fingerprint
  std::uint32_t kv_type = 0, tokens = 0;
  std::uint64_t bytes = 0;  ///< of keys and values together
};

std::uint64_t fnv(std::uint64_t hash, const void* data, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) {
    hash = (hash ^ static_cast<const unsigned char*>(data)[i]) * 0x100000001B3u;
  }
  return hash;
}

/// Of shape, names and some of the weights: enough to tell models and quantisations apart.
std::uint64_t fingerprint(const Model& model) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const TensorInfo& tensor : model.file().tensors()) {
    hash = fnv(hash, tensor.name.data(), tensor.name.size());
    hash = fnv(hash, tensor.dims.data(), sizeof tensor.dims);
    hash = fnv(hash, &tensor.type_number, sizeof tensor.type_number);
    hash = fnv(hash, tensor.data, std::min<std::uint64_t>(tensor.bytes, 256));
  }
  return hash;
}

}  // namespace

struct Engine::Impl {
  Impl(const Model& m, const EngineOptions& wanted)
      : model(m),
        options(filled_in(m, wanted)),
        pool(options.threads),
        cache(m.shape(), options.kv_type, options.sequences, options.context),
        projector(make_projector()),
        graph(m, pool, *projector, cache),
        tokens(options.sequences) {}

  std::unique_ptr<Projector> make_projector() {
    if (options.device == "cpu") {
      return std::make_unique<CpuProjector>(model, pool, options.exact, options.weight_cache);
    }
    const bool leaves_some = std::ranges::any_of(options.offload.plan.from_rows,
                                                 [](std::uint32_t from) { return from > 1; });
    if (options.exact && !leaves_some) {
      throw Error(ErrorCode::invalid_argument,
                  "f32 precision is for the CPU only: use --device cpu");
    }
    const std::optional<std::string> mixed = auto_device(options.device);
    devices = open_cores(mixed ? *mixed : options.device);
    if (const double mhz = devices[0]->info().npu_mhz; mhz != 0) options.offload.npu_hz = mhz * 1e6;
    if (mixed) {
      rest = std::make_unique<CpuProjector>(model, pool, false, options.weight_cache);
      plan = make_plan(model,
                       devices[0]->info().time_base == device::TimeBase::chip
                           ? measured_cpu_times(model, *rest)
                           : modelled_cpu_times(model, sim::default_calibration().values),
                       {.cores = static_cast<unsigned>(devices.size()),
                        .offload = options.offload,
                        .dispatch = {},
                        .calibration = nullptr});
      options.offload.plan = plan->offload();
    } else if (leaves_some) {
      rest = std::make_unique<CpuProjector>(model, pool, options.exact, options.weight_cache);
    }
    std::vector<device::Device*> pointers;
    for (const auto& device : devices) pointers.push_back(device.get());
    auto on_npu =
        std::make_unique<NpuProjector>(model, pool, pointers, rest.get(), options.offload);
    npu = on_npu.get();
    return on_npu;
  }

  const Model& model;
  EngineOptions options;
  cpu::ThreadPool pool;
  KvStore cache;
  std::vector<std::unique_ptr<device::Device>> devices;
  std::optional<Plan> plan;
  std::unique_ptr<Projector> rest;
  NpuProjector* npu = nullptr;
  std::unique_ptr<Projector> projector;
  Graph graph;
  std::vector<std::vector<std::int32_t>> tokens;
  std::vector<BatchRow> rows;
  std::vector<float> logits;  ///< of several batches
};

Engine::Engine(const Model& model, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(model, options)) {}
Engine::~Engine() = default;

const Model& Engine::model() const { return impl_->model; }
const EngineOptions& Engine::options() const { return impl_->options; }
const OffloadStats* Engine::offload_stats() const {
  return impl_->npu != nullptr ? &impl_->npu->stats() : nullptr;
}
const Plan* Engine::plan() const { return impl_->plan ? &*impl_->plan : nullptr; }
const device::DeviceInfo* Engine::device_info() const {
  return impl_->devices.empty() ? nullptr : &impl_->devices[0]->info();
}

std::span<const std::int32_t> Engine::tokens(std::uint32_t sequence) const {
  return impl_->tokens.at(sequence);
}

void Engine::truncate(std::uint32_t sequence, std::uint32_t length) {
  std::vector<std::int32_t>& tokens = impl_->tokens.at(sequence);
  if (length < tokens.size()) tokens.resize(length);
}

std::span<const float> Engine::append(std::span<const Append> rows) {
  Impl& e = *impl_;
  const std::uint32_t vocabulary = e.model.shape().vocabulary;
  std::vector<std::uint32_t> length(e.tokens.size());
  for (std::size_t i = 0; i < length.size(); ++i) {
    length[i] = static_cast<std::uint32_t>(e.tokens[i].size());
  }
  e.rows.clear();
  std::size_t marked = 0;
  for (const Append& row : rows) {
    if (row.sequence >= length.size()) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("there is no sequence {}: 0 to {}", row.sequence, length.size() - 1));
    }
    if (row.token < 0 || static_cast<std::uint32_t>(row.token) >= vocabulary) {
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("token {} is outside the vocabulary: 0 to {}", row.token, vocabulary - 1));
    }
    if (length[row.sequence] == e.options.context) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the context of {} tokens is full: ask for a larger one (-c)",
                              e.options.context));
    }
    e.rows.push_back({row.token, row.sequence, length[row.sequence]++, row.logits});
    marked += row.logits;
  }
  std::span<const float> result;
  const std::span<const BatchRow> all(e.rows);
  const bool one = all.size() <= e.options.batch;
  e.logits.clear();
  if (!one) e.logits.reserve(marked * vocabulary);
  for (std::size_t i = 0; i < all.size(); i += e.options.batch) {
    result =
        e.graph.evaluate(all.subspan(i, std::min<std::size_t>(e.options.batch, all.size() - i)));
    if (!one) e.logits.insert(e.logits.end(), result.begin(), result.end());
  }
  for (const Append& row : rows) e.tokens[row.sequence].push_back(row.token);
  return one ? result : e.logits;
}

std::span<const float> Engine::append(std::uint32_t sequence,
                                      std::span<const std::int32_t> tokens) {
  std::vector<Append> rows;
  for (const std::int32_t token : tokens) rows.push_back({sequence, token, false});
  if (!rows.empty()) rows.back().logits = true;
  return append(rows);
}

std::span<const float> Engine::set(std::uint32_t sequence, std::span<const std::int32_t> tokens) {
  if (tokens.empty()) {
    throw Error(ErrorCode::invalid_argument, "there is no token to evaluate");
  }
  const std::span<const std::int32_t> have = this->tokens(sequence);
  const auto [end, unused] = std::ranges::mismatch(have, tokens.first(tokens.size() - 1));
  const auto common = static_cast<std::size_t>(end - have.begin());
  truncate(sequence, static_cast<std::uint32_t>(common));
  return append(sequence, tokens.subspan(common));
}

void Engine::remove(std::uint32_t sequence, std::uint32_t begin, std::uint32_t count) {
  const std::span<const std::int32_t> have = tokens(sequence);
  if (begin > have.size() || count > have.size() - begin) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("tokens {} to {} are not there: the sequence has {}", begin,
                            std::uint64_t{begin} + count, have.size()));
  }
  const std::vector<std::int32_t> behind(have.begin() + begin + count, have.end());
  truncate(sequence, begin);
  std::vector<Append> rows;
  for (const std::int32_t token : behind) rows.push_back({sequence, token, false});
  append(rows);
}

void Engine::save(std::uint32_t sequence, const std::filesystem::path& path) const {
  Impl& e = *impl_;
  const std::vector<std::int32_t>& tokens = e.tokens.at(sequence);
  const auto count = static_cast<std::uint32_t>(tokens.size());
  SavedHeader header;
  header.model = fingerprint(e.model);
  header.kv_type = static_cast<std::uint32_t>(e.options.kv_type);
  header.tokens = count;
  for (std::uint32_t layer = 0; layer < e.model.shape().layers; ++layer) {
    header.bytes += 2 * e.cache.keys(layer, sequence, count).size();
  }
  // Under another name first: a full disk must not cost what was there before.
  std::filesystem::path part = path;
  part += ".part";
  std::error_code error;
  {
    std::ofstream out(part, std::ios::binary | std::ios::trunc);
    const auto put = [&](const void* data, std::size_t bytes) {
      out.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
    };
    put(&header, sizeof header);
    put(tokens.data(), count * sizeof(std::int32_t));
    for (std::uint32_t layer = 0; layer < e.model.shape().layers; ++layer) {
      for (const auto bytes :
           {e.cache.keys(layer, sequence, count), e.cache.values(layer, sequence, count)}) {
        put(bytes.data(), bytes.size());
      }
    }
    out.flush();
    if (!out) error = std::make_error_code(std::errc::io_error);
  }
  if (!error) std::filesystem::rename(part, path, error);
  if (error) {
    std::error_code ignored;
    std::filesystem::remove(part, ignored);
    throw Error(
        ErrorCode::permission_denied,
        fmt::format("{}: cannot be written: check the folder and the free space", path.string()));
  }
}

void Engine::load(std::uint32_t sequence, const std::filesystem::path& path) {
  Impl& e = *impl_;
  const auto bad = [&](const char* reason) {
    throw Error(ErrorCode::bad_file, fmt::format("{}: {}", path.string(), reason));
  };
  std::ifstream in(path, std::ios::binary);
  const auto get = [&](void* data, std::size_t bytes) {
    in.read(static_cast<char*>(data), static_cast<std::streamsize>(bytes));
    if (!in) bad("cannot be read, or is cut short");
  };
  SavedHeader header;
  const SavedHeader own;
  get(&header, sizeof header);
  if (header.magic != own.magic) bad("is no saved session of this version");
  if (header.model != fingerprint(e.model)) bad("was saved with another model");
  if (header.kv_type != static_cast<std::uint32_t>(e.options.kv_type)) {
    bad("was saved with another type of cache: use the same --kv-type");
  }
  if (header.tokens > e.options.context) bad("holds more tokens than the context: use a larger -c");
  std::uint64_t expected = 0;
  for (std::uint32_t layer = 0; layer < e.model.shape().layers; ++layer) {
    expected += 2 * e.cache.keys(layer, 0, header.tokens).size();
  }
  std::error_code error;
  const std::uint64_t size = std::filesystem::file_size(path, error);
  if (error || header.bytes != expected ||
      size != sizeof header + header.tokens * sizeof(std::int32_t) + expected) {
    bad("has not the size that its header tells");
  }
  std::vector<std::int32_t> tokens(header.tokens);
  get(tokens.data(), tokens.size() * sizeof(std::int32_t));
  for (const std::int32_t token : tokens) {
    if (token < 0 || static_cast<std::uint32_t>(token) >= e.model.shape().vocabulary) {
      bad("holds a token outside the vocabulary");
    }
  }
  // From here on the sequence's old contents are gone if the disk fails.
  e.tokens.at(sequence).clear();
  for (std::uint32_t layer = 0; layer < e.model.shape().layers; ++layer) {
    for (const auto bytes : {e.cache.keys(layer, sequence, header.tokens),
                             e.cache.values(layer, sequence, header.tokens)}) {
      get(bytes.data(), bytes.size());
    }
  }
  e.tokens[sequence] = std::move(tokens);
}

}  // namespace npu::llm
