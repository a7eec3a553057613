# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC2034
# shellcheck source=kernel/virtual-board/guest/report.sh
. /vboard/report.sh
# shellcheck source=kernel/virtual-board/guest/checks.sh
. /vboard/checks.sh

nobody_else() {
    for core in $cores; do
        [ -d /sys/bus/platform/devices/$core ] || { echo "no $core" && return 1; }
        [ ! -e /sys/bus/platform/devices/$core/driver ] || { echo "$core has a driver" && return 1; }
    done
    zcat -f /boot/config-* | grep -E 'STRICT_DEVMEM'
    detail='no driver on any core; STRICT_DEVMEM, IO_STRICT_DEVMEM are set'
    [ "$(grep -cE '^CONFIG_(IO_)?STRICT_DEVMEM=y' /boot/config-*)" -eq 2 ]
}

check "nobody drives the NPU" nobody_else
check "bring-up" bringup mmio:0,1,2
check "replay" replay mmio:0,1,2 mmio
check "same bytes" same_bytes mmio
check "paging off" product mmio:0,iommu=bypass --m 64 --n 64 --k 64
check "kernel log" quiet_kernel
[ $failed -eq 0 ]
