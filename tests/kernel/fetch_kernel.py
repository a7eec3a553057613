#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""fetch_kernel.py FOLDER: source and arm64 headers of Debian's kernels, into FOLDER/VERSION/.

The newest kernel of trixie-backports, and the newest 6.18 (the first with rocket) while the archive has it.
FOLDER/VERSION/source gets what the tests read of the source, some 30 MB; FOLDER/VERSION/headers the
headers package's usr/src. What is in FOLDER already is not downloaded again. Exit codes: 0 at least one
kernel is there, 3 none.
"""
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "kernel/virtual-board"))
import debian_archive  # noqa: E402

WANTED = ["*/Kconfig*", "*/drivers/accel/*", "*/drivers/iommu/rockchip-iommu.c",
          "*/include/dt-bindings/*", "*/include/uapi/linux/input-event-codes.h",
          "*/include/uapi/drm/rocket_accel.h",
          "*/arch/arm64/boot/dts/rockchip/rk3588*",
          "*/arch/arm64/boot/dts/rockchip/rockchip-pinconf.dtsi",
          "*/scripts/checkpatch.pl", "*/scripts/spelling.txt", "*/scripts/const_structs.checkpatch"]


def kernels_of(archive):
    """[(version, {"source" | "common" | "arch": package})] that have all three packages."""
    found = {}
    for name in archive.names(r"^linux-(source|headers)-[0-9.]+(\+deb[0-9]+-(common|arm64))?$"):
        if re.fullmatch(r"linux-source-\d+\.\d+", name):
            part, version = "source", archive.version(name).split("-")[0]
        elif m := re.fullmatch(r"linux-headers-(\d+\.\d+\.\d+)\+deb\d+-(common|arm64)", name):
            part, version = {"common": "common", "arm64": "arch"}[m[2]], m[1]
        else:
            continue
        if re.fullmatch(r"\d+\.\d+\.\d+", version):
            number = tuple(map(int, version.split(".")))
            found.setdefault(number, {})[part] = name
    return sorted((v, p) for v, p in found.items() if len(p) == 3)


def wanted(kernels):
    chosen = kernels[-1:]
    return chosen + [k for k in kernels if k[0][:2] == (6, 18) and k not in chosen][-1:]


def pipe(*commands):
    """Runs commands one into the next; raises if one of them fails."""
    running, last = [], None
    for number, command in enumerate(commands):
        out = None if number == len(commands) - 1 else subprocess.PIPE
        running.append(subprocess.Popen(command, stdin=last, stdout=out))
        if last:
            last.close()
        last = running[-1].stdout
    for process in reversed(running):
        process.wait()
    for command, process in zip(commands, running):
        if process.returncode:
            raise OSError(f"{command[0]} failed with {process.returncode}")


def unpack(archive, packages, part):
    debs = archive.fetch([packages[kind] for kind in ("common", "arch", "source")], part / "debs")
    (part / "headers").mkdir()
    (part / "source").mkdir()
    for deb in debs[:2]:
        pipe(["dpkg-deb", "--fsys-tarfile", deb],
             ["tar", "-x", "-C", part / "headers", "--strip-components=3", "./usr/src"])
    pipe(["dpkg-deb", "--fsys-tarfile", debs[2]],
         ["tar", "-x", "-O", "--wildcards", "*/linux-source-*.tar.xz"], ["xz", "-dc"],
         ["tar", "-x", "-C", part / "source", "--strip-components=1", "--wildcards", *WANTED])
    shutil.rmtree(part / "debs")


def fetch(folder):
    """Folders of the kernels that are there now, newest first."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        archive = debian_archive.Archive(folder.parent, say=lambda text: None)
        archive.update()
        for version, packages in wanted(kernels_of(archive)):
            into = folder / ".".join(map(str, version))
            if into.is_dir():
                continue
            part = into.with_name(into.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            unpack(archive, packages, part)
            part.rename(into)  # it has its name only when it is complete
    except (OSError, debian_archive.Unavailable) as error:
        print(f"fetch_kernel.py: could not fetch kernels: {error}", file=sys.stderr)
    there = [p for p in folder.iterdir() if p.is_dir() and re.fullmatch(r"\d+\.\d+\.\d+", p.name)]
    return sorted(there, key=lambda p: [int(n) for n in p.name.split(".")], reverse=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    kernels = fetch(pathlib.Path(sys.argv[1]))
    print("kernels:", ", ".join(k.name for k in kernels) or "none")
    sys.exit(0 if kernels else 3)
