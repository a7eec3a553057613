#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The main job in one command: installs what is needed, builds npu-probe and npu-chat, and shows what they do.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/say.sh

usage() {
    cat <<'USAGE'
scripts/demo.sh [--device DEVICE]

Installs what is needed (scripts/setup.sh --minimal), builds npu-probe and npu-chat into build/release/, then
  1. audits this machine: is there an RK3588, and can its NPU be used?
  2. replays register command streams that Mesa's rocket driver emitted for real networks, and
     compares every output with the one that TFLite computes on the CPU
  3. climbs the bring-up ladder, from "open the device" to an int8 matrix multiplication
  4. asks the tiny language model in models/ a question, on the CPU and then with every matrix
     product on the NPU, and compares the answers

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

heading "Build: npu-probe and npu-chat, into build/release/"
# The tests need more packages than the demo: leave them out, unless test.sh has them there already.
configure=(cmake --preset release)
[[ -f build/release/CMakeCache.txt ]] || configure+=(-D BUILD_TESTING=OFF)
log=build/demo.log
mkdir -p build
if ! "${configure[@]}" >"$log" 2>&1 ||
    ! cmake --build --preset release --target npu-probe npu-chat >>"$log" 2>&1; then
    tail -n 40 "$log" >&2
    fail "the build failed; the end of $log is above. If a package is missing, run" \
        "scripts/setup.sh; if the build folder is from an older checkout, remove build/release"
fi
probe=build/release/bin/npu-probe
chat=build/release/bin/npu-chat
say "Built $probe ($("$probe" --version)) and $chat"

# shown COMMAND...: prints the command as one could type it, then runs it.
shown() {
    local word line='$'
    for word in "$@"; do
        [[ $word =~ ^[[:alnum:]_./:=-]+$ ]] || word="\"$word\""
        line+=" $word"
    done
    say "$line"
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

heading "Chat: a language model, on the CPU and on device '$device'"
say "models/tiny-chat is a model of 2.6 million weights in the architecture of Qwen2.5, trained for this"
say "project. First the CPU answers, then the same question goes through the NPU's path: weights and"
say "activations in int8, every matrix product a register program, sums in int32."
question="What is an NPU?"
shown "$chat" --device cpu --temp 0 -p "$question" | tee build/demo-cpu.log
# --stats: what the NPU did, on stderr; here in the order of the answer.
shown "$chat" --device "$device" --temp 0 --stats -p "$question" 2>&1 | tee build/demo-npu.log
# The first line is the command.
cmp -s <(sed -n 2p build/demo-cpu.log) <(sed -n 2p build/demo-npu.log) ||
    fail "the two answers differ. On another model int8 may change a word, on this question it does" \
        "not: please report it with the output above"
say "Both say the same."

heading "Done"
say "Next: $chat to talk, $probe --help, docs/quick-start.md, and scripts/test.sh to run every test."
say "Any Qwen2.5 model as a GGUF file talks in the same way: $chat -m FILE (docs/npu-chat.md)."
