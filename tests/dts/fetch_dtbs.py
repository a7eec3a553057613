#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""fetch_dtbs.py FOLDER: the rk3588 board trees of two of Debian's arm64 kernels, into FOLDER/VERSION/.

The newest kernel of trixie-backports, and the newest 6.18 there, the first with NPU nodes. What is in
FOLDER already is not downloaded again. Exit codes: 0 at least one kernel's trees are there, 3 none.
"""
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "kernel/virtual-board"))
import debian_archive  # noqa: E402


def packages_with_trees(names):
    """[(version, package)]; since 7.2 the trees are in linux-base-*, before in linux-image-*."""
    found = []
    for name in names:
        match = re.fullmatch(r"linux-(base|image)-(\d+)\.(\d+)\.(\d+)\+deb\d+-arm64", name)
        if match:
            version = tuple(int(match[i]) for i in (2, 3, 4))
            if (match[1] == "base") == (version >= (7, 2)):
                found.append((version, name))
    return sorted(found)


def unpack(deb, into):
    """The trees into a folder that gets its name only when it is complete."""
    part = into.with_name(into.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", part, "--transform=s|.*/||", "--wildcards",
                    "*/rockchip/rk3588*.dtb"], input=tar.stdout, check=True)
    part.rename(into)


def fetch(folder):
    folder.mkdir(parents=True, exist_ok=True)
    try:
        archive = debian_archive.Archive(folder.parent, say=lambda text: None)
        archive.update()
        found = packages_with_trees(archive.names(r"^linux-(base|image)-[0-9.]+\+deb[0-9]+-arm64$"))
        wanted = found[-1:] + [p for p in found if p[0][:2] == (6, 18)][-1:]
        for version, package in wanted:
            into = folder / ".".join(map(str, version))
            if into.is_dir():
                continue
            unpack(archive.fetch([package], folder.parent / "debs.part")[0], into)
    except (OSError, debian_archive.Unavailable, subprocess.CalledProcessError) as error:
        print(f"fetch_dtbs.py: could not fetch kernels: {error}", file=sys.stderr)
    shutil.rmtree(folder.parent / "debs.part", ignore_errors=True)
    return sorted(p for p in folder.iterdir() if re.fullmatch(r"[0-9.]+", p.name))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    kernels = fetch(pathlib.Path(sys.argv[1]))
    print("trees of kernels:", ", ".join(k.name for k in kernels) or "none")
    sys.exit(0 if kernels else 3)
