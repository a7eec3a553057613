#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes unicode_ranges.inc: letters, numbers and white space of Unicode 15.1.

Example: llm-runtime/unicode_ranges.py /usr/share/unicode > llm-runtime/unicode_ranges.inc
The folder is that of Debian 12's package unicode-data, which is Unicode 15.0; the one block of
letters that 15.1 added is added here. llama.cpp 0.7.0 tokenizes every code point as 15.1 says.
With --check FILE: exit 1 if FILE differs, 77 if the folder is missing or of another version.
"""
import pathlib
import sys

VERSION = "15.0.0"
ADDED = range(0x2EBF0, 0x2EE5E)  # CJK Unified Ideographs Extension I [Unicode 15.1, Blocks.txt]
LAST = 0x110000
OTHER, LETTER, NUMBER, SPACE = 0, 1, 2, 3


def classes(folder):
    table = bytearray(LAST)
    first = None
    for line in (folder / "UnicodeData.txt").read_text().splitlines():
        code, name, category = line.split(";")[:3]
        code = int(code, 16)
        kind = {"L": LETTER, "N": NUMBER}.get(category[0], OTHER)
        if name.endswith(", First>"):
            first = code
        elif name.endswith(", Last>"):
            table[first : code + 1] = bytes([kind]) * (code + 1 - first)
        else:
            table[code] = kind
    for code in ADDED:
        table[code] = LETTER
    for line in (folder / "PropList.txt").read_text().splitlines():
        fields = [f.strip() for f in line.split("#")[0].split(";")]
        if len(fields) == 2 and fields[1] == "White_Space":
            ends = [int(e, 16) for e in fields[0].split("..")]
            for code in range(ends[0], ends[-1] + 1):
                table[code] = SPACE
    return table


def generate(folder):
    table = classes(folder)
    starts = [c for c in range(LAST) if c == 0 or table[c] != table[c - 1]]
    out = [
        "// SPDX-License-Identifier: MIT",
        f"// Made by unicode_ranges.py from Unicode 15.1: where a range begins, times 4, plus its class",
        "// (0 other, 1 letter, 2 number, 3 white space).",
    ]
    row = "   "
    for start in starts:
        word = f" {start * 4 + table[start]:#x},"
        if len(row) + len(word) > 100:
            out.append(row)
            row = "   "
        row += word
    return "\n".join(out + [row]) + "\n"


def main():
    args = sys.argv[1:]
    check = None
    if args[:1] == ["--check"]:
        check, args = args[1], args[2:]
    folder = pathlib.Path(args[0])
    try:
        version = (folder / "PropList.txt").read_text().split("\n", 1)[0]
    except OSError as error:
        print(error, file=sys.stderr)
        return 77
    if VERSION not in version:
        print(f"{folder} is of another version: {version}", file=sys.stderr)
        return 77
    text = generate(folder)
    if check:
        same = pathlib.Path(check).read_text() == text
        print("fresh" if same else f"{check} is not what this script writes")
        return 0 if same else 1
    sys.stdout.write(text)
    return 0


sys.exit(main())
