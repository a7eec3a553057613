// SPDX-License-Identifier: MIT
#include "npu-device/command_line.hpp"

#include <CLI/CLI.hpp>
#include <new>
#include <ostream>

#include "regdb/error.hpp"

namespace npu::cli {

Validator::Validator(std::function<std::string(const std::string&)> check, std::string description)
    : impl_(std::make_shared<CLI::Validator>(
          [check = std::move(check)](std::string& text) { return check(text); },
          std::move(description))) {}

Validator::Validator(std::shared_ptr<const CLI::Validator> impl) : impl_(std::move(impl)) {}

Validator Range(int min, int max) { return Validator(std::make_shared<CLI::Range>(min, max)); }
Validator Range(unsigned min, unsigned max) {
  return Validator(std::make_shared<CLI::Range>(min, max));
}
Validator Range(double min, double max) {
  return Validator(std::make_shared<CLI::Range>(min, max));
}
Validator IsMember(std::vector<std::string> values) {
  return Validator(std::make_shared<CLI::IsMember>(std::move(values)));
}

Option* Option::required(bool value) {
  impl_->required(value);
  return this;
}
Option* Option::check(const Validator& validator) {
  impl_->check(validator.get());
  return this;
}
Option* Option::excludes(Option* other) {
  impl_->excludes(other->impl_);
  return this;
}
Option* Option::group(const std::string& name) {
  impl_->group(name);
  return this;
}
Option* Option::type_name(const std::string& name) {
  impl_->type_name(name);
  return this;
}
Option* Option::capture_default_str() {
  impl_->capture_default_str();
  return this;
}
Option* Option::default_val(const std::string& value) {
  impl_->default_val(value);
  return this;
}
Option* Option::delimiter(char c) {
  impl_->delimiter(c);
  return this;
}
Option* Option::allow_extra_args(bool value) {
  impl_->allow_extra_args(value);
  return this;
}

App::App(std::string description, std::string name)
    : owned_(std::make_unique<CLI::App>(std::move(description), std::move(name))),
      impl_(owned_.get()) {}
App::App(CLI::App* impl) : impl_(impl) {}
App::~App() = default;

App* App::add_subcommand(const std::string& name, const std::string& description) {
  children_.emplace_back(new App(impl_->add_subcommand(name, description)));
  return children_.back().get();
}

App* App::add_option_group(const std::string& name, const std::string& description) {
  children_.emplace_back(new App(impl_->add_option_group(name, description)));
  return children_.back().get();
}

template <Value T>
Option* App::add_option(const std::string& names, T& value, const std::string& description) {
  return &options_.emplace_back(impl_->add_option(names, value, description));
}

#define NPU_CLI_OPTION(T)                                                                      \
  template Option* App::add_option(const std::string&, T&, const std::string&);                \
  template Option* App::add_option(const std::string&, std::optional<T>&, const std::string&); \
  template Option* App::add_option(const std::string&, std::vector<T>&, const std::string&)
NPU_CLI_OPTION(std::string);
NPU_CLI_OPTION(int);
NPU_CLI_OPTION(unsigned);
NPU_CLI_OPTION(std::uint64_t);
NPU_CLI_OPTION(float);
NPU_CLI_OPTION(double);
#undef NPU_CLI_OPTION

Option* App::add_flag(const std::string& names, bool& value, const std::string& description) {
  return &options_.emplace_back(impl_->add_flag(names, value, description));
}

Option* App::add_flag_callback(const std::string& names, std::function<void()> callback,
                               const std::string& description) {
  return &options_.emplace_back(impl_->add_flag_callback(names, std::move(callback), description));
}

void App::set_version_flag(const std::string& names, const std::string& version) {
  impl_->set_version_flag(names, version);
}

App* App::footer(const std::string& text) {
  impl_->footer(text);
  return this;
}

namespace {

/// CLI11 prints its own exceptions.
std::function<void()> with_usage_errors(std::function<void()> callback) {
  return [callback = std::move(callback)] {
    try {
      callback();
    } catch (const UsageError& error) {
      throw CLI::ValidationError(error.option(), error.what());
    }
  };
}

}  // namespace

App* App::callback(std::function<void()> callback) {
  impl_->callback(with_usage_errors(std::move(callback)));
  return this;
}
App* App::parse_complete_callback(std::function<void()> callback) {
  impl_->parse_complete_callback(with_usage_errors(std::move(callback)));
  return this;
}

App* App::require_subcommand(int count) {
  impl_->require_subcommand(count);
  return this;
}
App* App::require_subcommand(std::size_t min, std::size_t max) {
  impl_->require_subcommand(min, max);
  return this;
}
App* App::require_option(std::size_t min, std::size_t max) {
  impl_->require_option(min, max);
  return this;
}
App* App::prefix_command(bool value) {
  impl_->prefix_command(value);
  return this;
}
bool App::got_subcommand() const { return !impl_->get_subcommands().empty(); }

std::optional<int> App::parse(int argc, const char* const* argv, std::ostream& out,
                              std::ostream& err) {
  try {
    impl_->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Help and version are "errors" with code 0 for CLI11.
    return impl_->exit(error, out, err) == 0 ? 0 : 2;
  }
  return std::nullopt;
}

int run(App& app, const std::string& name, int argc, const char* const* argv, std::ostream& out,
        std::ostream& err, const int& status) {
  int code = 0;
  try {
    code = app.parse(argc, argv, out, err).value_or(status);
  } catch (const Error& error) {
    err << name << ": " << error.what() << '\n';
    return exit_code(error.code());
  } catch (const std::bad_alloc&) {
    err << name << ": out of memory\n";
    return exit_code(ErrorCode::out_of_memory);
  } catch (const std::exception& error) {
    err << name << ": internal error: " << error.what() << '\n';
    return 1;
  }
  out.flush();
  if (!out && code == 0) {
    err << name << ": the output could not be written: check the free space\n";
    return exit_code(ErrorCode::permission_denied);
  }
  return code;
}

}  // namespace npu::cli
