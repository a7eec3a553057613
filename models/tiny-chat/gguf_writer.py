# SPDX-License-Identifier: MIT
"""Minimal GGUF v3 writer (little endian), stdlib + numpy only.

File layout: magic "GGUF", u32 version=3, u64 n_tensors, u64 n_kv, key/value pairs,
tensor infos (name, u32 n_dims, u64 dims[] with the contiguous dimension first,
u32 ggml type, u64 offset into the data section), padding to `alignment`, data.
Strings are u64 length + bytes (no terminator). Bool is one byte.
"""
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
_FMT = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f",
        BOOL: "<?", U64: "<Q", I64: "<q", F64: "<d"}
# ggml tensor types used here: id -> (values per block, bytes per block)
GGML = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q8_0": (8, 32, 34)}


def _s(x):
    b = x.encode("utf-8") if isinstance(x, str) else bytes(x)
    return struct.pack("<Q", len(b)) + b


class GGUFWriter:
    def __init__(self, path, alignment=32):
        self.path, self.align = path, alignment
        self.kv, self.tensors = [], []

    def add(self, key, typ, val):
        self.kv.append(_s(key) + struct.pack("<I", typ) +
                       (_s(val) if typ == STR else struct.pack(_FMT[typ], val)))

    def add_array(self, key, typ, vals):
        if typ == STR:
            body = b"".join(_s(v) for v in vals)
        else:
            body = struct.pack("<%d%s" % (len(vals), _FMT[typ][1:]), *vals)
        self.kv.append(_s(key) + struct.pack("<IIQ", ARR, typ, len(vals)) + body)

    def add_tensor(self, name, shape, typ, producer):
        """shape is row-major (numpy order); producer() returns bytes or yields byte chunks."""
        self.tensors.append((name, tuple(shape), typ, producer))

    def _nbytes(self, shape, typ):
        _, blk, size = GGML[typ]
        n = 1
        for d in shape:
            n *= d
        assert shape[-1] % blk == 0
        return n // blk * size

    def write(self):
        pad = lambda n: (-n) % self.align
        with open(self.path, "wb") as f:
            f.write(b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.kv)))
            for k in self.kv:
                f.write(k)
            off = 0
            for name, shape, typ, _ in self.tensors:
                f.write(_s(name) + struct.pack("<I", len(shape)))
                f.write(struct.pack("<%dQ" % len(shape), *reversed(shape)))
                f.write(struct.pack("<IQ", GGML[typ][0], off))
                n = self._nbytes(shape, typ)
                off += n + pad(n)
            f.write(b"\0" * pad(f.tell()))
            for name, shape, typ, producer in self.tensors:
                start, want = f.tell(), self._nbytes(shape, typ)
                out = producer()
                for chunk in ([out] if isinstance(out, (bytes, bytearray)) else out):
                    f.write(chunk)
                assert f.tell() - start == want, (name, f.tell() - start, want)
                f.write(b"\0" * pad(want))
