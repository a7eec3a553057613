# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC2034
# shellcheck source=kernel/virtual-board/guest/report.sh
. /vboard/report.sh
# shellcheck source=kernel/virtual-board/guest/checks.sh
. /vboard/checks.sh
check "rocket probes" probes
check "audit" audit
check "one product" product rocket --m 64 --n 64 --k 64
check "kernel log" quiet_kernel
[ $failed -eq 0 ]
