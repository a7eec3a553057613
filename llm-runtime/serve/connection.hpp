// SPDX-License-Identifier: MIT
// A client's socket with limits: how much may come in and how long it may take.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace npu::llm::serve {

class Connection {
 public:
  using Clock = std::chrono::steady_clock;

  /// Of a connected stream socket, which it closes in the end. `most_bytes` of a request, header
  /// and body together.
  Connection(int socket, std::uint64_t most_bytes, std::chrono::milliseconds receive_timeout,
             std::chrono::milliseconds send_timeout);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// -1 at the end, at an error, when time is up or the limit is reached.
  std::ptrdiff_t read(char* to, std::size_t size);
  /// May write less than `size`; -1 if the client has gone or takes nothing for too long.
  std::ptrdiff_t write(const char* from, std::size_t size);
  bool readable();
  bool writable();
  /// How long it is listened to, behind the answer, if the client keeps it open: half a second.
  void set_linger(std::chrono::milliseconds most) { linger_ = most; }
  /// The client has not closed its side.
  bool connected() const;
  bool too_large() const { return received_ > most_bytes_; }
  int socket() const { return socket_; }

 private:
  int socket_;
  std::uint64_t most_bytes_, received_ = 0;
  Clock::time_point receive_until_;
  std::chrono::milliseconds send_timeout_, linger_{500};
  std::array<char, 4096> buffer_;  ///< the library reads headers byte by byte
  std::size_t begin_ = 0, end_ = 0;
};

}  // namespace npu::llm::serve
