// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "npu-probe/files.hpp"
#include "npu-probe/probe.hpp"
#include "regdb/decoder.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::size_t kMaxBytes = 256u << 20;

struct DecodeOptions {
  std::string file, block, colour = "auto";
  bool as_json = false, only_changed = false;
};

std::vector<std::byte> input_bytes(const std::string& file, Io& io) {
  if (file == "-") return read_stream(io.in, kMaxBytes);
  fs::path path = file;
  std::error_code error;
  if (fs::is_directory(path, error)) path /= "regcmd.bin";
  if (path.filename() == "case.json") path = path.parent_path() / "regcmd.bin";
  return read_file(path, kMaxBytes);
}

bool shown(const regdb::DecodedWord& word, const std::string& block) {
  return block.empty() || word.block == block;
}

void decode(const DecodeOptions& o, Io& io) {
  if (!o.block.empty() && !regdb::find_block(o.block) && o.block != "ENABLE" &&
      o.block != "MARKER" && o.block != "EMPTY")
    throw Error(ErrorCode::invalid_argument,
                fmt::format("there is no block {}: PC, CNA, CORE, DPU, DPU_RDMA, PPU, PPU_RDMA, "
                            "ENABLE, MARKER, EMPTY",
                            o.block));
  const std::vector<std::uint64_t> words = regdb::parse_regcmd_bytes(input_bytes(o.file, io));
  const regdb::TextOptions text{.colour = io.colour(o.colour)};
  const auto tasks = regdb::split_tasks(words);
  // What each register held at the end of the task before.
  std::map<std::uint32_t, std::uint32_t> before, now;
  std::size_t index = 0;
  bool first = true;
  if (o.as_json) io.out << "{\"tasks\": " << tasks.size() << ", \"words\": [";
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    if (!o.as_json)
      fmt::print(io.out, "{}task {}: {} words\n", t == 0 ? "" : "\n", t, tasks[t].size());
    for (const std::uint64_t word : tasks[t]) {
      const regdb::DecodedWord decoded = regdb::decode(word);
      const std::uint32_t key =
          std::uint32_t{decoded.command.target} << 16 | decoded.command.offset;
      const auto old = before.find(key);
      const bool changed = t == 0 || old == before.end() || old->second != decoded.command.value;
      now[key] = decoded.command.value;
      if (shown(decoded, o.block) && (changed || !o.only_changed)) {
        if (o.as_json) {
          json object = regdb::to_json(decoded, index);
          object["task"] = t;
          io.out << (first ? "\n" : ",\n") << object.dump();
          first = false;
        } else {
          io.out << regdb::to_line(decoded, index, text) << '\n';
        }
      }
      ++index;
    }
    before = now;
    if (!io.out) break;  // the reader has gone
  }
  if (o.as_json) io.out << "\n]}\n";
}

struct EncodeOptions {
  std::string file, output = "-";
};

void encode(const EncodeOptions& o, Io& io) {
  const std::vector<std::byte> bytes =
      o.file == "-" ? read_stream(io.in, kMaxBytes) : read_file(o.file, kMaxBytes);
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const json parsed = json::parse(text, text + bytes.size(), nullptr, false);
  if (parsed.is_discarded()) throw Error(ErrorCode::bad_file, o.file + ": not JSON");
  const json* words = &parsed;
  if (parsed.is_object() && parsed.contains("words")) words = &parsed["words"];
  if (!words->is_array())
    throw Error(ErrorCode::bad_file,
                o.file + ": neither an array of words nor an object with \"words\"");
  std::string out;
  for (std::size_t i = 0; i < words->size(); ++i) {
    const std::uint64_t word = regdb::word_from_json((*words)[i], i);
    for (int byte = 0; byte < 8; ++byte) out += static_cast<char>(word >> (8 * byte) & 0xFF);
  }
  if (o.output == "-") {
    io.out.write(out.data(), static_cast<std::streamsize>(out.size()));
    io.out.flush();  // half a program must not pass for a whole one
    if (!io.out) throw Error(ErrorCode::bad_file, "standard output cannot be written");
    return;
  }
  std::ofstream file(o.output, std::ios::binary | std::ios::trunc);
  file.write(out.data(), static_cast<std::streamsize>(out.size()));
  file.flush();
  if (!file) throw Error(ErrorCode::bad_file, o.output + ": cannot be written");
}

}  // namespace

void add_decode(CLI::App& app, Io& io) {
  const auto o = std::make_shared<DecodeOptions>();
  CLI::App* sub = app.add_subcommand("decode", "Print register programs, every field by name");
  sub->add_option("FILE", o->file, "64-bit little-endian words, a case folder, or - for stdin")
      ->required();
  sub->add_flag("--json", o->as_json, "one object per word; `encode` makes the same bytes of it");
  sub->add_option("--block", o->block, "only this block, such as CNA");
  sub->add_flag("--only-changed", o->only_changed,
                "from the second task on, only registers whose value changed");
  sub->add_option("--color", o->colour, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}));
  sub->footer("Example: npu-probe decode --block CNA tests/vectors/mesa/conv3x3_28_1_8");
  sub->callback([o, &io] { decode(*o, io); });
}

void add_encode(CLI::App& app, Io& io) {
  const auto o = std::make_shared<EncodeOptions>();
  CLI::App* sub = app.add_subcommand("encode", "Turn `decode --json` back into the same bytes");
  sub->add_option("FILE", o->file, "JSON, or - for stdin")->required();
  sub->add_option("-o,--output", o->output, "where the words go (default: standard output)");
  sub->footer(
      "Words may be given by \"word\", by \"target\", \"offset\", \"value\", or by \"block\",\n"
      "\"register\", \"fields\".\n"
      "Example: npu-probe decode --json regcmd.bin | npu-probe encode - -o same.bin");
  sub->callback([o, &io] { encode(*o, io); });
}

}  // namespace npu::probe
