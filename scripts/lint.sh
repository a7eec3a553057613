#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# clang-tidy on the C++ sources that changed, shellcheck on the scripts.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/say.sh

usage() {
    cat <<'USAGE'
scripts/lint.sh [--all | --since COMMIT]

Runs shellcheck on every script and clang-tidy (.clang-tidy) on C++ sources, with the compile
commands of build/release/ (run scripts/test.sh --preset release first).

  --since COMMIT  the sources that differ from COMMIT (default: HEAD, what is not committed yet)
  --all           all sources (takes long)

Example: scripts/lint.sh --since HEAD~3
USAGE
}

since=HEAD
while (($#)); do
    case $1 in
        --all) since='' ;;
        --since)
            (($# > 1)) || { usage >&2 && exit 2; }
            since=$2
            shift
            ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
    shift
done
for tool in clang-tidy shellcheck; do
    command -v $tool >/dev/null || fail "$tool is missing: run scripts/setup.sh"
done

heading "shellcheck"
mapfile -t scripts < <(git ls-files '*.sh' .ci/run)
shellcheck -x -S warning "${scripts[@]}"
say "${#scripts[@]} scripts, no finding."

if [[ -n $since ]]; then
    mapfile -t sources < <(git diff --name-only --diff-filter=d "$since" -- '*.cpp')
else
    mapfile -t sources < <(git ls-files '*.cpp')
fi
heading "clang-tidy"
# Sources that this build does not compile (the outside project of tests/packaging) have no command.
commands=build/release/compile_commands.json
[[ -f $commands ]] || fail "$commands is missing: run scripts/test.sh --preset release"
# Google Benchmark's own macros do not pass.
known=()
for source in ${sources[@]+"${sources[@]}"}; do
    [[ $source != tests/bench/* ]] || continue
    if grep -qF "\"file\": \"$PWD/$source\"" "$commands"; then known+=("$source"); fi
done
if ((${#known[@]} == 0)); then
    say "No source to look at; --all looks at everything."
    exit 0
fi
say "${#known[@]} sources"
# The commands are g++'s: clang does not know all of its warnings.
printf '%s\0' "${known[@]}" |
    xargs -0 -n 1 -P "$(nproc)" clang-tidy -p build/release --quiet --warnings-as-errors='*' \
        --extra-arg=-Wno-unknown-warning-option
say "No finding."
