// SPDX-License-Identifier: MIT
// Several tasks on one core, of all kinds, that feed each other and reuse what CBUF holds.
#pragma once

#include "pool_spec.hpp"

namespace npu::sim::property {

/// 1 to `most` tasks; inputs of integer tasks may be the output of the one before.
Session draw_session(Draw& draw, Arena& arena, std::uint32_t most);

}  // namespace npu::sim::property
