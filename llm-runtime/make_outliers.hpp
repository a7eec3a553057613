// SPDX-License-Identifier: MIT
// A model that computes the same with a few channels far larger than the others, as large language
// models have them: what makes int8 activations hard, without the gigabytes.
#pragma once

#include <cstdint>
#include <string>

#include "llm-runtime/model.hpp"

namespace npu::llm {

struct OutlierOptions {
  std::uint32_t channels = 4;  ///< of each input of a group of products
  std::uint32_t factor = 64;   ///< a power of two, so that no bit of a weight is lost
};

/// Writes `path` with F32 matrices. Some channels of the norms, of up and of v become `factor`
/// times as large and the columns that read them as much smaller: in F32 arithmetic every logit
/// stays as it was, bit for bit. A tied output matrix gets a copy of its own. Throws
/// invalid_argument for options out of range, what write_gguf() throws.
void make_outliers(const Model& model, const OutlierOptions& options, const std::string& path);

}  // namespace npu::llm
