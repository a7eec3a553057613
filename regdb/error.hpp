// SPDX-License-Identifier: MIT
// The one exception type of the house and the exit codes of its tools.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace npu {

/// Stable codes; to_string() gives the spelling used in JSON.
enum class ErrorCode {
  invalid_argument,   ///< a shape, flag or value outside its range
  no_device,          ///< no such device node, or the driver is not loaded
  permission_denied,  ///< the node exists but may not be opened
  bad_file,           ///< an input file is missing, truncated or malformed
  device_fault,       ///< the NPU (or its model) reported a fault
  timeout,            ///< a job did not end before its deadline
  out_of_memory,      ///< host memory or the 4 GiB IOVA window is used up
  not_supported,      ///< this device or model cannot do it
  check_failed,       ///< a result is not what it ought to be
};

constexpr std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument: return "invalid-argument";
    case ErrorCode::no_device: return "no-device";
    case ErrorCode::permission_denied: return "permission-denied";
    case ErrorCode::bad_file: return "bad-file";
    case ErrorCode::device_fault: return "device-fault";
    case ErrorCode::timeout: return "timeout";
    case ErrorCode::out_of_memory: return "out-of-memory";
    case ErrorCode::not_supported: return "not-supported";
    case ErrorCode::check_failed: return "check-failed";
  }
  return "unknown";
}

/// Exit codes of every tool: 0 ok, 1 a check failed, 2 usage, 3 no device or no permission,
/// 4 bad input file, 5 device fault or timeout.
constexpr int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::check_failed: return 1;
    case ErrorCode::invalid_argument:
    case ErrorCode::not_supported: return 2;
    case ErrorCode::no_device:
    case ErrorCode::permission_denied: return 3;
    case ErrorCode::bad_file: return 4;
    case ErrorCode::device_fault:
    case ErrorCode::timeout:
    case ErrorCode::out_of_memory: return 5;
  }
  return 1;
}

/// what() is one sentence that says what is wrong and, where there is one, the remedy.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace npu
