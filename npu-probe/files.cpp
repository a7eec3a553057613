// SPDX-License-Identifier: MIT
#include "npu-probe/files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <istream>
#include <memory>

#include "regdb/error.hpp"

namespace npu::probe {

std::vector<std::byte> read_file(const std::filesystem::path& path, std::size_t max_bytes) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    throw Error(ErrorCode::bad_file,
                fmt::format("{}: {}", path.string(),
                            std::filesystem::exists(path, error) ? "is not a regular file"
                                                                 : "no such file"));
  // zlib passes what is not gzipped through unchanged.
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) throw Error(ErrorCode::bad_file, fmt::format("{}: cannot be opened", path.string()));
  std::vector<std::byte> bytes;
  for (;;) {
    constexpr std::size_t kPiece = 1 << 18;
    const std::size_t at = bytes.size();
    bytes.resize(at + kPiece);
    const int got = gzread(file.get(), bytes.data() + at, kPiece);
    if (got < 0)
      throw Error(ErrorCode::bad_file, fmt::format("{}: damaged gzip data", path.string()));
    bytes.resize(at + static_cast<std::size_t>(got));
    if (bytes.size() > max_bytes)
      throw Error(ErrorCode::bad_file, fmt::format("{}: holds more than the {} bytes expected",
                                                   path.string(), max_bytes));
    if (got == 0) break;
  }
  int status = Z_OK;
  gzerror(file.get(), &status);
  if (status == Z_BUF_ERROR)
    throw Error(ErrorCode::bad_file, fmt::format("{}: truncated gzip data", path.string()));
  return bytes;
}

void save_file(const std::filesystem::path& path, std::string_view text, bool replace) {
  const auto cannot = [&](int reason) {
    return Error(ErrorCode::permission_denied,
                 fmt::format("{} cannot be written: {}", path.string(), std::strerror(reason)));
  };
  const std::string part = path.string() + ".part";
  const int file = ::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0 && errno == EEXIST)
    throw Error(ErrorCode::bad_file,
                fmt::format("{} cannot be written: \"{}\" is in the way; another run writes it, or "
                            "one was interrupted: remove it",
                            path.string(), part));
  if (file < 0) throw cannot(errno);
  int error = 0;
  for (std::size_t done = 0; error == 0 && done < text.size();) {
    const ssize_t n = ::write(file, text.data() + done, text.size() - done);
    if (n >= 0)
      done += static_cast<std::size_t>(n);
    else if (errno != EINTR)
      error = errno;
  }
  if (error == 0 && ::fsync(file) != 0) error = errno;
  if (::close(file) != 0 && error == 0) error = errno;
  // link() refuses where a file is, rename() replaces it.
  if (error == 0 &&
      (replace ? std::rename(part.c_str(), path.c_str()) : ::link(part.c_str(), path.c_str())) != 0)
    error = errno;
  if (error != 0 || !replace) ::unlink(part.c_str());
  if (error == EEXIST && !replace)
    throw Error(ErrorCode::bad_file,
                fmt::format("{}: is there already; use --force to replace it", path.string()));
  if (error != 0) throw cannot(error);
}

std::vector<std::byte> read_stream(std::istream& in, std::size_t max_bytes) {
  std::vector<std::byte> bytes;
  std::vector<char> piece(1 << 16);
  while (in) {
    in.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    const auto got = static_cast<std::size_t>(in.gcount());
    const auto* from = reinterpret_cast<const std::byte*>(piece.data());
    bytes.insert(bytes.end(), from, from + got);
    if (bytes.size() > max_bytes)
      throw Error(ErrorCode::bad_file,
                  fmt::format("standard input holds more than {} bytes", max_bytes));
  }
  return bytes;
}

std::uint64_t fnv1a(std::span<const std::byte> bytes) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const std::byte b : bytes) hash = (hash ^ static_cast<std::uint8_t>(b)) * 0x100000001b3;
  return hash;
}

}  // namespace npu::probe
