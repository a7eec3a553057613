# SPDX-License-Identifier: MIT
"""The benchmarks of npu-chat and of llama.cpp (tools/fetch-llama.sh) as commands."""

import pathlib
import sys


def fail(sentence, status=2):
    print(f"{pathlib.Path(sys.argv[0]).name}: {sentence}", file=sys.stderr)
    sys.exit(status)


def common_options(parser, default_npu_chat):
    parser.add_argument("models", nargs="+", metavar="MODEL", help="GGUF files")
    parser.add_argument("--npu-chat", default=default_npu_chat, help="default: %(default)s")
    parser.add_argument("--llama", metavar="FOLDER",
                        help="where tools/fetch-llama.sh unpacked llama.cpp; without: ours alone")
    parser.add_argument("--json", action="store_true")


def check_files(arguments):
    for name in [*arguments.models, arguments.npu_chat]:
        if not pathlib.Path(name).is_file():
            fail(f"{name} is missing", 4)


def ours(npu_chat, model, prompt, generate, threads, repetitions):
    return [npu_chat, "bench", "-m", model, "-p", str(prompt), "-n", str(generate),
            "-t", str(threads), "-r", str(repetitions), "--json", "--no-warmup", "--no-weight-cache"]


def llama(folder, model, prompt, generate, threads, repetitions):
    """llama-bench with the C library and the loader that it was built for."""
    root = pathlib.Path(folder).resolve()
    programs = list(root.glob("usr/bin/llama-bench")) + list(root.glob("usr/libexec/**/llama-bench"))
    libraries = list(root.glob("usr/lib/*-linux-gnu"))
    loaders = [l for d in libraries for l in d.glob("ld-linux-*.so.*")]
    if not programs or not loaders:
        fail(f"{folder} holds no llama-bench: run tools/fetch-llama.sh", 4)
    lib = libraries[0]
    path = ":".join(str(p) for p in (lib, lib / "llama", lib / "ggml", lib / "ggml/backends0"))
    return [str(loaders[0]), "--library-path", path, "--argv0", str(programs[0]), str(programs[0]),
            "-m", model, "-p", str(prompt), "-n", str(generate), "-t", str(threads),
            "-r", str(repetitions), "-o", "json", "--no-warmup"]
