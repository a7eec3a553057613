// SPDX-License-Identifier: MIT
// The entry points of a TCG plugin that instruments nothing: "-plugin" is how an unmodified QEMU
// opens a foreign object before its machine is complete.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "kernel/virtual-board/board.hpp"

namespace npu::vboard {
namespace {

// Never destroyed: threads of the model use them to the end.
qemu::Symbols* symbols = nullptr;
Board* board = nullptr;
qemu::Notifier machine_done, machine_exit;

void say(const std::string& sentence) {
  std::fprintf(stderr, "rosenblatt-vboard: %s\n", sentence.c_str());
}

int install(const qemu::PluginInfo* info, int count, char** values) {
  if (board != nullptr) {
    say("the plugin is given twice");
    return 1;
  }
  if (!info->system_emulation || std::string_view(info->target_name) != "aarch64") {
    say("this is QEMU for " + std::string(info->target_name) +
        (info->system_emulation ? "" : " programs") + ": use qemu-system-aarch64");
    return 1;
  }
  symbols = new qemu::Symbols;
  if (const std::string missing = qemu::find(*symbols); !missing.empty()) {
    say("this QEMU does not export " + missing +
        ": use a build with modules, as Debian's 7.2 (bookworm) or 10.0");
    return 1;
  }
  Arguments arguments;
  std::string error;
  if (!parse_arguments(count, values, arguments, error)) {
    say(error);
    return 1;
  }
  board = new Board(*symbols, std::move(arguments));
  machine_done.notify = [](qemu::Notifier*, void*) {
    std::string reason;
    if (board->plug_in(reason)) return;
    say(reason);
    std::exit(EXIT_FAILURE);
  };
  machine_exit.notify = [](qemu::Notifier*, void*) { board->shut_down(); };
  symbols->add_machine_init_done_notifier(&machine_done);
  symbols->add_exit_notifier(&machine_exit);
  return 0;
}

}  // namespace
}  // namespace npu::vboard

extern "C" {

// Read after dlopen(). 1 is what QEMU 6.0 to 8.2 accept, 2 what 9.0 and later do: the functions
// that came with 2 tell them apart.
__attribute__((visibility("default"))) int qemu_plugin_version = 1;

__attribute__((constructor)) static void pick_plugin_version() {
  if (dlsym(RTLD_DEFAULT, "qemu_plugin_scoreboard_new") != nullptr) qemu_plugin_version = 2;
}

__attribute__((visibility("default"))) int qemu_plugin_install(std::uint64_t, const void* info,
                                                               int count, char** values) {
  return npu::vboard::install(static_cast<const npu::vboard::qemu::PluginInfo*>(info), count,
                              values);
}
}
