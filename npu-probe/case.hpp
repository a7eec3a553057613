// SPDX-License-Identifier: MIT
// Recorded driver runs: what Mesa's rocket driver submitted for a TFLite model, and what TFLite
// computes. The format is described in tests/vectors/mesa/README.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace npu::probe {

enum class TensorType : std::uint8_t { uint8, int8, int32 };

struct Tensor {
  int id = 0;
  TensorType type = TensorType::uint8;
  std::vector<std::uint32_t> dims;  ///< NHWC; weights OHWI, depthwise weights 1HWC
  std::vector<std::int32_t> zero_points;
  std::size_t elements() const;
};

struct CaseOperator {
  int index = 0;
  std::string name;  ///< TFLite's: CONV_2D, DEPTHWISE_CONV_2D, ADD, ...
  std::vector<int> inputs, outputs;
  std::uint32_t stride = 1;
};

struct CaseBo {
  std::uint32_t handle = 0;
  std::uint32_t iova = 0;
  std::uint32_t size = 0;
  std::string role;
  std::optional<int> tensor;
  std::vector<std::byte> bytes;  ///< before the first job; may be shorter than size
  bool recorded = false;         ///< bytes came with the case
};

struct CaseTask {
  std::uint32_t regcmd = 0;  ///< IOVA
  std::uint32_t count = 0;   ///< words
  std::uint32_t first_word = 0;
};

struct CaseJob {
  int op = 0;
  std::vector<std::uint32_t> in, out;
  std::vector<CaseTask> tasks;
};

struct CaseSubmit {
  std::vector<CaseBo> bos;
  std::vector<CaseJob> jobs;
  std::map<std::uint32_t, std::size_t> by_handle;  ///< position in `bos`
  const CaseBo* find(std::uint32_t handle) const;
};

struct CaseCheck {
  int op = 0;
  int tensor = 0;
  std::string executor_sha256;
};

struct Case {
  std::string name, kind, note;
  std::vector<Tensor> tensors;
  std::vector<CaseOperator> ops;
  std::vector<CaseSubmit> submits;
  std::vector<CaseCheck> checks;
  std::vector<std::uint64_t> regcmd;
  std::map<int, std::vector<std::byte>> references;  ///< tensor id -> NHWC bytes, inputs included
  bool agrees_with_cpu = true;
  const Tensor& tensor(int id) const;  ///< throws bad_file
};

/// Gives the bytes of a file of the case, at most `max_bytes`; throws bad_file.
using FileReader =
    std::function<std::vector<std::byte>(const std::string& name, std::size_t max_bytes)>;

/// Reads and checks everything: types, ranges, sizes, references between the parts, overlaps of
/// buffers. Throws bad_file with a sentence that names the member at fault.
Case parse_case(std::string_view json, const FileReader& read);
Case load_case(const std::filesystem::path& dir);

}  // namespace npu::probe
