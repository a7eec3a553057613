// SPDX-License-Identifier: MIT
#include "kernel/virtual-board/trace.hpp"

#include <cinttypes>

namespace npu::vboard {

void write_trace_line(std::FILE* file, std::int64_t guest_ns, const npusim_trace_event& e) {
  // One line at a time: the cores have threads of their own.
  flockfile(file);
  std::fprintf(file, "[%5" PRId64 ".%06" PRId64 "] npu%" PRIu32 ": ", guest_ns / 1'000'000'000,
               guest_ns / 1000 % 1'000'000, e.core);
  switch (e.kind) {
    case NPUSIM_TRACE_REGISTER:
      std::fprintf(file, "%s 0x%04" PRIx32 " = 0x%08" PRIx32,
                   e.by_program != 0 ? "program" : "write", e.offset, e.value);
      break;
    case NPUSIM_TRACE_START: std::fprintf(file, "start"); break;
    case NPUSIM_TRACE_TASK: std::fprintf(file, "task 0x%02" PRIx32 ": %s", e.value, e.text); break;
    case NPUSIM_TRACE_DMA_READ:
    case NPUSIM_TRACE_DMA_WRITE:
      std::fprintf(file, "dma %s iova 0x%08" PRIx64 ", %" PRIu64 " bytes: %s",
                   e.kind == NPUSIM_TRACE_DMA_READ ? "read" : "write", e.iova, e.count, e.text);
      break;
    case NPUSIM_TRACE_MAC: std::fprintf(file, "%" PRIu64 " multiply-accumulates", e.count); break;
    case NPUSIM_TRACE_QUIRK: std::fprintf(file, "quirk: %s", e.text); break;
    case NPUSIM_TRACE_END: std::fprintf(file, "end, raw status 0x%08" PRIx32, e.value); break;
    case NPUSIM_TRACE_FAULT:
      std::fprintf(file, "fault at iova 0x%08" PRIx64 ": %s", e.iova, e.text);
      break;
    case NPUSIM_TRACE_INTERRUPT: std::fprintf(file, "interrupt line %" PRIu32, e.value); break;
    default: std::fprintf(file, "event %" PRIu32 ": %s", e.kind, e.text); break;
  }
  std::fputc('\n', file);
  funlockfile(file);
}

}  // namespace npu::vboard
