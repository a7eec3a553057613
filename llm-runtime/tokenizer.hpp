// SPDX-License-Identifier: MIT
// Text to token ids and back: byte-level BPE with the pre-tokenizer `qwen2`, as llama.cpp does it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "llm-runtime/gguf.hpp"

namespace npu::llm {

using TokenId = std::int32_t;

/// Immutable, shared by copies, safe to use from several threads. Holds no reference to the file.
class Tokenizer {
 public:
  /// From tokenizer.ggml.{model, pre, tokens, token_type, merges, ..._token_id}. Throws
  /// Error(bad_file) for another kind of tokenizer, a token that is there twice, and arrays or ids
  /// that do not fit together. A merge that names no token is done nevertheless, as llama.cpp does;
  /// a result that is no token is given byte by byte where single bytes are tokens, else left out.
  explicit Tokenizer(const GgufFile& file);

  std::size_t size() const;

  /// Never fails; see decode_utf8() for what becomes of invalid UTF-8. With `parse_special`, text
  /// that spells a control token becomes that token; user-defined tokens match in any case. No
  /// normalisation. BOS and EOS are added where the file asks for it (Qwen2.5's does not) and
  /// `add_special` is set: the ids are those of llama_tokenize().
  std::vector<TokenId> encode(std::string_view text, bool parse_special,
                              bool add_special = true) const;

  /// The bytes of a token: nothing for unused ones, and for control tokens only if `special`.
  /// May be a part of a UTF-8 sequence. Throws Error(invalid_argument) for an id beyond size().
  std::string piece(TokenId token, bool special = true) const;
  std::string decode(std::span<const TokenId> tokens, bool special) const;

  /// The spelling in the file ("Ġthe"); find() takes it.
  std::string_view text(TokenId token) const;
  std::optional<TokenId> find(std::string_view text) const;

  bool is_control(TokenId token) const;
  /// Whether generation ends with this token. By the names that llama.cpp knows ("<|im_end|>",
  /// "<|endoftext|>", "</s>", ...) and the ids in the file.
  bool is_eog(TokenId token) const;
  std::optional<TokenId> bos() const;
  std::optional<TokenId> eos() const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

/// Text as it is generated: holds back a UTF-8 sequence until it is whole. What it gives is valid
/// UTF-8; bytes that belong to no sequence become U+FFFD.
class StreamDecoder {
 public:
  explicit StreamDecoder(Tokenizer tokenizer, bool special = false)
      : tokenizer_(std::move(tokenizer)), special_(special) {}

  std::string push(TokenId token);
  std::string flush();  ///< the rest: U+FFFD if a sequence is incomplete

 private:
  Tokenizer tokenizer_;
  bool special_;
  std::string pending_;
};

/// Moves the front of `bytes` to the result, up to a sequence that may still be completed; all of
/// it with `all`. Invalid bytes become U+FFFD, one for each maximal part of a sequence
/// (Unicode 3.9).
std::string take_valid_utf8(std::string& bytes, bool all);

}  // namespace npu::llm
