// SPDX-License-Identifier: MIT
#include <ostream>

#include "llm-runtime/commands/options.hpp"
#include "version.hpp"

namespace npu::llm {

int run(int argc, const char* const* argv, Io& io) {
  cli::App app("Chat with a Qwen2.5 model on CPU and NPU.", "npu-chat");
  app.set_version_flag("--version", "npu-chat " + std::string(version));
  app.require_subcommand(0, 1);
  ChatOptions options;
  add_chat_options(app, options);
  app.footer(
      "Exit codes: 0 ok, 1 a check failed, 2 usage, 3 no device or no permission,\n"
      "4 bad input file, 5 device fault or timeout.\n"
      "Examples: npu-chat\n"
      "          npu-chat -m qwen2.5-1.5b-instruct-q4_k_m.gguf --temp 0 -p \"What is an NPU?\"");
  app.parse_complete_callback([&] {
    if (app.got_subcommand() && options != ChatOptions{}) {
      throw cli::UsageError("npu-chat",
                            "options in front of a subcommand are those of a conversation: put "
                            "them behind the subcommand");
    }
  });
  app.callback([&] {
    if (!app.got_subcommand()) chat(options, io);
  });
  add_logits(app, io);
  add_run(app, io);
  add_bench(app, io);
  add_plan(app, io);
  add_eval(app, io);
  add_tokenize(app, io);
  add_template(app, io);
  add_make_random(app, io);
  add_make_outliers(app);
  return cli::run(app, "npu-chat", argc, argv, io.out, io.err, io.status);
}

}  // namespace npu::llm
