#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""board_table.py write TREES FILE | check TREES FILE: docs/boards.md from the board trees in TREES.

TREES has a folder for each kernel version, as fetch_dtbs.py makes it.
write: makes FILE anew. check: says whether FILE is what TREES give.
Exit codes: 0 all well, 1 FILE differs, 2 usage, 3 FILE is of kernels that TREES does not have.
"""
import pathlib
import re
import sys

import fdt
from check_overlays import CORES, DOMAIN, MMUS

HEAD = """# Boards

What the board trees of Debian's kernels {versions} say about the NPU. Generated from them by
`tests/dts/board_table.py`; nothing in this table was seen on a board. The overlays in [dts/](../dts/)
are for the boards that a kernel leaves off.

**cores**: how many of the three cores have their node and that of their MMU enabled. **rail**: the
regulator named `vdd_npu*` for the logic (bus and address, or output of the PMIC), and **SRAM** if it has
its own. **always on**: it is `regulator-always-on`; else the kernel switches it off when nobody uses
it. **domain**: it is the `domain-supply` of the NPU's power domain. A dash: the tree names none. Where
the kernels differ, the values stand in their order, "none" for a kernel without the tree.

| board | tree | cores | rail | SRAM | always on | domain |
|---|---|---|---|---|---|---|
"""


def place(tree, path):
    """"i2c1 0x42" or "spi2 dcdc-reg2" of a regulator's node."""
    bus = "/" + path.split("/")[1]
    alias = [name for name, value in tree["/aliases"].items()
             if fdt.text(value) == bus and name[:3] in ("i2c", "spi")]
    unit = path.rsplit("/", 1)[1]
    return (alias[0] if alias else bus[1:]) + " " + unit.replace("regulator@", "0x")


def facts(tree):
    """The columns of the table for one tree, from "cores" on."""
    on = [all(fdt.text(tree[p].get("status", b"okay")) == "okay" for p in pair)
          for pair in zip(CORES, MMUS)]
    named = {fdt.text(node["regulator-name"]): path for path, node in tree.items()
             if "regulator-name" in node and "vdd_npu" in fdt.text(node["regulator-name"])}
    rail = next((path for name, path in named.items() if "_mem" not in name), None)
    sram = next((path for name, path in named.items() if "_mem" in name), None)
    if rail is None:
        return (str(sum(on)), "-", "-", "-", "-")
    supply = fdt.phandles(tree).get(tree[DOMAIN].get("domain-supply"))
    return (str(sum(on)), place(tree, rail), place(tree, sram) if sram else "-",
            "yes" if "regulator-always-on" in tree[rail] else "no",
            "yes" if supply == rail else "no")


def table(kernels):
    boards = {}
    for kernel in kernels:
        for dtb in kernel.glob("*.dtb"):
            tree = fdt.read(dtb)
            key = (fdt.text(tree["/"]["model"]), dtb.stem)
            boards.setdefault(key, {})[kernel] = facts(tree)
    lines = []
    for key, found in sorted(boards.items()):
        rows = [found.get(kernel, ("none",) * 5) for kernel in kernels]
        cells = [" / ".join(dict.fromkeys(c) if len(set(c)) == 1 else c) for c in zip(*rows)]
        lines.append("| " + " | ".join((key[0], f"`{key[1]}`", *cells)) + " |\n")
    return HEAD.format(versions=" and ".join(k.name for k in kernels)) + "".join(lines)


def main(arguments):
    if len(arguments) != 3 or arguments[0] not in ("write", "check"):
        print(__doc__, file=sys.stderr)
        return 2
    trees, file = map(pathlib.Path, arguments[1:])
    if arguments[0] == "write":
        kernels = sorted((k for k in trees.iterdir() if k.is_dir()),
                         key=lambda k: [int(n) for n in k.name.split(".")])
        file.write_text(table(kernels))
        return 0
    text = file.read_text()
    versions = re.findall(r"\d+\.\d+\.\d+", text.split("say about")[0])
    missing = [v for v in versions if not (trees / v).is_dir()]
    if not versions or missing:
        print(f"skipped: {file} is of kernels that are not here: {', '.join(missing) or '?'}")
        return 3
    same = table([trees / v for v in versions]) == text
    print(f"{file}:", "as the trees say" if same else "differs; make it anew: board_table.py write")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
