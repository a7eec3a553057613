#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every test in one command. Ends with ctest's summary of the release build.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/say.sh

usage() {
    cat <<'USAGE'
scripts/test.sh [--all] [--fuzz SECONDS] [--preset PRESET]

Installs what is needed (scripts/setup.sh --dev), builds into build/<preset>/ and tests:
  release   builds everything; its whole test suite runs last
  asan      unit tests under AddressSanitizer and UndefinedBehaviorSanitizer
  aarch64   cross build; unit tests under emulation (QEMU). Skipped on an arm64 machine, where
            release is the native build
  fuzz      every fuzzer, built with clang, for a few seconds from its corpus (with --all clang
            builds everything)

  --all             also the tests labelled slow, virtual-board, teflon and e2e
  --fuzz SECONDS    time for each fuzzer, from a seed of its own each time; 0 only replays the
                    corpora (default: 20 s from a fixed seed, so that a finding can be repeated)
  --preset PRESET   only this one of release, debug, asan, aarch64, fuzz

Stops at the first stage that fails. Examples:
  scripts/test.sh                    what CI runs
  scripts/test.sh --preset release   the quickest useful run
  scripts/test.sh --preset fuzz --fuzz 600
USAGE
}

everything=no
fuzz_seconds=20
fuzz_seed=1
presets=(release asan aarch64 fuzz)
while (($#)); do
    case $1 in
        --all) everything=yes ;;
        --fuzz)
            [[ ${2:-} =~ ^[0-9]+$ ]] || { usage >&2 && exit 2; }
            fuzz_seconds=$2
            fuzz_seed=0 # libFuzzer's word for a random one
            shift
            ;;
        --preset)
            [[ ${2:-} =~ ^(release|debug|asan|aarch64|fuzz)$ ]] || { usage >&2 && exit 2; }
            presets=("$2")
            shift
            ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
    shift
done

started=$SECONDS
times=()
# stage TITLE COMMAND...: runs one stage under a heading and notes how long it took.
stage() {
    local title=$1 from=$SECONDS
    shift
    heading "$title"
    "$@" || fail "stage '$title' failed after $(duration $((SECONDS - from)))"
    times+=("$(printf '%-58s %s' "$title" "$(duration $((SECONDS - from)))")")
}

# What make and ninja print is only of interest if it fails.
quietly() { # quietly LOG COMMAND...
    local log=$1
    shift
    mkdir -p "$(dirname "$log")"
    if ! "$@" >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        say "The end of $log is above." >&2
        return 1
    fi
}

build() { # build PRESET [TARGET]
    quietly "build/$1-configure.log" cmake --preset "$1" -D BUILD_TESTING=ON || return
    quietly "build/$1-build.log" cmake --build --preset "$1" --target "${2:-all}" || return
    tail -n 1 "build/$1-build.log"
}

run_tests() { # run_tests PRESET CTEST-OPTIONS...
    ctest --preset "$@" --no-tests=error
}

fuzz_one() { # fuzz_one LIST: the fuzzer that this file describes
    local name binary seeds corpus
    name=$(basename "$1")
    { read -r binary && read -r seeds; } <"$1"
    corpus=build/fuzz/corpus/$name # libFuzzer writes what it finds into its first folder
    mkdir -p "$corpus"
    if quietly "build/fuzz/$name.log" "$binary" -max_total_time="$fuzz_seconds" \
        -seed="$fuzz_seed" -timeout=20 -rss_limit_mb=4096 \
        -artifact_prefix="build/fuzz/$name-" "$corpus" ${seeds:+"$seeds"}; then
        say "$name: $(grep '^Done ' "build/fuzz/$name.log"), no finding"
    else
        say "$name: a finding; the input is build/fuzz/$name-*"
        return 1
    fi
}

fuzz() { # as many at a time as there are CPUs
    local list running=0 failed=no
    for list in build/fuzz/fuzzers/*; do
        if ((running == $(nproc))); then
            wait -n || failed=yes
            running=$((running - 1))
        fi
        fuzz_one "$list" &
        running=$((running + 1))
    done
    while ((running > 0)); do
        wait -n || failed=yes
        running=$((running - 1))
    done
    [[ $failed == no ]]
}

heading "Setup: Debian packages"
if [[ $everything == no ]]; then scripts/setup.sh --dev; else scripts/setup.sh --e2e; fi

# Sanitizers and emulation are for the quick tests; what takes long runs once, in release.
# clang builds what the fuzzers need, which is all but the tests.
skip=(--label-exclude '^(slow|virtual-board|teflon|e2e)$')
clang_target=fuzzers
[[ $everything == no ]] || { skip=() && clang_target=all; }

for preset in "${presets[@]}"; do
    case $preset in
        release | debug) stage "$preset: build" build "$preset" ;;
        asan)
            stage "asan: build" build asan
            stage "asan: unit tests" run_tests asan --label-regex '^unit$'
            ;;
        aarch64)
            if [[ $(uname -m) == aarch64 ]]; then
                say "This is an arm64 machine: the release build is native, nothing to cross-build."
                continue
            fi
            stage "aarch64: cross build" build aarch64
            stage "aarch64: unit tests under QEMU" run_tests aarch64 \
                --label-regex '^(unit|packaging)$'
            ;;
        fuzz)
            stage "fuzz: build with clang" build fuzz "$clang_target"
            stage "fuzz: corpora" run_tests fuzz --label-regex '^fuzz$'
            ((fuzz_seconds == 0)) || stage "fuzz: $fuzz_seconds s for each fuzzer" fuzz
            ;;
    esac
done

last=''
for preset in "${presets[@]}"; do
    [[ $preset != release && $preset != debug ]] || last=$preset
done
heading "Times"
printf '%s\n' "${times[@]}"
say "so far: $(duration $((SECONDS - started)))"
if [[ -n $last ]]; then
    # Last, so that ctest's own summary closes the output.
    heading "$last: all tests"
    run_tests "$last" "${skip[@]}"
fi
