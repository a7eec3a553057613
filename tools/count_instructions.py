#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Instructions per token of npu-chat on aarch64, beside llama.cpp's, counted under QEMU.

A program runs twice, with two lengths of prompt or of answer; the difference is that of the tokens
alone, without loading. One thread, so that nothing waits and counts are the same every time."""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import peer

HERE = pathlib.Path(__file__).resolve().parent


def find_qemu(wanted):
    qemu = wanted or shutil.which("qemu-aarch64")
    if not qemu or not os.access(qemu, os.X_OK):
        peer.fail("qemu-aarch64 is missing; Debian's qemu-user has it (qemu-user-static takes no "
                  "plugins): apt-get install qemu-user, or unpack it and name it with --qemu", 3)
    if "-plugin" not in subprocess.run([qemu, "--help"], capture_output=True, text=True).stdout:
        peer.fail(f"{qemu} takes no plugins: use that of Debian's qemu-user", 3)
    return qemu


def build_plugin(folder):
    plugin = pathlib.Path(folder) / "count.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-o", plugin,
                    HERE / "count_plugin.c"], check=True)
    return plugin


class Counter:
    def __init__(self, qemu, cpu, folder):
        self.qemu, self.cpu, self.folder = qemu, cpu, pathlib.Path(folder)
        self.plugin = build_plugin(folder)

    def count(self, command):
        out = self.folder / "count"
        out.unlink(missing_ok=True)
        run = subprocess.run([self.qemu, "-cpu", self.cpu, "-plugin", f"{self.plugin},out={out}",
                              *command], capture_output=True, text=True)
        if run.returncode != 0 or not out.exists():
            peer.fail(f"{' '.join(command)} ended with {run.returncode}:\n{run.stderr}", 1)
        return int(out.read_text())

    def per_token(self, make, lengths):
        few, many = (self.count(make(n)) for n in lengths)
        return (many - few) / (lengths[1] - lengths[0])


def lengths(text):
    few, many = (int(n) for n in text.split(","))
    if not 0 < few < many:
        raise ValueError
    return few, many


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit codes: 0 ok, 1 a program failed, 2 usage, 3 no QEMU, 4 a file is missing.\n"
               "Example: tools/count_instructions.py --llama build/llama-arm64 model.gguf")
    peer.common_options(parser, "build/aarch64/bin/npu-chat")
    parser.add_argument("--qemu", help="qemu-aarch64 with plugins")
    parser.add_argument("--cpu", default="cortex-a76",
                        help="QEMU's CPU: cortex-a76 (the RK3588's, default), cortex-a55, "
                             "max,sve=off (with i8mm), ...")
    parser.add_argument("-p", "--prompt", type=lengths, default=(16, 32), metavar="A,B",
                        help="lengths of the prompt (default: 16,32)")
    parser.add_argument("-n", "--generate", type=lengths, default=(4, 8), metavar="A,B",
                        help="lengths of the answer (default: 4,8)")
    arguments = parser.parse_args()
    peer.check_files(arguments)
    qemu = find_qemu(arguments.qemu)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        counter = Counter(qemu, arguments.cpu, folder)
        for model in arguments.models:
            for test, both in (("prefill", arguments.prompt), ("decode", arguments.generate)):
                def sizes(n):
                    return (n, 0) if test == "prefill" else (0, n)
                row = {"model": pathlib.Path(model).name, "cpu": arguments.cpu, "test": test,
                       "tokens": list(both),
                       "npu_chat": counter.per_token(
                           lambda n: peer.ours(arguments.npu_chat, model, *sizes(n), 1, 1), both)}
                if arguments.llama:
                    row["llama_cpp"] = counter.per_token(
                        lambda n: peer.llama(arguments.llama, model, *sizes(n), 1, 1), both)
                    row["ratio"] = row["llama_cpp"] / row["npu_chat"]
                rows.append(row)
                if not arguments.json:
                    if len(rows) == 1:
                        print(f"{'model':26} {'cpu':12} {'test':8} {'npu-chat':>10} "
                              f"{'llama.cpp':>10} {'ratio':>6}   million instructions a token")
                    print(f"{row['model']:26} {row['cpu']:12} {test:8} {row['npu_chat'] / 1e6:10.1f} "
                          + (f"{row['llama_cpp'] / 1e6:10.1f} {row['ratio']:6.2f}"
                             if arguments.llama else ""), flush=True)
    if arguments.json:
        json.dump(rows, sys.stdout, indent=2)
        print()


if __name__ == "__main__":
    main()
