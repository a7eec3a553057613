#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# make_initramfs.sh OUT KERNEL-FOLDER NPU-PROBE: the guest's files, as the kernel unpacks them at its start.
set -euo pipefail
if (($# != 3)); then
    printf 'usage: make_initramfs.sh OUT KERNEL-FOLDER NPU-PROBE\n' >&2
    exit 2
fi
out=$1 kernel=$2 probe=$3
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

# library NAME: where this machine has an arm64 library.
library() {
    local folder
    for folder in /lib/aarch64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/aarch64-linux-gnu/lib /lib; do
        if [[ -e $folder/$1 ]]; then
            printf '%s\n' "$folder/$1"
            return
        fi
    done
    printf 'make_initramfs.sh: there is no arm64 %s; run scripts/setup.sh --virtual-board\n' "$1" >&2
    return 1
}

# add_libraries FILE: the shared libraries that a program or library needs, and what those need.
add_libraries() {
    local name from
    while read -r name; do
        [[ ! -e $root/lib/$name ]] || continue
        from=$(library "$name")
        cp -L "$from" "$root/lib/$name"
        add_libraries "$from"
    done < <(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
}

mkdir -p "$root"/{bin,usr/bin,lib,boot,etc,vboard,vectors}
cp "$kernel/busybox" "$root/bin/busybox"
cp -r "$kernel/tree/lib/modules" "$root/lib/"
cp "$kernel/config" "$root/boot/config-${kernel##*/}"
cp "$probe" "$root/usr/bin/npu-probe"
add_libraries "$probe"
cp "$here"/guest/*.sh "$root/vboard/"
cp "$here/guest/init" "$root/init"
chmod 755 "$root/init"
cp -r "$here/../../tests/vectors/mesa" "$root/vectors/"
(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet) | gzip -1 >"$out"
