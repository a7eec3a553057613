// SPDX-License-Identifier: MIT
// Runs npu-probe in the test's own process, which works under an emulator too.
#pragma once

#include <unistd.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "npu-probe/probe.hpp"

namespace npu::probe::test {

struct Output {
  int status;
  std::string out, err;
  nlohmann::json json() const { return nlohmann::json::parse(out); }
};

inline Output tool(const std::vector<std::string>& args, const std::string& input = {}) {
  std::vector<const char*> argv{"npu-probe"};
  for (const auto& arg : args) argv.push_back(arg.c_str());
  std::istringstream in(input);
  std::ostringstream out, err;
  Io io{in, out, err};
  const int status = run(static_cast<int>(argv.size()), argv.data(), io);
  return {status, out.str(), err.str()};
}

inline std::filesystem::path mesa(const std::string& name = {}) {
  return std::filesystem::path(ROSENBLATT_VECTORS_DIR) / "mesa" / name;
}

/// A folder that goes away with the object.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "npu-probe-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void spill(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace npu::probe::test
