// SPDX-License-Identifier: MIT
#include "kernel/virtual-board/qemu.hpp"

#include <dlfcn.h>

#include <type_traits>

namespace npu::vboard::qemu {

std::string find(Symbols& s) {
  std::string missing;
  const auto look_up = [&](auto& pointer, const char* name) {
    pointer =
        reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(dlsym(RTLD_DEFAULT, name));
    if (pointer == nullptr) missing += (missing.empty() ? "" : ", ") + std::string(name);
  };
  look_up(s.address_space_memory, "address_space_memory");
  look_up(s.add_machine_init_done_notifier, "qemu_add_machine_init_done_notifier");
  look_up(s.add_exit_notifier, "qemu_add_exit_notifier");
  look_up(s.register_reset, "qemu_register_reset");
  look_up(s.get_system_memory, "get_system_memory");
  look_up(s.memory_region_init_io, "memory_region_init_io");
  look_up(s.memory_region_add_subregion_overlap, "memory_region_add_subregion_overlap");
  look_up(s.object_resolve_path_type, "object_resolve_path_type");
  look_up(s.object_property_get_uint, "object_property_get_uint");
  look_up(s.qdev_get_gpio_in, "qdev_get_gpio_in");
  look_up(s.address_space_map, "address_space_map");
  look_up(s.address_space_unmap, "address_space_unmap");
  look_up(s.bh_new, "qemu_bh_new_full");
  look_up(s.bh_schedule, "qemu_bh_schedule");
  look_up(s.timer_init, "timer_init_full");
  look_up(s.timer_mod, "timer_mod");
  look_up(s.timer_del, "timer_del");
  look_up(s.set_irq, "qemu_set_irq");
  look_up(s.cpu_disable_ticks, "cpu_disable_ticks");
  look_up(s.cpu_enable_ticks, "cpu_enable_ticks");
  look_up(s.runstate_is_running, "runstate_is_running");
  look_up(s.clock_get_ns, "qemu_clock_get_ns");
  look_up(s.address_space_rw, "address_space_rw");
  look_up(s.rcu_register_thread, "rcu_register_thread");
  look_up(s.rcu_unregister_thread, "rcu_unregister_thread");
  return missing;
}

}  // namespace npu::vboard::qemu
