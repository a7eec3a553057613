#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Mesa's own TensorFlow Lite delegate, unmodified, on the simulated NPU.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/say.sh

usage() {
    cat <<'USAGE'
scripts/teflon-e2e.sh [--root DIR] [--preload LIB | --no-device] [--npu-probe TOOL | --no-capture]
                      [--seed N] [--count N] [--mirror URL] [MODEL...]

Fetches Debian sid's arm64 packages mesa-teflon-delegate and libtensorflow-lite-dev into a private
folder (nothing is installed on this machine), builds a small TensorFlow Lite program for arm64, and
runs quantised models with it under QEMU: on the CPU's reference kernels, and through Mesa's
delegate on librocket-sim.so. Each step of a model must agree within 1. Each run is recorded
(librocket-capture.so), and its replay on this machine must give every byte that the NPU wrote.

  --root DIR      where the packages go; reused if complete (default: build/teflon-root)
  --preload LIB   arm64 librocket-sim.so (default: the one of build/aarch64, built if needed)
  --npu-probe TOOL  replays what was recorded (default: the one of build/release, built if needed)
  --no-capture    no recording, no replay
  --no-device     without that library: everything up to the delegate, which must find no NPU
  --seed N        of the random models and inputs (default: 1)
  --count N       how many random models (default: 24; 0: only the recorded ones)
  --mirror URL    of a Debian archive (default: the one this machine's apt uses)
  MODEL           only these .tflite files, no recorded or random ones

Ends with 0 if all agree, 1 if not, 2 for a wrong call, 3 if the packages cannot be had.
Example: scripts/teflon-e2e.sh --seed 7 --count 60
USAGE
}

root=build/teflon-root
preload=''
device=yes
capture=yes
probe=''
seed=1
count=24
mirror=''
models=()
while (($#)); do
    case $1 in
        --root | --preload | --npu-probe | --mirror | --seed | --count)
            [[ -n ${2:-} ]] || { usage >&2 && exit 2; }
            ;;&
        --root) root=$2 && shift ;;
        --preload) preload=$2 && shift ;;
        --mirror) mirror=$2 && shift ;;
        --seed | --count)
            [[ $2 =~ ^[0-9]{1,5}$ ]] || { usage >&2 && exit 2; }
            [[ $1 == --seed ]] && seed=$2 || count=$2
            shift
            ;;
        --npu-probe) probe=$2 && shift ;;
        --no-capture) capture=no ;;
        --no-device) device=no ;;
        -h | --help) usage && exit 0 ;;
        -*) usage >&2 && exit 2 ;;
        *)
            [[ -r $1 ]] || { say "cannot read the model $1" >&2 && exit 2; }
            models+=("$(realpath "$1")")
            ;;
    esac
    shift
done

mkdir -p "$root"
root=$(realpath "$root")
sys=$root/sys
libs=$sys/usr/lib/aarch64-linux-gnu
delegate=$sys/usr/lib/teflon/libteflon.so
packages=(mesa-teflon-delegate libtensorflow-lite-dev)

# have PROGRAM...: whether all of them are installed.
have() {
    local program
    for program in "$@"; do command -v "$program" >/dev/null || return; done
}

no_packages() {
    say "teflon-e2e.sh: $*" >&2
    exit 3
}

# The archive that this machine's own apt uses for Debian.
find_mirror() {
    # shellcheck disable=SC2016 # the name is apt's, not the shell's
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
        grep -m 1 -E '/debian/?$' || true
}

# apt with configuration, lists and cache below $root/apt: the machine's own stay untouched.
private_apt() { APT_CONFIG=$root/apt/apt.conf apt-get -q "$@"; }

fetch_packages() {
    local apt=$root/apt keyring=/usr/share/keyrings/debian-archive-keyring.gpg signed='' file
    have apt-get dpkg-deb ||
        no_packages "needs apt-get and dpkg-deb; run this on Debian or a descendant"
    [[ -n $mirror ]] || mirror=$(find_mirror)
    [[ -n $mirror ]] || no_packages "found no Debian archive in apt's sources: name one with --mirror"
    [[ ! -r $keyring ]] || signed="[signed-by=$keyring] "

    rm -rf "$apt" "$sys" "$root/complete"
    mkdir -p "$apt"/{state,lists/partial,archives/partial,etc/apt.conf.d,etc/preferences.d,etc/sources.d}
    : >"$apt/status"
    printf 'deb %s%s sid main\n' "$signed" "$mirror" >"$apt/etc/sources.list"
    for file in /etc/apt/apt.conf /etc/apt/apt.conf.d/*; do # only how to reach the archive
        if [[ -r $file ]] && grep -v '^ *//' "$file" | grep -qi proxy; then
            cp "$file" "$apt/etc/apt.conf.d/"
        fi
    done
    # A cached mirror may be older than sid's promise of freshness; the signature still counts.
    cat >"$apt/apt.conf" <<CONF
Dir::State "$apt/state";
Dir::State::Lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Cache::Archives "$apt/archives";
Dir::Log "$apt";
Dir::Etc "$apt/etc";
Dir::Etc::sourceparts "$apt/etc/sources.d";
Dir::Etc::Trusted "/etc/apt/trusted.gpg";
Dir::Etc::TrustedParts "/etc/apt/trusted.gpg.d";
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
CONF
    if ! private_apt update >"$root/apt.log" 2>&1 ||
        ! private_apt -y --download-only install "${packages[@]}" >>"$root/apt.log" 2>&1; then
        tail -n 20 "$root/apt.log" >&2
        no_packages "apt could not fetch ${packages[*]} from $mirror; its last words are above"
    fi
    # Only unpacked: no maintainer script runs. The link is what base-files would bring.
    mkdir -p "$sys/usr/lib"
    ln -s usr/lib "$sys/lib"
    local deb version
    for deb in "$apt"/archives/*.deb; do
        dpkg-deb -x "$deb" "$sys"
    done
    version=$(dpkg-deb -f "$apt"/archives/mesa-teflon-delegate_*.deb Version)
    dpkg --compare-versions "$version" ge 26.2 ||
        no_packages "the archive has Mesa $version, but 26.2 or later is needed: try another --mirror"
    for deb in "$apt"/archives/*.deb; do basename "$deb"; done >"$root/complete"
    rm -rf "$apt"
}

heading "Packages"
if [[ ! -e $root/complete ]]; then
    fetch_packages
fi
say "$root: $(grep -c . "$root/complete") packages, $(grep -o '^mesa-teflon-delegate_[^_]*' "$root/complete")," \
    "$(grep -o '^libtensorflow-lite-dev_[^_]*' "$root/complete")"

heading "Programs"
if [[ $(uname -m) == aarch64 ]]; then
    cross=''
    runner=("$sys/lib/ld-linux-aarch64.so.1" --library-path "$libs:/usr/lib/aarch64-linux-gnu")
else
    cross=aarch64-linux-gnu-
    have qemu-aarch64-static ${cross}g++ ||
        fail "needs qemu-aarch64-static and aarch64-linux-gnu-g++: run scripts/setup.sh --dev"
    runner=(qemu-aarch64-static -L "$sys")
fi
# is_old FILE SOURCE: whether FILE must be built again.
is_old() { [[ ! -e $1 || $2 -nt $1 || $root/complete -nt $1 ]]; }
warnings=(-Wall -Wextra)
if is_old "$root/make_models" tests/teflon/make_models.cpp; then
    g++ -std=c++20 -O1 "${warnings[@]}" -isystem "$sys/usr/include" \
        tests/teflon/make_models.cpp -o "$root/make_models"
fi
if is_old "$root/teflon_run" tests/teflon/teflon_run.cpp; then
    # The libraries are of a newer glibc than the compiler's: what they need is found at run time.
    ${cross}g++ -std=c++20 -O1 "${warnings[@]}" -isystem "$sys/usr/include" \
        tests/teflon/teflon_run.cpp -o "$root/teflon_run" -L "$libs" -l:libtensorflow-lite.so \
        -Wl,--allow-shlib-undefined -Wl,-rpath-link,"$libs"
fi
if is_old "$root/keep_heap.so" tests/teflon/keep_heap.c; then
    ${cross}gcc -std=c11 -O1 "${warnings[@]}" -fno-builtin -shared -fPIC \
        tests/teflon/keep_heap.c -o "$root/keep_heap.so"
fi
say "$root/teflon_run, $root/make_models"

if [[ $device == yes ]]; then
    if [[ -z $preload ]]; then
        preload=build/aarch64/lib/librocket-sim.so
        say "building $preload"
        if ! { cmake --preset aarch64 &&
            cmake --build --preset aarch64 --target rocket-sim rocket-capture; } \
            >"$root/preload.log" 2>&1; then
            tail -n 30 "$root/preload.log" >&2
            fail "could not build $preload: the end of $root/preload.log is above"
        fi
    fi
    [[ -r $preload ]] || fail "there is no $preload; without --preload it is built here"
    preload=$(realpath "$preload")
    recorder=$(dirname "$preload")/librocket-capture.so
    session=$root/session.npucap
    if [[ $capture == yes ]]; then
        [[ -r $recorder ]] || fail "there is no $recorder beside the preload library"
        if [[ -z $probe ]]; then
            probe=build/release/bin/npu-probe
            say "building $probe"
            if ! { cmake --preset release && cmake --build --preset release --target npu-probe; } \
                >"$root/probe.log" 2>&1; then
                tail -n 30 "$root/probe.log" >&2
                fail "could not build $probe: the end of $root/probe.log is above"
            fi
        fi
        [[ -x $probe ]] || fail "there is no $probe"
    fi
else
    capture=no
fi

if ((${#models[@]} == 0)); then
    mkdir -p "$root/models"
    rm -f "$root"/models/*.tflite
    for model in tests/vectors/mesa/*/model.tflite; do
        name=$(basename "$(dirname "$model")")
        cp "$model" "$root/models/$name.tflite"
    done
    for model in tests/vectors/mesa/*/model.tflite.gz; do
        name=$(basename "$(dirname "$model")")
        gzip -dc "$model" >"$root/models/$name.tflite"
    done
    models=("$root"/models/*.tflite)
    if ((count > 0)); then
        "$root/make_models" "$root/models" "$seed" "$count" >"$root/random.txt"
        mapfile -t -O "${#models[@]}" models <"$root/random.txt"
    fi
fi

# run_model LIBRARIES MODEL [ARGUMENT...]: the comparison in a process of its own, with LIBRARIES
# preloaded.
run_model() {
    local libraries=$1
    shift
    if [[ ${runner[0]} == qemu* ]]; then
        timeout 600 "${runner[@]}" ${libraries:+-E LD_PRELOAD="$libraries"} "$root/teflon_run" \
            --delegate "$delegate" --seed "$seed" "$@"
    else
        timeout 600 "${runner[@]}" ${libraries:+--preload "$libraries"} "$root/teflon_run" \
            --delegate "$delegate" --seed "$seed" "$@"
    fi
}

# same_as_recorded CASE: whether the delegate's result for the recorded input is, bit for bit, that
# of the executor that the recording came with; npu-probe replay asks the same of its own. Only for
# a case of one operator: later ones were recorded on the CPU's inputs.
same_as_recorded() {
    local name
    name=$(basename "$1")
    run_model "$preload" --input "$1/input-0.bin" --output "$root/output.bin" \
        "$root/models/$name.tflite" >/dev/null 2>&1 || return
    python3 - "$1/case.json" "$root/output.bin" <<'PYTHON'
import hashlib, json, sys
case = json.load(open(sys.argv[1]))
result = bytes(byte ^ 0x80 for byte in open(sys.argv[2], "rb").read())  # as the NPU's int8
sys.exit(hashlib.sha256(result).hexdigest() != case["checks"][0]["executor_sha256"])
PYTHON
}

# Models that the driver itself gets wrong, with the words of the log that tell it: what fails in
# any other way is a failure.
# add_14_32 adds to a convolution its own input: the driver lists that buffer twice, and the kernel,
# which cannot lock one twice, drops the job without an error [rocket_job.c, drm_gem.c].
declare -A known=([add_14_32]='the kernel drops job .* lists handle [0-9]* twice')

heading "${#models[@]} models"
passed=0
known_wrong=0
failures=()
mkdir -p "$root/logs"
export NPU_SIM_QUIET=0 # what the library says of dropped jobs is looked for below
for model in "${models[@]}"; do
    name=$(basename "$model" .tflite)
    log=$root/logs/$name.log
    code=0
    libraries=$preload
    if [[ $capture == yes ]]; then
        libraries=$recorder:$preload
        export NPU_CAPTURE=$session
        rm -f "$session"
    fi
    run_model "$libraries" "$model" >"$log" 2>&1 || code=$?
    note=''
    if [[ $device == yes && $code == 134 ]]; then
        # See tests/teflon/keep_heap.c.
        note=' (Mesa aborted after its submit: heap; repeated without free)'
        code=0
        rm -f "$session"
        run_model "$libraries:$root/keep_heap.so" "$model" >"$log" 2>&1 || code=$?
    fi
    unset NPU_CAPTURE
    if [[ $capture == yes && $code == 0 ]]; then
        if "$probe" replay "$session" >"$root/replay.log" 2>&1; then
            note+=", replay bit for bit"
        else
            code=1
            echo "  FAIL the replay of $session differs" >>"$log"
            tail -n 5 "$root/replay.log" >>"$log"
        fi
    fi
    recorded=tests/vectors/mesa/$name
    # The recording's executor rounds the ties of CLIP_TRUNCATE in another way than our simulator:
    # docs/open-questions.md, clip_truncate_tie.
    if [[ $device == yes && $code == 0 && $model == "$root/models/$name.tflite" &&
        -d $recorded && $name != *_trunc_* ]] &&
        python3 -c 'import json, sys; sys.exit(len(json.load(open(sys.argv[1]))["checks"]) != 1)' \
            "$recorded/case.json"; then
        if same_as_recorded "$recorded"; then
            note+=', bit for bit the recorded result'
        else
            code=1
            echo "  FAIL not the recorded result, bit for bit" >>"$log"
        fi
    fi
    if [[ $device == no ]]; then
        # The CPU ran and the delegate was loaded; it must say that there is no device, no more.
        [[ $code == 3 ]] && grep -q 'found no NPU' "$log" && code=0 || code=1
    fi
    if [[ $code == 0 ]]; then
        passed=$((passed + 1))
        say "ok   $name$note"
        [[ $device == no ]] || grep 'end to end' "$log" | sed 's/^ */       /' || true
    elif [[ $code == 1 && -n ${known[$name]:-} ]] && grep -q "${known[$name]}" "$log"; then
        known_wrong=$((known_wrong + 1))
        say "wrong, as known: $name$note"
    else
        failures+=("$name")
        say "FAIL $name, exit code $code$note"
        grep -v '^  ok ' "$log" | tail -n 12 | sed 's/^/     /'
    fi
done

heading "Result"
say "$passed passed, ${#failures[@]} failed, $known_wrong wrong as known; the logs are in $root/logs"
((${#failures[@]} == 0)) || exit 1
