// SPDX-License-Identifier: MIT
// `npu-probe audit`: is this machine ready for the NPU? Reads only, below one root folder.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace npu::probe {

enum class State { ok, warn, fail, unknown };
constexpr std::string_view to_string(State state) {
  switch (state) {
    case State::ok: return "ok";
    case State::warn: return "warn";
    case State::fail: return "fail";
    case State::unknown: return "unknown";
  }
  return "unknown";
}

enum class Verdict { ready, not_ready, no_rk3588 };
constexpr std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::ready: return "ready";
    case Verdict::not_ready: return "not-ready";
    case Verdict::no_rk3588: return "no-rk3588";
  }
  return "not-ready";
}

struct Check {
  std::string id;     ///< stable: scripts and the fleet tool rely on it
  std::string group;  ///< heading in the text form
  std::string title;
  State state = State::unknown;
  std::string evidence;  ///< what was read, and where
  std::string remedy;    ///< what to do; empty if nothing
};

struct Machine {
  std::string soc;     ///< "RK3588", "RK3588S", the last compatible string, or empty
  std::string board;   ///< model of the device tree, or empty
  std::string kernel;  ///< release
  std::string arch;    ///< "aarch64", "x86_64", ... or empty
  std::uint64_t memory_bytes = 0;
};

/// One row of the status table of the mainline audit.
struct StatusRow {
  std::string component, state, evidence, notes;
};

/// How much a symbol of kernel/config/rosenblatt.config is needed.
enum class ConfigNeed { required, device_tree, optional };
constexpr std::string_view to_string(ConfigNeed need) {
  switch (need) {
    case ConfigNeed::required: return "required";
    case ConfigNeed::device_tree: return "device-tree";
    case ConfigNeed::optional: return "optional";
  }
  return "optional";
}

enum class SymbolState { ok, module, missing, unknown };
constexpr std::string_view to_string(SymbolState state) {
  switch (state) {
    case SymbolState::ok: return "ok";
    case SymbolState::module: return "module";
    case SymbolState::missing: return "missing";
    case SymbolState::unknown: return "unknown";
  }
  return "unknown";
}

/// One symbol of the fragment, against the kernel's configuration.
struct ConfigSymbol {
  std::string symbol;                        ///< "CONFIG_DRM_ACCEL"
  char wanted = 'y';                         ///< y or m: the fragment's
  char found = '?';                          ///< y, m, n, or ? (does not appear)
  SymbolState state = SymbolState::unknown;  ///< module: m is there where the fragment has y
  ConfigNeed need = ConfigNeed::optional;
  std::string reason;  ///< the fragment's comment
};

struct Report {
  Verdict verdict = Verdict::no_rk3588;
  Machine machine;
  std::vector<Check> checks;
  std::vector<StatusRow> status_table;
  std::vector<ConfigSymbol> configuration;  ///< empty on a machine that is no RK3588
  std::string next_step;                    ///< one sentence: what to do now

  const Check* find(std::string_view id) const;
  int count(State state) const;
  /// 1 if a check failed, else 0. Without an RK3588 only those of Options::config can fail.
  int exit_status() const { return count(State::fail) != 0 ? 1 : 0; }
};

struct Options {
  std::string root = "/";
  /// A kernel configuration to judge in the place of the machine's own, also where there is no
  /// RK3588. Not below the root.
  std::string config;
};

/// Throws npu::Error(bad_file) if the root is missing or no directory, or Options::config is no
/// kernel configuration; nothing that lies below it
/// makes it throw.
Report audit(const Options& options);

std::string render_text(const Report& report, bool colour);
std::string render_json(const Report& report);
std::string render_markdown(const Report& report);

}  // namespace npu::probe
