// SPDX-License-Identifier: MIT
#include <signal.h>
#include <unistd.h>

#include <iostream>

#include "npu-probe/probe.hpp"

int main(int argc, char** argv) {
  // `npu-probe decode ... | head` ends quietly: a write to the closed pipe fails instead.
  signal(SIGPIPE, SIG_IGN);
  std::ios::sync_with_stdio(false);
  npu::probe::Io io{std::cin, std::cout, std::cerr, isatty(STDOUT_FILENO) == 1,
                    isatty(STDERR_FILENO) == 1};
  return npu::probe::run(argc, argv, io);
}
