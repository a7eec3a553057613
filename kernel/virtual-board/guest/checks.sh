# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC2034
# The checks that several boots share. To be sourced after report.sh by busybox sh.
cores='fdab0000.npu fdac0000.npu fdad0000.npu'

probes() {
    dmesg | grep -E 'rocket|iommu group'
    ls -l /dev/accel
    found=$(dmesg | grep -cE 'rocket .*Rockchip NPU core [0-2] version: 1179210309')
    detail="$found cores, /dev/accel/accel0"
    [ "$found" -eq 3 ] && [ -c /dev/accel/accel0 ]
}

audit() {
    npu-probe audit
    status=$?
    npu-probe audit --json >/tmp/audit.json
    detail=$(awk -F'[:,]' '/"verdict"/ { gsub(/[" ]/, "", $2); v = $2 }
        /"(ok|warn|fail|unknown)": *[0-9]/ { gsub(/[" ]/, "", $1); gsub(/ /, "", $2); s = s ", " $1 " " $2 }
        END { print v s }' /tmp/audit.json)
    [ $status -eq 0 ] && grep -q '"verdict": *"ready"' /tmp/audit.json
}

# bringup DEVICE OPTION...
bringup() {
    npu-probe bringup --device "$@" >/tmp/bringup.log
    status=$?
    cat /tmp/bringup.log
    detail="$1: $(grep -c '^PASS' /tmp/bringup.log) of $(grep -cE '^(PASS|FAIL|SKIP)' /tmp/bringup.log) rungs"
    return $status
}

# product DEVICE OPTION...: a product of matrices, checked bit for bit.
product() {
    device=$1
    shift
    npu-probe run gemm --device "$device" --check "$@" >/tmp/gemm.log 2>&1
    status=$?
    cat /tmp/gemm.log
    detail="$device: $(grep -o 'jobs [0-9]*' /tmp/gemm.log), $(grep -o 'check .*' /tmp/gemm.log)"
    return $status
}

# hashes FILE: of each operator's output bytes in a replay's JSON, in order.
hashes() { grep -o '"sha256": *"[0-9a-f]*"' "$1"; }

# replay DEVICE NAME: every public case; hashes to /tmp/NAME.sha256.
replay() {
    npu-probe replay --device "$1" --json /vectors/mesa >/tmp/replay.json
    status=$?
    [ $status -eq 0 ] || cat /tmp/replay.json
    hashes /tmp/replay.json >"/tmp/$2.sha256"
    matched=$(grep -o '"matched": *[0-9]*' /tmp/replay.json | grep -o '[0-9]*$')
    total=$(grep -o '"total": *[0-9]*' /tmp/replay.json | tail -n 1 | grep -o '[0-9]*$')
    detail="$1: $matched of $total cases match, $(wc -l <"/tmp/$2.sha256") operators"
    [ $status -eq 0 ] && [ -n "$total" ] && [ "$matched" = "$total" ] && [ "$total" -ge 14 ]
}

# same_bytes NAME: as the simulator gives in this process, without any driver.
same_bytes() {
    npu-probe replay --device sim --json /vectors/mesa >/tmp/sim.json || return 1
    hashes /tmp/sim.json >/tmp/sim.sha256
    all=$(wc -l </tmp/sim.sha256)
    detail="$all operators' outputs equal the in-process simulator's, byte for byte"
    [ "$all" -gt 0 ] && diff "/tmp/$1.sha256" /tmp/sim.sha256
}

# inject FAULTS: into the next starts of each core, through the board's control window (README.md there).
inject() {
    at=$((0xFD7C1100))
    for word in $(printf '%s' "$1" | od -An -v -tx4); do
        devmem $at 32 "0x$word" || return 1
        at=$((at + 4))
    done
    devmem 0xFD7C1004 32 1 && [ "$(devmem 0xFD7C1004 32)" = 0x00000000 ]
}

# recovery FAULT [LINE]: the fault hits a job on each core. The driver gives them up after 500 ms, resets
# the cores and logs LINE; the program tries once more, and the jobs after that are as if nothing had been.
recovery() {
    new_kernel_lines
    detail='could not be injected'
    inject "$1" || return 1
    product rocket --m 96 --n 64 --k 64 --cores 3 || return 1
    new_kernel_lines
    grep -E "timed out|Page fault" /tmp/kernel.log
    lost=$(grep -c 'NPU job timed out' /tmp/kernel.log)
    detail="the driver gave up $lost jobs, not 3"
    [ "$lost" -eq 3 ] || return 1
    detail="the kernel's log has no \"$2\""
    [ -z "$2" ] || grep -q "$2" /tmp/kernel.log || return 1
    product rocket --m 96 --n 64 --k 64 --cores 3 --repeat 10 || return 1
    new_kernel_lines
    detail='the jobs after it timed out too'
    grep 'timed out' /tmp/kernel.log && return 1
    detail="3 jobs given up, the cores reset; the second try and 30 more jobs are right"
}
