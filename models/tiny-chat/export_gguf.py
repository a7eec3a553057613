# SPDX-License-Identifier: MIT
"""weights.npz + vocab.json -> GGUF (F32 or F16 matrices). Usage: export_gguf.py DIR OUT.gguf [F32|F16]"""
import json, sys
import numpy as np
from qwen2_gguf import write_model, NORMAL, CONTROL

CFG = dict(hidden=256, ffn=512, layers=4, heads=4, kv=2, tied=True, theta=10000.0, eps=1e-6, ctx=512)
TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def main():
    d, out = sys.argv[1], sys.argv[2]
    v = json.load(open(d + "/vocab.json"))
    w = np.load(d + "/weights.npz")
    n = v["n_regular"]
    vocab = dict(tokens=v["tokens"], types=[NORMAL] * n + [CONTROL] * 3, merges=v["merges"], template=TEMPLATE, eos=n + 2, pad=n, bos=n)
    write_model(out, CFG, vocab, "tiny-chat", lambda name, shape, kind: w[name].reshape(shape), sys.argv[3] if len(sys.argv) > 3 else "F32", "2.6M")


main()
