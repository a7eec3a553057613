#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""patch_series.py ROOT FOLDER: the patches of kernel/patches on the sources of Debian's kernels.

For each kernel that fetch_kernel.py puts into FOLDER: the fragment's symbols exist, the patches apply one
after the other, after each of them rocket compiles for arm64 without a warning and checkpatch.pl is
content, the board that patch 0001 is for builds and its NPU is on. Then patches broken on purpose, each of
which must be noticed. Exit codes: 0 all well, 1 a check failed, 2 usage, 77 no network and no kernels from
an earlier run, or no cross compiler.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import check_kernel
import fetch_kernel

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "dts"))
import check_overlays  # noqa: E402
import fdt  # noqa: E402

BOARD = "arch/arm64/boot/dts/rockchip/rk3588-rock-5-itx.dts"
ROCKET = "drivers/accel/rocket"
# The blocks of a board file that patch 0001 adds; none of them has a block inside.
NPU_BLOCK = re.compile(r"(?m)^&(?:rknn_(?:core|mmu)_\d|pd_npu) \{\n(?:.*\n)*?\};\n\n?")


class Fault(Exception):
    pass


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", **options)
    if done.returncode:
        raise Fault(f"{' '.join(map(str, command[:3]))} ...:\n{done.stdout[-3000:]}")
    return done.stdout


def compiler():
    for name in ("aarch64-linux-gnu-gcc", "gcc"):
        path = shutil.which(name)
        if path and subprocess.run([path, "-dumpmachine"], capture_output=True, text=True
                                   ).stdout.startswith("aarch64"):
            return path
    return None


def flags(kernel):
    """What Kbuild gives for a module, as far as it changes the meaning or the warnings of the code."""
    common = next(kernel.glob("headers/*-common"))
    arch = next(kernel.glob("headers/*-arm64"))
    include = []
    for ours, made in (("arch/arm64/include", "arch/arm64/include/generated"), ("include", "include"),
                       ("arch/arm64/include/uapi", "arch/arm64/include/generated/uapi"),
                       ("include/uapi", "include/generated/uapi")):
        include += ["-I", common / ours, "-I", arch / made]
    for header in ("compiler-version.h", "kconfig.h", "compiler_types.h"):
        include += ["-include", common / "include/linux" / header]
    return ["-nostdinc", *include, "-D__KERNEL__", "-DMODULE", '-DKBUILD_MODNAME="rocket"',
            '-DKBUILD_BASENAME="rocket"', '-DKBUILD_MODFILE="rocket"', "-D__KBUILD_MODNAME=kmod_rocket",
            "-std=gnu11", "-fms-extensions", "-fshort-wchar", "-funsigned-char", "-mlittle-endian",
            "-mgeneral-regs-only", "-fno-strict-aliasing", "-fno-pie", "-O2", "-Wall", "-Werror",
            "-Wno-pointer-sign", "-Wno-address-of-packed-member", "-Wmissing-prototypes"]


def compile_rocket(tree, kernel):
    files = sorted((tree / ROCKET).glob("*.c"))
    if not files:
        raise Fault(f"no C file in {tree / ROCKET}")
    objects = []
    for file in files:
        objects.append(file.with_suffix(".o"))
        run([compiler(), *flags(kernel), "-c", file, "-o", objects[-1]])
    check_symbols(objects, kernel)


def check_symbols(objects, kernel):
    """What modpost would say: each symbol is rocket's own, or exported by the kernel or its modules."""
    names = {"T": set(), "U": set()}
    for line in run([pathlib.Path(compiler()).name.replace("gcc", "nm"), "-g", *objects]).splitlines():
        if m := re.search(r"([A-Z]) (\S+)$", line):
            names.setdefault(m[1], set()).add(m[2])
    symvers = next(kernel.glob("headers/*-arm64")) / "Module.symvers"
    exported = {line.split("\t")[1] for line in symvers.read_text(encoding="utf-8").splitlines()}
    own = set().union(*(n for kind, n in names.items() if kind != "U"))
    missing = names["U"] - own - exported - {"__this_module"}
    if missing or "drm_dev_register" not in names["U"]:
        raise Fault(f"modpost: not exported by {kernel.name}: {', '.join(sorted(missing)) or 'nothing read'}")


def build_board(tree):
    """The board's tree as the kernel's Makefile makes it: cpp, then dtc."""
    dtb = tree / "board.dtb"
    include = ["-I", tree / "include", "-I", (tree / BOARD).parent]
    text = run(["cpp", "-nostdinc", "-undef", "-D__DTS__", "-x", "assembler-with-cpp", "-P", *include,
                tree / BOARD])
    run(["dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-o", dtb, "-"], input=text)
    return fdt.read(dtb)


def check_board(tree):
    board = build_board(tree)
    wrong, rails = check_overlays.state_of_npu(board)
    if wrong:
        raise Fault(f"{BOARD}: {'; '.join(wrong)}")
    return rails


def apply(tree, patch, fuzz=0):
    run(["patch", "-p1", "--force", f"--fuzz={fuzz}", "--no-backup-if-mismatch", "-d", tree, "-i", patch])


def without_npu(tree):
    """The board file as it was before its NPU was enabled upstream."""
    file = tree / BOARD
    text, count = NPU_BLOCK.subn("", file.read_text(encoding="utf-8"))
    if count != 7:
        raise Fault(f"{BOARD}: {count} blocks of the NPU, expected 7")
    file.write_text(text, encoding="utf-8")


def copy_of(kernel, into):
    for part in (ROCKET, "include", "arch/arm64/boot/dts/rockchip"):
        shutil.copytree(kernel / "source" / part, into / part, symlinks=True)
    return into


def check_series(root, kernel, tree):
    has_npu = NPU_BLOCK.search((tree / BOARD).read_text(encoding="utf-8"))
    if has_npu:
        rails = check_board(tree)
        without_npu(tree)
    if not check_overlays.state_of_npu(build_board(tree))[0]:
        raise Fault(f"{BOARD}: its NPU is on before patch 0001")
    compile_rocket(tree, kernel)
    for patch in check_kernel.patches(root):
        # A board file that had its blocks taken out has other neighbours; rocket must fit exactly.
        apply(tree, patch, fuzz=2 if patch.name.startswith("0001") else 0)
        compile_rocket(tree, kernel)
        run(["perl", kernel / "source/scripts/checkpatch.pl", "--no-tree", "--strict", "--quiet", patch])
        print(f"{kernel.name}: {patch.name}: applies, compiles", flush=True)
    if has_npu and check_board(tree) != rails:
        raise Fault(f"{BOARD}: patch 0001 gives other rails than the kernel's own tree")
    check_board(tree)


def replaced(old, new):
    def change(text):
        if old not in text:
            raise Fault(f"test: nothing to break, no {old!r}")
        return text.replace(old, new, 1)
    return change


# What is done to a patch, and what must fail then.
BROKEN = [
    ("0003", "another context", replaced(" \t\treturn dev_err_probe", " \t\treturn dev_error_probe"), "patch"),
    ("0003", "a hunk cut short", lambda text: text[:text.rindex("\n+")], "patch"),
    ("0003", "a name mistyped", replaced("+\tROCKET_CLK_NPU,", "+\tROCKET_CLK_NPV,"), "gcc"),
    ("0003", "spaces for tabs", replaced("+\tROCKET_CLK_NPU,", "+        ROCKET_CLK_NPU,"), "perl"),
    ("0003", "a symbol that nobody exports",
     replaced('].id = "pclk";', "].id = saved_command_line;"), "modpost"),
    ("0001", "an unknown label", replaced("+&rknn_core_2 {", "+&rknn_core_3 {"), "dtc"),
    ("0001", "a core left off", replaced('+\tstatus = "okay";', '+\tstatus = "disabled";'), "disabled"),
]


def check_broken(root, kernel, scratch):
    for number, (name, what, change, noticed_by) in enumerate(BROKEN):
        source = next(p for p in check_kernel.patches(root) if p.name.startswith(name))
        patch = scratch / f"{number}.patch"
        patch.write_text(change(source.read_text(encoding="utf-8")), encoding="utf-8")
        tree = copy_of(kernel, scratch / str(number))
        if NPU_BLOCK.search((tree / BOARD).read_text(encoding="utf-8")):
            without_npu(tree)
        try:
            apply(tree, patch, fuzz=2 if name == "0001" else 0)
            run(["perl", kernel / "source/scripts/checkpatch.pl", "--no-tree", "--strict", "--quiet",
                 patch])
            if name == "0001":
                check_board(tree)
            else:
                compile_rocket(tree, kernel)
        except Fault as fault:
            if noticed_by not in str(fault).split("\n", 1)[0]:
                raise Fault(f"{source.name}, {what}: expected {noticed_by} to notice, but {fault}") from None
            print(f"{source.name}, {what}: noticed")
        else:
            raise Fault(f"{source.name}, {what}: nobody noticed")


def main(arguments):
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    root, folder = (pathlib.Path(a).resolve() for a in arguments)
    if not compiler():
        print("skipped: no arm64 C compiler (scripts/setup.sh --dev installs gcc-aarch64-linux-gnu)")
        return 77
    kernels = fetch_kernel.fetch(folder)
    if not kernels:
        print("skipped: no kernel source could be fetched, and none is there from an earlier run")
        return 77
    try:
        for kernel in kernels:
            for fault in check_kernel.unknown_symbols(root, kernel / "source"):
                raise Fault(fault)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                check_series(root, kernel, copy_of(kernel, pathlib.Path(scratch) / "tree"))
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            check_broken(root, kernels[0], pathlib.Path(scratch))
    except Fault as fault:
        print(fault)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
