// SPDX-License-Identifier: MIT
// What comes before the merges: code points, their classes, and the split into words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace npu::llm {

enum class CodePointClass : std::uint8_t { other, letter, number, space };

/// Categories L and N and the property White_Space of Unicode 15.1; a code point that this version
/// does not assign is `other`, as are combining marks.
CodePointClass classify(std::uint32_t code_point);

void append_utf8(std::string& out, std::uint32_t code_point);

/// Decodes as llama.cpp 0.7.0 does: a byte that begins no sequence becomes U+FFFD, and the next
/// byte is looked at anew. Overlong forms and what lies beyond U+10FFFF are no sequences;
/// surrogates are.
std::vector<std::uint32_t> decode_utf8(std::string_view text);

/// Lengths in code points of the words of the pre-tokenizer `qwen2`, which is the expression
///   '[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD] | [^\r\n\p{L}\p{N}]?\p{L}+ | \p{N}
///   | ?[^\s\p{L}\p{N}]+[\r\n]* | \s*[\r\n]+ | \s+(?!\S) | \s+
/// the first alternative that matches wins [llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_QWEN2].
std::vector<std::uint32_t> split_words(std::span<const std::uint32_t> text);

}  // namespace npu::llm
