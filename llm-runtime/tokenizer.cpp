// SPDX-License-Identifier: MIT
#include "llm-runtime/tokenizer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "llm-runtime/bpe.hpp"
#include "llm-runtime/gguf_parse.hpp"
#include "llm-runtime/pretokenize.hpp"
#include "llm-runtime/special_tokens.hpp"
#include "regdb/error.hpp"

namespace npu::llm {
namespace {

/// GPT-2's alphabet: a printable byte of Latin-1 stands for itself, the others follow from U+0100.
constexpr std::array<std::uint32_t, 256> byte_alphabet() {
  std::array<std::uint32_t, 256> letters{};
  std::uint32_t next = 256;
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    letters[byte] = printable ? byte : next++;
  }
  return letters;
}
constexpr auto kAlphabet = byte_alphabet();
constexpr std::uint32_t kAlphabetEnd = 256 + 68;  // 68 bytes are not printable

/// The byte that a letter stands for, or -1.
int byte_of(std::uint32_t letter) {
  static const auto bytes = [] {
    std::array<int, kAlphabetEnd> table{};
    table.fill(-1);
    for (int byte = 0; byte < 256; ++byte) table[kAlphabet[static_cast<std::size_t>(byte)]] = byte;
    return table;
  }();
  return letter < kAlphabetEnd ? bytes[letter] : -1;
}

std::string utf8(std::uint32_t code_point) {
  std::string text;
  append_utf8(text, code_point);
  return text;
}

/// Bytes of a normal token. What is no letter of the alphabet is spelt out [llama-vocab.cpp,
/// llama_decode_text].
std::string decode_letters(std::string_view text) {
  std::string bytes;
  for (const std::uint32_t letter : decode_utf8(text)) {
    if (const int byte = byte_of(letter); byte >= 0) {
      bytes.push_back(static_cast<char>(byte));
      continue;
    }
    bytes += "[UNK_BYTE_0x";
    for (const char c : utf8(letter)) bytes += fmt::format("{:02x}", static_cast<unsigned char>(c));
    bytes.append(text).append("]");
  }
  return bytes;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char small = static_cast<char>(c | 0x20);
  return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

/// "<0x0A>" as its byte; anything else as nothing.
std::string decode_byte_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return "";
  const int high = hex_digit(text[3]), low = hex_digit(text[4]);
  if (high < 0 || low < 0) return "";
  return std::string(1, static_cast<char>(high * 16 + low));
}

struct Fragment {
  std::size_t begin, end;
  TokenId token;  ///< kText: a piece of text
};
constexpr TokenId kText = -1;

// decode_letters() may repeat a token as often as it has letters.
constexpr std::size_t kLongestToken = 4096;

}  // namespace

struct Tokenizer::State {
  SymbolTable symbols;  ///< tokens, then what else takes part in merges
  std::size_t tokens = 0;
  std::vector<TokenKind> kinds;
  std::vector<bool> eog;
  std::vector<TokenId> specials;  ///< the longest first
  std::array<Symbol, 256> byte_symbols{};
  MergeTable merges{0};
  std::optional<TokenId> bos, eos;
  bool add_bos = false, add_eos = false;

  std::string_view text(TokenId token) const { return symbols.text(static_cast<Symbol>(token)); }
  /// Nothing for a symbol that is no token.
  std::optional<TokenId> find(std::string_view text) const {
    const Symbol found = symbols.find(text);
    if (found >= tokens) return std::nullopt;
    return static_cast<TokenId>(found);
  }

  void load_tokens(const GgufFile& file);
  void load_merges(const GgufFile& file);
  void load_specials(const GgufFile& file);
  std::vector<Fragment> partition(std::string_view text, bool parse_special) const;
  void encode_text(std::string_view text, std::vector<TokenId>& out) const;
  void append(Symbol symbol, std::vector<TokenId>& out) const;
  std::size_t checked(TokenId token) const;
};

void Tokenizer::State::load_tokens(const GgufFile& file) {
  const auto fail = [&](const std::string& reason) {
    throw Error(ErrorCode::bad_file, fmt::format("{}: {}", file.path(), reason));
  };
  const std::string_view model = file.get_string("tokenizer.ggml.model");
  if (model != "gpt2") {
    fail(fmt::format("tokenizer '{}' is not supported, only byte-level BPE ('gpt2') is",
                     shown(model)));
  }
  const std::string_view pre = file.get_string("tokenizer.ggml.pre", "default");
  if (pre != "qwen2" && pre != "deepseek-r1-qwen")
    fail(fmt::format("pre-tokenizer '{}' is not supported, only 'qwen2' is", shown(pre)));

  const auto names = file.get_strings("tokenizer.ggml.tokens");
  if (names.empty()) fail("the vocabulary is empty");
  std::vector<std::int64_t> types;
  if (file.has("tokenizer.ggml.token_type")) types = file.get_ints("tokenizer.ggml.token_type");
  if (!types.empty() && types.size() != names.size())
    fail(fmt::format("{} tokens have {} types", names.size(), types.size()));
  tokens = names.size();
  symbols.reserve(tokens + tokens / 8 + 256);
  kinds.reserve(tokens);
  for (std::size_t id = 0; id < tokens; ++id) {
    if (names[id].size() > kLongestToken) {
      fail(fmt::format("token {} has {} bytes, more than {}", id, names[id].size(), kLongestToken));
    }
    // As llama.cpp names it; no text contains it by chance.
    const std::string stand_in = names[id].empty() ? fmt::format("[EMPTY_{}]", id) : "";
    if (!symbols.add(names[id].empty() ? stand_in : names[id]).second)
      fail(fmt::format("token '{}' is there twice", shown(names[id])));
    kinds.push_back(types.empty() ? TokenKind{.normal = true} : token_kind(types[id]));
  }
  for (std::size_t byte = 0; byte < 256; ++byte)
    byte_symbols[byte] = symbols.add(utf8(kAlphabet[byte])).first;
}

void Tokenizer::State::load_merges(const GgufFile& file) {
  const auto lines = file.get_strings("tokenizer.ggml.merges");
  merges = MergeTable(lines.size());
  std::string joined;
  for (std::size_t rank = 0; rank < lines.size(); ++rank) {
    const std::string_view line = lines[rank];
    const std::size_t space = line.find(' ', 1);
    if (space == line.npos || space + 1 == line.size()) continue;  // joins nothing
    const std::string_view left = line.substr(0, space), right = line.substr(space + 1);
    joined.assign(left).append(right);
    const Symbol result = symbols.add(joined).first;
    merges.insert(symbols.add(left).first, symbols.add(right).first,
                  {static_cast<std::uint32_t>(rank), result});
  }
}

void Tokenizer::State::load_specials(const GgufFile& file) {
  const auto named = [&](std::string_view key) -> std::optional<TokenId> {
    if (!file.has(key)) return std::nullopt;
    const std::uint32_t id = file.get_u32(key);
    if (id >= tokens) return std::nullopt;  // llama.cpp warns and goes on without
    return static_cast<TokenId>(id);
  };
  bos = named("tokenizer.ggml.bos_token_id");
  eos = named("tokenizer.ggml.eos_token_id");
  add_bos = file.get_bool("tokenizer.ggml.add_bos_token", false);
  add_eos = file.get_bool("tokenizer.ggml.add_eos_token", false);
  for (const auto& [wanted, id, name] :
       {std::tuple{add_bos, bos, "bos"}, std::tuple{add_eos, eos, "eos"}}) {
    if (wanted && !id) {
      throw Error(ErrorCode::bad_file,
                  fmt::format("{}: tokenizer.ggml.add_{}_token is set, but there is no "
                              "tokenizer.ggml.{}_token_id",
                              file.path(), name, name));
    }
  }

  eog.assign(tokens, false);
  for (const SpecialRole& role : kSpecialRoles) {
    std::optional<TokenId> id = named(role.key);
    const bool only_one = !role.key.empty();
    for (const std::string_view name : role.names) {
      if (id && only_one) break;
      const auto found = find(name);
      if (!found) continue;
      id = found;
      kinds[static_cast<std::size_t>(*id)].control = true;
      if (role.ends_generation) eog[static_cast<std::size_t>(*id)] = true;
    }
    if (id && role.ends_generation) eog[static_cast<std::size_t>(*id)] = true;
  }
  if (eos) eog[static_cast<std::size_t>(*eos)] = true;

  for (std::size_t id = 0; id < tokens; ++id) {
    if (kinds[id].control || kinds[id].unknown || kinds[id].user_defined)
      specials.push_back(static_cast<TokenId>(id));
  }
  std::stable_sort(specials.begin(), specials.end(),
                   [&](TokenId a, TokenId b) { return text(a).size() > text(b).size(); });
}

/// Not leftmost-longest: the longest special token is searched for in all of the text, then the
/// next one in what is left [llama-vocab.cpp, tokenizer_st_partition].
std::vector<Fragment> Tokenizer::State::partition(std::string_view text, bool parse_special) const {
  std::array<bool, 256> occurs{};
  for (const char c : text) occurs[static_cast<unsigned char>(c)] = true;
  std::vector<Fragment> fragments{{0, text.size(), kText}}, split;
  for (const TokenId special : specials) {
    const TokenKind kind = kinds[static_cast<std::size_t>(special)];
    if (!parse_special && (kind.control || kind.unknown)) continue;
    const std::string_view name = this->text(special);
    if (!occurs[static_cast<unsigned char>(name[0])]) continue;
    if (text.find(name) == text.npos) continue;
    split.clear();
    for (const Fragment& fragment : fragments) {
      std::size_t begin = fragment.begin;
      while (fragment.token == kText) {
        const std::size_t at = text.substr(0, fragment.end).find(name, begin);
        if (at == text.npos) break;
        if (at > begin) split.push_back({begin, at, kText});
        begin = at + name.size();
        split.push_back({at, begin, special});
      }
      if (fragment.token != kText || begin < fragment.end)
        split.push_back({begin, fragment.end, fragment.token});
    }
    fragments.swap(split);
  }
  return fragments;
}

void Tokenizer::State::append(Symbol symbol, std::vector<TokenId>& out) const {
  if (symbol < tokens) {
    out.push_back(static_cast<TokenId>(symbol));
    return;
  }
  for (const char& c : symbols.text(symbol)) {
    if (const auto token = find(std::string_view(&c, 1))) out.push_back(*token);
  }
}

void Tokenizer::State::encode_text(std::string_view text, std::vector<TokenId>& out) const {
  const std::vector<std::uint32_t> code_points = decode_utf8(text);
  WordMerger merger;
  std::vector<Symbol> word;
  std::string bytes;
  std::size_t at = 0;
  for (const std::uint32_t length : split_words(code_points)) {
    bytes.clear();
    for (const std::size_t end = at + length; at < end; ++at) append_utf8(bytes, code_points[at]);
    word.clear();
    for (const char c : bytes) word.push_back(byte_symbols[static_cast<unsigned char>(c)]);
    if (word.size() > 1) merger.merge(merges, word);
    for (const Symbol symbol : word) append(symbol, out);
  }
}

std::size_t Tokenizer::State::checked(TokenId token) const {
  if (token < 0 || static_cast<std::size_t>(token) >= tokens) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("token {} is not in the vocabulary of {}", token, tokens));
  }
  return static_cast<std::size_t>(token);
}

Tokenizer::Tokenizer(const GgufFile& file) {
  auto state = std::make_shared<State>();
  state->load_tokens(file);
  state->load_merges(file);
  state->load_specials(file);
  state_ = std::move(state);
}

std::size_t Tokenizer::size() const { return state_->tokens; }

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool parse_special,
                                       bool add_special) const {
  std::vector<TokenId> out;
  if (add_special && state_->add_bos) out.push_back(*state_->bos);
  if (!text.empty()) {
    for (const Fragment& fragment : state_->partition(text, parse_special)) {
      if (fragment.token != kText) {
        out.push_back(fragment.token);
      } else {
        state_->encode_text(text.substr(fragment.begin, fragment.end - fragment.begin), out);
      }
    }
  }
  if (add_special && state_->add_eos) out.push_back(*state_->eos);
  return out;
}

std::string Tokenizer::piece(TokenId token, bool special) const {
  const std::size_t id = state_->checked(token);
  const TokenKind kind = state_->kinds[id];
  const std::string_view spelling = state_->text(token);
  if (kind.control || kind.unknown) return special ? std::string(spelling) : "";
  if (kind.user_defined) return std::string(spelling);
  if (kind.normal) return decode_letters(spelling);
  if (kind.byte) return decode_byte_token(spelling);
  return "";
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, bool special) const {
  std::string text;
  for (const TokenId token : tokens) text += piece(token, special);
  return text;
}

std::string_view Tokenizer::text(TokenId token) const {
  return state_->text(static_cast<TokenId>(state_->checked(token)));
}

std::optional<TokenId> Tokenizer::find(std::string_view text) const { return state_->find(text); }

bool Tokenizer::is_control(TokenId token) const {
  return state_->kinds[state_->checked(token)].control;
}
bool Tokenizer::is_eog(TokenId token) const { return state_->eog[state_->checked(token)]; }
std::optional<TokenId> Tokenizer::bos() const { return state_->bos; }
std::optional<TokenId> Tokenizer::eos() const { return state_->eos; }

}  // namespace npu::llm
