// SPDX-License-Identifier: MIT
#include "npu-probe/audit/audit_command.hpp"

#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <memory>

#include "npu-device/command_line.hpp"
#include "npu-probe/audit/audit.hpp"

namespace npu::probe {

void add_audit(cli::App& app, std::ostream& out, int& exit_status) {
  struct Settings {
    Options options;
    std::string format = "text";
  };
  const auto settings = std::make_shared<Settings>();
  auto* command = app.add_subcommand("audit", "Is this machine ready for the NPU? Reads only");
  command
      ->add_option("--root", settings->options.root,
                   "Folder to audit: / or a tree captured elsewhere")
      ->type_name("DIR")
      ->capture_default_str();
  command
      ->add_option("--config", settings->options.config,
                   "Judge this kernel configuration (plain or gzip) instead of the machine's own, "
                   "also on a machine without an RK3588")
      ->type_name("FILE");
  command->add_option("--format", settings->format, "text, json or markdown")
      ->check(cli::IsMember({"text", "json", "markdown"}))
      ->capture_default_str();
  command->add_flag_callback(
      "--json", [settings] { settings->format = "json"; }, "Same as --format json");
  command->footer(
      "Exit status: 0 ready, or no RK3588 here; 1 a check failed; 2 usage; 4 no such folder, or "
      "FILE is no\n"
      "kernel configuration.\n"
      "Example: npu-probe audit --root captured/board --format markdown > npu-status.md\n"
      "Example: npu-probe audit --config linux-7.3/.config");
  command->callback([settings, &out, &exit_status] {
    const auto report = audit(settings->options);
    if (settings->format == "json") {
      out << render_json(report);
    } else if (settings->format == "markdown") {
      out << render_markdown(report);
    } else {
      const char* no_colour = std::getenv("NO_COLOR");
      out << render_text(report, &out == &std::cout && ::isatty(STDOUT_FILENO) == 1 &&
                                     (no_colour == nullptr || *no_colour == '\0'));
    }
    out.flush();
    exit_status = report.exit_status();
  });
}

void add_audit(cli::App& app, int& exit_status) { add_audit(app, std::cout, exit_status); }

}  // namespace npu::probe
