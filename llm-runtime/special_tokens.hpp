// SPDX-License-Identifier: MIT
// What kinds of tokens there are, and those that llama.cpp knows by their names.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace npu::llm {

struct TokenKind {
  bool normal = false, unknown = false, control = false, user_defined = false, byte = false;
};

/// From tokenizer.ggml.token_type [llama.h, enum llama_token_type]; 5 is "unused", which is none of
/// the kinds, as any other number.
constexpr TokenKind token_kind(std::int64_t type) {
  return {.normal = type == 1,
          .unknown = type == 2,
          .control = type == 3,
          .user_defined = type == 4,
          .byte = type == 6};
}

/// Tokens of a role become control tokens, whatever the file calls them. With a key there is one of
/// them: the one that the file names, else the first name that the vocabulary has; without a key
/// every name counts.
struct SpecialRole {
  std::string_view key;
  bool ends_generation;
  std::span<const std::string_view> names;
};

namespace special_names {
using Name = std::string_view;
inline constexpr Name kEndOfTurn[] = {
    "<|eot_id|>",        "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>",
    "<|end_of_text|>",   "<EOT>",      "_<EOT>",  "[EOT]",         "<｜end▁of▁sentence｜>",
    "<end_of_utterance>"};
inline constexpr Name kEndOfMessage[] = {"<|eom_id|>"};
inline constexpr Name kFimPrefix[] = {"<|fim_prefix|>",  "<fim-prefix>", "<fim_prefix>",
                                      "<｜fim▁begin｜>", "<PRE>",        "▁<PRE>",
                                      "<|code_prefix|>", "<|prefix|>"};
inline constexpr Name kFimSuffix[] = {"<|fim_suffix|>",  "<fim-suffix>", "<fim_suffix>",
                                      "<｜fim▁hole｜>",  "<SUF>",        "▁<SUF>",
                                      "<|code_suffix|>", "<|suffix|>"};
inline constexpr Name kFimMiddle[] = {"<|fim_middle|>",  "<fim-middle>", "<fim_middle>",
                                      "<｜fim▁end｜>",   "<MID>",        "▁<MID>",
                                      "<|code_middle|>", "<|middle|>"};
inline constexpr Name kFimPad[] = {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"};
inline constexpr Name kFimRepository[] = {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>",
                                          "<reponame>"};
inline constexpr Name kFimSeparator[] = {"<|file_sep|>"};
inline constexpr Name kEndOfGeneration[] = {"<|eot_id|>",
                                            "<|im_end|>",
                                            "<|end|>",
                                            "<|return|>",
                                            "<|call|>",
                                            "<|flush|>",
                                            "<|calls|>",
                                            "<end_of_turn>",
                                            "<|endoftext|>",
                                            "</s>",
                                            "<|eom_id|>",
                                            "<EOT>",
                                            "_<EOT>",
                                            "[EOT]",
                                            "[EOS]",
                                            "<|end_of_text|>",
                                            "<end_of_utterance>",
                                            "<eos>",
                                            "<turn|>",
                                            "<|tool_response>",
                                            "<｜end▁of▁sentence｜>",
                                            "[e~["};
}  // namespace special_names

/// [llama-vocab.cpp, llama_vocab::impl::load]
inline constexpr SpecialRole kSpecialRoles[] = {
    {"tokenizer.ggml.eot_token_id", true, special_names::kEndOfTurn},
    {"tokenizer.ggml.eom_token_id", true, special_names::kEndOfMessage},
    {"tokenizer.ggml.fim_pre_token_id", false, special_names::kFimPrefix},
    {"tokenizer.ggml.fim_suf_token_id", false, special_names::kFimSuffix},
    {"tokenizer.ggml.fim_mid_token_id", false, special_names::kFimMiddle},
    {"tokenizer.ggml.fim_pad_token_id", true, special_names::kFimPad},
    {"tokenizer.ggml.fim_rep_token_id", true, special_names::kFimRepository},
    {"tokenizer.ggml.fim_sep_token_id", true, special_names::kFimSeparator},
    {"", true, special_names::kEndOfGeneration},
};

}  // namespace npu::llm
