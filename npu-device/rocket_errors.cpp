// SPDX-License-Identifier: MIT
#include "npu-device/rocket_errors.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace npu::device {
namespace {

constexpr std::string_view kAudit = "Run `npu-probe audit` to see which step is missing";

std::string_view name_of(RocketCall call) {
  switch (call) {
    case RocketCall::open: return "open";
    case RocketCall::version: return "DRM_IOCTL_VERSION";
    case RocketCall::create_bo: return "CREATE_BO";
    case RocketCall::mmap: return "mmap";
    case RocketCall::submit: return "SUBMIT";
    case RocketCall::prep_bo: return "PREP_BO";
    case RocketCall::fini_bo: return "FINI_BO";
  }
  return "call";
}

struct Advice {
  ErrorCode code;
  std::string sentence;
};

Advice advise_open(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return {ErrorCode::no_device,
              fmt::format("the node does not exist: the rocket driver is not loaded (modprobe "
                          "rocket; kernel 6.18 or newer) or the board's device tree leaves the NPU "
                          "nodes disabled. {}.",
                          kAudit)};
    case EACCES:
    case EPERM:
      return {ErrorCode::permission_denied,
              "you may not open it: add your user to the group that owns the node (render or "
              "video: sudo usermod -aG render $USER, then log in again) or install a udev rule "
              "such as SUBSYSTEM==\"accel\", GROUP=\"render\", MODE=\"0660\"."};
    case ENODEV:
    case ENXIO:
      return {ErrorCode::no_device,
              fmt::format("the node is there but no driver answers: the rocket module was unloaded "
                          "or its probe failed (look at dmesg | grep -i rocket). {}.",
                          kAudit)};
    case EMFILE:
    case ENFILE:
      return {ErrorCode::out_of_memory,
              "no file descriptor is left: close some files or raise the limit (ulimit -n)."};
    case EBUSY:
      return {ErrorCode::no_device, "another program holds it for itself; stop that program."};
    default: return {ErrorCode::no_device, fmt::format("unexpected error. {}.", kAudit)};
  }
}

Advice advise_memory(RocketCall call, int error) {
  if (call == RocketCall::mmap) {
    switch (error) {
      case ENOMEM:
      case EAGAIN:
        return {ErrorCode::out_of_memory,
                "the process has no address space or map entries left: free buffers, or raise "
                "ulimit -v and vm.max_map_count."};
      case EACCES:
      case EPERM:
        return {ErrorCode::permission_denied,
                "the kernel refuses to map the buffer: the node must be opened for reading and "
                "writing by this process; check its mode and your security policy."};
      default:
        return {ErrorCode::device_fault,
                "the kernel does not know the buffer's mmap offset; the driver's interface "
                "differs from the one of kernel 6.18: update the kernel or this program."};
    }
  }
  switch (error) {
    case ENOMEM:
      return {ErrorCode::out_of_memory,
              "the kernel found no memory for it (buffers are pinned and cannot be swapped): free "
              "buffers, or close programs that use much memory."};
    case ENOSPC:
      return {ErrorCode::out_of_memory,
              "the 4 GiB IOVA window of this open file has no hole of that size: free buffers, or "
              "open another device (each open file has a window of its own)."};
    case EINVAL:
      return {ErrorCode::invalid_argument,
              "the driver refuses the size: ask for 1 byte to 2 GiB - 1."};
    default:
      return {ErrorCode::device_fault,
              "unexpected error; look at dmesg | grep -i -e rocket -e iommu."};
  }
}

Advice advise_submit(int error) {
  switch (error) {
    case EINVAL:
      return {ErrorCode::not_supported,
              "the driver refuses the job structure (40 bytes each, reserved = 0): its interface "
              "differs from the one of kernel 6.18; update the kernel or this program."};
    case EFAULT:
      return {ErrorCode::invalid_argument,
              "the kernel cannot read the job array: memory that the jobs point to was freed "
              "during the call; keep the jobs alive and unchanged until submit() returns."};
    case ENOMEM:
      return {ErrorCode::out_of_memory,
              "the kernel has no memory to queue the jobs: submit fewer jobs at once, or wait for "
              "some with prep()."};
    default: return {ErrorCode::device_fault, "unexpected error; look at dmesg | grep -i rocket."};
  }
}

Advice advise_sync(int error) {
  switch (error) {
    case ETIMEDOUT:
      return {ErrorCode::timeout,
              "a job that writes it did not end before the deadline: wait longer, or, if dmesg "
              "says \"NPU job timed out\", look for what makes the program hang (npu-probe decode "
              "shows it)."};
    case EBUSY:
      return {ErrorCode::timeout,
              "a job that writes it is queued or running and the deadline is already past: give a "
              "deadline in the future to wait for it."};
    case ENOENT:
      return {ErrorCode::invalid_argument,
              "the kernel knows no such handle on this file: the buffer was freed, or belongs to "
              "another device."};
    case EINVAL:
      return {ErrorCode::not_supported,
              "the driver refuses the structure (reserved = 0): its interface differs from the one "
              "of kernel 6.18; update the kernel or this program."};
    default: return {ErrorCode::device_fault, "unexpected error; look at dmesg | grep -i rocket."};
  }
}

Advice advise(RocketCall call, int error) {
  if (call == RocketCall::open) return advise_open(error);
  // Any ioctl answers so once the driver is unbound below an open file.
  if (error == ENODEV || error == ENXIO) {
    return {ErrorCode::no_device,
            fmt::format("the device is gone: the driver was unbound while the file was open. Load "
                        "it again and reopen. {}.",
                        kAudit)};
  }
  if (error == ENOTTY || error == EOPNOTSUPP) {
    return {ErrorCode::not_supported,
            fmt::format("the node's driver does not have this call, so it is no rocket driver of "
                        "kernel 6.18 or newer. {}.",
                        kAudit)};
  }
  if (error == EACCES || error == EPERM) {
    if (call != RocketCall::mmap) {
      return {ErrorCode::permission_denied,
              "the kernel forbids the call: check the security policy (seccomp, container device "
              "rules) of this process."};
    }
  }
  switch (call) {
    case RocketCall::create_bo:
    case RocketCall::mmap: return advise_memory(call, error);
    case RocketCall::submit: return advise_submit(error);
    case RocketCall::prep_bo:
    case RocketCall::fini_bo: return advise_sync(error);
    default:
      return {ErrorCode::no_device, fmt::format("it does not answer as a DRM device. {}.", kAudit)};
  }
}

}  // namespace

Error rocket_error(RocketCall call, int error, std::string_view subject) {
  const Advice advice = advise(call, error);
  return Error(advice.code, fmt::format("{} on {} failed ({}): {}", name_of(call), subject,
                                        std::generic_category().message(error), advice.sentence));
}

Error no_rocket_node(std::string_view seen) {
  if (seen.empty()) {
    return Error(ErrorCode::no_device,
                 fmt::format("There is no /dev/accel/accel* node: the rocket driver is not loaded "
                             "(modprobe rocket; kernel 6.18 or newer) or the board's device tree "
                             "leaves the NPU nodes disabled. {}, or use --device sim.",
                             kAudit));
  }
  return Error(ErrorCode::no_device,
               fmt::format("No accel node belongs to the rocket driver; there is {}. {}, or use "
                           "--device sim.",
                           seen, kAudit));
}

}  // namespace npu::device
