#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""script_test.py SOURCE: what scripts/virtual-board.sh says when it cannot do what it is told to.

Needs no network: the archive is a port that refuses, or a server here that has nothing.
"""
import http.server
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import unittest

SOURCE = pathlib.Path(sys.argv.pop(1)).resolve()
REFUSES = "http://127.0.0.1:9/debian"
sys.path.insert(0, str(SOURCE / "kernel/virtual-board"))


def script(*options, mirror=REFUSES):
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return subprocess.run([SOURCE / "scripts/virtual-board.sh", *options], capture_output=True, text=True,
                          check=False, stdin=subprocess.DEVNULL, timeout=250,
                          env={**clean, "ROSENBLATT_DEBIAN_MIRROR": mirror})


def a_kernel(cache, release):
    """A folder as get_kernel.py leaves it, as far as it looks itself."""
    folder = cache / "kernels" / release
    folder.mkdir(parents=True)
    (folder / "rocket").write_text("built\n")
    return folder


class Usage(unittest.TestCase):
    def test_help_has_examples_and_exit_codes(self):
        run = script("--help")
        self.assertEqual(run.returncode, 0)
        self.assertIn("Examples:", run.stdout)
        self.assertIn("Exit status:", run.stdout)

    def test_wrong_options_end_with_2_and_one_sentence(self):
        for options, word in ((["--fly"], "--fly"), (["--kernel"], "--kernel"), (["--run", ""], "--run"),
                              (["--kernel", "new"], "--kernel new"), (["--timeout", "0"], "--timeout 0"),
                              (["--smoke", "--run", "true"], "only one"),
                              (["--smoke", "--inject", "hang@1"], "--inject"),
                              (["--shell"], "terminal")):
            run = script(*options)
            self.assertEqual(run.returncode, 2, options)
            self.assertIn(word, run.stderr)
            self.assertEqual(run.stdout, "")

    def test_a_cache_that_makefiles_cannot_take_ends_with_2(self):
        with tempfile.TemporaryDirectory(prefix="a b") as folder:
            run = script("--cache", folder, "--list-kernels", "--offline")
            self.assertEqual(run.returncode, 2)
            self.assertIn("path", run.stderr)


class WithoutArchive(unittest.TestCase):
    def setUp(self):
        if subprocess.run([SOURCE / "scripts/setup.sh", "--virtual-board", "--list"], check=False,
                          capture_output=True).stdout:
            self.skipTest("packages of scripts/setup.sh --virtual-board are not installed")
        self.folder = tempfile.TemporaryDirectory()
        self.cache = pathlib.Path(self.folder.name) / "cache"

    def tearDown(self):
        self.folder.cleanup()

    def test_a_mirror_that_refuses_ends_with_3_and_names_what_was_wanted(self):
        run = script("--smoke", "--cache", self.cache)
        self.assertEqual(run.returncode, 3, run.stderr)
        self.assertIn(f"could not get the index of {REFUSES}", run.stderr)
        self.assertNotIn("Traceback", run.stderr)

    def test_a_mirror_without_the_index_ends_with_3(self):
        class Nothing(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_error(404)

            def log_message(self, *_):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            run = script("--smoke", "--cache", self.cache,
                         mirror=f"http://127.0.0.1:{server.server_port}/debian")
            server.shutdown()
        self.assertEqual(run.returncode, 3, run.stderr)
        self.assertIn("could not get the index", run.stderr)

    def test_an_index_without_a_signature_is_not_believed(self):
        class Unsigned(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if not self.path.endswith("/Release"):
                    return self.send_error(404)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"Origin: Debian\nSuite: trixie\nArchitectures: arm64\nComponents: main\n"
                                 b"Date: Sat, 21 Nov 2026 00:00:00 UTC\nSHA256:\n")
                return None

            def log_message(self, *_):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unsigned) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            run = script("--smoke", "--cache", self.cache,
                         mirror=f"http://127.0.0.1:{server.server_port}/debian")
            server.shutdown()
        self.assertEqual(run.returncode, 3, run.stderr)
        self.assertIn("not signed", run.stderr)

    def test_offline_with_an_empty_cache_ends_with_3(self):
        run = script("--smoke", "--offline", "--cache", self.cache)
        self.assertEqual(run.returncode, 3, run.stderr)
        self.assertIn("none is cached", run.stderr)

    def test_a_cache_that_cannot_be_written_ends_with_3(self):
        file = pathlib.Path(self.folder.name) / "file"
        file.write_text("")
        run = script("--smoke", "--cache", file / "cache")
        self.assertEqual(run.returncode, 3, run.stderr)
        self.assertIn("Not a directory", run.stderr)
        self.assertNotIn("Traceback", run.stderr)

    def test_what_is_cached_will_do_when_the_mirror_refuses(self):
        import get_kernel
        a_kernel(self.cache, "7.3.4+deb13-arm64")
        newest = a_kernel(self.cache, "7.10.1+deb13-arm64")
        (self.cache / "kernels/9.9.9+deb13-arm64.part").mkdir()
        self.assertEqual(get_kernel.get(self.cache, "", True), newest)
        self.assertEqual(get_kernel.get(self.cache, "7.3", True).name, "7.3.4+deb13-arm64")
        with self.assertRaisesRegex(get_kernel.Unavailable, "kernel 7.1: none is cached"):
            get_kernel.get(self.cache, "7.1", True)
        run = subprocess.run([sys.executable, "-B", SOURCE / "kernel/virtual-board/get_kernel.py", "--cache",
                              self.cache, "--kernel", "7.3"], capture_output=True, text=True, check=False,
                             env={**os.environ, "ROSENBLATT_DEBIAN_MIRROR": REFUSES})
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("Going on with 7.3.4", run.stderr)


class Choice(unittest.TestCase):
    class Archive:
        def names(self, _):
            return ["linux-binary-7.3.4+deb13-arm64", "linux-binary-unsigned-7.3.4+deb13-arm64",
                    "linux-headers-7.3.4+deb13-arm64", "linux-image-7.10.2+deb13-arm64",
                    "linux-image-7.2.9+deb13-arm64", "linux-headers-7.2.9+deb13-arm64",
                    "linux-headers-8.0.1+deb13-arm64", "linux-image-7.3.4+deb13-arm64"]

    def test_the_newest_with_headers_or_the_wanted_one(self):
        import get_kernel
        choose = get_kernel.choose
        self.assertEqual(choose(self.Archive(), ""), ("7.3.4+deb13-arm64",
                                                      "linux-binary-unsigned-7.3.4+deb13-arm64", True))
        self.assertEqual(choose(self.Archive(), "7.2")[:2], ("7.2.9+deb13-arm64",
                                                             "linux-image-7.2.9+deb13-arm64"))
        self.assertEqual(choose(self.Archive(), "7.10")[2], False)
        self.assertEqual(choose(self.Archive(), "7.3.4+deb13-arm64")[0], "7.3.4+deb13-arm64")
        for wrong in ("7.1", "7.3.40", "8.0"):
            with self.assertRaisesRegex(get_kernel.Unavailable, "the archive has: 7.2.9, 7.3.4, 7.10.2"):
                choose(self.Archive(), wrong)


class Unpacking(unittest.TestCase):
    def test_a_damaged_package_is_an_error_that_names_it(self):
        import debian_archive
        with tempfile.TemporaryDirectory() as folder:
            deb = pathlib.Path(folder) / "linux_1_arm64.deb"
            deb.write_bytes(b"!<arch>\ndebian-binary   cut")
            with self.assertRaisesRegex(OSError, "linux_1_arm64.deb"):
                debian_archive.unpack([deb], pathlib.Path(folder) / "root")


if __name__ == "__main__":
    unittest.main()
