// SPDX-License-Identifier: MIT
#include "npu-sim/fault.hpp"

#include <fmt/format.h>

namespace npu::sim {

std::string_view to_string(FaultKind kind) {
  switch (kind) {
    case FaultKind::dma_read: return "dma-read";
    case FaultKind::dma_write: return "dma-write";
    case FaultKind::hang: return "hang";
    case FaultKind::not_modelled: return "not-modelled";
    case FaultKind::bad_program: return "bad-program";
  }
  return "unknown";
}

void not_modelled(const std::string& where, std::uint64_t value) {
  throw TaskFault(
      {FaultKind::not_modelled, where, fmt::format("not modelled: {}={}", where, value)});
}

void bad_program(const std::string& where, const std::string& why) {
  throw TaskFault({FaultKind::bad_program, where, fmt::format("bad program: {}: {}", where, why)});
}

void hang(const std::string& where, const std::string& why) {
  Fault fault{FaultKind::hang, where, fmt::format("the task never ends: {}: {}", where, why)};
  // "(quirk NAME)" at the end of the reason is for people and for tools.
  constexpr std::string_view mark = "(quirk ";
  if (const auto at = why.rfind(mark); at != std::string::npos)
    fault.quirk = why.substr(at + mark.size(), why.find(')', at) - at - mark.size());
  throw TaskFault(std::move(fault));
}

void dma_fault(FaultKind kind, const std::string& where, std::uint64_t iova) {
  throw TaskFault({kind, where,
                   fmt::format("DMA {} outside every mapped buffer at IOVA {:#x} ({})",
                               kind == FaultKind::dma_read ? "read" : "write", iova, where),
                   iova});
}

}  // namespace npu::sim
