// SPDX-License-Identifier: MIT
#include "npu-probe/regs_watch.hpp"

#include <fmt/format.h>
#include <fmt/ostream.h>
#include <signal.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>
#include <thread>

namespace npu::probe {
namespace {

using nlohmann::json;

constexpr const char* kBold = "\x1b[1;33m";
constexpr const char* kPlain = "\x1b[0m";

/// Hides the cursor; brings it back whatever ends the watching.
class Screen {
 public:
  explicit Screen(std::ostream& out) : out_(out) { out_ << "\x1b[?25l" << std::flush; }
  ~Screen() { out_ << "\x1b[?25h" << std::flush; }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  void draw(const std::vector<std::string>& lines) {
    if (height_ != 0) fmt::print(out_, "\x1b[{}A", height_);
    for (const std::string& line : lines) fmt::print(out_, "\r{}\x1b[K\n", line);
    out_ << std::flush;
    height_ = lines.size();
  }

 private:
  std::ostream& out_;
  std::size_t height_ = 0;
};

std::string change_text(const RegisterValue& now, std::uint32_t before) {
  std::string text = fmt::format("{} = {:#010x} (was {:#010x})", now.reg.name(), now.value, before);
  if (now.reg.info->fields.size() > 1)
    for (const FieldChange& c : changed_fields(now.reg, before, now.value))
      text += fmt::format("  {} {} -> {}", c.field, c.before, c.after);
  return text;
}

volatile sig_atomic_t interrupted = 0;
struct sigaction old_int, old_term;

void on_signal(int) { interrupted = 1; }

}  // namespace

InterruptiblePause::InterruptiblePause() {
  interrupted = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, &old_int);
  sigaction(SIGTERM, &action, &old_term);
}

InterruptiblePause::~InterruptiblePause() {
  sigaction(SIGINT, &old_int, nullptr);
  sigaction(SIGTERM, &old_term, nullptr);
}

bool InterruptiblePause::operator()(std::chrono::milliseconds time) const {
  // The signal cuts the sleep short; should it come right before, the next look is 50 ms away.
  using Clock = std::chrono::steady_clock;
  for (const auto end = Clock::now() + time; Clock::now() < end && interrupted == 0;) {
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(end - Clock::now());
    const auto nap = std::min<std::chrono::nanoseconds>(left, std::chrono::milliseconds(50));
    if (nap.count() <= 0) break;
    const timespec t{0, static_cast<long>(nap.count())};
    nanosleep(&t, nullptr);
  }
  return interrupted == 0;
}

void watch_registers(device::RegisterAccess& access, unsigned core,
                     const std::vector<ChipRegister>& registers, Group group,
                     const WatchOptions& options, std::ostream& out,
                     const std::function<bool(std::chrono::milliseconds)>& pause) {
  std::optional<Screen> screen;
  if (options.screen) screen.emplace(out);
  std::vector<RegisterValue> before;
  const auto start = std::chrono::steady_clock::now();
  for (std::uint64_t round = 0; options.count == 0 || round < options.count; ++round) {
    if (round != 0 && !pause(options.interval)) break;
    std::vector<RegisterValue> now = read_registers(access, core, registers, group);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < now.size(); ++i) {
      const bool first = before.empty();
      const bool changed = !first && before[i].value != now[i].value;
      if (screen) {
        lines.push_back(changed
                            ? (options.colour ? kBold : "") + change_text(now[i], before[i].value) +
                                  (options.colour ? kPlain : "")
                            : to_text(now[i]));
      } else if (options.json) {
        if (!first && !changed) continue;
        json object = to_json(now[i]);
        object["seconds"] = seconds;
        object["round"] = round;
        if (changed) object["was"] = before[i].value;
        out << object.dump() << '\n';
      } else if (first) {
        fmt::print(out, "{}\n", to_text(now[i]));
      } else if (changed) {
        fmt::print(out, "+{:.3f} s  {}\n", seconds, change_text(now[i], before[i].value));
      }
    }
    if (screen) {
      lines.push_back(
          fmt::format("core {}, round {}, {:.1f} s; Ctrl-C ends", core, round + 1, seconds));
      screen->draw(lines);
    }
    out.flush();
    if (!out) break;  // the reader has gone
    before = std::move(now);
  }
}

}  // namespace npu::probe
