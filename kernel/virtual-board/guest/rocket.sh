# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC2034
# shellcheck source=kernel/virtual-board/guest/report.sh
. /vboard/report.sh
# shellcheck source=kernel/virtual-board/guest/checks.sh
. /vboard/checks.sh

# 167 products on three cores, a job for each core.
many_jobs() {
    product rocket --m 96 --n 64 --k 64 --cores 3 --repeat 167 || return 1
    [ "$(grep -o 'jobs [0-9]*' /tmp/gemm.log | grep -o '[0-9]*')" -ge 500 ]
}
interrupts() {
    grep -E 'fda[bcd]' /proc/interrupts
    detail=$(awk '/fda[bcd].*\.npu/ { n = 0; for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) n += $i; s = s " " n }
        END { print "of the three cores:" s }' /proc/interrupts)
    [ "$(awk '/fda[bcd].*\.npu/ { n = 0; for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) n += $i; if (n > 0) c++ }
        END { print c + 0 }' /proc/interrupts)" -eq 3 ]
}

check "rocket probes" probes
check "audit" audit
check "bring-up" bringup rocket
check "replay" replay rocket rocket
check "same bytes" same_bytes rocket
check "500 jobs on three cores" many_jobs
check "every core interrupts" interrupts
check "kernel log" quiet_kernel
check "bring-up with a fault" bringup rocket --allow-faults
check "an interrupt gets lost" recovery drop-interrupt@1
check "a core hangs" recovery hang@1
check "a page fault" recovery iommu-fault@1 'rk_iommu.*Page fault'
check "bring-up again" bringup rocket
[ $failed -eq 0 ]
