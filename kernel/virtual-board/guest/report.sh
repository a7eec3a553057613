# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC2034
# How the guest's checks report, a line each as `npu-probe bringup` does. To be sourced by busybox sh.
failed=0
faults='timed out|page fault|Unable to handle|Oops|BUG:|WARNING:|rcu.*stall'

# guest_ms: the guest's clock since it was switched on.
guest_ms() { awk '{ printf "%d\n", $1 * 1000 }' /proc/uptime; }

# check NAME FUNCTION ARGUMENTS...: the function prints what it did, sets $detail, and returns 0 if all
# is well, 76 if something is wrong that is no fault of ours, 77 if the check does not apply.
check() {
    name=$1
    shift
    detail=''
    log=/tmp/check.log
    from=$(guest_ms)
    "$@" >$log 2>&1
    status=$?
    ms=$(($(guest_ms) - from))
    word=PASS
    case $status in
        0) ;;
        76) word=WARN ;;
        77) word=SKIP ;;
        *) word=FAIL failed=$((failed + 1)) ;;
    esac
    printf '%s  %-26s %8d ms  %s\n' $word "$name" $ms "$detail"
    [ $word != FAIL ] || tail -n 30 $log | sed 's/^/      /'
}

# new_kernel_lines: lines of the kernel's log since the last call, into /tmp/kernel.log.
seen_lines=0
new_kernel_lines() {
    dmesg | tail -n +$((seen_lines + 1)) >/tmp/kernel.log
    seen_lines=$(dmesg | wc -l)
}

# A race in rocket (7.3.4): a job lets go of its buffers in a worker after its fence has signalled, and a
# file that is closed in between is taken down with them still in its address space [rocket_drv.c,
# rocket_postclose]. The simulator's host decides who is first.
known='drm_mm.c.*drm_mm_takedown'

# quiet_kernel: fails if the kernel complained since the last look.
quiet_kernel() {
    new_kernel_lines
    first=$(grep -E "$faults" /tmp/kernel.log | grep -vE "$known" | head -n 1)
    if [ -n "$first" ]; then
        cat /tmp/kernel.log
        detail="the kernel complained: $first"
        return 1
    fi
    closed_early=$(grep -cE "$known" /tmp/kernel.log)
    detail='no complaint'
    [ "$closed_early" -eq 0 ] && return 0
    detail="rocket closed a file before its last job let go of its buffers, $closed_early times (known)"
    return 76
}
