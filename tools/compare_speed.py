#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Speed of npu-chat beside llama.cpp on this machine, turn by turn.

Both run the same files with the same threads, one after the other in every round, so that what else
the machine does meets both. Wall-clock figures are the programs' own (tokens per second of each
repetition); CPU figures are the user time that two further repetitions take, without that of the
kernel, which clears pages. Medians."""

import argparse
import json
import math
import pathlib
import resource
import statistics
import subprocess
import sys
import time

import peer


def run(command):
    """Tokens per second of every repetition, and the CPU seconds that the program itself took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode != 0:
        peer.fail(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr}", 1)
    rows = json.loads(ended.stdout)
    return rows[0]["samples_ts"], after.ru_utime - before.ru_utime


class Case:
    def __init__(self, model, test, tokens, threads, arguments):
        self.model, self.test, self.tokens, self.threads = model, test, tokens, threads
        sizes = (tokens, 0) if test == "prefill" else (0, tokens)
        self.commands = {"npu_chat": lambda r: peer.ours(arguments.npu_chat, model, *sizes,
                                                         threads, r)}
        if arguments.llama:
            self.commands["llama_cpp"] = lambda r: peer.llama(arguments.llama, model, *sizes,
                                                              threads, r)
        self.wall = {who: [] for who in self.commands}
        self.cpu = {who: [] for who in self.commands}

    def round(self, with_cpu, turn):
        order = list(self.commands)
        for who in order if turn % 2 == 0 else reversed(order):
            speeds, seconds = run(self.commands[who](3 if with_cpu else 1))
            self.wall[who] += speeds
            if with_cpu:
                once = run(self.commands[who](1))[1]
                self.cpu[who].append(2 * self.tokens / max(1e-9, seconds - once))

    def row(self):
        row = {"model": pathlib.Path(self.model).name, "test": self.test, "tokens": self.tokens,
               "threads": self.threads}
        for kind, seen in (("wall", self.wall), ("cpu", self.cpu)):
            for who, speeds in seen.items():
                if speeds:
                    row[f"{who}_{kind}"] = statistics.median(speeds)
            if f"llama_cpp_{kind}" in row:
                row[f"ratio_{kind}"] = row[f"npu_chat_{kind}"] / row[f"llama_cpp_{kind}"]
        return row


def numbers(text):
    return [int(n) for n in text.split(",")]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit codes: 0 ok, 1 a program failed, 2 usage, 4 a file is missing.\n"
               "Example: tools/compare_speed.py --llama build/llama-amd64 -t 1,2 model.gguf")
    peer.common_options(parser, "build/release/bin/npu-chat")
    parser.add_argument("-p", "--prompt", type=int, default=512, help="tokens; 0: none (default: 512)")
    parser.add_argument("-n", "--generate", type=int, default=64, help="tokens; 0: none (default: 64)")
    parser.add_argument("-t", "--threads", type=numbers, default=[1], metavar="1,2")
    parser.add_argument("-r", "--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--cpu-time", action="store_true",
                        help="CPU time too (one thread only): for machines that are busy otherwise")
    parser.add_argument("--minutes", type=float, default=12,
                        help="no further round begins after so many (default: 12)")
    arguments = parser.parse_args()
    peer.check_files(arguments)
    tests = [(name, n) for name, n in (("prefill", arguments.prompt),
                                       ("decode", arguments.generate)) if n > 0]
    cases = [Case(model, name, n, threads, arguments) for model in arguments.models
             for name, n in tests for threads in arguments.threads]
    start = time.monotonic()
    for turn in range(arguments.rounds):
        for i, case in enumerate(cases):
            if turn > 0 and time.monotonic() - start > 60 * arguments.minutes:
                break
            if sys.stderr.isatty():
                print(f"\rround {turn + 1} of {arguments.rounds}, {i + 1} of {len(cases)}  ", end="",
                      file=sys.stderr)
            case.round(arguments.cpu_time and case.threads == 1, turn)
    if sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    rows = [case.row() for case in cases]
    if arguments.json:
        json.dump(rows, sys.stdout, indent=2)
        print()
        return
    print(f"{'model':24} {'test':8} {'t':>2} {'npu-chat':>9} {'llama.cpp':>9} {'ratio':>6} "
          f"{'CPU: npu-chat':>14} {'llama.cpp':>9} {'ratio':>6}   tokens/s (host), medians")
    for row, case in zip(rows, cases):
        cells = [f"{row[key]:{width}.{digits}f}" if key in row else " " * width for key, width, digits in (
            ("npu_chat_wall", 9, 1), ("llama_cpp_wall", 9, 1), ("ratio_wall", 6, 2),
            ("npu_chat_cpu", 14, 1), ("llama_cpp_cpu", 9, 1), ("ratio_cpu", 6, 2))]
        print(f"{row['model']:24} {row['test']:8} {row['threads']:2} {' '.join(cells)}"
              f"   of {len(case.wall['npu_chat'])}")
    for kind in ("wall", "cpu"):
        ratios = [row[f"ratio_{kind}"] for row in rows if f"ratio_{kind}" in row]
        if ratios:
            mean = math.exp(statistics.fmean(math.log(r) for r in ratios))
            print(f"{kind}: geometric mean {mean:.2f}, least {min(ratios):.2f}")


if __name__ == "__main__":
    main()
