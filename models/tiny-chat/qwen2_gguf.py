# SPDX-License-Identifier: MIT
"""Write Qwen2-architecture GGUF files (random or given weights) with a real or cut tokenizer."""
import json, re
import numpy as np
from gguf_writer import GGUFWriter, U32, I32, F32, BOOL, STR

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def load_hf_tokenizer(tok_json, cfg_json):
    t = json.load(open(tok_json, encoding="utf-8"))
    c = json.load(open(cfg_json, encoding="utf-8"))
    vocab = t["model"]["vocab"]
    toks = [None] * (max(vocab.values()) + 1)
    for s, i in vocab.items():
        toks[i] = s
    merges = [m if isinstance(m, str) else " ".join(m) for m in t["model"]["merges"]]
    added = sorted(t["added_tokens"], key=lambda a: a["id"])
    return toks, merges, added, c["chat_template"]


def build_vocab(tok_json, cfg_json, n_vocab=None, n_regular=None):
    """n_regular: keep only the first n_regular ids (bytes + first merges), then the added tokens.
    n_vocab: pad with [PADn] / UNUSED up to this size (as the model's embedding has)."""
    toks, merges, added, tmpl = load_hf_tokenizer(tok_json, cfg_json)
    if n_regular:
        # ids 0..255 are the byte tokens; id 256+k is (mostly) the result of merge k.
        keep = set(toks[:n_regular])
        merges = [m for m in merges if m.replace(" ", "", 1) in keep
                  and all(p in keep for p in m.split(" "))]
        toks = toks[:n_regular]
    types = [NORMAL] * len(toks)
    special = {}
    for a in added:
        if not n_regular:
            assert a["id"] == len(toks)
        s = a["content"]
        special[s] = len(toks)
        toks.append(s)
        looks = s.startswith("<|") and s.endswith("|>")
        types.append(CONTROL if a["special"] or looks else USER_DEFINED)
    if n_vocab:
        while len(toks) < n_vocab:
            toks.append("[PAD%d]" % len(toks))
            types.append(UNUSED)
    return dict(tokens=toks, types=types, merges=merges, template=tmpl,
                eos=special["<|im_end|>"], pad=special["<|endoftext|>"], bos=special["<|endoftext|>"])


def add_meta(w, cfg, v, name, size_label, file_type, nfc=None):
    w.add("general.architecture", STR, "qwen2")
    w.add("general.type", STR, "model")
    w.add("general.name", STR, name)
    if size_label:
        w.add("general.size_label", STR, size_label)
    w.add("general.file_type", U32, file_type)       # 0 = all F32, 1 = mostly F16
    w.add("general.quantization_version", U32, 2)
    w.add("qwen2.block_count", U32, cfg["layers"])
    w.add("qwen2.context_length", U32, cfg["ctx"])
    w.add("qwen2.embedding_length", U32, cfg["hidden"])
    w.add("qwen2.feed_forward_length", U32, cfg["ffn"])
    w.add("qwen2.attention.head_count", U32, cfg["heads"])
    w.add("qwen2.attention.head_count_kv", U32, cfg["kv"])
    w.add("qwen2.rope.freq_base", F32, cfg["theta"])
    w.add("qwen2.attention.layer_norm_rms_epsilon", F32, cfg["eps"])
    w.add("tokenizer.ggml.model", STR, "gpt2")
    w.add("tokenizer.ggml.pre", STR, "qwen2")
    w.add_array("tokenizer.ggml.tokens", STR, v["tokens"])
    w.add_array("tokenizer.ggml.token_type", I32, v["types"])
    w.add_array("tokenizer.ggml.merges", STR, v["merges"])
    w.add("tokenizer.ggml.eos_token_id", U32, v["eos"])
    w.add("tokenizer.ggml.padding_token_id", U32, v["pad"])
    w.add("tokenizer.ggml.bos_token_id", U32, v["bos"])
    w.add("tokenizer.ggml.add_bos_token", BOOL, False)
    if nfc is not None:
        w.add("tokenizer.ggml.normalizer.nfc", BOOL, nfc)
    w.add("tokenizer.chat_template", STR, v["template"])


def tensor_list(cfg, n_vocab):
    """(name, shape, kind) in file order; shapes are row-major [out, in]."""
    h, f, hd = cfg["hidden"], cfg["ffn"], cfg["hidden"] // cfg["heads"]
    kvd = hd * cfg["kv"]
    out = [("token_embd.weight", (n_vocab, h), "emb")]
    for i in range(cfg["layers"]):
        p = "blk.%d." % i
        out += [(p + "attn_norm.weight", (h,), "norm"),
                (p + "ffn_down.weight", (h, f), "mat"),
                (p + "ffn_gate.weight", (f, h), "mat"),
                (p + "ffn_up.weight", (f, h), "mat"),
                (p + "ffn_norm.weight", (h,), "norm"),
                (p + "attn_k.bias", (kvd,), "bias"),
                (p + "attn_k.weight", (kvd, h), "mat"),
                (p + "attn_output.weight", (h, h), "mat"),
                (p + "attn_q.bias", (h,), "bias"),
                (p + "attn_q.weight", (h, h), "mat"),
                (p + "attn_v.bias", (kvd,), "bias"),
                (p + "attn_v.weight", (kvd, h), "mat")]
    out.append(("output_norm.weight", (h,), "norm"))
    if not cfg["tied"]:
        out.append(("output.weight", (n_vocab, h), "emb"))
    return out


def write_model(path, cfg, v, name, weights, matrix_type="F32", size_label=None, nfc=None, tensors=True):
    """weights(name, shape, kind) -> float32 array or iterator of float32 row chunks."""
    w = GGUFWriter(path)
    add_meta(w, cfg, v, name, size_label, 0 if matrix_type == "F32" else 1, nfc)
    if tensors:
        for n, shape, kind in tensor_list(cfg, len(v["tokens"])):
            typ = matrix_type if len(shape) == 2 else "F32"
            dt = np.float32 if typ == "F32" else np.float16

            def prod(n=n, shape=shape, kind=kind, dt=dt):
                a = weights(n, shape, kind)
                if isinstance(a, np.ndarray):
                    a = [a]
                for c in a:
                    yield np.ascontiguousarray(c, dtype=dt).tobytes()
            w.add_tensor(n, shape, typ, prod)
    w.write()


class RandomWeights:
    """Seeded weights. Lively scales (tiny models) so that logits spread and biases matter."""

    def __init__(self, seed, lively=True):
        self.seed, self.lively = seed, lively

    def __call__(self, name, shape, kind):
        h = 2166136261
        for ch in name.encode():
            h = ((h ^ ch) * 16777619) & 0xffffffff
        r = np.random.default_rng([self.seed, h])
        if kind == "norm":
            return (r.uniform(0.5, 1.5, shape) if self.lively else np.ones(shape)).astype(np.float32)
        if kind == "bias":
            return (r.standard_normal(shape, np.float32) * (0.5 if self.lively else 0.1))
        std = 0.02
        if self.lively:
            std = 0.1 if kind == "emb" else 1.5 / shape[-1] ** 0.5
        return self._rows(r, shape, std)

    @staticmethod
    def _rows(r, shape, std):
        step = max(1, (1 << 24) // shape[1])
        for i in range(0, shape[0], step):
            yield r.standard_normal((min(step, shape[0] - i), shape[1]), np.float32) * np.float32(std)
