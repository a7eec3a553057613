#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_tool.py NPU_PROBE BUILD: `npu-probe dt` on the board trees of Debian's kernels in BUILD/dtbs.

check:  finds something exactly in the trees that state_of_npu() of check_overlays.py, which shares no
        code with it, finds wanting; as a folder of files a tree gives the same, and the audit agrees.
enable: switches on every tree in which an overlay of dts/ finds its rail, and refuses the others; the
        result passes, and nothing else in it changed.
diff:   no difference between a tree and itself, some between a tree and what enable made of it.
Exit codes: 0 all well, 1 a check failed, 2 usage, 3 no network and no trees from an earlier run.
"""
import json
import pathlib
import shutil
import subprocess
import sys

import fdt
import fetch_dtbs
from check_overlays import (NEVER_GENERIC, RAILS, changed_otherwise, fits, lost_references, npu_off,
                            state_of_npu)

# Overlays that are for some boards only; the others with a rail are for any board that has it.
ONLY = {"rk3588-rock-5-itx": ["radxa,rock-5-itx"], "rk3588-orangepi-5-plus": ["xunlong,orangepi-5-plus"],
        "rk3588-jaguar": ["tsd,rk3588-jaguar"], "rk3588-tiger": ["tsd,rk3588-tiger"],
        "rk3588-evb": ["rockchip,rk3588-evb1-v10", "rockchip,rk3588-evb2-v10",
                       "rockchip,rk3588s-evb1-v10"]}


class Tool:
    def __init__(self, program):
        self.program, self.failed = program, 0

    def __call__(self, *arguments):
        return subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True)

    def expect(self, holds, sentence):
        if not holds:
            self.failed += 1
            print(sentence)


def overlays_for(tree):
    """Names of the overlays that fit, those for this very board first."""
    board = fdt.text(tree["/"]["compatible"]).split("\0")
    found = [name for name in RAILS if RAILS[name] and fits(name, tree)
             and (name not in ONLY or set(ONLY[name]) & set(board))]
    return sorted(found, key=lambda name: name not in ONLY)


def check_enable(tool, dtb, what, build):
    tree, out = fdt.read(dtb), build / "enabled.dtb"
    out.unlink(missing_ok=True)
    names = overlays_for(tree)
    run = tool("dt", "enable", dtb, "-o", out, "--json")
    if not state_of_npu(tree)[0]:
        tool.expect(run.returncode == 1 and "nothing to do" in run.stderr, f"{what}: not refused")
        tool.expect(not out.exists(), f"{what}: refused and yet written")
        return False
    if not names:
        tool.expect(run.returncode == 1 and not out.exists(), f"{what}: {run.stdout}{run.stderr}")
        generic = tool("dt", "enable", dtb, "-o", out, "--board", "generic")
        never = dtb.stem in NEVER_GENERIC
        tool.expect(generic.returncode == (1 if never else 0), f"{what} generic: {generic.stderr}")
        return False
    if run.returncode != 0:
        tool.expect(False, f"{what}: {run.stderr}")
        return False
    tool.expect(json.loads(run.stdout)["overlay"] == names[0], f"{what}: {run.stdout}")
    after = fdt.read(out)
    wrong, rails = state_of_npu(after)
    wrong += changed_otherwise(tree, after) + lost_references(tree, after)
    tool.expect(not wrong and rails == {RAILS[names[0]]}, f"{what}: {wrong} {rails}")
    tool.expect(tool("dt", "check", out).returncode == 0, f"{what}: the result does not pass")
    tool.expect(tool("dt", "diff", dtb, out).returncode == 1, f"{what}: diff sees nothing")
    return True


def check_live(tool, dtb, build):
    """The same tree as the kernel shows it, and the audit of a machine that has it."""
    root = build / "live"
    shutil.rmtree(root, ignore_errors=True)
    base = root / "sys/firmware/devicetree/base"
    for path, properties in fdt.read(dtb).items():
        (base / path[1:]).mkdir(parents=True, exist_ok=True)
        for name, value in properties.items():
            (base / path[1:] / name).write_bytes(value)
    blob, live = (json.loads(tool("dt", "check", "--json", tree).stdout) for tree in (dtb, base))
    tool.expect(blob["checks"] == live["checks"], f"{dtb}: judged otherwise as a folder")
    tool.expect(tool("dt", "diff", dtb, base).returncode == 0, f"{dtb}: differs from its folder")
    audit = {c["id"]: c for c in json.loads(tool("audit", "--root", root, "--json").stdout)["checks"]}
    shared = [c for c in live["checks"] if c["id"] in audit]
    tool.expect(len(shared) == 9, f"{dtb}: {len(shared)} checks in common with the audit")
    for check in shared:
        same = all(audit[check["id"]][key] == check[key] for key in ("state", "remedy"))
        tool.expect(same, f"{dtb}: the audit says {audit[check['id']]}, dt check {check}")


def main(arguments):
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    tool, build = Tool(arguments[0]), pathlib.Path(arguments[1])
    build.mkdir(parents=True, exist_ok=True)
    kernels = fetch_dtbs.fetch(build / "dtbs")
    if not kernels:
        print("skipped: no network, and no trees of Debian's kernels from an earlier run")
        return 3
    trees = on = enabled = 0
    for kernel in kernels:
        for dtb in sorted(kernel.glob("*.dtb")):
            what, tree = f"{kernel.name} {dtb.name}", fdt.read(dtb)
            wrong = state_of_npu(tree)[0]
            run = tool("dt", "check", dtb)
            tool.expect(run.returncode == (1 if wrong else 0), f"{what}: {wrong}, but {run.stdout}")
            trees, on = trees + 1, on + (not wrong)
            enabled += check_enable(tool, dtb, what, build)
            if not wrong:
                off = build / "off.dtb"
                npu_off(tree, dtb, off)
                tool.expect(tool("dt", "check", off).returncode == 1, f"{what}: off, unnoticed")
                enabled += check_enable(tool, off, what + " switched off", build)
            tool.expect(tool("dt", "diff", dtb, dtb).returncode == 0, f"{what}: differs from itself")
            if dtb.stem == "rk3588-rock-5-itx":
                check_live(tool, dtb, build)
    print(f"{trees} trees of kernels {', '.join(k.name for k in kernels)}, {on} with a working NPU; "
          f"{enabled} switched on; {tool.failed} failed")
    return 1 if tool.failed or not on or not enabled or on == trees else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
