# SPDX-License-Identifier: MIT
"""Reads a flattened device tree into {path: {property: bytes}} [devicetree specification 0.4, 5]."""
import struct

BEGIN_NODE, END_NODE, PROP, NOP, END = 1, 2, 3, 4, 9


def read(path):
    with open(path, "rb") as file:
        blob = file.read()
    magic, _, structs, strings = struct.unpack_from(">4I", blob)
    if magic != 0xD00DFEED:
        raise ValueError(f"{path} is no flattened device tree")
    tree, names, at = {}, [], structs
    while True:
        (token,) = struct.unpack_from(">I", blob, at)
        at += 4
        if token == BEGIN_NODE:
            end = blob.index(b"\0", at)
            names.append(blob[at:end].decode())
            at = (end + 4) & ~3
            tree["/" + "/".join(names[1:])] = {}
        elif token == END_NODE:
            names.pop()
        elif token == PROP:
            size, name = struct.unpack_from(">2I", blob, at)
            at += 8
            name = blob[strings + name:blob.index(b"\0", strings + name)].decode()
            tree["/" + "/".join(names[1:])][name] = blob[at:at + size]
            at = (at + size + 3) & ~3
        elif token == END:
            return tree
        elif token != NOP:
            raise ValueError(f"{path}: token {token} at offset {at - 4}")


def text(value):
    return value.rstrip(b"\0").decode()


def phandles(tree):
    """{phandle: path}; two nodes with one phandle are an error."""
    found = {}
    for path, node in tree.items():
        if "phandle" in node:
            if node["phandle"] in found:
                raise ValueError(f"{path} and {found[node['phandle']]} have the same phandle")
            found[node["phandle"]] = path
    return found
