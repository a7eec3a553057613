// SPDX-License-Identifier: MIT
// Fixture trees, and copies of them that a test may change.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "npu-probe/audit/audit.hpp"

namespace npu::probe {

inline void PrintTo(State state, std::ostream* out) { *out << to_string(state); }
inline void PrintTo(Verdict verdict, std::ostream* out) { *out << to_string(verdict); }

}  // namespace npu::probe

namespace npu::probe::test {

namespace fs = std::filesystem;

inline fs::path fixture(const std::string& name) {
  return fs::path(ROSENBLATT_VECTORS_DIR) / "audit" / name;
}

inline Report audit_of(const fs::path& root) { return audit({root.string()}); }

/// A copy of a fixture (or an empty tree) that goes away with the object.
class Copy {
 public:
  explicit Copy(const std::string& name = {}) {
    std::string pattern = (fs::temp_directory_path() / "npu-audit-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    root_ = pattern;
    if (!name.empty())
      fs::copy(fixture(name), root_, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  }
  ~Copy() {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  fs::path operator/(const std::string& path) const { return root_ / path; }
  const fs::path& root() const { return root_; }
  void put(const std::string& path, const std::string& bytes) const {
    fs::create_directories((root_ / path).parent_path());
    fs::remove_all(root_ / path);
    std::ofstream(root_ / path, std::ios::binary) << bytes;
  }
  void remove(const std::string& path) const { fs::remove_all(root_ / path); }
  Report audit() const { return audit_of(root_); }

 private:
  fs::path root_;
};

inline State state(const Report& report, const std::string& id) {
  const auto* check = report.find(id);
  EXPECT_NE(check, nullptr) << "no check " << id;
  return check ? check->state : State::unknown;
}

inline std::string evidence(const Report& report, const std::string& id) {
  const auto* check = report.find(id);
  EXPECT_NE(check, nullptr) << "no check " << id;
  return check ? check->evidence : std::string();
}

inline std::string remedy(const Report& report, const std::string& id) {
  const auto* check = report.find(id);
  EXPECT_NE(check, nullptr) << "no check " << id;
  return check ? check->remedy : std::string();
}

/// Every check with its state, so that a difference is named.
inline std::map<std::string, std::string> states(const Report& report) {
  std::map<std::string, std::string> all;
  for (const auto& check : report.checks) all[check.id] = to_string(check.state);
  return all;
}

inline const std::string dt = "sys/firmware/devicetree/base/";

}  // namespace npu::probe::test
