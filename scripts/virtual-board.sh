#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Boots an unmodified Debian kernel in an unmodified QEMU that has the NPU, and checks everything there.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/say.sh

usage() {
    cat <<'USAGE'
scripts/virtual-board.sh [--smoke | --run CMD | --shell] [--kernel VER] [--inject FAULTS] [--no-driver]
                         [--cache DIR] [--offline] [--no-build] [--timeout SECONDS] [--list-kernels]

Boots one of Debian's arm64 kernels in QEMU, with three NPU cores, their IOMMUs and clocks behind which
the simulator works. The kernel's own drivers find them, and the checks of docs/virtual-board.md run
inside: through /dev/accel/accel0 and through /dev/mem. What is missing is installed, fetched and built
first (the first time some 350 MB and a few minutes). Times are those of a simulation.

  (nothing)      all checks, in two boots: rocket with its recovery from faults; mmio
  --smoke        one boot: the driver probes, audit, one product
  --run CMD      one command of the guest's shell; its output and its exit status
  --shell        a shell in the guest, on this terminal
  --kernel VER   another kernel of Debian's archive: 7.3, 7.3.4 or the whole name (default: the newest for
                 which modules can be built)
  --inject F     faults of the simulated NPU, as in docs/simulator.md: drop-interrupt@1,hang@2/core=1
  --no-driver    with --run and --shell: neither rocket nor the IOMMU's driver, for --device mmio
  --cache DIR    where kernels are kept (default: ~/.cache/rosenblatt/virtual-board)
  --offline      fetch and install nothing: what is cached must do
  --no-build     use what build/release and build/aarch64 hold
  --timeout S    seconds that a boot may take before it counts as hung (default: 900)
  --list-kernels what is cached and what the archive has

Exit status: 0 all well, 1 a check failed, 2 usage, 3 something could not be had, 5 the guest hung or
ended without a status; with --run that of the command.
Examples:
  scripts/virtual-board.sh
  scripts/virtual-board.sh --run 'npu-probe replay --device rocket /vectors/mesa/add_14_32'
  scripts/virtual-board.sh --inject iommu-fault@1 --run 'npu-probe bringup --device rocket; dmesg | tail'
USAGE
}

bad_usage() {
    say "virtual-board.sh: $*" >&2
    say "Try: scripts/virtual-board.sh --help" >&2
    exit 2
}
# unavailable SENTENCE: ends with 3, for what could not be fetched, installed or built.
unavailable() {
    say "virtual-board.sh: $*" >&2
    exit 3
}

mode=full command='' kernel='' inject='' driver=yes offline=no rebuild=yes limit=900
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/rosenblatt/virtual-board
modes=0
while (($#)); do
    case $1 in
        --kernel | --run | --inject | --cache | --timeout)
            [[ -n ${2:-} ]] || bad_usage "$1 needs a value"
            case $1 in
                --kernel) kernel=$2 ;;
                --run) mode=command command=$2 modes=$((modes + 1)) ;;
                --inject) inject=$2 ;;
                --cache) cache=$2 ;;
                --timeout) limit=$2 ;;
            esac
            shift
            ;;
        --smoke) mode=smoke modes=$((modes + 1)) ;;
        --shell) mode=shell modes=$((modes + 1)) ;;
        --list-kernels) mode=list modes=$((modes + 1)) ;;
        --no-driver) driver=no ;;
        --offline) offline=yes ;;
        --no-build) rebuild=no ;;
        -h | --help) usage && exit 0 ;;
        *) bad_usage "unknown option $1" ;;
    esac
    shift
done
((modes <= 1)) || bad_usage "only one of --smoke, --run, --shell and --list-kernels"
[[ $limit =~ ^[1-9][0-9]{0,5}$ ]] || bad_usage "--timeout $limit: seconds, a number above 0"
[[ -z $kernel || $kernel =~ ^[0-9]+\.[0-9]+(\.[0-9]+)?(\+deb[0-9]+-arm64)?$ ]] ||
    bad_usage "--kernel $kernel: as 7.3, 7.3.4 or 7.3.4+deb13-arm64"
[[ $mode == command || $mode == shell || (-z $inject && $driver == yes) ]] ||
    bad_usage "--inject and --no-driver go with --run or --shell; the checks have their own"
[[ $mode != shell || (-t 0 && -t 1) ]] || bad_usage "--shell needs a terminal; without one use --run"

# --run prints what the command prints; how it came about goes to stderr.
exec 3>&1
[[ $mode != command ]] || exec 3>&2
tell() { say "$@" >&3; }

kernel_options=(--cache "$cache")
[[ -z $kernel ]] || kernel_options+=(--kernel "$kernel")
[[ $offline == no ]] || kernel_options+=(--offline)
get_kernel() { python3 -B kernel/virtual-board/get_kernel.py "${kernel_options[@]}" "$@"; }

if [[ $mode == list ]]; then
    get_kernel --list
    exit
fi

if [[ $offline == yes ]]; then
    missing=$(scripts/setup.sh --virtual-board --list)
    [[ -z $missing ]] || unavailable "not installed, and this is to run offline:" "${missing//$'\n'/ }"
else
    scripts/setup.sh --virtual-board >&3 || unavailable "the packages above could not be installed"
fi
kernel_folder=$(get_kernel) || exit
release=${kernel_folder##*/}

# build PRESET TARGET: one target, in a build folder that may be there already.
build() {
    local log=build/$1-virtual-board.log
    mkdir -p build
    tell "Building $2 (build/$1) ..."
    { [[ -f build/$1/CMakeCache.txt ]] || cmake --preset "$1" -D BUILD_TESTING=OFF; } >"$log" 2>&1 &&
        cmake --build "build/$1" --target "$2" >>"$log" 2>&1 && return
    tail -n 40 "$log" >&2
    fail "$2 could not be built; the end of $log is above"
}
guest_preset=aarch64
[[ $(uname -m) != aarch64 ]] || guest_preset=release
if [[ $rebuild == yes ]]; then
    build release vboard_glue
    build "$guest_preset" npu-probe
fi
for file in build/release/lib/rosenblatt-vboard.so "build/$guest_preset/bin/npu-probe"; do
    [[ -e $file ]] || unavailable "there is no $file; run this without --no-build"
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
kernel/virtual-board/make_initramfs.sh "$scratch/base.cpio.gz" "$kernel_folder" \
    "build/$guest_preset/bin/npu-probe" || unavailable "the initramfs could not be made"

# shellcheck disable=SC2054
machine=(qemu-system-aarch64 -M virt,gic-version=3 -cpu cortex-a76 -smp 2 -m 1024 -nic none -no-reboot)
{
    "${machine[@]}" -M dumpdtb="$scratch/virt.dtb" -display none
    dtc -@ -I dts -O dtb -o "$scratch/npu.dtbo" kernel/virtual-board/virtual-board.dtso
    fdtoverlay -i "$scratch/virt.dtb" -o "$scratch/board.dtb" "$scratch/npu.dtbo"
} >"$scratch/tree.log" 2>&1 || { cat "$scratch/tree.log" >&2 && fail "the board's device tree could not be made"; }

# boot MODE FAULTS KERNEL-OPTION...: one boot; shows what the guest reports and returns its status.
log=$cache/last-boot.log
boot() {
    local guest_mode=$1 faults=$2 mark status plugin
    shift 2
    # The IOMMU's driver cannot be unbound, and what it holds /dev/mem does not give (IO_STRICT_DEVMEM).
    [[ $driver == yes ]] || set -- "$@" initcall_blacklist=rk_iommu_driver_init
    mark=$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
    rm -rf "$scratch/job"
    : >"$scratch/console"
    : >"$scratch/qemu.log"
    mkdir -p "$scratch/job/etc"
    printf 'mode=%s mark=%s driver=%s\n' "$guest_mode" "$mark" "$driver" >"$scratch/job/etc/vboard"
    [[ $mode != shell ]] || stty size | awk '{ print "rows=" $1 " columns=" $2 }' >>"$scratch/job/etc/vboard"
    printf '%s\n' "$command" >"$scratch/job/etc/vboard.command"
    if ! (cd "$scratch/job" && find . | cpio -o -H newc --quiet | gzip -1) >"$scratch/job.cpio.gz" ||
        ! cat "$scratch/base.cpio.gz" "$scratch/job.cpio.gz" >"$scratch/initramfs"; then
        say "virtual-board.sh: the initramfs could not be written to $scratch" >&2
        return 3
    fi

    plugin=$PWD/build/release/lib/rosenblatt-vboard.so
    # QEMU parts a plugin's arguments at commas.
    [[ -z $faults ]] || plugin+=,inject=${faults//,/+}
    local run=("${machine[@]}" -kernel "$kernel_folder/Image" -initrd "$scratch/initramfs"
        -dtb "$scratch/board.dtb" -append "console=ttyAMA0 quiet loglevel=1 panic=-1 $*" -plugin "$plugin")
    status=0
    if [[ $guest_mode == shell ]]; then
        "${run[@]}" -display none -chardev "stdio,id=tty,mux=on,signal=off,logfile=$scratch/console" \
            -serial chardev:tty -mon tty 2>"$scratch/qemu.log" || status=$?
    else
        timeout --foreground -k 10 "$limit" "${run[@]}" -display none -monitor none \
            -chardev "stdio,id=tty,signal=off,logfile=$scratch/console" -serial chardev:tty \
            </dev/null 2>"$scratch/qemu.log" | shown_part "$mark" || status=${PIPESTATUS[0]}
    fi
    { cat "$scratch/console" "$scratch/qemu.log" >"$log"; } 2>/dev/null || true
    local told
    if [[ ! -s $scratch/console ]] && ((status != 124 && status != 137)); then
        cat "$scratch/qemu.log" >&2
        say "virtual-board.sh: QEMU did not start the guest${faults:+; see --inject $faults}" >&2
        # What is wrong with the faults, the plugin says.
        [[ -z $faults ]] || return 2
        return 5
    fi
    told=$(tr -d '\r' <"$scratch/console" | sed -n "s/^@@end $mark \([0-9]*\)\$/\1/p")
    if [[ -n $told ]]; then
        return "$told"
    fi
    tail -n 25 "$log" >&2 || true
    if ((status == 124 || status == 137)); then
        say "virtual-board.sh: the guest was still running after $limit s; its console is in $log" >&2
    else
        say "virtual-board.sh: the guest ended without a status (QEMU's: $status); its console is in $log" >&2
    fi
    return 5
}
# shown_part MARK: what the guest prints between its two marks, as it comes; the second has an empty line
# of its own before it.
shown_part() {
    local line on=no empty=no
    while IFS= read -r line || [[ -n $line ]]; do
        line=${line%$'\r'}
        if [[ $line == "@@end $1 "* ]]; then
            on=no
        elif [[ $on == yes ]]; then
            [[ $empty == no ]] || printf '\n'
            empty=no
            if [[ -z $line ]]; then empty=yes; else printf '%s\n' "$line"; fi
        elif [[ $line == "@@begin $1" ]]; then
            on=yes
        fi
    done
}

case $mode in
    shell | command)
        status=0
        boot "$mode" "$inject" || status=$?
        exit "$status"
        ;;
esac

started=$SECONDS worst=0
: >"$scratch/report"
part() { # part TITLE BOOT-ARGUMENTS...
    local title=$1 status=0
    shift
    heading "$title"
    boot "$@" | tee -a "$scratch/report" || status=${PIPESTATUS[0]}
    ((status <= worst)) || worst=$status
}
tell "Booting Linux $release (rocket $(<"$kernel_folder/rocket")) in $(qemu-system-aarch64 --version | head -n 1)"
if [[ $mode == smoke ]]; then
    part "Smoke" smoke ''
else
    part "rocket: the kernel's driver, and how it recovers from faults" rocket ''
    driver=no
    part "mmio: the registers through /dev/mem, without a driver" mmio ''
fi
count() { grep -c "^$1 " "$scratch/report" || true; }
heading "Virtual board, Linux $release"
say "$(count PASS) passed, $(count WARN) warned, $(count FAIL) failed, $(count SKIP) skipped; $(duration $((SECONDS - started)))"
((worst == 0 || worst == 5)) || worst=1
exit "$worst"
