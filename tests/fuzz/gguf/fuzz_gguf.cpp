// SPDX-License-Identifier: MIT
// A GGUF file is refused with a sentence, or all of it can be read.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "llm-runtime/dequantize.hpp"
#include "llm-runtime/gguf.hpp"
#include "regdb/error.hpp"

namespace {

template <class Run>
void refused_or_done(Run&& run) {
  try {
    run();
  } catch (const npu::Error& error) {
    if (error.code() != npu::ErrorCode::bad_file) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace npu::llm;
  refused_or_done([&] {
    const GgufFile file =
        GgufFile::parse({reinterpret_cast<const std::byte*>(data), size}, "input");
    for (const std::string_view key : file.keys()) {
      for (const MetaValue& element : elements(*file.value(key))) elements(element);
      refused_or_done([&] { file.get_string(key); });
      refused_or_done([&] { file.get_u32(key); });
      refused_or_done([&] { file.get_f32(key); });
      refused_or_done([&] { file.get_bool(key); });
      refused_or_done([&] { file.get_strings(key); });
      refused_or_done([&] { file.get_ints(key); });
      refused_or_done([&] { file.get_floats(key); });
    }
    for (const TensorInfo& tensor : file.tensors()) {
      refused_or_done([&] {
        const WeightView view = file.weight_view(tensor.name);
        std::vector<float> row(view.columns);
        dequantize_row(view, 0, row);
        dequantize_row(view, view.rows - 1, row);
      });
    }
  });
  return 0;
}
