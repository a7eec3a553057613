# SPDX-License-Identifier: MIT
"""Held-out accuracy (exact match) of a tiny-chat GGUF.

evaluate.py make TOKENS.json                      all questions with their rendered prompt
evaluate.py text TEXT                             the held-out ones with their answers, one chat
evaluate.py score QUESTIONS.json ANSWERS.json     ANSWERS: list of strings in the same order
Prompts carry no system message: <|im_start|>user\\nQ<|im_end|>\\n<|im_start|>assistant\\n
"""
import json, random, sys
import corpus


def questions(seed=3, per=40):
    """Up to `per` held-out questions of every intent, plus 60 seen ones as a control."""
    r, by, seen = random.Random(seed), {}, []
    for intent, q, a, held in corpus.items():
        (by.setdefault(intent, []) if held else seen).append(dict(intent=intent, question=q, answer=a, held_out=held))
    out = []
    for k in sorted(by):
        out += r.sample(by[k], min(per, len(by[k])))
    out += r.sample(seen, 60)
    for e in out:
        e["prompt"] = corpus.render(None, [(e["question"], "")], last_open=True)
    return out


def score(qs, answers):
    res = {}
    for e, a in zip(qs, answers):
        ok = a.strip() == e["answer"]
        for k in ([e["intent"], "ALL held out"] if e["held_out"] else ["SEEN control"]):
            x = res.setdefault(k, [0, 0]); x[0] += ok; x[1] += 1
    return res


if __name__ == "__main__":
    if sys.argv[1] == "make":
        json.dump(questions(), open(sys.argv[2], "w"), indent=0)
    elif sys.argv[1] == "text":
        held = [e for e in questions() if e["held_out"]]
        random.Random(4).shuffle(held)  # not one kind after the other
        open(sys.argv[2], "w").write("".join(corpus.render(None, [(e["question"], e["answer"])]) for e in held))
    else:
        for k, (a, b) in sorted(score(json.load(open(sys.argv[2])), json.load(open(sys.argv[3]))).items()):
            print("%-14s %d/%d" % (k, a, b))
