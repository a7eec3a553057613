#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# run.sh SECONDS [OPTION...]: scripts/virtual-board.sh with what is built already, and a kernel that is
# cached or comes within SECONDS. Ends with 3, which ctest calls skipped, if something is not to be had.
set -euo pipefail
limit=$1
shift
cd "$(dirname "$0")/../.."
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/rosenblatt/virtual-board
status=0
timeout "$limit" python3 -B kernel/virtual-board/get_kernel.py --cache "$cache" || status=$?
if ((status == 124)); then
    printf 'skipped: the kernel packages did not come within %s s\n' "$limit"
    exit 3
elif ((status != 0)); then
    printf 'skipped: see above\n'
    exit 3
fi
exec scripts/virtual-board.sh --offline --no-build --cache "$cache" "$@"
