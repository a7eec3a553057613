// SPDX-License-Identifier: MIT
// What this process records: the file of NPU_CAPTURE.
#pragma once

#include <functional>
#include <string>

#include "npu-device/capture_writer.hpp"

namespace npu::preload {

/// NPU_CAPTURE names a file, and writing has not failed yet.
bool capturing();

/// This thread is inside of record(): what it opens and closes is the recorder's.
bool recording_here();

/// Calls `fill` with the writer, one thread at a time, and flushes it unless `later`. What goes
/// wrong is said once on stderr; after that nothing is recorded, and the program goes on.
void record(const std::function<void(device::CaptureWriter&, std::uint32_t process)>& fill,
            bool later = false);

/// The same for one event.
template <class T>
void record_event(T what, bool later = false) {
  record(
      [&](device::CaptureWriter& writer, std::uint32_t process) {
        device::CaptureEvent event;
        event.process = process;
        event.what.emplace<T>(std::move(what));
        writer.append(event);
      },
      later);
}

/// "librocket-capture: ..." on stderr.
void complain(const std::string& message);

/// True once in each process: its stream has to begin with a CaptureStart.
bool begin_process();

/// What is known of this process. `driver`: name that the node gives.
device::CaptureStart describe_process(const std::string& driver, const std::string& path);

/// What librocket-sim.so, if it is loaded, knows of the jobs of this thread since the last call.
struct SimNote {
  device::CaptureJob::Outcome outcome = device::CaptureJob::Outcome::done;
  std::string text;
};
bool simulated();
SimNote take_sim_note();

/// Around fork(): nothing of the writer's is half done in the child.
void lock_session();
void unlock_session(bool in_child);

}  // namespace npu::preload
