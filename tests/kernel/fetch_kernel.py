#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""fetch_kernel.py FOLDER: source and arm64 headers of Debian's kernels, into FOLDER/VERSION/.

The newest kernel of trixie-backports, and the newest 6.18 (the first with rocket) while the archive has it.
FOLDER/VERSION/source gets what the tests read of the source, some 30 MB; FOLDER/VERSION/headers the
headers package's usr/src. What is in FOLDER already is not downloaded again. Exit codes: 0 at least one
kernel is there, 3 none.
"""
import hashlib
import lzma
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "dts"))
from fetch_dtbs import ARCHIVE, INDEX, download  # noqa: E402

WANTED = ["*/Kconfig*", "*/drivers/accel/*", "*/drivers/iommu/rockchip-iommu.c",
          "*/include/dt-bindings/*", "*/include/uapi/linux/input-event-codes.h",
          "*/include/uapi/drm/rocket_accel.h",
          "*/arch/arm64/boot/dts/rockchip/rk3588*",
          "*/arch/arm64/boot/dts/rockchip/rockchip-pinconf.dtsi",
          "*/scripts/checkpatch.pl", "*/scripts/spelling.txt", "*/scripts/const_structs.checkpatch"]


def kernels_of(index):
    """[(version, {"source" | "common" | "arch": (Filename, SHA256)})] that have all three packages."""
    found = {}
    for entry in index.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Filename|SHA256): (.*)$", entry, re.M))
        name = fields.get("Package", "")
        if re.fullmatch(r"linux-source-\d+\.\d+", name):
            part, version = "source", fields["Version"].split("-")[0]
        elif m := re.fullmatch(r"linux-headers-(\d+\.\d+\.\d+)\+deb\d+-(common|arm64)", name):
            part, version = {"common": "common", "arm64": "arch"}[m[2]], m[1]
        else:
            continue
        if re.fullmatch(r"\d+\.\d+\.\d+", version):
            number = tuple(map(int, version.split(".")))
            found.setdefault(number, {})[part] = (fields["Filename"], fields["SHA256"])
    return sorted((v, p) for v, p in found.items() if len(p) == 3)


def wanted(kernels):
    chosen = kernels[-1:]
    return chosen + [k for k in kernels if k[0][:2] == (6, 18) and k not in chosen][-1:]


def download_package(filename, sha256, into):
    """To a file, since a source package has some 170 MB."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(f"{ARCHIVE}/{filename}", timeout=60) as answer, open(into, "wb") as out:
        while block := answer.read(1 << 20):
            digest.update(block)
            out.write(block)
    if digest.hexdigest() != sha256:
        into.unlink()
        raise OSError(f"{filename} is damaged: its SHA-256 is not the index's")


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


def unpack(parts, part):
    deb = part / "package.deb"
    (part / "headers").mkdir(parents=True)
    (part / "source").mkdir()
    for kind in ("common", "arch"):
        download_package(*parts[kind], deb)
        pipe(["dpkg-deb", "--fsys-tarfile", deb],
             ["tar", "-x", "-C", part / "headers", "--strip-components=3", "./usr/src"])
    download_package(*parts["source"], deb)
    pipe(["dpkg-deb", "--fsys-tarfile", deb],
         ["tar", "-x", "-O", "--wildcards", "*/linux-source-*.tar.xz"], ["xz", "-dc"],
         ["tar", "-x", "-C", part / "source", "--strip-components=1", "--wildcards", *WANTED])
    deb.unlink()


def fetch(folder):
    """Folders of the kernels that are there now, newest first."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for version, parts in wanted(kernels_of(lzma.decompress(download(INDEX)).decode())):
            into = folder / ".".join(map(str, version))
            if into.is_dir():
                continue
            part = into.with_name(into.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            unpack(parts, part)
            part.rename(into)  # it has its name only when it is complete
    except (OSError, lzma.LZMAError) as error:
        print(f"fetch_kernel.py: could not fetch kernels of {INDEX}: {error}", file=sys.stderr)
    there = [p for p in folder.iterdir() if p.is_dir() and re.fullmatch(r"\d+\.\d+\.\d+", p.name)]
    return sorted(there, key=lambda p: [int(n) for n in p.name.split(".")], reverse=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    kernels = fetch(pathlib.Path(sys.argv[1]))
    print("kernels:", ", ".join(k.name for k in kernels) or "none")
    sys.exit(0 if kernels else 3)
