// SPDX-License-Identifier: MIT
// The C face of the simulator: checks what comes in, lets no exception out.
#include "npu-sim/npusim.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>

#include "npu-sim/chip.hpp"
#include "npu-sim/core_port.hpp"
#include "npu-sim/injection.hpp"
#include "npu-sim/npusim_observer.hpp"
#include "regdb/error.hpp"

namespace sim = npu::sim;

struct npusim {
  explicit npusim(const npusim_options& asked)
      : options(asked), observer(make_observer()), chip(chip_options()) {
    if (options.dma_read == nullptr) space = std::make_shared<sim::AddressSpace>();
    for (unsigned core = 0; core < chip.cores(); ++core) {
      if (space) chip.attach(core, space);
      ports.emplace_back(chip,
                         sim::CorePortOptions{.core = core,
                                              .mode = static_cast<sim::StartMode>(options.mode),
                                              .memory = physical_memory(),
                                              .irq = irq_callback(core)});
    }
  }

  std::optional<sim::PhysicalMemory> physical_memory() const {
    if (options.dma_read == nullptr) return std::nullopt;
    return sim::PhysicalMemory{[this](std::uint64_t address, void* data, std::size_t bytes) {
                                 return options.dma_read(options.opaque, address, data, bytes) == 0;
                               },
                               [this](std::uint64_t address, const void* data, std::size_t bytes) {
                                 return options.dma_write(options.opaque, address, data, bytes) ==
                                        0;
                               }};
  }

  std::function<void(bool)> irq_callback(unsigned core) const {
    if (options.irq == nullptr && options.trace == nullptr) return {};
    return [this, core](bool level) {
      if (observer) observer->interrupt(core, level);
      if (options.irq != nullptr) options.irq(options.opaque, core, level);
    };
  }

  std::shared_ptr<sim::NpusimObserver> make_observer() const {
    if (options.trace == nullptr && options.npu_hz == 0) return nullptr;
    sim::NpusimObserver::Trace trace;
    if (options.trace != nullptr)
      trace = [this](const npusim_trace_event& event) { options.trace(options.opaque, &event); };
    return std::make_shared<sim::NpusimObserver>(std::move(trace), options.npu_hz);
  }

  sim::ChipOptions chip_options() const {
    sim::ChipOptions out;
    if (options.cores != 0) out.cores = options.cores;
    out.threads = options.threads;
    if (options.mac_budget != 0) out.task_mac_budget = options.mac_budget;
    out.observer = observer;
    if (options.inject != nullptr) out.injections = sim::parse_injections(options.inject);
    return out;
  }

  npusim_options options;
  std::shared_ptr<sim::NpusimObserver> observer;
  sim::Chip chip;
  std::shared_ptr<sim::AddressSpace> space;  // without DMA callbacks
  std::deque<sim::CorePort> ports;           // last: their threads use all of the above
};

namespace {

// sim::StartMode is what npusim_mode says.
static_assert(static_cast<int>(sim::StartMode::in_write) == NPUSIM_SYNCHRONOUS);
static_assert(static_cast<int>(sim::StartMode::by_caller) == NPUSIM_MANUAL);
static_assert(static_cast<int>(sim::StartMode::threaded) == NPUSIM_ASYNCHRONOUS);

constexpr std::uint64_t kMaxHz = 10'000'000'000;
constexpr unsigned kMaxThreads = 1024;

thread_local std::string last_error;

int fail(int code, const std::string& message) {
  try {
    last_error = message;
  } catch (const std::bad_alloc&) {
    last_error.clear();
  }
  return code;
}

int bad_argument(const std::string& message) { return fail(NPUSIM_ERR_ARGUMENT, message); }

int code_of(npu::ErrorCode code) {
  switch (code) {
    case npu::ErrorCode::invalid_argument: return NPUSIM_ERR_ARGUMENT;
    case npu::ErrorCode::out_of_memory: return NPUSIM_ERR_MEMORY;
    default: return NPUSIM_ERR_INTERNAL;
  }
}

template <class Body>
int guarded(Body body) noexcept {
  try {
    return body();
  } catch (const npu::Error& e) {
    return fail(code_of(e.code()), e.what());
  } catch (const std::bad_alloc&) {
    return fail(NPUSIM_ERR_MEMORY, "out of memory");
  } catch (const std::exception& e) {
    return fail(NPUSIM_ERR_INTERNAL, e.what());
  } catch (...) {
    return fail(NPUSIM_ERR_INTERNAL, "an unknown exception");
  }
}

template <class Body>
int on_core(npusim* sim, unsigned core, Body body) noexcept {
  return guarded([&] {
    if (sim == nullptr) return bad_argument("the simulator is a null pointer");
    if (core >= sim->ports.size())
      return bad_argument("there is no core " + std::to_string(core) + ": the simulator has " +
                          std::to_string(sim->ports.size()));
    return body(sim->ports[core]);
  });
}

template <class Body>
int on_register(npusim* sim, unsigned core, std::uint32_t offset, Body body) noexcept {
  return on_core(sim, core, [&](sim::CorePort& port) {
    if (offset % 4 != 0 || offset >= NPUSIM_CORE_BYTES)
      return bad_argument("register offset " + std::to_string(offset) +
                          " is not a multiple of 4 below 65536");
    return body(port);
  });
}

template <class Struct>
bool size_fits(const Struct& s) {
  return s.size >= sizeof(Struct) && s.size <= 4096;
}

int check(const npusim_options& o) {
  if (!size_fits(o))
    return bad_argument("npusim_options.size is " + std::to_string(o.size) +
                        ": set it to sizeof(npusim_options)");
  const auto* bytes = reinterpret_cast<const unsigned char*>(&o);
  if (std::any_of(bytes + sizeof o, bytes + o.size, [](unsigned char b) { return b != 0; }))
    return bad_argument("npusim_options has fields set that this version of libnpusim (" +
                        std::string(npusim_version()) + ") does not know: use a newer one");
  if (o.cores > 3) return bad_argument("an RK3588 NPU has 1 to 3 cores");
  if (o.mode > NPUSIM_ASYNCHRONOUS)
    return bad_argument("npusim_options.mode is none of npusim_mode");
  if (o.threads > kMaxThreads) return bad_argument("more than 1024 threads");
  if (o.npu_hz > kMaxHz) return bad_argument("npu_hz is above 10 GHz");
  if ((o.dma_read == nullptr) != (o.dma_write == nullptr))
    return bad_argument("give both dma_read and dma_write, or neither");
  return NPUSIM_OK;
}

template <std::size_t N>
void copy_text(char (&to)[N], const std::string& from) {
  const std::size_t n = std::min(from.size(), N - 1);
  std::memcpy(to, from.data(), n);
  std::memset(to + n, 0, N - n);
}

}  // namespace

uint32_t npusim_abi_version(void) { return NPUSIM_ABI_MAJOR << 16 | NPUSIM_ABI_MINOR; }

const char* npusim_version(void) { return NPUSIM_VERSION; }

const char* npusim_last_error(void) { return last_error.c_str(); }

int npusim_create(const npusim_options* options, npusim** out) {
  return guarded([&] {
    if (out == nullptr) return bad_argument("there is no place for the result");
    *out = nullptr;
    npusim_options known{};
    known.size = sizeof known;
    if (options != nullptr) {
      if (const int error = check(*options); error != NPUSIM_OK) return error;
      known = *options;
    }
    auto made = std::make_unique<npusim>(known);
    made->options.inject = nullptr;  // the caller's, and read
    *out = made.release();
    return static_cast<int>(NPUSIM_OK);
  });
}

void npusim_destroy(npusim* sim) { delete sim; }

int npusim_map(npusim* sim, uint32_t iova, void* memory, size_t bytes) {
  return guarded([&] {
    if (sim == nullptr || memory == nullptr) return bad_argument("a null pointer");
    if (!sim->space)
      return fail(NPUSIM_ERR_STATE,
                  "memory comes from the DMA callbacks: write IOMMU page tables instead");
    if (bytes % sim::AddressSpace::kPageSize != 0)
      return bad_argument("a mapping has whole pages of 4096 bytes, not " + std::to_string(bytes) +
                          " bytes");
    // The caller keeps the memory.
    sim->space->map(iova, {std::shared_ptr<std::byte[]>(), static_cast<std::byte*>(memory)}, bytes);
    return static_cast<int>(NPUSIM_OK);
  });
}

int npusim_unmap(npusim* sim, uint32_t iova) {
  return guarded([&] {
    if (sim == nullptr) return bad_argument("the simulator is a null pointer");
    if (!sim->space)
      return fail(NPUSIM_ERR_STATE,
                  "memory comes from the DMA callbacks: write IOMMU page tables instead");
    sim->space->unmap(iova);
    return static_cast<int>(NPUSIM_OK);
  });
}

int npusim_mmio_read(npusim* sim, unsigned core, uint32_t offset, uint32_t* value) {
  return on_register(sim, core, offset, [&](sim::CorePort& port) {
    if (value == nullptr) return bad_argument("there is no place for the result");
    *value = port.read(offset);
    return static_cast<int>(NPUSIM_OK);
  });
}

int npusim_mmio_write(npusim* sim, unsigned core, uint32_t offset, uint32_t value) {
  return on_register(sim, core, offset, [&](sim::CorePort& port) {
    if (sim->observer && port.is_iommu(offset))
      sim->observer->register_written(core, offset, value, false);
    port.write(offset, value);
    return static_cast<int>(NPUSIM_OK);
  });
}

int npusim_irq(npusim* sim, unsigned core) {
  return on_core(sim, core, [](sim::CorePort& port) { return port.irq() ? 1 : 0; });
}

int npusim_run(npusim* sim, unsigned core) {
  return on_core(sim, core, [&](sim::CorePort& port) {
    if (sim->options.mode != NPUSIM_MANUAL)
      return fail(NPUSIM_ERR_STATE, "programs run by themselves: create with mode NPUSIM_MANUAL");
    return port.run() ? 1 : 0;
  });
}

int npusim_wait(npusim* sim, unsigned core, uint32_t ms) {
  return on_core(sim, core, [&](sim::CorePort& port) {
    if (port.wait_idle(std::chrono::milliseconds(ms))) return static_cast<int>(NPUSIM_OK);
    return fail(NPUSIM_ERR_TIMEOUT, "the core still runs after " + std::to_string(ms) + " ms");
  });
}

int npusim_reset_core(npusim* sim, unsigned core) {
  return on_core(sim, core, [](sim::CorePort& port) {
    port.reset();
    return static_cast<int>(NPUSIM_OK);
  });
}

int npusim_reset(npusim* sim) {
  return guarded([&] {
    if (sim == nullptr) return bad_argument("the simulator is a null pointer");
    for (sim::CorePort& port : sim->ports) port.power_on_reset();
    return static_cast<int>(NPUSIM_OK);
  });
}

int npusim_inject(npusim* sim, const char* faults) {
  return guarded([&] {
    if (sim == nullptr || faults == nullptr) return bad_argument("a null pointer");
    sim->chip.inject(sim::parse_injections(faults));
    return static_cast<int>(NPUSIM_OK);
  });
}

int npusim_last_fault(npusim* sim, unsigned core, npusim_fault* out) {
  return on_core(sim, core, [&](sim::CorePort& port) {
    if (out == nullptr || !size_fits(*out))
      return bad_argument("set npusim_fault.size to sizeof(npusim_fault)");
    const std::optional<sim::Fault> fault = port.fault();
    out->kind = fault ? static_cast<std::uint32_t>(fault->kind) + 1 : 0;
    out->iova = fault ? fault->iova : 0;
    copy_text(out->where, fault ? fault->where : "");
    copy_text(out->message, fault ? fault->message : "");
    return fault ? 1 : 0;
  });
}

int npusim_last_start(npusim* sim, unsigned core, npusim_start_info* out) {
  return on_core(sim, core, [&](sim::CorePort&) {
    if (out == nullptr || !size_fits(*out))
      return bad_argument("set npusim_start_info.size to sizeof(npusim_start_info)");
    if (sim->options.npu_hz == 0)
      return fail(NPUSIM_ERR_STATE, "the timing model is off: create with npu_hz, 600000000 say");
    const std::uint32_t size = out->size;
    *out = sim->observer->last_start(core);
    out->size = size;
    return static_cast<int>(NPUSIM_OK);
  });
}

namespace {

// npusim_fault_kind is sim::FaultKind, and 0 for none.
constexpr bool same(npusim_fault_kind c, sim::FaultKind cxx) {
  return static_cast<int>(c) == static_cast<int>(cxx) + 1;
}
static_assert(same(NPUSIM_FAULT_DMA_READ, sim::FaultKind::dma_read));
static_assert(same(NPUSIM_FAULT_DMA_WRITE, sim::FaultKind::dma_write));
static_assert(same(NPUSIM_FAULT_HANG, sim::FaultKind::hang));
static_assert(same(NPUSIM_FAULT_NOT_MODELLED, sim::FaultKind::not_modelled));
static_assert(same(NPUSIM_FAULT_BAD_PROGRAM, sim::FaultKind::bad_program));

}  // namespace
