# SPDX-License-Identifier: MIT
"""Builds rocket.ko for a Debian kernel that leaves the driver out (CONFIG_DRM_ACCEL_ROCKET not set).

The driver comes from the linux-source package of the same version, unchanged, and is built as any
module out of tree: against the linux-headers package, with the host tools of linux-kbuild. Those are
programs for a newer Debian than this one may be, so they run with that one's C library.
"""
import platform
import re
import shutil
import subprocess

from debian_archive import Unavailable, host_architecture, unpack

ELF = b"\x7fELF"


def packages(archive, release):
    """What the build takes: headers (two packages), host tools, their C library, the source."""
    version = release.rsplit("-", 1)[0]  # 7.3.4+deb13
    series = ".".join(version.split("+")[0].split(".")[:2])
    host = host_architecture()
    wanted = [f"linux-headers-{release}", f"linux-headers-{version}-common",
              f"linux-kbuild-{version}:{host}", f"libc6:{host}", f"linux-source-{series}"]
    there = set(archive.names("^linux-(headers|kbuild|source)-"))
    for package in wanted:
        name = package.split(":")[0]
        if name != "libc6" and name not in there:
            raise Unavailable(f"rocket for {release}: the archive has no {name} to build it with; "
                              "choose another --kernel")
    return wanted


def extract_driver(deb, into):
    """drivers/accel/rocket out of the tar in a linux-source package, of more than 100 MB."""
    listing = subprocess.run(["dpkg-deb", "-c", deb], check=True, capture_output=True, text=True).stdout
    tar = re.search(r"\./usr/src/linux-source-\S+\.tar\.xz", listing)
    if not tar:
        raise Unavailable(f"the source of rocket: {deb.name} has no tar of the kernel")
    into.mkdir(parents=True)
    command = ('dpkg-deb --fsys-tarfile "$1" | tar -xO "$2" | xz -dc -T0 | '
               'tar -x -C "$3" --strip-components=4 --wildcards "linux-source-*/drivers/accel/rocket/*"')
    run = subprocess.run(["bash", "-o", "pipefail", "-c", command, "bash", deb, tar[0], into],
                         capture_output=True, text=True, check=False)
    if run.returncode != 0 or not (into / "Makefile").exists():
        raise Unavailable(f"the source of rocket from {deb.name}: {run.stderr.strip()[-300:]}")


def run_with_own_libc(tools, libc):
    """Replaces each ELF program below `tools` by a script that starts it with the loader of `libc`."""
    loader = next(libc.rglob("ld-linux-*.so.*"))
    for program in [p for p in tools.rglob("*") if p.is_file() and not p.is_symlink()]:
        with program.open("rb") as file:
            if file.read(4) != ELF:
                continue
        real = program.with_name(program.name + ".elf")
        program.rename(real)
        # argv[0] stays: modpost finds its per-format programs by it.
        program.write_text(f'#!/bin/sh\nexec "{loader}" --argv0 "$0" --library-path "{loader.parent}" '
                           f'"{real}" "$@"\n')
        program.chmod(0o755)


def compiler():
    prefix = "" if platform.machine() == "aarch64" else "aarch64-linux-gnu-"
    if shutil.which(prefix + "gcc") is None:
        raise Unavailable(f"a build of rocket: there is no {prefix}gcc; run scripts/setup.sh")
    return prefix


def build(archive, release, wanted, part, say):
    """Fetches `wanted` (from packages()) and builds; the path of rocket.ko."""
    prefix = compiler()
    folder = part / "build"
    unpack(archive.fetch(wanted[:1], part / "debs"), folder)
    objects = folder / f"usr/src/linux-headers-{release}"
    if "CONFIG_DRM_ACCEL=y" not in (objects / ".config").read_text().splitlines():
        raise Unavailable(f"rocket for {release}: this kernel is built without CONFIG_DRM_ACCEL, which a "
                          "module cannot bring; choose another --kernel")
    common, kbuild, libc, source = archive.fetch(wanted[1:], part / "debs")
    say(f"Building rocket.ko for {release} from {source.name.split('_')[0]} ...")
    unpack([common, kbuild], folder)
    unpack([libc], folder / "libc")
    run_with_own_libc(folder / "usr/lib", folder / "libc")
    extract_driver(source, folder / "rocket")
    command = ["make", "-C", next(folder.glob("usr/src/linux-headers-*-common")), f"O={objects}",
               f"M={folder / 'rocket'}", "ARCH=arm64", f"CROSS_COMPILE={prefix}", f"CC={prefix}gcc",
               "CONFIG_DRM_ACCEL_ROCKET=m",
               "CONFIG_DEBUG_INFO_BTF_MODULES=",  # would need pahole; nothing here reads it
               "modules"]
    # The kernel is built by a later gcc; this option of its is not known before gcc 14.
    knows = subprocess.run([f"{prefix}gcc", "-fmin-function-alignment=8", "-E", "-x", "c", "/dev/null"],
                           capture_output=True, check=False)
    if knows.returncode != 0:
        command.append("CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=")
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    module = folder / "rocket/rocket.ko"
    if run.returncode != 0 or not module.exists():
        say(run.stdout[-4000:])
        raise Unavailable(f"rocket for {release}: its build failed; the end of what make said is above")
    subprocess.run([f"{prefix}strip", "--strip-debug", module], check=True)
    return module
