#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# npu-serve with OpenAI's own client and with a browser. run.sh NPU-SERVE SOURCE-FOLDER SCRATCH-FOLDER
# Needs node, npm, chromium (scripts/setup.sh --e2e) and npm's registry, the first time.
set -euo pipefail

serve=$1
endless=$2/tests/vectors/llm/tinyA-Q8_0.gguf # an answer of this one does not end by itself
scratch=$3
here=$(cd "$(dirname "$0")" && pwd)

for program in node npm chromium; do
    command -v "$program" >/dev/null || {
        printf '%s is not installed: scripts/setup.sh --e2e\n' "$program" >&2
        exit 77
    }
done

mkdir -p "$scratch"
cp "$here"/package.json "$here"/package-lock.json "$here"/*.mjs "$scratch"
if ! cmp -s "$scratch/package-lock.json" "$scratch/installed"; then
    (cd "$scratch" && npm ci --no-audit --no-fund --ignore-scripts)
    cp "$scratch/package-lock.json" "$scratch/installed"
fi

pids=()
finish() { ((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null || true; }
trap finish EXIT
# start NAME ARGUMENTS...: its address, when it is ready, in $scratch/NAME.url.
start() {
    local name=$1
    shift
    : >"$scratch/$name.out"
    "$serve" --port 0 "$@" >"$scratch/$name.out" &
    pids+=("$!")
    until [[ $(wc -l <"$scratch/$name.out") -ge 2 ]]; do
        kill -0 "${pids[-1]}" 2>/dev/null || exit 1
        sleep 0.1
    done
    grep -o 'http://.*' "$scratch/$name.out" >"$scratch/$name.url"
}

export NPU_SERVE_API_KEY=e2e-key
start tiny --alias e2e-model
: >"$scratch/endless.out"
(
    unset NPU_SERVE_API_KEY
    exec "$serve" --port 0 -m "$endless" -c 100000 --parallel 2 >"$scratch/endless.out"
) &
pids+=("$!")
until [[ $(wc -l <"$scratch/endless.out") -ge 2 ]]; do
    kill -0 "${pids[-1]}"
    sleep 0.1
done
NPU_SERVE_URL=$(<"$scratch/tiny.url")
NPU_SERVE_ENDLESS_URL=$(grep -o 'http://.*' "$scratch/endless.out")
export NPU_SERVE_URL NPU_SERVE_ENDLESS_URL

cd "$scratch"
printf 'openai %s, node %s\n' "$(node -p 'JSON.parse(fs.readFileSync("node_modules/openai/package.json")).version')" "$(node --version)"
node openai.test.mjs
chromium --version 2>/dev/null
node page.test.mjs
kill "${pids[@]}"
for pid in "${pids[@]}"; do wait "$pid"; done
pids=()
