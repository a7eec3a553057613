// SPDX-License-Identifier: MIT
#include "fake_qemu.hpp"

#include <dlfcn.h>

#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

namespace fake_qemu {
namespace {

// QEMU's own layouts [include/exec/memory.h, include/qemu/notify.h, include/qemu/qemu-plugin.h].
struct MemoryRegionOps {
  std::uint64_t (*read)(void*, std::uint64_t, unsigned);
  void (*write)(void*, std::uint64_t, std::uint64_t, unsigned);
  std::uint32_t (*read_with_attrs)(void*, std::uint64_t, std::uint64_t*, unsigned, std::uint32_t);
  std::uint32_t (*write_with_attrs)(void*, std::uint64_t, std::uint64_t, unsigned, std::uint32_t);
  int endianness;
  struct {
    unsigned min_access_size, max_access_size;
    bool unaligned;
    bool (*accepts)(void*, std::uint64_t, unsigned, bool, std::uint32_t);
  } valid;
  struct {
    unsigned min_access_size, max_access_size;
    bool unaligned;
  } impl;
};

struct Notifier {
  void (*notify)(Notifier*, void*);
};

struct PluginInfo {
  const char* target_name;
  struct {
    int min, cur;
  } version;
  bool system_emulation;
  struct {
    int smp_vcpus, max_vcpus;
  } system;
};

struct Window {
  const MemoryRegionOps* ops = nullptr;
  void* opaque = nullptr;
  std::uint64_t bytes = 0;
};

struct Timer {
  int clock = 0;
  void (*function)(void*) = nullptr;
  void* opaque = nullptr;
  std::int64_t expires = -1;
};

struct BottomHalf {
  void (*function)(void*) = nullptr;
  void* opaque = nullptr;
  std::atomic<bool> scheduled{false};
};

struct State {
  Machine machine;
  std::vector<std::uint8_t> ram;
  Notifier* done = nullptr;
  Notifier* exit = nullptr;
  void (*reset)(void*) = nullptr;
  void* reset_opaque = nullptr;
  std::map<void*, Window> regions;
  std::map<std::uint64_t, Window> windows;
  std::map<void*, Timer> timers;
  std::vector<std::unique_ptr<BottomHalf>> bottom_halves;
  std::array<int, 224> levels{};
  bool running = true;
  int stops = 0;

  std::mutex clock_mutex;
  bool ticks = true;
  std::int64_t offset = 0;  // of the guest's clock: from the host's if ticks, else its value

  std::mutex violations_mutex;
  std::vector<std::string> violations;
};

State& state() {
  static auto* s = new State;  // threads of the model outlive main()
  return *s;
}

thread_local bool has_lock = false;
thread_local bool is_reader = false;

void violation(const std::string& what) {
  const std::lock_guard lock(state().violations_mutex);
  state().violations.push_back(what);
}

void needs_lock(const char* function) {
  if (!has_lock) violation(std::string(function) + " without the big lock");
}

struct Lock {
  Lock() { has_lock = true; }
  ~Lock() { has_lock = false; }
};

std::int64_t host_ns() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

// The window that an address lies in, and where.
const Window* window_at(std::uint64_t address, std::uint64_t& offset) {
  auto after = state().windows.upper_bound(address);
  if (after == state().windows.begin()) return nullptr;
  --after;
  offset = address - after->first;
  return offset < after->second.bytes ? &after->second : nullptr;
}

bool in_ram(std::uint64_t address, std::uint64_t bytes) {
  return address >= kRamAddress && bytes <= state().ram.size() &&
         address - kRamAddress <= state().ram.size() - bytes;
}

}  // namespace

Machine& machine() { return state().machine; }

int install(std::vector<std::string> arguments) {
  void* plugin = dlopen(VBOARD_GLUE, RTLD_NOW | RTLD_LOCAL);
  if (plugin == nullptr) {
    violation(dlerror());
    return -1;
  }
  using Install = int(std::uint64_t, const PluginInfo*, int, char**);
  auto* function = reinterpret_cast<Install*>(dlsym(plugin, "qemu_plugin_install"));
  const auto* version = static_cast<const int*>(dlsym(plugin, "qemu_plugin_version"));
  if (function == nullptr || version == nullptr || *version != 1) {
    violation("the plugin's version is not that of a QEMU without scoreboards");
    return -1;
  }
  std::vector<char*> values;
  for (std::string& argument : arguments) values.push_back(argument.data());
  const PluginInfo info{machine().target.c_str(), {0, 1}, machine().system_emulation, {1, 1}};
  return function(1, &info, static_cast<int>(values.size()), values.data());
}

void machine_done() {
  state().ram.resize(machine().ram_bytes);
  const Lock lock;
  state().done->notify(state().done, nullptr);
}

void machine_exits() {
  const Lock lock;
  state().exit->notify(state().exit, nullptr);
}

void system_reset() {
  const Lock lock;
  state().reset(state().reset_opaque);
}

std::uint32_t load(std::uint64_t address) {
  const Lock lock;
  std::uint64_t offset = 0;
  const Window* window = window_at(address, offset);
  if (window == nullptr) throw std::runtime_error("external abort");
  return static_cast<std::uint32_t>(window->ops->read(window->opaque, offset, 4));
}

void store(std::uint64_t address, std::uint32_t value) {
  const Lock lock;
  std::uint64_t offset = 0;
  const Window* window = window_at(address, offset);
  if (window == nullptr) throw std::runtime_error("external abort");
  window->ops->write(window->opaque, offset, value, 4);
}

std::uint8_t* ram(std::uint64_t address) { return state().ram.data() + (address - kRamAddress); }

int level(unsigned spi) { return state().levels.at(spi); }

std::int64_t guest_ns() {
  const std::lock_guard lock(state().clock_mutex);
  return state().offset + (state().ticks ? host_ns() : 0);
}

bool clock_stands() {
  const std::lock_guard lock(state().clock_mutex);
  return !state().ticks;
}

int clock_stops() { return state().stops; }

void set_running(bool running) { state().running = running; }

bool main_loop(const std::function<bool()>& done) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!done()) {
    if (std::chrono::steady_clock::now() > limit) return false;
    {
      const Lock lock;
      for (const auto& bh : state().bottom_halves)
        if (bh->scheduled.exchange(false)) bh->function(bh->opaque);
      for (auto& [object, timer] : state().timers) {
        const std::int64_t now = timer.clock == 1 ? guest_ns() : host_ns();
        if (timer.expires < 0 || timer.expires > now) continue;
        timer.expires = -1;
        timer.function(timer.opaque);
      }
    }
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

std::vector<std::string> violations() {
  const std::lock_guard lock(state().violations_mutex);
  return state().violations;
}

}  // namespace fake_qemu

// What QEMU's executable exports.
using namespace fake_qemu;

extern "C" {

char address_space_memory[64];

void qemu_add_machine_init_done_notifier(void* n) { state().done = static_cast<Notifier*>(n); }
void qemu_add_exit_notifier(void* n) { state().exit = static_cast<Notifier*>(n); }

void qemu_register_reset(void (*function)(void*), void* opaque) {
  needs_lock("qemu_register_reset");
  state().reset = function;
  state().reset_opaque = opaque;
}

void* get_system_memory() { return &state().windows; }

void memory_region_init_io(void* region, void* owner, const void* ops, void* opaque,
                           const char* name, std::uint64_t bytes) {
  needs_lock("memory_region_init_io");
  const auto* given = static_cast<const MemoryRegionOps*>(ops);
  if (owner != nullptr || name == nullptr || given->read_with_attrs != nullptr ||
      given->write_with_attrs != nullptr || given->endianness != 2 ||
      given->valid.min_access_size != 4 || given->valid.max_access_size != 4 ||
      given->valid.unaligned || given->valid.accepts != nullptr ||
      given->impl.min_access_size != 4 || given->impl.max_access_size != 4)
    violation("MemoryRegionOps is not of little-endian words");
  state().regions[region] = {given, opaque, bytes};
}

void memory_region_add_subregion_overlap(void* region, std::uint64_t at, void* child,
                                         int priority) {
  needs_lock("memory_region_add_subregion_overlap");
  if (region != &state().windows || priority <= 0) violation("a region in a strange place");
  state().windows[at] = state().regions.at(child);
}

void* object_resolve_path_type(const char*, const char* type, bool*) {
  return !machine().gic.empty() && machine().gic == type ? &state().levels : nullptr;
}

std::uint64_t object_property_get_uint(void* object, const char* name, void**) {
  if (object != &state().levels || std::strcmp(name, "num-irq") != 0)
    violation("a strange property");
  return machine().interrupts;
}

void* qdev_get_gpio_in(void* device, int number) {
  // An assertion in QEMU.
  if (device != &state().levels || number < 0 || number + 32u >= machine().interrupts) std::abort();
  return &state().levels.at(static_cast<std::size_t>(number));
}

void qemu_set_irq(void* irq, int new_level) {
  needs_lock("qemu_set_irq");
  *static_cast<int*>(irq) = new_level;
}

void* address_space_map(void* space, std::uint64_t address, std::uint64_t* bytes, bool,
                        std::uint64_t) {
  needs_lock("address_space_map");
  const std::uint64_t there =
      machine().ram_claimed != 0 ? machine().ram_claimed : machine().ram_bytes;
  if (space != address_space_memory || address != kRamAddress || there == 0) return nullptr;
  *bytes = std::min(*bytes, there);
  return state().ram.data();
}

void address_space_unmap(void*, void*, std::uint64_t, bool, std::uint64_t) {}

std::uint32_t address_space_rw(void* space, std::uint64_t address, std::uint64_t, void* data,
                               std::uint64_t bytes, bool write) {
  if (space != address_space_memory) violation("not the memory of the machine");
  if (!has_lock && !is_reader)
    violation("memory without the lock by a thread that RCU does not know");
  if (in_ram(address, bytes)) {
    std::uint8_t* at = ram(address);
    std::memcpy(write ? at : data, write ? data : at, bytes);
    return 0;
  }
  std::uint64_t offset = 0;
  const Window* window = window_at(address, offset);
  if (window == nullptr || bytes != 4) return 2;
  if (!has_lock)
    violation("a thread of the model reaches registers, for which QEMU takes its lock");
  std::uint32_t value = 0;
  std::memcpy(&value, data, sizeof value);
  if (write)
    window->ops->write(window->opaque, offset, value, 4);
  else
    value = static_cast<std::uint32_t>(window->ops->read(window->opaque, offset, 4));
  std::memcpy(data, &value, sizeof value);
  return 0;
}

void* qemu_bh_new_full(void (*function)(void*), void* opaque, const char*, void*) {
  state().bottom_halves.push_back(std::make_unique<BottomHalf>());
  state().bottom_halves.back()->function = function;
  state().bottom_halves.back()->opaque = opaque;
  return state().bottom_halves.back().get();
}

#ifndef FAKE_QEMU_LACKS_BOTTOM_HALVES
void qemu_bh_schedule(void* bh) { static_cast<BottomHalf*>(bh)->scheduled = true; }
#endif

void timer_init_full(void* timer, void* group, int clock, int scale, int, void (*function)(void*),
                     void* opaque) {
  if (group != nullptr || scale != 1 || (clock != 0 && clock != 1)) violation("a strange timer");
  state().timers[timer] = {clock, function, opaque, -1};
}
void timer_mod(void* timer, std::int64_t expires) {
  needs_lock("timer_mod");
  state().timers.at(timer).expires = expires;
}
void timer_del(void* timer) {
  needs_lock("timer_del");
  state().timers.at(timer).expires = -1;
}

std::int64_t qemu_clock_get_ns(int clock) { return clock == 1 ? guest_ns() : host_ns(); }

void cpu_disable_ticks() {
  needs_lock("cpu_disable_ticks");
  const std::lock_guard lock(state().clock_mutex);
  if (!state().ticks) return;
  state().offset += host_ns();
  state().ticks = false;
  ++state().stops;
}

void cpu_enable_ticks() {
  needs_lock("cpu_enable_ticks");
  const std::lock_guard lock(state().clock_mutex);
  if (state().ticks) return;
  state().offset -= host_ns();
  state().ticks = true;
}

bool runstate_is_running() { return state().running; }

void rcu_register_thread() {
  if (is_reader) violation("a thread is registered twice");
  is_reader = true;
}
void rcu_unregister_thread() {
  if (!is_reader) violation("a thread is unregistered that never was registered");
  is_reader = false;
}
}
