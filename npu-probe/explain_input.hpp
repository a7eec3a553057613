// SPDX-License-Identifier: MIT
// What `explain` is given: a capture, words of a program, or a recorded case; as jobs.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "npu-device/capture.hpp"
#include "npu-probe/explain_group.hpp"

namespace npu::probe {

struct ExplainBuffer {
  std::uint32_t handle = 0;
  std::uint64_t iova = 0, size = 0;
};

/// One job with its operators. Registers survive from job to job of the same file.
struct ExplainedJob {
  std::size_t index = 0;  ///< in the input
  std::uint32_t process = 0, file = 0;
  std::string outcome;  ///< of a captured job: "done", "timed out", ...; else empty
  std::string note;     ///< why its program cannot be read, if it cannot
  std::vector<Operator> tasks;
  std::vector<std::size_t> words;  ///< of each task
  std::vector<OperatorGroup> operators;
  std::vector<ExplainBuffer> buffers;  ///< of its file at that time
  /// Hashes of what the first input and the weights held, where the input has the bytes.
  std::optional<std::uint64_t> input_hash, weight_hash;
};

struct ExplainedInput {
  std::string kind;  ///< "capture", "case", "regcmd"
  bool truncated = false;
  std::vector<ExplainedJob> jobs;
};

/// FILE: a capture (told by its first bytes), 64-bit words, a folder of a recorded case, or "-"
/// for a capture or words on standard input. Throws bad_file.
ExplainedInput explain_input(const std::string& file, std::istream& in,
                             const ExplainSetting& setting);
/// A captured session; throws bad_file if it contradicts itself.
ExplainedInput explain_capture(const device::Capture& capture, const ExplainSetting& setting);
/// The same of bytes in memory.
ExplainedInput explain_bytes(std::span<const std::byte> bytes, const ExplainSetting& setting);

/// Jobs of different files that together are one matrix product: the same rows times other
/// kernels, or other rows times the same kernels, told by the bytes that they read.
struct SplitProduct {
  std::vector<std::size_t> jobs;  ///< positions in ExplainedInput::jobs
  MatrixShape shape;
  bool by_columns = false;
};
std::vector<SplitProduct> split_products(const ExplainedInput& input);

}  // namespace npu::probe
