# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# How the scripts of this folder talk. To be sourced, not run.

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' plain=$'\e[0m'
else
    bold='' plain=''
fi

# say SENTENCE: one line about what happens next.
say() { printf '%s\n' "$*"; }

# heading TITLE: starts a part of the output.
heading() { printf '\n%s== %s ==%s\n' "$bold" "$*" "$plain"; }

# fail SENTENCE: tells what went wrong and what to do about it, and ends the script.
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# duration SECONDS: "3 min 07 s".
duration() { printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); }
