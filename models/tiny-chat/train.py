# SPDX-License-Identifier: MIT
"""Train the tiny chat model (Qwen2 architecture) on corpus.py and save the weights as .npz.

Usage: train.py OUTDIR MINUTES   (python3-torch, python3-tokenizers, python3-numpy)
Writes OUTDIR/vocab.json (tokens, merges) and OUTDIR/weights.npz (GGUF tensor names).
"""
import json, math, sys, time
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import corpus

CFG = dict(hidden=256, ffn=512, layers=4, heads=4, kv=2, tied=True, theta=10000.0, eps=1e-6, ctx=512)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
N_VOCAB = 1024


def train_bpe(path):
    """Byte-level BPE with the Qwen2 pre-tokenizer; ids: 256 bytes, merges, special tokens."""
    from tokenizers import Tokenizer, Regex, models, trainers, pre_tokenizers
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tr = trainers.BpeTrainer(vocab_size=N_VOCAB - len(SPECIAL), show_progress=False,
                             initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    seen = {s for _, q, a, _ in corpus.items() for s in (q, a)} | {s for s in corpus.SYSTEMS if s} | {"system\n", "user\n", "assistant\n"}
    t.train_from_iterator(sorted(seen), tr)
    m = json.loads(t.to_str())["model"]
    toks = [s for s, _ in sorted(m["vocab"].items(), key=lambda kv: kv[1])]
    merges = [x if isinstance(x, str) else " ".join(x) for x in m["merges"]]
    v = dict(tokens=toks + SPECIAL, merges=merges, n_regular=len(toks))
    json.dump(v, open(path, "w"), ensure_ascii=True)
    from tokenizers import AddedToken
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    assert t.token_to_id("<|im_end|>") == len(toks) + 2, "special ids"
    return t, v


class RMSNorm(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))

    def forward(self, x):
        return F.rms_norm(x, x.shape[-1:], self.weight, CFG["eps"])


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        h, hd = c["hidden"], c["hidden"] // c["heads"]
        self.attn_norm, self.ffn_norm = RMSNorm(h), RMSNorm(h)
        self.q, self.k, self.v = nn.Linear(h, h), nn.Linear(h, hd * c["kv"]), nn.Linear(h, hd * c["kv"])
        self.o = nn.Linear(h, h, bias=False)
        self.gate, self.up = nn.Linear(h, c["ffn"], bias=False), nn.Linear(h, c["ffn"], bias=False)
        self.down = nn.Linear(c["ffn"], h, bias=False)
        self.c = c

    def forward(self, x, cos, sin, mask):
        c, (B, T, H) = self.c, x.shape
        n = self.attn_norm(x)
        sh = lambda y, k: y.view(B, T, k, -1).transpose(1, 2)
        q, k, v = sh(self.q(n), c["heads"]), sh(self.k(n), c["kv"]), sh(self.v(n), c["kv"])
        rot = lambda y: y * cos + torch.cat([-y[..., y.shape[-1] // 2:], y[..., :y.shape[-1] // 2]], -1) * sin
        rep = c["heads"] // c["kv"]
        q, k, v = rot(q), rot(k).repeat_interleave(rep, 1), v.repeat_interleave(rep, 1)
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.o(a.transpose(1, 2).reshape(B, T, H))
        n = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(n)) * self.up(n))


class Model(nn.Module):
    def __init__(self, c, n_vocab):
        super().__init__()
        self.emb = nn.Embedding(n_vocab, c["hidden"])
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["layers"]))
        self.norm = RMSNorm(c["hidden"])
        for n, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.04 / (math.sqrt(2 * c["layers"]) if n.endswith(("o.weight", "down.weight")) else 1))
            elif n.endswith("bias"):
                nn.init.zeros_(p)
        self.c = c

    def forward(self, ids, pos, doc, want):
        hd = self.c["hidden"] // self.c["heads"]
        inv = self.c["theta"] ** (-torch.arange(0, hd, 2).float() / hd)
        ang = pos[:, None, :, None].float() * inv
        ang = torch.cat([ang, ang], -1)
        T = ids.shape[1]
        mask = (doc[:, :, None] == doc[:, None, :]) & torch.tril(torch.ones(T, T, dtype=torch.bool))
        x = self.emb(ids)
        for b in self.blocks:
            x = b(x, ang.cos(), ang.sin(), mask[:, None])
        return F.linear(self.norm(x[want]), self.emb.weight)


def batches(tok, v, seed, B, T):
    im_s, im_e = v["n_regular"] + 1, v["n_regular"] + 2
    g, cache = corpus.chats(seed), {}

    def enc(s):
        if s not in cache:
            cache[s] = tok.encode(s, add_special_tokens=False).ids
        return cache[s]
    nl = enc("\n")
    while True:
        ids = np.zeros((B, T), np.int64); pos = np.zeros((B, T), np.int64)
        doc = np.zeros((B, T), np.int64); want = np.zeros((B, T), bool)
        for b in range(B):
            at, d = 0, 1
            while True:
                s, turns = next(g)
                x, m = [], []
                def put(t, learn):
                    x.extend(t); m.extend([learn] * len(t))
                if s is not None:
                    put([im_s] + enc("system\n") + enc(s) + [im_e] + nl, False)
                for q, a in turns:
                    put([im_s] + enc("user\n") + enc(q) + [im_e] + nl + [im_s] + enc("assistant\n"), False)
                    put(enc(a) + [im_e], True)
                    put(nl, False)
                if at + len(x) > T:
                    break
                e = at + len(x)
                ids[b, at:e], pos[b, at:e], doc[b, at:e], want[b, at:e] = x, np.arange(len(x)), d, m
                at, d = e, d + 1
        yield map(torch.from_numpy, (ids, pos, doc, want))


def export(model, path):
    name = dict(q="attn_q", k="attn_k", v="attn_v", o="attn_output", gate="ffn_gate", up="ffn_up", down="ffn_down", attn_norm="attn_norm", ffn_norm="ffn_norm")
    out = {"token_embd.weight": model.emb.weight, "output_norm.weight": model.norm.weight}
    for i, b in enumerate(model.blocks):
        for n, p in b.named_parameters():
            m, kind = n.split(".")
            out["blk.%d.%s.%s" % (i, name[m], kind)] = p
    np.savez(path, **{k: p.detach().numpy().astype(np.float32) for k, p in out.items()})


def main():
    out, minutes = sys.argv[1], float(sys.argv[2])
    torch.manual_seed(7)
    torch.set_num_threads(2)
    tok, v = train_bpe(out + "/vocab.json")
    model = Model(CFG, len(v["tokens"]))
    print("parameters", sum(p.numel() for p in model.parameters()), "vocab", len(v["tokens"]), flush=True)
    decay = [p for p in model.parameters() if p.dim() == 2]
    rest = [p for p in model.parameters() if p.dim() != 2]
    opt = torch.optim.AdamW([dict(params=decay, weight_decay=0.05), dict(params=rest, weight_decay=0.0)], lr=1e-3, betas=(0.9, 0.98))
    gen = batches(tok, v, 42, 16, 160)
    t0, step, peak, acc, ok = time.time(), 0, 2.5e-3, 0.0, 0.0
    while True:
        frac = (time.time() - t0) / (60 * minutes)
        if frac >= 1:
            break
        lr = peak * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * frac)))
        for gr in opt.param_groups:
            gr["lr"] = lr
        ids, pos, doc, want = next(gen)
        target = ids[want]
        src = torch.zeros_like(want); src[:, :-1] = want[:, 1:]
        logits = model(ids, pos, doc, src)
        loss = F.cross_entropy(logits, target)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        acc = 0.98 * acc + 0.02 * loss.item() if step else loss.item()
        ok = 0.98 * ok + 0.02 * (logits.argmax(-1) == target).float().mean().item()
        if step % 50 == 0:
            print("step %d  %.0f s  lr %.5f  loss %.4f  token accuracy %.4f" % (step, time.time() - t0, lr, acc, ok), flush=True)
        if step % 400 == 399:
            export(model, out + "/weights.npz")
        step += 1
    export(model, out + "/weights.npz")
    print("done", step, "steps, loss", acc)


if __name__ == "__main__":
    main()
