// SPDX-License-Identifier: MIT
// The command line of every tool: CLI11 behind a header that does not include it, for that header
// costs 6 to 14 seconds of compiling in each file. The names are CLI11's (its App, Option,
// add_option(), check(), IsMember, ...), and so is what they do and print; what no tool uses is
// left out.
#pragma once

#include <concepts>
#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
class Validator;
}  // namespace CLI

namespace npu::cli {

/// Thrown by a callback: the options do not go together. Printed as "--option: message" with the
/// hint to --help; exit code 2.
class UsageError : public std::runtime_error {
 public:
  UsageError(std::string option, const std::string& message)
      : std::runtime_error(message), option_(std::move(option)) {}
  const std::string& option() const noexcept { return option_; }

 private:
  std::string option_;
};

/// What may stand in an option; the description goes into --help.
class Validator {
 public:
  /// `check` returns what is wrong with the text, or "". `description` may be empty.
  Validator(std::function<std::string(const std::string&)> check, std::string description = {});
  explicit Validator(std::shared_ptr<const CLI::Validator> impl);
  const CLI::Validator& get() const { return *impl_; }

 private:
  std::shared_ptr<const CLI::Validator> impl_;
};

/// From `min` to `max`, both included.
Validator Range(int min, int max);
Validator Range(unsigned min, unsigned max);
Validator Range(double min, double max);
Validator IsMember(std::vector<std::string> values);

/// One option or flag; belongs to its App.
class Option {
 public:
  explicit Option(CLI::Option* impl) : impl_(impl) {}
  Option* required(bool value = true);
  Option* check(const Validator& validator);
  Option* excludes(Option* other);
  Option* group(const std::string& name);
  Option* type_name(const std::string& name);
  Option* capture_default_str();
  Option* default_val(const std::string& value);
  /// Splits values of a vector: ',' takes "1,2,3".
  Option* delimiter(char c);
  /// Of a vector: whether more than one value may follow one name.
  Option* allow_extra_args(bool value = true);

 private:
  CLI::Option* impl_;
};

template <typename T>
concept Scalar =
    std::same_as<T, std::string> || std::same_as<T, int> || std::same_as<T, unsigned> ||
    std::same_as<T, std::uint64_t> || std::same_as<T, float> || std::same_as<T, double>;

/// What an option can be stored in: a value, an optional one, or a vector, which takes every value
/// that follows.
template <typename T>
concept Value = Scalar<T> ||
    (requires { typename T::value_type; } && Scalar<typename T::value_type> &&
     (std::same_as<T, std::optional<typename T::value_type>> ||
      std::same_as<T, std::vector<typename T::value_type>>));

/// A tool, a subcommand, or a group of options in --help.
class App {
 public:
  explicit App(std::string description, std::string name = {});
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  App* add_subcommand(const std::string& name, const std::string& description);
  App* add_option_group(const std::string& name, const std::string& description = {});

  /// `names` as in "-o,--output", or "FILE" for an argument by position. The value must live as
  /// long as the App.
  template <Value T>
  Option* add_option(const std::string& names, T& value, const std::string& description);
  Option* add_flag(const std::string& names, bool& value, const std::string& description);
  Option* add_flag_callback(const std::string& names, std::function<void()> callback,
                            const std::string& description);
  void set_version_flag(const std::string& names, const std::string& version);

  App* footer(const std::string& text);
  /// Called by parse() when all options are known. May throw UsageError; Error and others pass
  /// through parse().
  App* callback(std::function<void()> callback);
  /// Called before the callbacks of subcommands, else as callback().
  App* parse_complete_callback(std::function<void()> callback);
  App* require_subcommand(int count);
  App* require_subcommand(std::size_t min, std::size_t max);
  App* require_option(std::size_t min, std::size_t max);
  /// What follows the first argument that is no option belongs to another program.
  App* prefix_command(bool value = true);
  /// After parsing: was a subcommand named?
  bool got_subcommand() const;

  /// Parses and calls the callbacks. Empty, or the exit code of a run that ended here: 0 after
  /// --help or --version (printed to `out`), 2 for wrong usage (told on `err`).
  std::optional<int> parse(int argc, const char* const* argv, std::ostream& out, std::ostream& err);

 private:
  explicit App(CLI::App* impl);

  std::unique_ptr<CLI::App> owned_;  ///< of a tool; a subcommand's belongs to its tool's
  CLI::App* impl_;
  std::deque<Option> options_;
  std::vector<std::unique_ptr<App>> children_;
};

/// The frame of a tool's main(): parse(), then `status`, which the callbacks set. What they throw
/// is told on `err` as "name: sentence" and becomes an exit code; so is output that is lost (3).
/// Never throws.
int run(App& app, const std::string& name, int argc, const char* const* argv, std::ostream& out,
        std::ostream& err, const int& status);

}  // namespace npu::cli
