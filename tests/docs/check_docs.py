#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Keeps the documentation true.

check_docs.py links ROOT           every relative link in a Markdown file leads to a file
check_docs.py commands ROOT BIN    the commands of docs/quick-start.md run and exit 0
check_docs.py output ROOT BIN      the ```console blocks of the pages below show what the tool prints
check_docs.py update ROOT BIN      rewrites those blocks
BIN is the folder that npu-probe and npu-chat are in.
"""
import os
import pathlib
import re
import subprocess
import sys

LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)(?:#[^)]*)?\)")
SHOWN = ["README.md", "docs/bench.md", "docs/dt.md", "docs/npu-chat.md", "docs/llm-plan.md"]
CONSOLE = re.compile(r"```console\n\$ (.*)\n((?:.*\n)*?)```")


def markdown_files(root):
    skip = {"build", ".git"}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in skip]
        yield from (pathlib.Path(folder) / name for name in files if name.endswith(".md"))


def broken_links(root):
    for file in markdown_files(root):
        text = re.sub(r"```.*?```", "", file.read_text(encoding="utf-8"), flags=re.S)
        for target in LINK.findall(text):
            if not (file.parent / target).exists():
                yield f"{file.relative_to(root)}: there is no {target}"


def run(command, root, folder):
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "NO_COLOR": "1"}
    for name in ("NPU_DEVICE", "NPU_CHAT_MODEL"):
        environment.pop(name, None)
    return subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=root, env=environment,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300)


def failing_commands(root, folder):
    text = (root / "docs/quick-start.md").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"```sh\n(.*?)```", text, flags=re.S)
              if re.search("npu-(probe|chat)", block) and "sudo" not in block and "export" not in block]
    if len(blocks) < 4:
        yield "docs/quick-start.md: expected at least four blocks of npu-probe commands"
    for block in blocks:
        # An audit of this machine may well find something (exit 1); that is its job.
        block = re.sub(r"^npu-probe audit.*$", r"\g<0> || test $? = 1", block, flags=re.M)
        done = run("set -e\n" + block.replace("| less", "| cat"), root, folder)
        if done.returncode != 0:
            yield f"docs/quick-start.md: exit {done.returncode} from\n{block}\n{done.stdout[-2000:]}"


def comparable(text):
    """Times differ from run to run, and so does which thread of the simulator faults first."""
    text = re.sub(r" +[0-9]+\.[0-9]+ ms", " TIME", text)
    text = re.sub(r"[0-9]+\.[0-9]+ tok/s", "RATE", text)
    text = re.sub(r"[0-9]+ MiB", "MEMORY", text)
    return re.sub(r"IOVA 0x[0-9a-f]+", "IOVA", text)


def stale_blocks(root, folder):
    for page in SHOWN:
        blocks = CONSOLE.findall((root / page).read_text(encoding="utf-8"))
        if not blocks:
            yield f"{page}: no console block found"
        for command, shown in blocks:
            printed = run(command, root, folder).stdout
            if comparable(printed) != comparable(shown):
                yield f"{page}: `{command}` now prints\n{printed}"


def update(root, folder):
    for page in SHOWN:
        file = root / page
        text = file.read_text(encoding="utf-8")
        file.write_text(CONSOLE.sub(
            lambda block: f"```console\n$ {block[1]}\n{run(block[1], root, folder).stdout}```", text),
            encoding="utf-8")


def main(arguments):
    checks = {"links": broken_links, "commands": failing_commands, "output": stale_blocks}
    if len(arguments) < 2 or arguments[0] not in [*checks, "update"]:
        print(__doc__, file=sys.stderr)
        return 2
    paths = [pathlib.Path(argument).resolve() for argument in arguments[1:]]
    if arguments[0] == "update":
        update(*paths)
        return 0
    problems = list(checks[arguments[0]](*paths))
    print("\n".join(problems) or "nothing to complain about")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
