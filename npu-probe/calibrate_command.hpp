// SPDX-License-Identifier: MIT
#pragma once

namespace npu::cli {
class App;
}

namespace npu::probe {

struct Io;

/// `npu-probe calibrate questions`.
void add_calibrate_questions(cli::App& calibrate, Io& io);

}  // namespace npu::probe
