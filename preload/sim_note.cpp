// SPDX-License-Identifier: MIT
#include "preload/sim_note.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace npu::preload {
namespace {

struct Note {
  SimNoteKind kind = SimNoteKind::none;
  std::string text;
};
thread_local Note note;

}  // namespace

void leave_note(SimNoteKind kind, const std::string& text) {
  if (note.kind == SimNoteKind::none) note = {kind, text};
}

}  // namespace npu::preload

extern "C" __attribute__((visibility("default"))) int rosenblatt_sim_take_note(char* text,
                                                                               std::size_t room) {
  using namespace npu::preload;
  const Note taken = std::exchange(note, {});
  if (room != 0) {
    const std::size_t n = std::min(room - 1, taken.text.size());
    std::memcpy(text, taken.text.data(), n);
    text[n] = 0;
  }
  return static_cast<int>(taken.kind);
}
