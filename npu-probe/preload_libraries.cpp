// SPDX-License-Identifier: MIT
#include "npu-probe/preload_libraries.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "regdb/error.hpp"

namespace npu::probe {
namespace {

namespace fs = std::filesystem;

}  // namespace

std::string preload_library(const std::string& name, const std::string& given) {
  std::error_code error;
  if (!given.empty()) {
    if (!fs::is_regular_file(given, error))
      throw Error(ErrorCode::bad_file, fmt::format("{}: no such file", given));
    return fs::absolute(given).string();
  }
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  const fs::path prefix = self.parent_path().parent_path();
  for (const fs::path& dir : {prefix / "lib", prefix / NPU_INSTALL_LIBDIR, prefix / "lib64"})
    if (fs::exists(dir / name, error)) return (dir / name).string();
  throw Error(ErrorCode::bad_file,
              fmt::format("{} is not in {}/lib; say where with --library", name, prefix.string()));
}

void add_to_ld_preload(const std::string& library) {
  const char* before = std::getenv("LD_PRELOAD");
  const std::string all =
      library + (before != nullptr && *before != 0 ? fmt::format(":{}", before) : "");
  setenv("LD_PRELOAD", all.c_str(), 1);
}

}  // namespace npu::probe
