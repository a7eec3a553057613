#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The main job in one command: installs what is needed, builds npu-probe and shows what it does.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/say.sh

usage() {
    cat <<'USAGE'
scripts/demo.sh [--device DEVICE]

Installs what is needed (scripts/setup.sh --minimal), builds npu-probe into build/release/, then
  1. audits this machine: is there an RK3588, and can its NPU be used?
  2. replays register command streams that Mesa's rocket driver emitted for real networks, and
     compares every output with the one that TFLite computes on the CPU
  3. climbs the bring-up ladder, from "open the device" to an int8 matrix multiplication

  --device DEVICE  what to run on: sim (default, a simulated NPU in this process; needs no board)
                   or rocket (the NPU of this board through the kernel's rocket driver)

Example: scripts/demo.sh
USAGE
}

device=sim
while (($#)); do
    case $1 in
        --device)
            (($# > 1)) || { usage >&2 && exit 2; }
            device=$2
            shift
            ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
    shift
done

heading "Setup: Debian packages"
scripts/setup.sh --minimal

heading "Build: npu-probe, into build/release/"
# The tests need more packages than the demo: leave them out, unless test.sh has them there already.
configure=(cmake --preset release)
[[ -f build/release/CMakeCache.txt ]] || configure+=(-D BUILD_TESTING=OFF)
log=build/demo.log
mkdir -p build
if ! "${configure[@]}" >"$log" 2>&1 || ! cmake --build --preset release --target npu-probe >>"$log" 2>&1; then
    tail -n 40 "$log" >&2
    fail "the build failed; the end of $log is above. If a package is missing, run" \
        "scripts/setup.sh; if the build folder is from an older checkout, remove build/release"
fi
probe=build/release/bin/npu-probe
say "Built $probe ($("$probe" --version))"

# shown COMMAND...: prints the command as one could type it, then runs it.
shown() {
    say "\$ $*"
    "$@"
}

heading "Audit: is this machine ready for the NPU?"
say "Reads /proc, /sys and the device tree; changes nothing. Without an RK3588 it says so, and the"
say "rest of this demo runs on the simulated NPU."
# 1 says that a check failed, which is an answer and not a fault of the demo.
shown "$probe" audit || (($? == 1))

heading "Replay: Mesa's register command streams on device '$device'"
say "Each case is a network that Mesa's unmodified rocket driver compiled for the NPU: its register"
say "commands, weights and biases, the input, and the output that TFLite computes on the CPU. A case"
say "matches if no output element differs from TFLite's by more than 1."
shown "$probe" replay --device "$device" tests/vectors/mesa

heading "Bring-up: the ladder on device '$device'"
say "Every rung needs the ones before it. On a new board this is the way to find out what works:"
say "the same ladder runs with --device rocket."
shown "$probe" bringup --device "$device"

heading "Done"
say "Next: $probe --help, docs/quick-start.md, and scripts/test.sh to run every test."
