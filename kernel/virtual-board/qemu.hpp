// SPDX-License-Identifier: MIT
// All that is assumed of the QEMU that loads this object. There is no header to compile against:
// the functions are looked up by name when the plugin starts, objects are handled by pointer, and
// room for those that must be allocated here is generous.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace npu::vboard::qemu {

// Layouts [qemu include/qemu/notify.h, include/exec/memory.h, include/qemu/qemu-plugin.h].
struct Notifier {
  void (*notify)(Notifier*, void*) = nullptr;
  void* list[2] = {};
  void* spare[5] = {};
};

struct MemoryRegionOps {
  std::uint64_t (*read)(void* opaque, std::uint64_t offset, unsigned bytes) = nullptr;
  void (*write)(void* opaque, std::uint64_t offset, std::uint64_t value, unsigned bytes) = nullptr;
  void* read_with_attrs = nullptr;
  void* write_with_attrs = nullptr;
  int endianness = kLittleEndian;
  struct {
    unsigned min_access_size = 4, max_access_size = 4;
    bool unaligned = false;
    void* accepts = nullptr;
  } valid;
  struct {
    unsigned min_access_size = 4, max_access_size = 4;
    bool unaligned = false;
  } impl;
  void* spare[8] = {};

  static constexpr int kLittleEndian = 2;
};

struct PluginInfo {
  const char* target_name;
  struct {
    int min, cur;
  } version;
  bool system_emulation;
};

// Many times what any release uses for a MemoryRegion or a QEMUTimer.
constexpr std::size_t kObjectBytes = 8192;

enum Clock : int { kRealtime = 0, kVirtual = 1 };

/// Functions of QEMU. "Lock" is the big lock, which main loop and register accesses hold.
struct Symbols {
  void* address_space_memory = nullptr;
  // With the lock, on the main thread.
  void (*add_machine_init_done_notifier)(Notifier*) = nullptr;
  void (*add_exit_notifier)(Notifier*) = nullptr;
  void (*register_reset)(void (*function)(void*), void* opaque) = nullptr;
  void* (*get_system_memory)() = nullptr;
  void (*memory_region_init_io)(void* region, void* owner, const MemoryRegionOps* ops, void* opaque,
                                const char* name, std::uint64_t bytes) = nullptr;
  void (*memory_region_add_subregion_overlap)(void* region, std::uint64_t at, void* child,
                                              int priority) = nullptr;
  void* (*object_resolve_path_type)(const char* path, const char* type, bool* ambiguous) = nullptr;
  std::uint64_t (*object_property_get_uint)(void* object, const char* name, void** error) = nullptr;
  void* (*qdev_get_gpio_in)(void* device, int number) = nullptr;
  void* (*address_space_map)(void* space, std::uint64_t address, std::uint64_t* bytes, bool write,
                             std::uint64_t attributes) = nullptr;
  void (*address_space_unmap)(void* space, void* pointer, std::uint64_t bytes, bool write,
                              std::uint64_t accessed) = nullptr;
  // The fourth argument is not there before QEMU 8.0, and ignored then.
  void* (*bh_new)(void (*function)(void*), void* opaque, const char* name, void* guard) = nullptr;
  void (*timer_init)(void* timer, void* group, int clock, int scale, int attributes,
                     void (*function)(void*), void* opaque) = nullptr;
  // With the lock.
  void (*set_irq)(void* irq, int level) = nullptr;
  void (*timer_mod)(void* timer, std::int64_t expires) = nullptr;
  void (*timer_del)(void* timer) = nullptr;
  void (*cpu_disable_ticks)() = nullptr;
  void (*cpu_enable_ticks)() = nullptr;
  bool (*runstate_is_running)() = nullptr;
  // From any thread.
  void (*bh_schedule)(void* bh) = nullptr;
  std::int64_t (*clock_get_ns)(int clock) = nullptr;
  // From any thread that is registered as a reader: RAM is reached without the lock.
  std::uint32_t (*address_space_rw)(void* space, std::uint64_t address, std::uint64_t attributes,
                                    void* data, std::uint64_t bytes, bool write) = nullptr;
  void (*rcu_register_thread)() = nullptr;
  void (*rcu_unregister_thread)() = nullptr;
};

/// Names of the functions that this process does not export, separated by ", "; "" if all are here.
std::string find(Symbols& symbols);

}  // namespace npu::vboard::qemu
