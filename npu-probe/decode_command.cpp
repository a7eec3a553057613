// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "npu-device/capture_reader.hpp"
#include "npu-device/command_line.hpp"
#include "npu-probe/capture_input.hpp"
#include "npu-probe/files.hpp"
#include "npu-probe/probe.hpp"
#include "npu-probe/session.hpp"
#include "regdb/decoder.hpp"
#include "regdb/error.hpp"

namespace npu::probe {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::size_t kMaxBytes = 256u << 20;

struct DecodeOptions {
  std::string file, block, colour = "auto";
  std::optional<std::size_t> job, task;
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

// Prints tasks one after the other.
class Listing {
 public:
  Listing(const DecodeOptions& options, Io& io)
      : o_(options), io_(io), text_{.colour = io.colour(options.colour)} {}

  // Words of the task, after the job's others; `where` is told with its number. A job of a capture
  // has a number.
  void task(std::size_t t, std::span<const std::uint64_t> words, const std::string& where,
            std::optional<std::size_t> job = {}) {
    const bool first_task = before_.empty();
    now_ = before_;
    const bool chosen = !o_.task || *o_.task == t;
    tasks_ += chosen;
    if (chosen && !o_.as_json)
      fmt::print(io_.out, "{}task {}: {} words{}\n", separate_ ? "\n" : "", t, words.size(), where);
    for (const std::uint64_t word : words) {
      const regdb::DecodedWord decoded = regdb::decode(word);
      const std::uint32_t key =
          std::uint32_t{decoded.command.target} << 16 | decoded.command.offset;
      const auto old = before_.find(key);
      const bool changed =
          first_task || old == before_.end() || old->second != decoded.command.value;
      now_[key] = decoded.command.value;
      if (chosen && shown(decoded, o_.block) && (changed || !o_.only_changed)) {
        if (o_.as_json) {
          json object = regdb::to_json(decoded, index_);
          object["task"] = t;
          if (job) object["job"] = *job;
          io_.out << (first_ ? "\n" : ",\n") << object.dump();
          first_ = false;
        } else {
          io_.out << regdb::to_line(decoded, index_, text_) << '\n';
        }
      }
      ++index_;
    }
    before_ = now_;
    separate_ = true;
  }

  void next_program() { index_ = 0, separate_ = false; }
  std::size_t tasks() const { return tasks_; }

 private:
  const DecodeOptions& o_;
  Io& io_;
  regdb::TextOptions text_;
  // What each register held at the end of the task before.
  std::map<std::uint32_t, std::uint32_t> before_, now_;
  std::size_t index_ = 0, tasks_ = 0;
  bool separate_ = false;
  bool first_ = true;
};

std::string list_of(const std::vector<std::uint32_t>& handles) {
  return handles.empty() ? "-" : fmt::format("{}", fmt::join(handles, " "));
}

json to_json(const SessionJob& job) {
  json tasks = json::array();
  for (const device::Task& task : job.job->job.tasks)
    tasks.push_back({{"regcmd", task.regcmd}, {"regcmd_count", task.regcmd_count}});
  return {{"job", job.number},
          {"process", job.file.first},
          {"file", job.file.second},
          {"submit", job.job->submit},
          {"index", job.job->index},
          {"in", job.job->job.in_handles},
          {"out", job.job->job.out_handles},
          {"outcome", to_string(job.job->outcome)},
          {"note", job.job->note},
          {"tasks", std::move(tasks)}};
}

// Before anything is printed.
void check_choice(const DecodeOptions& o, std::span<const std::size_t> tasks_of_jobs) {
  if (o.job && *o.job >= tasks_of_jobs.size())
    throw Error(ErrorCode::invalid_argument, fmt::format("there is no job {}: the capture has {}",
                                                         *o.job, tasks_of_jobs.size()));
  if (!o.task) return;
  std::size_t most = 0;
  for (std::size_t j = 0; j < tasks_of_jobs.size(); ++j)
    if (!o.job || *o.job == j) most = std::max(most, tasks_of_jobs[j]);
  if (*o.task >= most)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("there is no task {}: they are numbered from 0, and there are {}",
                            *o.task, most));
}

json decode_capture(const DecodeOptions& o, const device::Capture& capture, Listing& listing,
                    Io& io) {
  std::vector<std::size_t> tasks;
  for (const device::CaptureEvent& event : capture.events)
    if (const auto* job = std::get_if<device::CaptureJob>(&event.what))
      tasks.push_back(job->job.tasks.size());
  check_choice(o, tasks);
  json jobs = json::array();
  SessionWalk walk(capture);
  bool first = true;
  while (const SessionJob* job = walk.next()) {
    if (!io.out) break;  // the reader has gone
    if (o.job && job->number != *o.job) continue;
    const device::CaptureJob& j = *job->job;
    if (o.as_json)
      jobs.push_back(to_json(*job));
    else
      fmt::print(io.out, "{}job {}: {}  in {}  out {}  {}{}{}\n", first ? "" : "\n", job->number,
                 place_of(*job), list_of(j.job.in_handles), list_of(j.job.out_handles),
                 to_string(j.outcome), j.note.empty() ? "" : ": ", j.note);
    first = false;
    listing.next_program();
    for (std::size_t t = 0; t < j.job.tasks.size(); ++t) {
      const device::Task& task = j.job.tasks[t];
      const auto words = program_words(walk.memory(), job->file, task);
      std::string where = fmt::format(" at {:#010x}", task.regcmd);
      if (words.size() < task.regcmd_count)
        where += fmt::format(" of {}: the others lie in no buffer", task.regcmd_count);
      listing.task(t, words, where, job->number);
    }
  }
  if (capture.truncated)
    fmt::print(io.err, "npu-probe: {} is cut short; this is what is whole\n", o.file);
  return jobs;
}

void decode(const DecodeOptions& o, Io& io) {
  if (!o.block.empty() && !regdb::find_block(o.block) && o.block != "ENABLE" &&
      o.block != "MARKER" && o.block != "EMPTY")
    throw Error(ErrorCode::invalid_argument,
                fmt::format("there is no block {}: PC, CNA, CORE, DPU, DPU_RDMA, PPU, PPU_RDMA, "
                            "ENABLE, MARKER, EMPTY",
                            o.block));
  Listing listing(o, io);
  json jobs;
  if (is_capture(o.file)) {
    const device::Capture capture = device::read_capture(o.file);
    if (o.as_json) io.out << "{\"words\": [";
    jobs = decode_capture(o, capture, listing, io);
  } else {
    if (o.job) throw Error(ErrorCode::invalid_argument, "--job chooses among a capture's jobs");
    const auto words = regdb::parse_regcmd_bytes(input_bytes(o.file, io));
    const auto tasks = regdb::split_tasks(words);
    const std::size_t count = tasks.size();
    check_choice(o, std::span(&count, 1));
    if (o.as_json) io.out << "{\"words\": [";
    for (std::size_t t = 0; t < count && io.out; ++t) listing.task(t, tasks[t], "");
  }
  if (!o.as_json) return;
  io.out << "\n]";
  if (!jobs.is_null())
    io.out << ", \"jobs\": " << jobs.dump(-1, ' ', false, json::error_handler_t::replace);
  io.out << ", \"tasks\": " << listing.tasks() << "}\n";
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

void add_decode(cli::App& app, Io& io) {
  const auto o = std::make_shared<DecodeOptions>();
  cli::App* sub = app.add_subcommand("decode", "Print register programs, every field by name");
  sub->add_option("FILE", o->file,
                  "64-bit little-endian words, a capture, a case folder, or - for stdin")
      ->required();
  sub->add_option("--job", o->job, "captures: only this job")->type_name("N");
  sub->add_option("--task", o->task, "only this task, of each job")->type_name("M");
  sub->add_flag("--json", o->as_json, "one object per word; `encode` makes the same bytes of it");
  sub->add_option("--block", o->block, "only this block, such as CNA");
  sub->add_flag("--only-changed", o->only_changed,
                "from the second task on, only registers whose value changed");
  sub->add_option("--color", o->colour, "auto, always or never")
      ->check(cli::IsMember({"auto", "always", "never"}));
  sub->footer(
      "Exit 2 for a job or task that there is not, 4 for a damaged file.\n"
      "Example: npu-probe decode --block CNA tests/vectors/mesa/conv3x3_28_1_8\n"
      "         npu-probe decode net.npucap --job 3 --task 0");
  sub->callback([o, &io] { decode(*o, io); });
}

void add_encode(cli::App& app, Io& io) {
  const auto o = std::make_shared<EncodeOptions>();
  cli::App* sub = app.add_subcommand("encode", "Turn `decode --json` back into the same bytes");
  sub->add_option("FILE", o->file, "JSON, or - for stdin")->required();
  sub->add_option("-o,--output", o->output, "where the words go (default: standard output)");
  sub->footer(
      "Words may be given by \"word\", by \"target\", \"offset\", \"value\", or by \"block\",\n"
      "\"register\", \"fields\".\n"
      "Example: npu-probe decode --json regcmd.bin | npu-probe encode - -o same.bin");
  sub->callback([o, &io] { encode(*o, io); });
}

}  // namespace npu::probe
