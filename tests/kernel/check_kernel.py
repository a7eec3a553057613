#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Keeps kernel/ true.

check_kernel.py files ROOT            the fragment and the patches by themselves; needs no kernel source
check_kernel.py broken ROOT           the same files with a fault put in: each must be noticed
check_kernel.py source ROOT [TREE]    against an unpacked kernel source: every symbol of the fragment is in
                                      a Kconfig file, every patch applies or is there already
TREE is $ROSENBLATT_KERNEL_SOURCE if not given. Exit 0 ok, 1 something is wrong, 2 usage, 77 no source.
"""
import os
import pathlib
import re
import subprocess
import sys

SYMBOL = re.compile(r"CONFIG_([A-Z0-9_]+)=([ymn]|\d+)$")
HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
# What npu-probe audit asks of a configuration; the fragment must give it.
AUDITED = {"DRM_ACCEL", "DRM_ACCEL_ROCKET", "ROCKCHIP_IOMMU", "ROCKCHIP_PM_DOMAINS"}
# A tree that has a patch's change in its own words: the file, and what it then holds.
THERE_ALREADY = {
    "0001": ("arch/arm64/boot/dts/rockchip/rk3588-rock-5-itx.dts", "&rknn_core_0 {"),
}


def symbols(fragment):
    return [m[1] for line in fragment.splitlines() if (m := SYMBOL.match(line))]


def fragment_faults(text):
    reason = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            reason = not line.startswith("# ---")
        elif not line.strip():
            reason = False
        elif not SYMBOL.match(line):
            yield f"line {number}: not a comment and not CONFIG_NAME=VALUE"
        elif not reason:
            yield f"line {number}: no reason above it"
    names = symbols(text)
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"CONFIG_{name} is given twice"
    for name in sorted(AUDITED - set(names)):
        yield f"CONFIG_{name} is missing, which npu-probe audit asks for"


def hunk_faults(text):
    """git and patch refuse a hunk whose line counts are wrong: the fault of a patch edited by hand."""
    lines = text.splitlines()
    found = False
    at = 0
    while at < len(lines):
        m = HUNK.match(lines[at])
        at += 1
        if not m:
            continue
        found = True
        start = at
        old, new = (int(m[i]) if m[i] is not None else 1 for i in (1, 2))
        while (old > 0 or new > 0) and at < len(lines) and lines[at][:1] in (" ", "+", "-"):
            old -= lines[at][0] in " -"
            new -= lines[at][0] in " +"
            at += 1
        if old or new:
            yield f"line {start}: the hunk has not the number of lines that it says"
    if not found:
        yield "no hunk in it"


def patch_faults(text):
    head = text.split("\n---\n", 1)[0]
    for pattern, what in ((r"From [0-9a-f]{40} ", "the first line of git format-patch"),
                          (r"(?m)^Subject: \[PATCH[^]]*\] \S+: \S", "a subject with its subsystem"),
                          (r"(?m)^Signed-off-by: .+ <.+@.+>$", "a Signed-off-by line")):
        if not re.search(pattern, head):
            yield f"without {what}"
    yield from hunk_faults(text)


def patches(root):
    return sorted((root / "kernel/patches").glob("*.patch"))


def check_files(root):
    fragment = root / "kernel/config/rosenblatt.config"
    readme = (root / "kernel/README.md").read_text(encoding="utf-8")
    for fault in fragment_faults(fragment.read_text(encoding="utf-8")):
        yield f"{fragment.relative_to(root)}: {fault}"
    if not patches(root):
        yield "kernel/patches: no patch"
    for patch in patches(root):
        for fault in patch_faults(patch.read_text(encoding="utf-8")):
            yield f"{patch.relative_to(root)}: {fault}"
        if f"| `{patch.name[:4]}`" not in readme:
            yield f"kernel/README.md: no row for {patch.name}"


def without(pattern):
    return lambda text: re.sub(pattern, "", text, count=1, flags=re.M)


# A fault, and a word of what must be said of it.
BROKEN_FRAGMENT = [
    (without(r"(?:^#.*\n)+(?=CONFIG_IKCONFIG=)"), "no reason"),
    (without(r"^CONFIG_DRM_ACCEL_ROCKET=m\n"), "CONFIG_DRM_ACCEL_ROCKET is missing"),
    (lambda text: text + "\n# again\nCONFIG_PM=y\n", "twice"),
    (lambda text: text + "\n# a reason\nCONFIG_PM = y\n", "not CONFIG_NAME=VALUE"),
]
BROKEN_PATCH = [
    (without(r"^Signed-off-by: .*\n"), "Signed-off-by"),
    (without(r"^Subject: .*\n"), "subject"),
    (without(r"^From 0.*\n"), "first line"),
    (without(r"^\+(?!\+\+ ).*\n"), "number of lines"),
    (without(r"^ \t.*\n"), "number of lines"),
    (lambda text: text.split("\ndiff ", 1)[0] + "\n", "no hunk"),
]


def check_broken(root):
    fragment = (root / "kernel/config/rosenblatt.config").read_text(encoding="utf-8")
    cases = [("the fragment", fragment, fragment_faults, change, word)
             for change, word in BROKEN_FRAGMENT]
    cases += [(patch.name, patch.read_text(encoding="utf-8"), patch_faults, change, word)
              for patch in patches(root) for change, word in BROKEN_PATCH]
    for name, text, faults, change, word in cases:
        broken = change(text)
        if broken == text:
            yield f"{name}: nothing to break for '{word}'"
        elif not any(word in fault for fault in faults(broken)):
            yield f"{name}: broken so that '{word}' should be said, but it was not"


def unknown_symbols(root, tree):
    known = set()
    for file in tree.rglob("Kconfig*"):
        if file.is_file():
            known.update(re.findall(r"(?m)^(?:menu)?config (\w+)$",
                                    file.read_text(encoding="utf-8", errors="replace")))
    fragment = root / "kernel/config/rosenblatt.config"
    for name in symbols(fragment.read_text(encoding="utf-8")):
        if name not in known:
            yield f"{fragment.relative_to(root)}: no Kconfig file of {tree} has {name}"


def check_source(root, tree):
    yield from unknown_symbols(root, tree)
    for patch in patches(root):
        file, mark = THERE_ALREADY.get(patch.name[:4], (None, None))
        if file and (tree / file).is_file() and mark in (tree / file).read_text(encoding="utf-8"):
            print(f"{patch.name}: {file} has it already")
            continue
        done = subprocess.run(["patch", "-p1", "--dry-run", "--force", "-d", tree, "-i", patch],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            yield f"{patch.relative_to(root)}: does not apply to {tree}\n{done.stdout}"
        else:
            print(f"{patch.name}: applies")


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "files":
        faults = check_files(pathlib.Path(arguments[1]).resolve())
    elif len(arguments) == 2 and arguments[0] == "broken":
        faults = check_broken(pathlib.Path(arguments[1]).resolve())
    elif len(arguments) in (2, 3) and arguments[0] == "source":
        tree = arguments[2] if len(arguments) == 3 else os.environ.get("ROSENBLATT_KERNEL_SOURCE")
        if not tree:
            print("no kernel source: unpack one and name it in ROSENBLATT_KERNEL_SOURCE")
            return 77
        if not (pathlib.Path(tree) / "drivers/accel/Kconfig").is_file():
            print(f"{tree} is no kernel source: it has no drivers/accel/Kconfig", file=sys.stderr)
            return 2
        faults = check_source(pathlib.Path(arguments[1]).resolve(),
                              pathlib.Path(tree).resolve())
    else:
        print(__doc__, file=sys.stderr)
        return 2
    found = list(faults)
    print("\n".join(found) if found else "nothing to complain about")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
