// SPDX-License-Identifier: MIT
// The command line of npu-serve.
#pragma once

#include <string>
#include <vector>

#include "llm-runtime/commands/options.hpp"
#include "llm-runtime/serve/http.hpp"

namespace npu::llm::serve {

struct ServeOptions {
  ModelOptions model;
  SamplerOptions sampler;
  HttpOptions http;
  unsigned port = 8080;
  std::string alias, key_file;
  std::vector<std::string> keys;
  unsigned parallel = 8, queue = 128, most_tokens = 0;
  std::uint64_t most_body = 4u << 20;
  double timeout = 600, drain_timeout = 30;
  bool verbose = false, as_json = false;
};

/// The whole of npu-serve; argv[0] is its name. SIGINT and SIGTERM end it: the process must not
/// have other threads yet. Never throws; returns the exit code.
int run_serve(int argc, const char* const* argv, Io& io);

}  // namespace npu::llm::serve
