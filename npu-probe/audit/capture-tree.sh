#!/bin/sh
# SPDX-License-Identifier: MIT
# Copies what `npu-probe audit` reads from this machine into a folder, so that it can be audited
# elsewhere: capture-tree.sh FOLDER. Reads only; needs no tools beyond a POSIX shell and coreutils.
# Run it with sudo to get the kernel log, debugfs and the affinity of the interrupts as well.
set -u

usage() {
    echo "usage: capture-tree.sh FOLDER    (a new or empty folder)" >&2
    exit 2
}
[ $# -eq 1 ] || usage
case $1 in -*) usage ;; esac
out=$1
mkdir -p "$out" || exit 4
if [ -n "$(ls -A "$out")" ]; then
    echo "capture-tree.sh: $out is not empty; give a new folder" >&2
    exit 2
fi
release=$(uname -r)

# One file, at its own path below the folder. Files of proc and sys have no size: cat, not cp.
# The name is taken as it is, and a symlink on the way becomes a plain folder.
take() {
    [ -f "$1" ] && [ -r "$1" ] || return 0
    mkdir -p "$out/$(dirname "$1")" && cat "$1" >"$out/$1" 2>/dev/null
    return 0
}

for file in /proc/sys/kernel/osrelease /proc/sys/kernel/arch /proc/version /proc/cmdline \
    /proc/cpuinfo /proc/meminfo /proc/modules /proc/interrupts /proc/config.gz \
    "/boot/config-$release" /etc/group /var/lib/dpkg/status /etc/initramfs-tools/modules \
    /etc/mkinitcpio.conf /etc/dracut.conf /etc/dracut.conf.d/*.conf \
    /sys/class/thermal/thermal_zone*/type /sys/class/thermal/thermal_zone*/temp \
    /sys/devices/system/cpu/cpufreq/policy*/scaling_governor \
    /sys/kernel/debug/clk/*npu*/clk_rate /sys/class/accel/accel*/device/uevent \
    /sys/module/rocket/initstate /sys/module/rknpu/initstate /sys/kernel/debug/rknpu/version; do
    take "$file"
done

# Interrupts of the NPU: where they go.
for number in $(sed -n '/\.npu\|rocket/s/^ *\([0-9]*\):.*/\1/p' /proc/interrupts 2>/dev/null); do
    take "/proc/irq/$number/smp_affinity_list"
    take "/proc/irq/$number/effective_affinity_list"
done

# Modules of the running kernel: the lists, and rocket itself.
for base in /lib/modules /usr/lib/modules /run/booted-system/kernel-modules/lib/modules; do
    for file in config modules.dep modules.builtin build/.config; do
        take "$base/$release/$file"
    done
    find "$base/$release/" -follow -name 'rocket.ko*' 2>/dev/null | while read -r file; do
        take "$file"
    done
done

# The live device tree, property by property.
if [ -d /sys/firmware/devicetree/base ]; then
    (cd / && find sys/firmware/devicetree/base -type f) | while read -r file; do
        take "/$file"
    done
fi

# Libraries that matter; their links say the version on NixOS.
for dir in /usr/lib /usr/lib/* /usr/lib64 /usr/local/lib /usr/local/lib/* /run/opengl-driver/lib; do
    for name in libteflon.so libtensorflow-lite.so libtensorflowlite.so libtensorflowlite_c.so \
        librknnrt.so librkllmrt.so; do
        file=$dir/$name
        [ -e "$file" ] || continue
        mkdir -p "$out$dir"
        target=$(readlink -f "$file")
        case $target in
        /nix/store/*)
            take "$target"
            ln -sf "$target" "$out$file"
            ;;
        *) take "$file" ;;
        esac
    done
done

# Device nodes cannot be copied without root: one line each.
{
    echo "# path type mode owner group major:minor [-> target]"
    for node in /dev/accel/* /dev/dri/* /dev/rknpu*; do
        if [ -L "$node" ]; then
            echo "$node l 0777 root root 0:0 -> $(readlink "$node")"
        elif [ -c "$node" ]; then
            # %t and %T are hexadecimal.
            set -- "$(stat -c %t "$node")" "$(stat -c %T "$node")"
            echo "$node c $(stat -c '%a %U %G' "$node") $((0x$1)):$((0x$2))"
        fi
    done
} >"$out/dev-nodes.txt"

# Under sudo, who is to use the NPU is the user that called it.
id ${SUDO_USER:+"$SUDO_USER"} >"$out/id.txt"
dmesg >"$out/dmesg.txt" 2>/dev/null || rm -f "$out/dmesg.txt"
[ -s "$out/dmesg.txt" ] || take /var/log/kern.log
echo "captured into $out; now: npu-probe audit --root $out"
