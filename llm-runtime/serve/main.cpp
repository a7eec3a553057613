// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <iostream>

#include "llm-runtime/serve/command.hpp"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  npu::llm::Io io{std::cin, std::cout, std::cerr, isatty(0) != 0, isatty(1) != 0, isatty(2) != 0};
  return npu::llm::serve::run_serve(argc, argv, io);
}
