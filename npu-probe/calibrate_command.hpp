// SPDX-License-Identifier: MIT
#pragma once

namespace CLI {
class App;
}

namespace npu::probe {

struct Io;

/// `npu-probe calibrate questions`.
void add_calibrate_questions(CLI::App& calibrate, Io& io);

}  // namespace npu::probe
