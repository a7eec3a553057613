#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Breaks a copy of the register database in one way at a time and reads what the generator says."""
import copy
import json
import os
import subprocess
import sys
import tempfile

REGDB = sys.argv[1]


def generate(database):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "db.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write(database if isinstance(database, str) else json.dumps(database))
        run = subprocess.run(
            [sys.executable, os.path.join(REGDB, "generate.py"), path,
             "--schema", os.path.join(REGDB, "schema.json"),
             "--header", os.path.join(folder, "h"), "--tables", os.path.join(folder, "t"),
             "--markdown", os.path.join(folder, "m")],
            capture_output=True, text=True, check=False)
        return run.returncode, run.stderr, os.path.exists(os.path.join(folder, "h"))


with open(os.path.join(REGDB, "rk3588.json"), encoding="utf-8") as source:
    GOOD = json.load(source)


def register(db, block, name):
    blocks = next(b for b in db["blocks"] if b["name"] == block)
    return next(r for r in blocks["registers"] if r["name"] == name)


def overlap(db):
    register(db, "CNA", "DATA_SIZE0")["fields"][1]["high"] += 1


def duplicate_offset(db):
    register(db, "CNA", "DATA_SIZE1")["offset"] = register(db, "CNA", "DATA_SIZE0")["offset"]


def duplicate_name(db):
    block = db["blocks"][1]["registers"]
    block.append(copy.deepcopy(block[3]))
    block[-1]["offset"] = "0x1ffc"


def outside_register(db):
    register(db, "CNA", "DATA_SIZE0")["fields"][0]["high"] = 32


def reversed_bits(db):
    field = register(db, "CNA", "DATA_SIZE0")["fields"][0]
    field["high"], field["low"] = field["low"], field["high"]


def missing_bits(db):
    register(db, "CNA", "DATA_SIZE0")["fields"].pop()


def outside_block(db):
    register(db, "CNA", "DATA_SIZE0")["offset"] = "0x3ff0"


def unaligned(db):
    register(db, "CNA", "DATA_SIZE0")["offset"] = "0x1021"


def enum_value_too_large(db):
    register(db, "DPU", "DATA_FORMAT")["fields"][0]["values"]["HUGE"] = 8


def enum_without_values(db):
    del register(db, "DPU", "DATA_FORMAT")["fields"][0]["values"]


def unknown_encoding(db):
    register(db, "CNA", "DATA_SIZE0")["fields"][0]["encoding"] = "magic"


def no_provenance(db):
    register(db, "CNA", "DATA_SIZE0")["fields"][0]["provenance"] = []


def unknown_key(db):
    register(db, "CNA", "DATA_SIZE0")["colour"] = "red"


def rule(db, name):
    return next(r for r in db["lint"] if r["id"] == name)


def rule_twice(db):
    db["lint"].append(copy.deepcopy(db["lint"][0]))


def rule_of_no_field(db):
    rule(db, "cbuf-overcommit")["checks"][0]["left"][0] = "CNA.CBUF_CON0.BANKS"


def rule_of_no_register(db):
    rule(db, "core-s-pointer")["checks"][0]["registers"][0] = "CNA.POINTER"


def rule_with_two_right_sides(db):
    rule(db, "cbuf-overcommit")["checks"][0]["field"] = "CNA.CBUF_CON0.DATA_BANK"


def rule_without_combine(db):
    del rule(db, "cbuf-overcommit")["checks"][0]["combine"]


def rule_without_provenance(db):
    del db["lint"][0]["provenance"]


CASES = {
    overlap: "overlaps", duplicate_offset: "share the offset", duplicate_name: "stands twice",
    outside_register: "outside the 32-bit register", reversed_bits: "below low bit",
    missing_bits: "belong to no field", outside_block: "is not a register of the block",
    unaligned: "is not a register of the block", enum_value_too_large: "does not fit",
    enum_without_values: "an enum has values", unknown_encoding: "magic",
    no_provenance: "provenance", unknown_key: "colour",
    rule_twice: "stands twice", rule_of_no_field: "there is no field CNA.CBUF_CON0.BANKS",
    rule_of_no_register: "there is no register CNA.POINTER",
    rule_with_two_right_sides: "compare with a field or with a value",
    rule_without_combine: "several fields need", rule_without_provenance: "provenance",
}

failures = 0


def check(name, good, detail):
    global failures
    print(f"{'ok  ' if good else 'FAIL'} {name}")
    if not good:
        failures += 1
        print(detail)


status, text, made = generate(GOOD)
check("the committed database is accepted", status == 0 and made, text)
for fault, sentence in CASES.items():
    broken = copy.deepcopy(GOOD)
    fault(broken)
    status, text, made = generate(broken)
    check(fault.__name__, status == 1 and sentence in text and not made, f"status {status}: {text}")
status, text, made = generate("{ \"chip\": ")
check("truncated JSON", status == 1 and not made and "Traceback" not in text, text)
sys.exit(1 if failures else 0)
