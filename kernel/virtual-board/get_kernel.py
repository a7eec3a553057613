#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Puts one of Debian's arm64 kernels, with the rocket driver, into the cache of the virtual board.

CACHE/kernels/RELEASE/ then has Image, busybox, config and tree/, a root folder with the modules that
rocket needs and their modules.dep. Its path is printed on stdout, all else goes to stderr.
Exit codes: 0 it is there, 2 usage, 3 it cannot be had (the reason is on stderr).
"""
import argparse
import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import debian_archive
import rocket_module
from debian_archive import Unavailable, unpack

# In the order in which they are preferred: unsigned images are what QEMU needs, and smaller.
IMAGES = ("linux-binary-unsigned-{}", "linux-binary-{}", "linux-image-{}-unsigned", "linux-image-{}")
RELEASE = r"[0-9]+\.[0-9]+(\.[0-9]+)?\+deb[0-9]+-arm64"


def say(text):
    print(text, file=sys.stderr, flush=True)


def number(release):
    return tuple(int(n) for n in re.match(r"[0-9.]+", release)[0].split("."))


def fits(release, wanted):
    """Whether RELEASE is what --kernel asks for: "7.3", "7.3.4" or the whole name."""
    upstream = release.split("+", 1)[0]
    return wanted in (release, upstream) or upstream.startswith(wanted + ".")


def releases_of(archive):
    """{release: (its image package, whether modules can be built for it)}."""
    packages = set(archive.names(rf"^linux-(binary|image|headers)(-unsigned)?-{RELEASE}(-unsigned)?$"))
    found = {}
    for name in packages:
        if match := re.search(RELEASE, name):
            image = next((i.format(match[0]) for i in IMAGES if i.format(match[0]) in packages), None)
            if image:
                found[match[0]] = (image, f"linux-headers-{match[0]}" in packages)
    return found


def choose(archive, wanted):
    """Newest release with headers, since Debian's kernels may need rocket built; or the wanted one."""
    every = releases_of(archive)
    if wanted:
        fitting = [r for r in every if fits(r, wanted)]
    else:
        fitting = [r for r, (_, headers) in every.items() if headers]
    if not fitting:
        there = ", ".join(sorted({r.split("+")[0] for r in every}, key=number)) or "none"
        raise Unavailable(f"an arm64 kernel {wanted or 'with headers'}; the archive has: {there}")
    release = max(fitting, key=lambda r: (every[r][1], number(r)))
    return release, *every[release]


def image_of(root):
    """The kernel image of unpacked packages. QEMU takes it plain or gzipped."""
    for image in sorted(root.glob("usr/lib/modules/*/vmlinuz*")) + sorted(root.glob("boot/vmlinuz*")):
        return image
    raise Unavailable("a kernel image: the packages hold no vmlinuz")


def install_modules(modules, into):
    """rocket and what it needs into a root folder of their own, with modules.dep for them alone."""
    release = modules.name
    base = modules.parents[2]  # the folder with lib/modules
    for command in (["depmod", "-b", base, release],
                    ["modprobe", "-d", base, "-S", release, "--show-depends", "rocket"]):
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise Unavailable(f"the modules that rocket needs: {run.stderr.strip()}")
    target = into / "lib/modules" / release / "kernel"
    target.mkdir(parents=True)
    for line in run.stdout.splitlines():
        if not (match := re.match(r"insmod (\S+)", line)):
            continue  # "builtin"
        source = pathlib.Path(match[1])
        plain = target / re.sub(r"\.(xz|gz|zst)$", "", source.name)
        opener = {".xz": ["xz", "-dc"], ".gz": ["gzip", "-dc"], ".zst": ["zstd", "-dc"]}
        with plain.open("wb") as out:
            subprocess.run([*opener.get(source.suffix, ["cat"]), source], stdout=out, check=True)
    subprocess.run(["depmod", "-b", into, release], check=True, stderr=subprocess.DEVNULL)


def build(archive, release, image, has_headers, part):
    """Fetches a kernel and fills the folder `part` from it."""
    debs, root = part / "debs", part / "root"
    beside = [p for p in archive.names(rf"^linux-(base|modules)-{RELEASE}$")
              if p.endswith("-" + release)]
    headers = rocket_module.packages(archive, release) if has_headers else []
    say(f"Fetching {release}: {' '.join([image, *beside, 'busybox-static', *headers])} ...")
    found = archive.fetch([image, *beside, "busybox-static"], debs)
    unpack(found, root)
    modules = next((d for d in (root / "usr/lib/modules" / release, root / "lib/modules" / release)
                    if d.is_dir()), None)
    if modules is None:
        raise Unavailable(f"the modules of {release}: its packages hold none")
    shipped = list(modules.rglob("rocket.ko*"))
    if shipped:
        how = "shipped"
    elif not headers:
        raise Unavailable(f"rocket for {release}: the kernel does not ship it, and without a "
                          "linux-headers package it cannot be built; choose another --kernel")
    else:
        how = "built"
        module = rocket_module.build(archive, release, headers, part, say)
        (modules / "updates").mkdir(exist_ok=True)
        shutil.copy(module, modules / "updates" / "rocket.ko")
    shutil.copy(image_of(root), part / "Image")
    shutil.copy(root / "usr/bin/busybox", part / "busybox")
    config = [*root.glob("*/lib/modules/*/config"), *root.glob("boot/config-*"),
              *part.glob("build/usr/src/linux-headers-*-arm64/.config")]
    if not config:
        raise Unavailable(f"the configuration of {release}: its packages hold none")
    shutil.copy(config[0], part / "config")
    install_modules(modules, part / "tree")
    for folder in ("debs", "root", "build"):
        shutil.rmtree(part / folder, ignore_errors=True)
    (part / "rocket").write_text(how + "\n")


def cached(cache, wanted):
    found = [d for d in (cache / "kernels").glob("*") if re.fullmatch(RELEASE, d.name)
             and (d / "rocket").exists() and (not wanted or fits(d.name, wanted))]
    return max(found, key=lambda d: number(d.name), default=None)


def get(cache, wanted, offline):
    have = cached(cache, wanted)
    if offline:
        if have is None:
            raise Unavailable(f"{'kernel ' + wanted if wanted else 'a kernel'}: none is cached in "
                              f"{cache}, and this is to run offline")
        return have
    try:
        archive = debian_archive.Archive(cache, say=say)
        archive.update()
        release, image, has_headers = choose(archive, wanted)
    except Unavailable as error:
        if have is None:
            raise
        say(f"Could not ask for a newer kernel: {error}. Going on with {have.name}.")
        return have
    final = cache / "kernels" / release
    if (final / "rocket").exists():
        return final
    part = final.with_name(release + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    started = time.monotonic()
    try:
        build(archive, release, image, has_headers, part)
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    say(f"Kernel {release} is ready ({time.monotonic() - started:.0f} s).")
    return final


def list_kernels(cache, offline):
    print("cached:   ", *sorted((d.name for d in (cache / "kernels").glob("*") if (d / "rocket").exists()),
                               key=number))
    if not offline:
        archive = debian_archive.Archive(cache, say=say)
        archive.update()
        every = releases_of(archive)
        for title, headers in (("with headers, to build modules:", True), ("without:", False)):
            print(title, *sorted((r for r in every if every[r][1] == headers), key=number))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--kernel", default="", help="7.3, 7.3.4 or the whole release")
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--list", action="store_true", help="print what there is, fetch no kernel")
    options = parser.parse_args()
    cache = options.cache.absolute()
    if re.search(r"[\s:'\"#$\\]", str(cache)):
        parser.error(f"--cache {cache}: the kernel's makefiles take no such character in a path")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with open(cache / "lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two runs do not do the work twice
            if options.list:
                list_kernels(cache, options.offline)
            else:
                print(get(cache, options.kernel, options.offline))
    except Unavailable as error:
        say(f"get_kernel.py: could not get {error}")
        sys.exit(3)
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"get_kernel.py: in {cache}: {error}")
        sys.exit(3)


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # depmod and modprobe, for others than root
    main()
