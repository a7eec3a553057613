#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Model files that mean harm: npu-chat says what is wrong with them (exit 4) or answers (exit 0).

hostile_files.py NPU_CHAT BASE.gguf... [--count N] [--seed S] [--keep DIR] [--only I] [--no-limits]

Makes N files from the base files, each with one to three things wrong: cut short, bytes changed,
counts, sizes, offsets, types and names that lie, metadata of the wrong type or out of range,
tokens and merges that do not fit, templates without end, weights that are no numbers. Runs a chat,
logits, tokenize and template over each. Wrong is: another exit code, no reason on stderr, more than 10 s of CPU
time, more than 1 GiB of memory. --keep keeps the files that went wrong; --only makes the I-th alone;
--no-limits is for sanitized builds, which need more of both.
"""
import argparse
import os
import pathlib
import random
import resource
import struct
import subprocess
import sys
import tempfile

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q",
           I64: "q", F64: "d"}
LARGE = [0, 1, 2, 3, 7, 255, 65535, 65536, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32,
         1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
SECONDS, BYTES = 10, 1 << 30

BOMBS = [
    "{% for i in range(1000000000) %}x{% endfor %}",
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
    "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "{{ 'x' * 10000000000 }}",
    "{{ [0] * 10000000000 }}",
    "{{ range(9223372036854775807) | length }}",
    "{{ range(0, 9223372036854775807, 1) | list }}",
    "{{ range(0, 10, 0) }}",
    "{{ " + "(" * 50000 + "1" + ")" * 50000 + " }}",
    "{{ " + "-" * 100000 + "1 }}",
    "{{ " + "not " * 50000 + "1 }}",
    "{{ " + "[" * 50000 + "]" * 50000 + " }}",
    "{{ " + "{'a':" * 50000 + "1" + "}" * 50000 + " }}",
    "{{ a" + ".b" * 100000 + " }}",
    "{{ 'a'" + "|upper" * 100000 + " }}",
    "{{ 1" + " + 1" * 100000 + " }}",
    "{{ 1" + " if 1 else 1" * 50000 + " }}",
    "{% if 1 %}" * 20000 + "{% endif %}" * 20000,
    "{% for a in [1] %}" * 20000 + "{% endfor %}" * 20000,
    "{% set d = dict() %}{% set ns = namespace(d=d) %}{% for i in range(100000) %}{% set ns.d = [ns.d] %}{% endfor %}{{ ns.d }}",
    "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x | replace('a', 'aa') %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x | replace('', ns.x) %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x='a,b') %}{% for i in range(60) %}{% set ns.x = ns.x.split(',') | join(ns.x) %}{% endfor %}{{ ns.x }}",
    "{{ 1 // 0 }}", "{{ 1 % 0 }}", "{{ 1 / 0 }}", "{{ -9223372036854775808 // -1 }}",
    "{{ (-9223372036854775807 - 1) % -1 }}", "{{ 9223372036854775807 + 1 }}",
    "{{ 9223372036854775807 * 9223372036854775807 }}", "{{ 1e400 | int }}", "{{ 'x'[9223372036854775807] }}",
    "{{ 'x'[-9223372036854775808:9223372036854775807:-9223372036854775808] }}",
    "{{ messages[0:10:0] }}", "{{ '%s' % messages }}", "{% raw %}" * 1000, "{#" * 1000, "{{" * 10000,
    "{%" * 10000, "{% set x = x %}{{ x.y.z }}", "{{ raise_exception('\x1b[2J no') }}", "\x00\x01{{ 1 }}",
    "\ud800", "{{ strftime_now('%" + "Y" * 1000 + "') }}", "{{ strftime_now('" + "%c" * 100000 + "') }}",
    "{% for m in messages %}{{ loop.previtem.previtem }}{{ loop }}{% endfor %}", "x" * 3000000,
    "{{ messages | map(attribute='content') | map('upper') | list | tojson(indent=1000000000) }}",
    "{{ 'a' | default('" + "b" * 100000 + "') }}", "", "{{ messages }}",
]


class Model:
    """A GGUF file as data that can be written wrong."""

    def __init__(self, path):
        self.bytes = pathlib.Path(path).read_bytes()
        self.at = 0
        self.magic, self.version = self.take("4s"), self.take("I")
        tensors, keys = self.take("Q"), self.take("Q")
        self.meta = []
        for _ in range(keys):
            key, kind = self.take_string(), self.take("I")
            self.meta.append([key, kind, self.take_value(kind)])
        self.tensors = []
        for _ in range(tensors):
            name, rank = self.take_string(), self.take("I")
            dims = [self.take("Q") for _ in range(rank)]
            self.tensors.append([name, dims, self.take("I"), self.take("Q")])
        self.header = self.at
        self.data = bytearray(self.bytes[(self.at + 31) // 32 * 32:])
        self.tensor_count = self.meta_count = None  # None: the true ones

    def take(self, form):
        (value,) = struct.unpack_from("<" + form, self.bytes, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def take_string(self):
        size = self.take("Q")
        self.at += size
        return self.bytes[self.at - size:self.at]

    def take_value(self, kind):
        if kind == STRING:
            return self.take_string()
        if kind == ARRAY:
            of, count = self.take("I"), self.take("Q")
            return [of, [self.take_value(of) for _ in range(count)]]
        return self.take(FORMATS[kind])

    def write(self):
        out = bytearray()

        def put(form, value):
            if form in "BHIQ":
                value &= (1 << 8 * struct.calcsize("<" + form)) - 1
            if form in "bhiq":
                bits = 8 * struct.calcsize("<" + form)
                value = (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
            out.extend(struct.pack("<" + form, value))

        def put_string(text):
            size = len(text)
            if isinstance(text, tuple):  # a length that lies, and the text
                size, text = text
            put("Q", size)
            out.extend(text)

        def put_value(kind, value):
            if kind == STRING:
                put_string(value)
            elif kind == ARRAY:
                put("I", value[0])
                put("Q", value[2] if len(value) > 2 else len(value[1]))
                for element in value[1]:
                    put_value(value[0], element)
            else:
                put(FORMATS.get(kind, "I"), value)

        out.extend(self.magic)
        put("I", self.version)
        put("Q", len(self.tensors) if self.tensor_count is None else self.tensor_count)
        put("Q", len(self.meta) if self.meta_count is None else self.meta_count)
        for key, kind, value in self.meta:
            put_string(key)
            put("I", kind)
            put_value(kind, value)
        for name, dims, kind, offset in self.tensors:
            put_string(name)
            put("I", len(dims))
            for dim in dims:
                put("Q", dim)
            put("I", kind)
            put("Q", offset)
        out.extend(bytes(-len(out) % 32))
        return bytes(out) + bytes(self.data)


def hostile_value(r, key):
    """A type and a value for a key."""
    kind = r.choice([U8, I8, U16, I16, U32, U32, U32, I32, F32, F32, BOOL, STRING, ARRAY, U64, I64, F64])
    if kind in (F32, F64):
        return kind, r.choice([float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e-45, 3e38])
    if kind == STRING:
        return kind, r.choice([b"", b"\xff\xfe", b"x" * 1000000, b"\x1b[31m\x07", b"qwen2\0", b"llama", key])
    if kind == ARRAY:
        of = r.choice([U8, U32, I32, F32, STRING, BOOL])
        count = r.choice([0, 1, 3, 100000])
        element = b"a" if of == STRING else 1
        depth = r.choice([0, 0, 1, 3, 2000])
        value = [of, [element] * count]
        for _ in range(depth):
            value = [ARRAY, [value]]
        if depth < 100 and r.random() < 0.3:
            value.append(r.choice(LARGE))
        return kind, value
    return kind, r.choice([r.choice(LARGE), -1, 0, r.randrange(1, 5000)])


def numeric_change(r, value):
    return r.choice([0, 1, 2, 3, value + 1, value - 1, value * 2, value // 2, value * 1000, -value,
                     r.choice(LARGE), r.choice(LARGE)])


def change_metadata(m, r):
    entry = r.choice(m.meta)
    key, kind, value = entry
    act = r.randrange(6)
    if act == 0:
        m.meta.remove(entry)
    elif act == 1:
        m.meta.append([key, *hostile_value(r, key)] if r.random() < 0.5 else entry)
    elif act == 2 or kind in (STRING, ARRAY):
        entry[1:] = hostile_value(r, key)
    elif kind in (F32, F64):
        entry[2] = r.choice([float("nan"), float("inf"), 0.0, -0.0, -1.0, 1e-45, 3e38, -3e38])
    else:
        entry[2] = numeric_change(r, value)


def change_shape(m, r):
    """One of the numbers that the architecture is made of."""
    numbers = [e for e in m.meta if e[0].startswith(b"qwen2.") or e[0] == b"general.alignment"]
    entry = r.choice(numbers)
    if entry[1] in (F32, F64):
        entry[2] = r.choice([float("nan"), float("inf"), 0.0, -1.0, 1e-45, 3e38])
    else:
        entry[2] = numeric_change(r, entry[2])


def change_tensor(m, r):
    tensor = r.choice(m.tensors)
    act = r.randrange(9)
    if act == 0:
        tensor[1] = [r.choice(LARGE) for _ in range(r.choice([0, 1, 2, 3, 4, 5, 100]))]
    elif act == 1 and tensor[1]:
        i = r.randrange(len(tensor[1]))
        tensor[1][i] = numeric_change(r, tensor[1][i])
    elif act == 2:
        tensor[1].reverse()
    elif act == 3:
        tensor[2] = r.choice([*range(0, 42), 255, 1 << 31, (1 << 32) - 1])
    elif act == 4:
        tensor[3] = r.choice([*LARGE, tensor[3] + 1, tensor[3] + 32, r.choice(m.tensors)[3], len(m.data)])
    elif act == 5:
        m.tensors.remove(tensor)
    elif act == 6:
        m.tensors.append(list(tensor))
    elif act == 7:
        tensor[0] = r.choice([b"", b"x" * 100000, r.choice(m.tensors)[0], b"blk.99999999999999999999.attn_q.weight",
                              b"blk.-1.ffn_up.weight", b"\xff\x1b[2J", (1 << 63, b"")])
    else:
        r.shuffle(m.tensors)


def change_counts(m, r):
    if r.random() < 0.5:
        m.tensor_count = numeric_change(r, len(m.tensors))
    else:
        m.meta_count = numeric_change(r, len(m.meta))


def change_head(m, r):
    if r.random() < 0.5:
        m.magic = r.choice([b"GGUF"[::-1], b"GGML", b"\0\0\0\0", b"PK\3\4"])
    else:
        m.version = r.choice([0, 1, 2, 4, 1 << 24, 3 << 24, (1 << 32) - 1])


def array(m, key):
    for entry in m.meta:
        if entry[0] == key and entry[1] == ARRAY:
            return entry[2]
    return [STRING, [b""]]


def change_tokens(m, r):
    tokens = array(m, b"tokenizer.ggml.tokens")
    words = tokens[1]
    act = r.randrange(9)
    if not words or tokens[0] != STRING:
        return
    i = r.randrange(len(words))
    if act == 0:
        words[i] = r.choice([b"", b"\xff\xff", b"x" * 1000000, words[0], b" ", b"<|im_end|>"])
    elif act == 1:
        del words[i:]
    elif act == 2:
        words.extend([b"z%d" % n for n in range(r.choice([1, 1000, 200000]))])
    elif act == 3:
        words[:] = [b"a"] * len(words)
    elif act == 4:
        r.shuffle(words)
    elif act == 5:
        words[:] = [b""] * len(words)
    elif act == 6:
        array(m, b"tokenizer.ggml.token_type")[1][:] = [r.choice([-1, 0, 2, 3, 4, 5, 6, 99])] * len(words)
    elif act == 7:
        types = array(m, b"tokenizer.ggml.token_type")[1]
        del types[r.randrange(len(types) + 1):]
    else:
        for entry in m.meta:
            if entry[0].endswith(b"_token_id"):
                entry[2] = numeric_change(r, 5)


def change_merges(m, r):
    merges = array(m, b"tokenizer.ggml.merges")
    lines = merges[1]
    act = r.randrange(6)
    if not lines or merges[0] != STRING:
        return
    i = r.randrange(len(lines))
    if act == 0:
        lines[i] = r.choice([b"", b" ", b"ab", b"a b c", b"\xff \xff", b"zzzz yyyy", b"x" * 500000 + b" y",
                             lines[0], b" " * 1000])
    elif act == 1:
        lines[:] = [b"a b"] * len(lines)
    elif act == 2:
        r.shuffle(lines)
    elif act == 3:
        del lines[i:]
    elif act == 4:
        lines[:] = lines * 50
    else:
        lines[:] = [b" ".join(reversed(line.split(b" "))) for line in lines]


def change_template(m, r):
    text = r.choice(BOMBS).encode("utf-8", "surrogatepass")
    m.meta = [entry for entry in m.meta if entry[0] != b"tokenizer.chat_template"]
    m.meta.append([b"tokenizer.chat_template", STRING, text])


def change_weights(m, r):
    kind = r.randrange(3)
    if kind == 0:
        m.data[:] = bytes([r.choice([0xFF, 0x7F, 0x7C, 0, 0x80])]) * len(m.data)
    elif kind == 1:
        m.data[:] = r.randbytes(len(m.data))
    else:
        at = r.randrange(len(m.data))
        m.data[at:at + 4096] = b"\xff" * len(m.data[at:at + 4096])


STRUCTURED = [change_metadata, change_metadata, change_shape, change_shape, change_shape, change_tensor,
              change_tensor, change_counts, change_head, change_tokens, change_tokens, change_merges,
              change_template, change_weights]


def hostile(base, r):
    """A file's bytes, and what was done to it."""
    m = Model(base)
    act = r.randrange(10)
    if act == 0:
        end = r.choice([r.randrange(len(m.bytes)), r.randrange(m.header), m.header, len(m.bytes) - 1, 0])
        return m.bytes[:end], f"cut at {end}"
    if act in (1, 2):
        data = bytearray(m.bytes)
        for _ in range(r.choice([1, 1, 4, 64])):
            at = r.randrange(min(len(data), r.choice([64, 1024, m.header, m.header])))
            data[at] = r.randrange(256)
        return bytes(data), "bytes"
    if act == 3:
        data = bytearray(m.bytes)
        size = r.choice([4, 8])
        at = r.randrange(min(m.header, r.choice([64, 2048, m.header])))
        data[at:at + size] = (r.choice(LARGE) & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        return bytes(data), f"word at {at}"
    done = []
    for _ in range(r.choice([1, 1, 1, 2, 3])):
        change = r.choice(STRUCTURED)
        change(m, r)
        done.append(change.__name__)
    return m.write(), " ".join(done)


def commands(program, path):
    line = '{"text": "Hello <|im_end|> 123", "special": true}\n'
    talk = '{"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": true}\n'
    yield [program, "-m", path, "-p", "hi", "-n", "4", "-t", "1"], ""
    yield [program, "logits", "-m", path, "--ids", "0", "-o", "-", "-t", "1"], ""
    yield [program, "tokenize", "-m", path], line
    yield [program, "template", "-m", path], talk


def limit():
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def problem(command, text, limited):
    """Runs a command; what is wrong, or None."""
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
        stdin.write(text.encode())
        stdin.seek(0)
        child = subprocess.Popen(command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=stderr,
                                 preexec_fn=limit if limited else None)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = code = os.waitstatus_to_exitcode(status)
        stderr.seek(0)
        said = stderr.read()
    if limited and usage.ru_maxrss * 1024 > BYTES:
        return f"{usage.ru_maxrss // 1024} MiB"
    if code == 0:
        return None
    # A context of the file's that is too small for the message is told as a matter of usage.
    if code == 4 or (code == 2 and b"larger context" in said):
        if not said.startswith(b"npu-chat: ") or len(said) < 20:
            return f"no reason: {said[:200]!r}"
        if any(byte < 32 and byte not in b"\n\t" for byte in said):
            return f"control characters on the terminal: {said[:300]!r}"
        if len(said) > 2000:
            return f"{len(said)} bytes of reason: {said[:200]!r}"
        return None
    return f"exit {code}: {said[-1500:].decode('utf-8', 'replace')}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("base", nargs="+")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--only", type=int)
    parser.add_argument("--no-limits", action="store_true")
    o = parser.parse_args()
    sys.setrecursionlimit(20000)  # for arrays in arrays in arrays
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "hostile.gguf")
        for i in range(o.count) if o.only is None else [o.only]:
            r = random.Random(o.seed * 1000003 + i)
            data, done = hostile(o.base[i % len(o.base)], r)
            if i < len(BOMBS) and o.seed == 1:  # each of them once
                m = Model(o.base[i % len(o.base)])
                m.meta = [e for e in m.meta if e[0] != b"tokenizer.chat_template"]
                m.meta.append([b"tokenizer.chat_template", STRING, BOMBS[i].encode("utf-8", "surrogatepass")])
                data, done = m.write(), f"template {BOMBS[i][:60]!r}"
            pathlib.Path(path).write_bytes(data)
            for command, text in commands(o.program, path):
                wrong = problem(command, text, not o.no_limits)
                if wrong:
                    bad += 1
                    print(f"file {i} ({done}), {' '.join(command[1:2])}: {wrong}", flush=True)
                    if o.keep:
                        o.keep.mkdir(parents=True, exist_ok=True)
                        (o.keep / f"{o.seed}-{i}.gguf").write_bytes(data)
    print(f"{o.count if o.only is None else 1} files, {bad} runs went wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
