#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# npu-serve as a shell sees it: curl, signals, exit codes. curl_test.sh NPU-SERVE SOURCE-FOLDER
set -euo pipefail

serve=$1
endless=$2/tests/vectors/llm/tinyA-Q8_0.gguf # an answer of this one does not end by itself
scratch=$(mktemp -d)
pid=''
finish() {
    [[ -z $pid ]] || kill -KILL "$pid" 2>/dev/null || true
    rm -rf "$scratch"
}
trap finish EXIT

die() {
    printf 'FAILED: %s\n' "$*" >&2
    cat "$scratch"/err >&2 2>/dev/null || true
    exit 1
}
expect() { # expect WHAT WANT GOT
    [[ $3 == *"$2"* ]] || die "$1: '$2' is not in '$3'"
}

# start ARGUMENTS...: sets pid and url, when it is ready.
start() {
    rm -f "$scratch/answer"
    : >"$scratch/out"
    "$serve" --port 0 "$@" >"$scratch/out" 2>"$scratch/err" &
    pid=$!
    for _ in $(seq 600); do
        [[ $(wc -l <"$scratch/out") -lt 2 ]] || break
        kill -0 "$pid" 2>/dev/null || die "npu-serve ended"
        sleep 0.1
    done
    url=$(grep -o 'http://[^ ",]*' "$scratch/out" | head -n 1)
    [[ $(wc -l <"$scratch/out") == 2 ]] || die "npu-serve is not ready after a minute"
}
# ended STATUS: waits for its end.
ended() {
    local status=0
    wait "$pid" || status=$?
    pid=''
    [[ $status == "$1" ]] || die "exit $status instead of $1"
}
ask() { curl -sS --max-time 60 "$@"; }

# What needs no server.
expect --help 'Exit codes' "$("$serve" --help)"
expect --version 'npu-serve ' "$("$serve" --version)"
for wrong in '--port 70000' '--no-such-option' '--parallel 0' '--temp -1' '--max-body 0'; do
    status=0
    # shellcheck disable=SC2086 # two words
    "$serve" $wrong >/dev/null 2>&1 || status=$?
    [[ $status == 2 ]] || die "$wrong: exit $status instead of 2"
done
for wrong in '-m /nonexistent.gguf' "-m $0" '--api-key-file /nonexistent'; do
    status=0
    # shellcheck disable=SC2086
    "$serve" --port 0 $wrong >/dev/null 2>&1 || status=$?
    [[ $status == 4 ]] || die "$wrong: exit $status instead of 4"
done

# A chat, whole and as a stream; errors; a stop while nothing runs.
start
expect 'first line' 'listening on http://127.0.0.1:' "$(head -n 1 "$scratch/out")"
expect health '{"status":"ok"}' "$(ask "$url/health")"
question='{"messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0'
expect chat '"content":"The capital of France is Paris."' \
    "$(ask "$url/v1/chat/completions" -d "$question}")"
expect stream '"content":" capital"' "$(ask -N "$url/v1/chat/completions" -d "$question, \"stream\": true}")"
expect 'end of stream' 'data: [DONE]' \
    "$(ask -N "$url/v1/chat/completions" -d "$question, \"stream\": true}" | tail -n 2)"
expect completion '"object":"text_completion"' "$(ask "$url/v1/completions" -d '{"prompt": "a"}')"
expect models '"object":"list"' "$(ask "$url/v1/models")"
expect page '<title>npu-serve</title>' "$(ask "$url/")"
expect metrics 'npu_serve_requests_total{route="/v1/completions",status="200"} 1' "$(ask "$url/metrics")"
expect 'HEAD' 'HTTP/1.1 200 OK' "$(ask -I "$url/health")"
code() { ask -o "$scratch/body" -w '%{http_code}' "$@"; }
expect 'bad JSON' 400 "$(code "$url/v1/completions" -d '{')"
expect 'bad JSON' '"error":{"message":' "$(<"$scratch/body")"
expect 'no route' 404 "$(code "$url/v1/embeddings" -d '{}')"
expect 'no method' 405 "$(code "$url/v1/completions")"
head -c 5000000 /dev/zero >"$scratch/large"
expect 'large body' 413 "$(code -H 'Content-Type: application/json' --data-binary "@$scratch/large" \
    "$url/v1/completions")"
# The port is taken.
status=0
"$serve" --port "${url##*:}" >/dev/null 2>&1 || status=$?
[[ $status == 3 ]] || die "the port is taken: exit $status instead of 3"
kill -TERM "$pid"
ended 0

# Keys, from all three places; --json.
echo 'from-file' >"$scratch/keys"
NPU_SERVE_API_KEY=from-environment start --json --api-key first --api-key second --api-key-file "$scratch/keys"
expect --json '"event":"listening"' "$(head -n 1 "$scratch/out")"
expect --json '"event":"ready"' "$(tail -n 1 "$scratch/out")"
expect 'no key' 401 "$(code "$url/v1/models")"
expect 'wrong key' 401 "$(code -H 'Authorization: Bearer third' "$url/v1/models")"
for key in first second from-file from-environment; do
    expect "key $key" 200 "$(code -H "Authorization: Bearer $key" "$url/v1/models")"
done
kill -INT "$pid"
ended 0

# SIGTERM: what runs comes to its end, what is new is refused.
start -m "$endless" -c 4096 --parallel 2
ask "$url/v1/completions" -d '{"prompt": [5], "temperature": 0, "max_tokens": 3000}' >"$scratch/answer" &
asking=$!
until ask "$url/metrics" | grep -q '^npu_serve_sessions_active 1'; do
    kill -0 "$asking" 2>/dev/null || die "the answer was too quick for this test"
done
kill -TERM "$pid"
until [[ $(code "$url/health" 2>/dev/null || true) != 200 ]]; do :; done
wait "$asking" || die "the running answer was cut off"
expect 'running answer' '"completion_tokens":3000' "$(<"$scratch/answer")"
ended 0

# --drain-timeout, and a second signal.
start -m "$endless" -c 1000000 --parallel 1 --drain-timeout 0.2 --kv-type q8_0
ask -N "$url/v1/completions" -d '{"prompt": [5], "temperature": 0, "stream": true}' >"$scratch/answer" &
asking=$!
until [[ -s $scratch/answer ]]; do sleep 0.01; done
kill -TERM "$pid"
ended 0
wait "$asking" || die "the stream was not ended as HTTP wants"
expect 'cut off' '"code":"draining"' "$(tail -n 2 "$scratch/answer")"

start -m "$endless" -c 1000000 --parallel 1 --drain-timeout 600 --kv-type q8_0
ask -N "$url/v1/completions" -d '{"prompt": [5], "temperature": 0, "stream": true}' >"$scratch/answer" 2>/dev/null &
until [[ -s $scratch/answer ]]; do sleep 0.01; done
kill -TERM "$pid"
until [[ $(code "$url/health" 2>/dev/null || true) == 503 ]]; do :; done
kill -TERM "$pid"
ended 143
wait || true

printf 'npu-serve does what it should\n'
