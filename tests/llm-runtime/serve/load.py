#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Many clients of npu-serve at once: every request must be answered rightly or refused rightly.

load.py NPU-SERVE [--requests N] [--clients N] [--queue N] [--growth MIB] [--arguments "..."]

Starts npu-serve on a free port with its tiny model, asks each question once alone, then N requests from
many clients at once: whole answers, streams, and clients that hang up in the middle. Checks that each
answer is the one given alone, that a refusal is 429 with Retry-After, that memory stays within --growth
of what it was after as many requests before, that threads are as many as before, and that no session
stays taken. Exit codes: 0 all that holds, 1 something does not.
"""
import argparse
import collections
import http.client
import json
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import threading
import time

QUESTIONS = ["What is the capital of France?", "What is the capital of Japan?", "Hello!",
             "What is the opposite of hot?", "What colour is grass?", "Spell the word: house",
             "What month comes after May?", "What is an NPU?", "Who are you?",
             "What is the capital of Peru?"]


def body(question, stream):
    return json.dumps({"messages": [{"role": "user", "content": question}], "temperature": 0,
                       "stream": stream})


def text_of_stream(data):
    events = data.decode().split("\n\n")
    if events[-2:] != ["data: [DONE]", ""]:
        raise ValueError("the stream does not end with [DONE]")
    text = ""
    for event in events[:-2]:
        text += json.loads(event.removeprefix("data: "))["choices"][0]["delta"].get("content", "")
    return text


def ask(port, question, stream):
    """Status, text; for a refusal the header Retry-After."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/v1/chat/completions", body(question, stream),
                           {"Content-Type": "application/json"})
        response = connection.getresponse()
        data = response.read()
        if response.status != 200:
            json.loads(data)["error"]["message"]
            return response.status, response.getheader("Retry-After")
        if stream:
            return 200, text_of_stream(data)
        return 200, json.loads(data)["choices"][0]["message"]["content"]
    finally:
        connection.close()


def hang_up(port, question):
    """Sends a request and goes away, mostly before it is answered."""
    data = body(question, True).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
                       b"Content-Type: application/json\r\nContent-Length: "
                       + str(len(data)).encode() + b"\r\n\r\n" + data)


def process(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    field = lambda name: int(re.search(rf"^{name}:\s+(\d+)", status, re.M)[1])
    return field("VmRSS") / 1024, field("Threads")


def metric(port, name):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    connection.close()
    return float(re.search(rf"^npu_serve_{name} (\S+)$", page, re.M)[1])


def idle(port):
    until = time.monotonic() + 30
    while metric(port, "sessions_active") + metric(port, "queue_length") != 0:
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def run(port, expected, requests, clients, hang_ups):
    """What became of the requests, and the seconds that they took."""
    outcomes = collections.Counter()
    problems = []
    lock = threading.Lock()
    numbers = iter(range(requests))

    def client():
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            question = QUESTIONS[number % len(QUESTIONS)]
            try:
                if hang_ups and number % 10 == 9:
                    hang_up(port, question)
                    outcome = "hung up"
                else:
                    status, text = ask(port, question, number % 2 == 1)
                    outcome = {200: "answered", 429: "refused"}.get(status, f"status {status}")
                    if status == 200 and text != expected[question]:
                        outcome = f"another answer: {text!r}"
                    if status == 429 and not (text and int(text) >= 1):
                        outcome = "refused without Retry-After"
            except Exception as error:  # whatever it is, it is counted
                outcome = f"{type(error).__name__}: {error}"
            with lock:
                outcomes[outcome] += 1
                if outcome not in ("answered", "refused", "hung up") and len(problems) < 5:
                    problems.append(f"{question}: {outcome}")

    threads = [threading.Thread(target=client) for _ in range(clients)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes, problems, time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("serve")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--queue", type=int, default=128)
    parser.add_argument("--growth", type=float, default=4, help="MiB that memory may grow by")
    parser.add_argument("--arguments", default="", help="further ones for npu-serve")
    arguments = parser.parse_args()

    server = subprocess.Popen(
        [arguments.serve, "--port", "0", "--json", "--queue", str(arguments.queue),
         *shlex.split(arguments.arguments)], stdout=subprocess.PIPE, text=True)
    failed = []
    try:
        port = json.loads(server.stdout.readline())["port"]
        ready = json.loads(server.stdout.readline())
        expected = {}
        for question in QUESTIONS:
            status, expected[question] = ask(port, question, False)
            if status != 200:
                failed.append(f"alone: status {status}")
        for title, hang_ups in (("first, to warm up", True), ("then", False), ("and", True)):
            before, threads = process(server.pid)
            outcomes, problems, seconds = run(port, expected, arguments.requests,
                                              arguments.clients, hang_ups)
            after, threads_after = process(server.pid)
            print(f"{title}: {arguments.requests} requests from {arguments.clients} clients in "
                  f"{seconds:.2f} s (host): {outcomes['answered']} answered, {outcomes['refused']} "
                  f"refused, {outcomes['hung up']} hung up; memory {before:.1f} MiB before, "
                  f"{after:.1f} MiB after; {threads_after} threads")
            failed += problems
            right = sum(outcomes[name] for name in ("answered", "refused", "hung up"))
            if right != arguments.requests:
                failed.append(f"{arguments.requests - right} requests came to a bad end: {outcomes}")
            if outcomes["answered"] < ready["parallel"]:
                failed.append("hardly a request was answered")
            if outcomes["refused"] and not hang_ups and arguments.clients <= arguments.queue:
                failed.append("refused, though there was room for all")
            if not idle(port):
                failed.append("sessions stay taken though nobody waits for an answer")
            if threads_after != threads and title != "first, to warm up":
                failed.append(f"{threads} threads before, {threads_after} after")
            if after - before > arguments.growth and title != "first, to warm up":
                failed.append(f"memory grew by {after - before:.1f} MiB")
        server.terminate()
        if server.wait(60) != 0:
            failed.append(f"npu-serve ended with {server.returncode}")
    finally:
        server.kill()
    for problem in failed:
        print(f"FAILED: {problem}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
