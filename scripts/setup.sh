#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs the Debian packages that Rosenblatt is built, run and tested with.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/say.sh

usage() {
    cat <<'USAGE'
scripts/setup.sh [--minimal | --virtual-board | --dev | --e2e] [--list]

Installs, through apt, what Rosenblatt needs. Does nothing if everything is there already.

  --minimal  what a user needs to build and run npu-probe and npu-chat
  --virtual-board
             that, and what scripts/virtual-board.sh needs: QEMU's arm64 machine, device tree and
             initramfs tools, a cross compiler
  --dev      both, and what the tests need: GoogleTest, clang with its sanitizers and libFuzzer,
             formatters and linters, and QEMU to run arm64 binaries here (default)
  --e2e      that, and what the tests labelled e2e need: node, npm and a browser
  --list     only print the packages that are missing

Example: scripts/setup.sh --minimal
USAGE
}

kind=dev
list_only=no
while (($#)); do
    case $1 in
        --minimal) kind=minimal ;;
        --virtual-board) kind=virtual-board ;;
        --dev) kind=dev ;;
        --e2e) kind=e2e ;;
        --list) list_only=yes ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
    shift
done

command -v dpkg-query >/dev/null || fail "this is not a Debian-like system: install a C++20" \
    "compiler, CMake 3.25, Ninja, fmt, CLI11, nlohmann_json, cpp-httplib, Highway, libdrm, libfdt, OpenSSL, zlib," \
    "zstd and xxHash yourself, then run: cmake --preset release && cmake --build --preset release"
host=$(dpkg --print-architecture)

# name: why. A package may carry an architecture (":arm64").
declare -A why=()
needs() { # needs REASON PACKAGE...
    local reason=$1 package
    shift
    for package in "$@"; do why[$package]=$reason; done
}

needs "compiler and build tools" g++ cmake ninja-build pkg-config git
needs "text, JSON and command lines" libfmt-dev nlohmann-json3-dev libcli11-dev
needs "the rocket driver's ioctls" libdrm-dev
needs "device trees and their overlays" libfdt-dev device-tree-compiler
needs "SIMD kernels" libhwy-dev
needs "line editing of npu-chat" libedit-dev
needs "the HTTP server of npu-serve" libcpp-httplib-dev
needs "captured cases: compression and checksums" zlib1g-dev libssl-dev \
    libzstd-dev libxxhash-dev
needs "the register generator of the build" python3 python3-jsonschema

if [[ $kind != minimal ]]; then
    needs "a machine to boot a kernel in" qemu-system-arm
    needs "the virtual board's modules and initramfs" cpio kmod make xz-utils zstd
    if [[ $host == amd64 ]]; then
        needs "cross build for arm64 boards" g++-aarch64-linux-gnu \
            libfmt-dev:arm64 libdrm-dev:arm64 libfdt1:arm64 libhwy-dev:arm64 zlib1g-dev:arm64 \
            libssl-dev:arm64 libedit-dev:arm64 libzstd-dev:arm64 libcpp-httplib-dev:arm64
    else
        needs "the virtual board's module" gcc binutils
    fi
fi

if [[ $kind == dev || $kind == e2e ]]; then
    needs "tests and benchmarks" libgtest-dev libgmock-dev libbenchmark-dev
    needs "libFuzzer and a second compiler" clang libclang-rt-dev
    needs "formatting and linting" clang-format clang-tidy shellcheck
    needs "rebuilds in seconds" ccache
    needs "building .deb packages" dpkg-dev file
    needs "npu-serve with another's client" curl
    needs "the table of letters that the tokenizer uses is checked against it" unicode-data
    if [[ $host == amd64 ]]; then
        needs "tests of the cross build" libgtest-dev:arm64 libgmock-dev:arm64 \
            libbenchmark-dev:arm64
        needs "running arm64 tests on this machine" qemu-user-static
    fi
fi

if [[ $kind == e2e ]]; then
    needs "npu-serve with OpenAI's client and in a browser" chromium nodejs
    # Other vendors' nodejs brings it.
    command -v npm >/dev/null || needs "clients that npm packages" npm
fi

# installed PACKAGE[:ARCH]: whether dpkg has it, for the named or else this machine's architecture.
installed() {
    local names=("$1")
    [[ $1 == *:* ]] || names=("$1:$host" "$1:all")
    # dpkg-query fails if one of the names is unknown, though it answers for the other.
    local states
    states=$(dpkg-query -W -f '${db:Status-Status}\n' "${names[@]}" 2>/dev/null) || true
    grep -qx installed <<<"$states"
}

missing=()
for package in "${!why[@]}"; do
    installed "$package" || missing+=("$package")
done
if ((${#missing[@]})); then
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort)
fi

if [[ $list_only == yes ]]; then
    ((${#missing[@]} == 0)) || printf '%s\n' "${missing[@]}"
    exit 0
fi
if ((${#missing[@]} == 0)); then
    say "Everything is installed (${#why[@]} packages, --$kind)."
    exit 0
fi

say "Installing ${#missing[@]} of ${#why[@]} packages (--$kind):"
for package in "${missing[@]}"; do
    printf '  %-28s %s\n' "$package" "${why[$package]}"
done

root=()
if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "apt needs root and there is no sudo here: as root, run" \
        "scripts/setup.sh --$kind"
    root=(sudo)
fi
apt_get() {
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -y -q -o DPkg::Lock::Timeout=300 "$@"
}

if [[ " ${missing[*]} " == *:arm64* && $host != arm64 ]] &&
    ! dpkg --print-foreign-architectures | grep -qx arm64; then
    "${root[@]}" dpkg --add-architecture arm64
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A source of another vendor may fail here while Debian's answer, so the exit status says little:
# what counts is whether the packages can be installed.
apt_get update >"$log" 2>&1 || say "apt-get update had complaints; going on with what it fetched."
if ! apt_get install --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
    tail -n 40 "$log" >&2
    fail "apt-get could not install the packages above; its last words are shown." \
        "Check the network and /etc/apt, then run this again."
fi

for package in "${missing[@]}"; do
    installed "$package" || fail "$package is still not installed; try: apt-get install $package"
done
say "Installed. (${#why[@]} packages, --$kind)"
