#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# clang-format over the C++ files that git knows.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/say.sh

usage() {
    cat <<'USAGE'
scripts/format.sh [--check] [FILE...]

Formats the given files, or else all C and C++ files that git knows, in place (.clang-format).

  --check  change nothing; exit 1 and name the files that are not formatted

Example: scripts/format.sh --check
USAGE
}

check=no
files=()
for argument; do
    case $argument in
        --check) check=yes ;;
        -h | --help) usage && exit 0 ;;
        -*) usage >&2 && exit 2 ;;
        *) files+=("$argument") ;;
    esac
done
command -v clang-format >/dev/null || fail "clang-format is missing: run scripts/setup.sh"
((${#files[@]})) || mapfile -t files < <(git ls-files '*.cpp' '*.hpp' '*.h' '*.c')
((${#files[@]})) || exit 0

if [[ $check == no ]]; then
    clang-format -i "${files[@]}"
    exit 0
fi
bad=()
for file in "${files[@]}"; do
    clang-format --dry-run --Werror "$file" >/dev/null 2>&1 || bad+=("$file")
done
if ((${#bad[@]})); then
    printf '%s\n' "${bad[@]}"
    fail "${#bad[@]} of ${#files[@]} files are not formatted; run scripts/format.sh"
fi
say "All ${#files[@]} files are formatted."
