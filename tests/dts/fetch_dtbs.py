#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""fetch_dtbs.py FOLDER: the rk3588 board trees of two of Debian's arm64 kernels, into FOLDER/VERSION/.

The newest kernel of trixie-backports, and the newest 6.18 there, the first with NPU nodes. What is in
FOLDER already is not downloaded again. Exit codes: 0 at least one kernel's trees are there, 3 none.
"""
import hashlib
import lzma
import pathlib
import re
import subprocess
import sys
import urllib.request

ARCHIVE = "http://deb.debian.org/debian"
INDEX = ARCHIVE + "/dists/trixie-backports/main/binary-arm64/Packages.xz"


def download(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


def packages_with_trees(index):
    """[(version, Filename, SHA256)]; since 7.2 the trees are in linux-base-*, before in linux-image-*."""
    found = []
    for entry in index.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Filename|SHA256): (.*)$", entry, re.M))
        match = re.fullmatch(r"linux-(base|image)-((\d+)\.(\d+)\.(\d+))\+deb\d+-arm64",
                             fields.get("Package", ""))
        if match:
            version = tuple(int(match[i]) for i in (3, 4, 5))
            if (match[1] == "base") == (version >= (7, 2)):
                found.append((version, fields["Filename"], fields["SHA256"]))
    return sorted(found)


def unpack(package, into):
    """The trees into a folder that gets its name only when it is complete."""
    part = into.with_name(into.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    deb = part / "kernel.deb"
    deb.write_bytes(package)
    tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", part, "--transform=s|.*/||", "--wildcards",
                    "*/rockchip/rk3588*.dtb"], input=tar.stdout, check=True)
    deb.unlink()
    part.rename(into)


def fetch(folder):
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = packages_with_trees(lzma.decompress(download(INDEX)).decode())
        wanted = found[-1:] + [p for p in found if p[0][:2] == (6, 18)][-1:]
        for version, filename, sha256 in wanted:
            into = folder / ".".join(map(str, version))
            if into.is_dir():
                continue
            package = download(f"{ARCHIVE}/{filename}")
            if hashlib.sha256(package).hexdigest() != sha256:
                raise OSError(f"{filename} is damaged: its SHA-256 is not the index's")
            unpack(package, into)
    except (OSError, lzma.LZMAError, subprocess.CalledProcessError) as error:
        print(f"fetch_dtbs.py: could not fetch kernels of {INDEX}: {error}", file=sys.stderr)
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.endswith(".part"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    kernels = fetch(pathlib.Path(sys.argv[1]))
    print("trees of kernels:", ", ".join(k.name for k in kernels) or "none")
    sys.exit(0 if kernels else 3)
