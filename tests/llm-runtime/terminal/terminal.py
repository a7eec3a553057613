# SPDX-License-Identifier: MIT
"""A terminal for a program under test: what a person types, and what the person sees."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time


class Terminal:
    """Runs a program on a terminal of its own. `shown` is all that it has printed."""

    def __init__(self, argv, env, columns=100, rows=30, stdin=None, stdout=None, stderr=None):
        self.shown = ""
        self.at = 0  # what was expected ends here
        self.raw = b""
        self.status = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            for number, file in ((0, stdin), (1, stdout), (2, stderr)):
                if file is not None:
                    os.dup2(file, number)
            os.execve(argv[0], argv, env)
        self.resize(columns, rows)

    def resize(self, columns, rows=30):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        while data:
            # A terminal holds a few kilobytes that nobody has read yet, and gives back its echo.
            _, writable, _ = select.select([], [self.fd], [], 0.05)
            if writable:
                data = data[os.write(self.fd, data[:256]):]
            self.read(0.01)

    def line(self, text):
        self.type(text + "\r")

    def read(self, seconds):
        """Takes what is there within some seconds; False at the end."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # the program has left the terminal
            data = b""
        self.raw += data
        self.shown = self.raw.decode("utf-8", "replace")
        return bool(data)

    def expect(self, pattern, seconds=20):
        """Waits for a pattern behind what was expected before; returns the match."""
        end = time.monotonic() + seconds
        while True:
            match = re.compile(pattern, re.S).search(self.shown, self.at)
            if match:
                self.at = match.end()
                return match
            if time.monotonic() > end or not self.read(0.1):
                raise AssertionError(f"no {pattern!r} behind what is shown:\n{self.shown[self.at:]!r}")

    def is_cooked(self):
        """Whether the terminal hands over whole lines, with echo, as a shell expects it."""
        flags = termios.tcgetattr(self.fd)[3]
        return bool(flags & termios.ICANON and flags & termios.ECHO)

    def prompt(self, text="> ", seconds=20):
        """Waits until the program reads keys one by one: what is typed before is echoed twice."""
        self.expect(re.escape(text), seconds)
        end = time.monotonic() + seconds
        while termios.tcgetattr(self.fd)[3] & termios.ICANON:
            if time.monotonic() > end:
                raise AssertionError(f"no editing at the prompt; shown:\n{self.shown!r}")
            self.read(0.01)

    def end(self, seconds=20):
        """Waits for the program's end; its exit code, or minus the signal's number."""
        limit = time.monotonic() + seconds
        while self.status is None:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > limit:
                self.kill()
                raise AssertionError(f"does not end; shown:\n{self.shown[self.at:]!r}")
        while self.read(0.05) and select.select([self.fd], [], [], 0)[0]:
            pass
        return self.status

    def kill(self, number=signal.SIGKILL):
        if self.status is None:
            os.kill(self.pid, number)

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.status = -signal.SIGKILL
        os.close(self.fd)
