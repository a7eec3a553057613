#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_overlays.py compile DTS BUILD | apply DTS BUILD: the overlays of dts/ under test.

compile: dtc makes every overlay, with and without symbols, and has nothing to warn about.
apply:   on the board trees of Debian's kernels (downloaded once to BUILD/dtbs), each overlay turns
         the NPU on for the boards it is for and changes nothing else; on another board fdtoverlay
         refuses it or state_of_npu() tells that the rail is not the NPU's.
Exit codes: 0 all well, 1 a check failed, 2 usage, 3 no network and no trees from an earlier run.
"""
import pathlib
import subprocess
import sys

import fdt
import fetch_dtbs

CORES = ["/npu@fdab0000", "/npu@fdac0000", "/npu@fdad0000"]
MMUS = ["/iommu@fdab9000", "/iommu@fdaca000", "/iommu@fdada000"]
DOMAIN = "/power-management@fd8d8000/power-controller/power-domain@8"
I2C1, I2C2 = "/i2c@fea90000/regulator@42", "/i2c@feaa0000/regulator@42"
I2C0, I2C4 = "/i2c@fd880000/regulator@42", "/i2c@feac0000/regulator@42"
DCDC = "/spi@feb20000/pmic@0/regulators/dcdc-reg"
# Overlay: node of the logic's rail, node of the SRAM's rail.
RAILS = {
    "rk3588-rock-5-itx": (I2C1, I2C1),
    "rk3588-orangepi-5-plus": (I2C1, I2C1),
    "rk3588-jaguar": (I2C0, I2C0),
    "rk3588-tiger": (I2C4, I2C4),
    "rk3588-npu-rail-i2c1": (I2C1, I2C1),
    "rk3588-npu-rail-i2c2": (I2C2, I2C2),
    "rk3588-evb": (DCDC + "2", DCDC + "6"),
    "rk3588-npu-generic": None,
}
# Boards for which dts/README.md says "never the generic overlay".
NEVER_GENERIC = {"rk3588-vicharak-axon", "rk3588-vicharak-vaaman2", "rk3588s-gameforce-ace",
                 "rk3588-youyeetoo-yy3588"}
OFF = "off"  # the file name of what npu_off() makes
SUPPLIES = {"npu-supply", "sram-supply", "domain-supply"}


def compile_overlays(dts, build, options=()):
    """{name: dtbo}; raises if dtc fails or prints anything."""
    build.mkdir(parents=True, exist_ok=True)
    made = {}
    for source in sorted(dts.glob("*.dtso")):
        made[source.stem] = build / (source.stem + ".dtbo")
        run = subprocess.run(["dtc", *options, "-I", "dts", "-O", "dtb", "-o", made[source.stem],
                              source], capture_output=True, text=True)
        if run.returncode or run.stdout or run.stderr:
            raise ValueError(f"{source.name}: {run.stdout}{run.stderr}")
    if set(made) != set(RAILS):
        raise ValueError(f"overlays in dts/ and in this test differ: {set(made) ^ set(RAILS)}")
    return made


def state_of_npu(tree):
    """What keeps the NPU of a tree from working, as sentences; and where its rails are."""
    missing = [path for path in CORES + MMUS + [DOMAIN] if path not in tree]
    if missing:
        return [f"there is no {path}" for path in missing], set()
    wrong, rails, node_of = [], set(), fdt.phandles(tree)
    for core, mmu in zip(CORES, MMUS):
        for path in (core, mmu):
            if fdt.text(tree[path].get("status", b"okay")) != "okay":
                wrong.append(f"{path} is disabled")
        if node_of.get(tree[core]["iommus"]) != mmu:
            wrong.append(f"{core}: iommus is not {mmu}")
        rails.add(tuple(node_of.get(tree[core].get(p)) for p in ("npu-supply", "sram-supply")))
    rail = node_of.get(tree[DOMAIN].get("domain-supply"))
    if len(rails) != 1 or None in (logic_sram := next(iter(rails))):
        wrong.append("npu-supply or sram-supply leads nowhere")
    elif rail != logic_sram[0]:
        wrong.append(f"domain-supply is {rail}, npu-supply {logic_sram[0]}")
    elif not fdt.text(tree[rail].get("regulator-name", b"")).startswith("vdd_npu"):
        wrong.append(f"{rail} is no NPU rail")
    return wrong, rails


def rails_that_go_out(tree):
    """NPU rails that the kernel knows, may switch off and does not know to be needed."""
    used = tree[DOMAIN].get("domain-supply")
    return [path for path, node in tree.items()
            if fdt.text(node.get("regulator-name", b"")).startswith("vdd_npu")
            and "regulator-always-on" not in node and (not used or node.get("phandle") != used)]


def changed_otherwise(before, after):
    """Properties that an overlay changed and had no business with."""
    mine = {(p, "status") for p in CORES + MMUS} | {(p, s) for p in CORES + [DOMAIN] for s in SUPPLIES}
    found = []
    for path in before.keys() | after.keys():
        old, new = before.get(path), after.get(path)
        if old is None or new is None:
            found.append(path)
            continue
        found += [f"{path}:{name}" for name in old.keys() | new.keys()
                  if old.get(name) != new.get(name) and (path, name) not in mine
                  and name != "phandle"]
    return found


def lost_references(before, after):
    """Supplies of the whole tree that led to another node before."""
    was, now = fdt.phandles(before), fdt.phandles(after)
    return [f"{path}:{name}" for path, node in before.items() for name, value in node.items()
            if name.endswith("-supply") and was.get(value) != now.get(after[path][name])]


def npu_off(tree, source, target):
    """A copy of a tree whose NPU is on, as a kernel has it that does not enable it."""
    target.write_bytes(source.read_bytes())
    for path in CORES + MMUS:
        subprocess.run(["fdtput", "-t", "s", target, path, "status", "disabled"], check=True)
    for path in CORES + [DOMAIN]:
        for name in SUPPLIES & tree[path].keys():
            subprocess.run(["fdtput", "-d", target, path, name], check=True)


def apply(dtb, dtbo, out):
    return subprocess.run(["fdtoverlay", "-i", dtb, "-o", out, dtbo], capture_output=True,
                          text=True).returncode == 0


def fits(name, tree):
    """Whether a board has its NPU's rails where the overlay expects them."""
    return RAILS[name] is None or all(
        fdt.text(tree.get(rail, {}).get("regulator-name", b"")).startswith("vdd_npu")
        for rail in RAILS[name])


def check_tree(name, dtb, dtbo, build):
    """One overlay on one tree. Returns (sentences of what is wrong, whether it is for this board)."""
    before, out = fdt.read(dtb), build / "out.dtb"
    applied = apply(dtb, dtbo, out)
    if not fits(name, before):
        noticed = not applied or any("no NPU rail" in w for w in state_of_npu(fdt.read(out))[0])
        return ([] if noticed else ["applies to a board with another rail, unnoticed"]), False
    if not applied:
        return ["does not apply though the rail is there"], True
    after = fdt.read(out)
    wrong, rails = state_of_npu(after)
    if RAILS[name] is None:
        wrong = [w for w in wrong if "disabled" in w or "iommus" in w]
        # npu_off() took the supplies, so its trees prove nothing here.
        if rails_that_go_out(after) and dtb.stem not in NEVER_GENERIC | {OFF}:
            wrong.append("the rail goes out, and README.md does not warn of it")
    elif rails != {RAILS[name]}:
        wrong.append(f"rails are {rails}")
    elif rails_that_go_out(after):
        wrong.append(f"the kernel switches {rails_that_go_out(after)} off")
    wrong += [f"changes {c}" for c in changed_otherwise(before, after)]
    wrong += [f"loses {r}" for r in lost_references(before, after)]
    return wrong, True


def check_apply(dts, build):
    overlays = compile_overlays(dts, build)
    kernels = fetch_dtbs.fetch(build / "dtbs")
    if not kernels:
        print("skipped: no network, and no trees of Debian's kernels from an earlier run")
        return 3
    failed, turned_on, others = 0, {name: 0 for name in overlays}, 0
    for kernel in kernels:
        for dtb in sorted(kernel.glob("*.dtb")):
            tree = fdt.read(dtb)
            was_off = any("disabled" in w for w in state_of_npu(tree)[0])
            bases = [dtb]
            if not was_off:
                bases.append(build / (OFF + ".dtb"))
                npu_off(tree, dtb, bases[1])
            for name, dtbo in overlays.items():
                if name in ("rk3588-rock-5-itx", "rk3588-orangepi-5-plus") and dtb.stem != name:
                    continue
                for base in bases:
                    wrong, meant = check_tree(name, base, dtbo, build)
                    turned_on[name] += meant and (was_off or base != dtb)
                    others += not meant
                    for sentence in wrong:
                        failed += 1
                        print(f"{kernel.name} {dtb.name} + {name}: {sentence}")
    for name, times in turned_on.items():
        print(f"{name}: turned the NPU of {times} trees on")
        failed += times == 0
    print(f"noticed {others} times: not for this board; kernels "
          + ", ".join(k.name for k in kernels) + f"; {failed} failed")
    return 1 if failed or not others else 0


def main(arguments):
    if len(arguments) != 3 or arguments[0] not in ("compile", "apply"):
        print(__doc__, file=sys.stderr)
        return 2
    dts, build = map(pathlib.Path, arguments[1:])
    try:
        if arguments[0] == "apply":
            return check_apply(dts, build)
        for options in ((), ("-@",)):
            print(len(compile_overlays(dts, build, options)), "overlays compile without a warning",
                  "with symbols" if options else "")
        return 0
    except ValueError as error:
        print(error)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
