#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""npu-chat on a terminal, as a person uses it.

terminal_test.py NPU_CHAT SOURCE [unittest's arguments]
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest

from terminal import Terminal

NPU_CHAT, SOURCE = sys.argv[1:3]
RANDOM_MODEL = f"{SOURCE}/tests/vectors/llm/tinyA-Q8_0.gguf"
# This model ends no answer: there is time to stop one.
ENDLESS = ["-m", RANDOM_MODEL, "--chat-template", "chatml", "--temp", "0"]
UP = "\x1b[A"
STATUS = r"\[(\d+) tokens?, [0-9.]+ tok/s \(host\); prompt (\d+) tokens, (\d+) new, .*?context (\d+)/(\d+)(; stopped)?\]"


class OnATerminal(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.env = {"PATH": os.environ["PATH"], "HOME": folder.name, "TERM": "xterm",
                    "LANG": "C.UTF-8"}
        # Sanitized builds have their options here, emulated ones their libraries.
        self.env.update({name: value for name, value in os.environ.items()
                         if name.endswith("SAN_OPTIONS") or name.startswith("QEMU_")})

    def chat(self, *arguments, **options):
        env = {**self.env, **options.pop("env", {})}
        env = {name: value for name, value in env.items() if value is not None}
        terminal = Terminal([NPU_CHAT, *(arguments or ("--temp", "0"))], env, **options)
        self.addCleanup(terminal.close)
        return terminal

    def ask(self, t, question, answer):
        t.prompt()
        t.line(question)
        t.expect(answer)
        return t.expect(STATUS)

    def ends(self, t, code=0):
        t.prompt()
        t.type("\x04")
        self.assertEqual(t.end(), code)

    def test_an_answer_streams_and_a_line_of_figures_follows(self):
        t = self.chat()
        t.expect(r"tiny-chat, Q4_K of 1\.6 MiB, on cpu with \d+ thread")
        status = self.ask(t, "What is the capital of Japan?", r"\r\nThe capital of Japan is Tokyo\.\r\n")
        self.assertEqual(status[2], status[3])  # all of the first prompt is new
        status = self.ask(t, "Spell cat.", r"c-a-t\r\n")
        self.assertLess(int(status[3]), int(status[2]))
        self.ends(t)

    def test_pieces_of_an_answer_come_one_by_one(self):
        # What is read before the end shows that it does not come at once.
        t = self.chat(*ENDLESS)
        t.prompt()
        t.line("go on")
        t.expect(r"go on\r\n.")
        self.assertNotRegex(t.shown, STATUS)
        t.type("\x03")
        self.assertEqual(t.expect(STATUS)[6], "; stopped")
        self.ends(t)

    def test_ctrl_c_stops_the_answer_and_not_the_program(self):
        t = self.chat(*ENDLESS)
        for _ in range(3):
            t.prompt()
            t.line("/reset")  # "go on" is answered with thousands of tokens in an empty context only
            t.prompt()
            t.line("go on")
            t.expect(r"go on\r\n..")
            t.type("\x03")
            self.assertEqual(t.expect(STATUS)[6], "; stopped")
        self.ends(t)

    def test_ctrl_c_at_the_prompt_drops_the_line(self):
        t = self.chat()
        t.prompt()
        t.type("Spell do")
        t.expect("Spell do")
        t.type("\x03")
        self.ask(t, "Spell cat.", r"c-a-t\r\n")
        t.prompt()
        t.type("\x03")
        t.prompt()
        t.type("\x03")
        self.ends(t)

    def test_lines_are_edited_and_come_back_by_arrow_up(self):
        t = self.chat()
        t.prompt()
        t.type("pell dogx")
        t.type("\x7f\x7f\x7f\x7fcat.")       # backspace
        t.type("\x1b[H" + "S" + "\x1b[F")    # Home, End
        t.line("")
        t.expect(r"c-a-t\r\n")
        self.ask(t, "Spell dog.", r"d-o-g\r\n")
        t.prompt()
        t.line(UP + UP)
        t.expect(r"c-a-t\r\n")
        self.ends(t)

    def test_the_history_is_there_the_next_time(self):
        t = self.chat()
        self.ask(t, "Spell cat.", "c-a-t")
        self.ends(t)
        history = self.folder / ".local/state/rosenblatt/npu-chat.history"
        self.assertEqual(history.stat().st_mode & 0o777, 0o600)
        t = self.chat()
        t.prompt()
        t.type(UP)
        t.expect(r"Spell cat\.")
        t.line("")
        t.expect("c-a-t")
        self.ends(t)

    def test_it_works_without_a_home_and_with_a_damaged_history(self):
        rubbish = self.folder / ".local/state/rosenblatt/npu-chat.history"
        rubbish.parent.mkdir(parents=True)
        rubbish.write_bytes(bytes(range(256)) * 20)
        folder = self.folder / "other/rosenblatt/npu-chat.history"
        folder.mkdir(parents=True)  # where the file should be
        for env in ({"HOME": None}, {"HOME": "/proc/nowhere"}, {},
                    {"XDG_STATE_HOME": str(folder.parent.parent)}):
            with self.subTest(env=env):
                t = self.chat(env=env)
                self.ask(t, "Spell cat.", "c-a-t")
                self.ends(t)

    def test_letters_of_all_scripts_are_edited_whole(self):
        for env in ({}, {"LANG": None}, {"LANG": "C"}, {"LANG": None, "LC_ALL": "POSIX"}):
            with self.subTest(env=env):
                t = self.chat("--temp", "0", env=env)
                t.prompt()
                t.line("/system Grüße, 日本x\x7f語 😀y\x7f")
                t.prompt()
                t.line("/system")
                t.expect("/system\r\nGrüße, 日本語 😀\r\n")
                self.ends(t)

    def test_bytes_that_are_no_utf8_do_no_harm(self):
        t = self.chat()
        t.prompt()
        t.type(b"/system a\xff\xc3b\r")
        t.prompt()
        t.line("/system")
        t.expect("/system\r\na\ufffd+b?\r\n")
        self.ends(t)

    def test_a_dumb_terminal_will_do(self):
        for term in ("dumb", None, "no-such-terminal"):
            with self.subTest(term=term):
                t = self.chat(env={"TERM": term})
                self.ask(t, "Spell cat.", r"c-a-t\r\n")
                self.ends(t)
                if term != "no-such-terminal":
                    self.assertNotIn("\x1b", t.shown)

    def test_colour_only_where_it_is_wanted(self):
        t = self.chat()
        self.ask(t, "Spell cat.", "c-a-t")
        self.ends(t)
        self.assertIn("\x1b[2m[", t.shown)
        t = self.chat(env={"NO_COLOR": "1"})
        self.ask(t, "Spell cat.", "c-a-t")
        self.ends(t)
        self.assertNotIn("\x1b[2m", t.shown)

    def test_control_characters_of_the_model_do_not_reach_the_terminal(self):
        t = self.chat(*ENDLESS, "-n", "400", env={"TERM": "dumb"})
        t.prompt()
        t.line("Tell me.")
        t.expect(STATUS, 60)
        self.ends(t)
        self.assertRegex(t.shown, r"\^[A-Z\[]")  # there were some
        self.assertNotRegex(t.shown, r"[\x00-\x06\x0b-\x0c\x0e-\x1f\x7f-\x9f]")

    def test_a_window_that_changes_does_not_end_the_line(self):
        t = self.chat()
        t.prompt()
        t.type("Spell")
        t.expect("Spell")
        for columns in (20, 200, 61):
            t.resize(columns)
            os.kill(t.pid, signal.SIGWINCH)
            t.read(0.1)
        t.line(" cat.")
        t.expect(r"c-a-t\r\n")
        self.ends(t)

    def test_ctrl_z_and_back(self):
        t = self.chat()
        t.prompt()
        t.type("Spell")
        t.expect("Spell")
        # A shell would do both: stop it, and give it the terminal again.
        os.kill(t.pid, signal.SIGSTOP)
        os.waitpid(t.pid, os.WUNTRACED)
        os.kill(t.pid, signal.SIGCONT)
        t.line(" cat.")
        t.expect(r"c-a-t\r\n")
        self.ends(t)

    def test_pasted_lines_are_messages_one_after_the_other(self):
        t = self.chat()
        t.prompt()
        t.type("Spell cat.\rSpell dog.\r")
        t.expect(r"c-a-t\r\n")
        t.expect(r"d-o-g\r\n")
        self.ends(t)

    def test_a_backslash_goes_on_in_the_next_line(self):
        t = self.chat()
        t.prompt()
        t.line("/system One \\")
        t.prompt(". ")
        t.line("two.")
        t.prompt()
        t.line("/system")
        t.expect("/system\r\nOne \r\ntwo.\r\n")
        self.ends(t)

    def test_a_line_longer_than_the_context_is_refused_and_the_talk_goes_on(self):
        t = self.chat()
        t.prompt()
        t.line("word " * 1500)
        t.expect(r"npu-chat: the message needs \d+ tokens, and the context has 512: ", 60)
        self.ask(t, "Spell cat.", "c-a-t")
        self.ends(t)

    def test_a_full_context_is_told_and_the_talk_goes_on(self):
        t = self.chat("--temp", "0", "-c", "96")
        for _ in range(8):
            self.ask(t, "What is the capital of Japan?", r"The capital of Japan is Tokyo\.\r\n")
        self.ends(t)
        self.assertRegex(t.shown, r"npu-chat: the context of 96 tokens is full: the oldest \d+ message")

    def test_an_answer_longer_than_the_context_is_continued(self):
        t = self.chat(*ENDLESS, "-c", "64", "-n", "150")
        t.prompt()
        t.line("a")
        self.assertEqual(t.expect(STATUS)[1], "150")
        self.ends(t)
        self.assertRegex(t.shown, r"\r\nnpu-chat: the context of 64 tokens is full: the oldest \d+ tokens are forgotten\r\n")

    def test_help_and_what_there_is_not(self):
        t = self.chat()
        t.prompt()
        t.line("/help")
        for command in ("/reset", "/system", "/save", "/load", "/stats", "/device", "/quit"):
            t.expect(command)
        t.prompt()
        t.line("/nonsense")
        t.expect("there is no command /nonsense: /help lists them")
        t.prompt()
        t.line("/quit")
        self.assertEqual(t.end(), 0)

    def test_reset_and_system_start_anew(self):
        t = self.chat("--temp", "0", "--system", "You are Tiny.")
        first = self.ask(t, "Spell cat.", "c-a-t")
        t.prompt()
        t.line("/reset")
        t.expect("forgotten")
        # The system message is there still, and nothing else.
        self.assertEqual(self.ask(t, "Spell cat.", "c-a-t")[2], first[2])
        t.prompt()
        t.line("/system You are a helpful assistant.")
        t.prompt()
        t.line("/system")
        t.expect(r"/system\r\nYou are a helpful assistant\.\r\n")
        self.ask(t, "Spell cat.", "c-a-t")
        self.ends(t)

    def test_save_and_load(self):
        path = self.folder / "talk.json"
        t = self.chat()
        self.ask(t, "Spell cat.", "c-a-t")
        t.prompt()
        t.line(f"/save {path}")
        t.expect(r"2 message\(s\) written")
        self.ends(t)
        self.assertEqual(json.loads(path.read_text()),
                         {"messages": [{"role": "user", "content": "Spell cat."},
                                       {"role": "assistant", "content": "c-a-t"}]})
        t = self.chat()
        t.prompt()
        t.line(f"/load {path}")
        t.expect(r"2 message\(s\) read")
        self.assertGreater(int(self.ask(t, "Spell dog.", "d-o-g")[2]), 30)
        (self.folder / "bad.json").write_text('{"messages": [{"role": "pirate", "content": 1}]}')
        for argument, said in (("", "wants a file name"), ("/nonexistent", "cannot be read"),
                               (f"{self.folder}/bad.json", "no saved conversation"), ("/tmp", "/tmp: cannot be read")):
            t.prompt()
            t.line(f"/load {argument}")
            t.expect(said)
        t.prompt()
        t.line("/save /nonexistent/x")
        t.expect("cannot be written")
        # None of these has touched the conversation.
        self.ask(t, "Spell cat.", "c-a-t")
        self.ends(t)

    def test_stats_and_device(self):
        t = self.chat()
        self.ask(t, "What is an NPU?", "multiplies matrices")
        t.prompt()
        t.line("/device")
        t.expect(r"/device\r\ncpu\r\n")
        t.prompt()
        t.line("/device nonsense")
        t.expect('"nonsense" is no device')
        t.prompt()
        t.line("/device rocket:/nonexistent")
        t.expect("npu-chat: ")
        t.prompt()
        t.line("/device sim")
        t.expect("now on sim")
        self.ask(t, "What is an NPU?", "multiplies matrices")
        t.prompt()
        t.line("/stats")
        t.expect(r"answers 2, tokens made \d+ at")
        t.expect(r"NPU: \d+ matrix products in \d+ submits, .* \(modelled\)")
        self.ends(t)

    def test_the_prompt_cache_spares_what_was_evaluated(self):
        cache = str(self.folder / "cache")
        arguments = ("--temp", "0", "--prompt-cache", cache)
        t = self.chat(*arguments)
        first = self.ask(t, "What is the capital of Japan?", "Tokyo")
        self.ends(t)
        t = self.chat(*arguments)
        second = self.ask(t, "What is the capital of Japan?", "Tokyo")
        self.ends(t)
        self.assertEqual(first[2], second[2])
        self.assertEqual((first[3], second[3]), (first[2], "1"))

    def test_a_prompt_cache_that_cannot_be_written_is_told(self):
        t = self.chat("--temp", "0", "--prompt-cache", str(self.folder))
        self.ask(t, "Spell cat.", "c-a-t")
        self.ends(t, 3)
        self.assertIn("cannot be written", t.shown)

    def test_a_signal_that_ends_it_leaves_the_terminal_in_order(self):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            with self.subTest(number=number):
                cache = self.folder / f"cache{number}"
                t = self.chat("--temp", "0", "--prompt-cache", str(cache))
                self.ask(t, "Spell cat.", "c-a-t")
                t.prompt()
                t.type("half a li")
                t.expect("half a li")
                t.kill(number)
                self.assertEqual(t.end(), -number)
                self.assertTrue(t.is_cooked())
                self.assertTrue(cache.exists())

    def test_a_signal_ends_an_endless_answer(self):
        t = self.chat(*ENDLESS)
        t.prompt()
        t.line("go on")
        t.expect(r"go on\r\n..")
        t.kill(signal.SIGTERM)
        self.assertEqual(t.end(), -signal.SIGTERM)

    def test_a_terminal_that_goes_away_ends_it(self):
        t = self.chat()
        t.prompt()
        os.close(t.fd)
        t.fd = os.open("/dev/null", os.O_RDONLY)
        pid, status = os.waitpid(t.pid, 0)
        t.status = os.waitstatus_to_exitcode(status)
        self.assertIn(t.status, (0, -signal.SIGHUP))

    def test_answers_go_into_a_file_and_the_prompt_stays_on_the_terminal(self):
        path = self.folder / "answers"
        with open(path, "wb") as out:
            t = self.chat(stdout=out.fileno())
            self.ask(t, "Spell cat.", "")
            self.ends(t)
        self.assertEqual(path.read_text(), "c-a-t\n\n")

    def test_json_on_a_terminal(self):
        t = self.chat("--temp", "0", "--json")
        t.prompt()
        t.line("Spell cat.")
        answer = json.loads(t.expect(r"\r\n(\{.*?\})\r\n")[1])
        self.assertEqual((answer["text"], answer["finish"]), ("c-a-t", "stop"))
        self.ends(t)

    def test_ctrl_c_in_a_single_answer_ends_it_as_a_shell_expects(self):
        t = self.chat(*ENDLESS, "-p", "go on")
        t.expect("..")
        t.type("\x03")
        self.assertEqual(t.end(), -signal.SIGINT)

    def test_ctrl_c_in_a_long_prompt(self):
        long = self.folder / "long"
        long.write_text("word " * 600)
        t = self.chat(*ENDLESS, "-b", "1", "-c", "3000", "-f", str(long))
        t.read(0.2)
        t.type("\x03")
        self.assertEqual(t.end(), -signal.SIGINT)

    def test_a_bad_model_is_told_before_anything_else(self):
        bad = self.folder / "bad.gguf"
        bad.write_bytes(pathlib.Path(RANDOM_MODEL).read_bytes()[:5000])
        for path in (bad, self.folder, "/nonexistent", "/dev/null", "/dev/zero"):
            with self.subTest(path=path):
                t = self.chat("-m", str(path))
                self.assertEqual(t.end(), 4)
                self.assertRegex(t.shown, r"^npu-chat: .*" + re.escape(str(path)))


class InAPipe(unittest.TestCase):
    def run_chat(self, *arguments, **options):
        return subprocess.run([NPU_CHAT, "--temp", "0", *arguments], capture_output=True, timeout=60,
                              **options)

    def test_only_the_answer_is_printed_and_no_colour(self):
        done = self.run_chat(input=b"Spell cat.\n")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"c-a-t\n", b""))

    def test_a_reader_that_goes_away_ends_it(self):
        chat = subprocess.Popen([NPU_CHAT, *ENDLESS, "-p", "go on"], stdout=subprocess.PIPE)
        chat.stdout.read(10)
        chat.stdout.close()
        self.assertEqual(chat.wait(60), -signal.SIGPIPE)

    def test_a_disk_that_is_full_is_told(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([NPU_CHAT, "--temp", "0", "-p", "Hi"], stdout=full, stderr=subprocess.PIPE,
                                  timeout=60)
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"could not be written", done.stderr)

    def test_any_bytes_are_a_message(self):
        for message in (b"\xff\xfe\x00\x01", "日本語 😀".encode(), b"\x1b[31m\r\n\t ", b"a" * 300):
            with self.subTest(message=message):
                done = self.run_chat("-n", "4", input=message)
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_program_can_talk_line_by_line(self):
        chat = subprocess.Popen([NPU_CHAT, "--temp", "0", "--lines", "--json"], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        for question, answer in (("Spell cat.", "c-a-t"), ("Spell dog.", "d-o-g")):
            chat.stdin.write(question + "\n")
            chat.stdin.flush()
            self.assertEqual(json.loads(chat.stdout.readline())["text"], answer)
        chat.stdin.close()
        self.assertEqual(chat.wait(60), 0)
        chat.stdout.close()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
