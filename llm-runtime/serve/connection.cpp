// SPDX-License-Identifier: MIT
#include "llm-runtime/serve/connection.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace npu::llm::serve {
namespace {

using Clock = Connection::Clock;

/// What poll() says of the socket until then; 0 if nothing.
short poll_until(int socket, short events, Clock::time_point until) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (left <= 0) return 0;
    pollfd entry{socket, events, 0};
    const int ready = poll(&entry, 1, static_cast<int>(std::min<std::int64_t>(left, 1 << 30)));
    if (ready > 0) return entry.revents;
    if (ready == 0 || errno != EINTR) return 0;
  }
}

}  // namespace

Connection::Connection(int socket, std::uint64_t most_bytes,
                       std::chrono::milliseconds receive_timeout,
                       std::chrono::milliseconds send_timeout)
    : socket_(socket),
      most_bytes_(most_bytes),
      receive_until_(Clock::now() + receive_timeout),
      send_timeout_(send_timeout) {
  // A token is sent when it is there, not when there are more.
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Connection::~Connection() {
  // Closed with something unread, TCP would reset the connection, and the client might never see
  // the answer: read for a moment what it still sends.
  shutdown(socket_, SHUT_WR);
  const auto until = Clock::now() + linger_;
  std::array<char, 65536> rest;
  while (poll_until(socket_, POLLIN, until) != 0 &&
         recv(socket_, rest.data(), rest.size(), MSG_DONTWAIT) > 0) {
  }
  close(socket_);
}

std::ptrdiff_t Connection::read(char* to, std::size_t size) {
  if (begin_ == end_) {
    if (too_large() || poll_until(socket_, POLLIN, receive_until_) == 0) return -1;
    const ssize_t got = recv(socket_, buffer_.data(), buffer_.size(), 0);
    if (got <= 0) return -1;
    received_ += static_cast<std::uint64_t>(got);
    begin_ = 0;
    end_ = static_cast<std::size_t>(got);
    if (too_large()) return -1;
  }
  const std::size_t n = std::min(size, end_ - begin_);
  std::memcpy(to, buffer_.data() + begin_, n);
  begin_ += n;
  return static_cast<std::ptrdiff_t>(n);
}

std::ptrdiff_t Connection::write(const char* from, std::size_t size) {
  if (!writable()) return -1;
  return send(socket_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool Connection::readable() {
  return begin_ != end_ || poll_until(socket_, POLLIN, receive_until_) != 0;
}

bool Connection::writable() {
  return (poll_until(socket_, POLLOUT, Clock::now() + send_timeout_) &
          (POLLOUT | POLLERR | POLLHUP)) == POLLOUT;
}

bool Connection::connected() const {
  pollfd entry{socket_, POLLRDHUP, 0};
  return poll(&entry, 1, 0) == 0 || entry.revents == 0;
}

}  // namespace npu::llm::serve
