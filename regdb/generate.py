#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Checks the register database and makes the C++ and the Markdown from it.

    generate.py rk3588.json --schema schema.json
                [--header F] [--visitor F] [--tables F] [--markdown F]

Exits with 1 and one sentence per fault if the database is wrong.
"""
import argparse
import json
import sys

CPP_KEYWORDS = {"register", "class", "default", "switch", "and", "or", "not", "union", "enum"}
ENCODING_TAG = {
    "raw": "raw", "bool": "boolean", "count_minus_1": "count_minus_1", "signed": "signed_value",
    "address": "address", "enum": "enumeration", "reserved": "reserved",
}
ACCESS_TAG = {"rw": "read_write", "ro": "read_only", "w1c": "write_1_clear", "wo": "write_only"}


def member(field):
    name = field["name"].lower()
    return name + "_" if name in CPP_KEYWORDS else name


def number(text):
    return int(text, 0)


def semantic_errors(db):
    """What a JSON schema cannot say: overlaps, duplicates, values that do not fit."""
    block_names = set()
    offsets = {}
    for block in db["blocks"]:
        if block["name"] in block_names:
            yield f"block {block['name']} stands twice"
        block_names.add(block["name"])
        base = number(block["base"])
        names = set()
        for reg in block["registers"]:
            where = f"{block['name']}.{reg['name']}"
            if reg["name"] in names:
                yield f"{where} stands twice"
            names.add(reg["name"])
            offset = number(reg["offset"])
            if offset % 4 or not base <= offset < base + 0x1000:
                yield f"{where}: offset {reg['offset']} is not a register of the block at {block['base']}"
            if offset in offsets:
                yield f"{where} and {offsets[offset]} share the offset {reg['offset']}"
            offsets[offset] = where
            if number(reg["reset"]) >> 32:
                yield f"{where}: the reset value has more than 32 bits"
            yield from field_errors(where, reg)


def field_errors(where, reg):
    owner = {}
    members = set()
    for field in reg["fields"]:
        name = f"{where}.{field['name']}"
        if field["high"] < field["low"]:
            yield f"{name}: high bit {field['high']} is below low bit {field['low']}"
            continue
        if field["high"] >= reg["width"]:
            yield f"{name}: bit {field['high']} is outside the {reg['width']}-bit register"
        if field["name"] in members:
            yield f"{name} stands twice"
        members.add(field["name"])
        for bit in range(field["low"], field["high"] + 1):
            if bit in owner:
                yield f"{name} overlaps {owner[bit]} at bit {bit}"
                break
            owner[bit] = field["name"]
        width = field["high"] - field["low"] + 1
        if (field["encoding"] == "enum") != ("values" in field):
            yield f"{name}: an enum has values and nothing else has"
        for label, value in field.get("values", {}).items():
            if value >> width:
                yield f"{name}: {label} = {value} does not fit into {width} bits"
        if field["encoding"] == "bool" and width != 1:
            yield f"{name}: a bool has one bit, not {width}"
        if field["encoding"] == "address" and field["high"] != 31:
            yield f"{name}: an address reaches bit 31"
    missing = [bit for bit in range(reg["width"]) if bit not in owner]
    if missing:
        yield f"{where}: bits {missing} belong to no field"


def lint_errors(db):
    """Rules that name what does not exist, or compare what cannot be compared."""
    fields = {}
    for block in db["blocks"]:
        for reg in block["registers"]:
            name = f"{block['name']}.{reg['name']}"
            fields[name] = True
            for field in reg["fields"]:
                fields[f"{name}.{field['name']}"] = field["encoding"] != "reserved"
    seen = set()
    for rule in db["lint"]:
        if rule["id"] in seen:
            yield f"lint rule {rule['id']} stands twice"
        seen.add(rule["id"])
        for check in rule.get("checks", []):
            dots = 2 if check["kind"] == "require" else 1
            paths = check.get("left", []) + check.get("registers", []) + [
                t["field"] for t in check.get("when", [])] + ([check["field"]] if "field" in check else [])
            for path in paths:
                if path.count(".") != dots or not fields.get(path):
                    yield f"lint rule {rule['id']}: there is no {'field' if dots == 2 else 'register'} {path}"
            if dots == 2 and ("field" in check) == ("value" in check):
                yield f"lint rule {rule['id']}: compare with a field or with a value"
            if dots == 2 and (len(check["left"]) > 1) != ("combine" in check):
                yield f"lint rule {rule['id']}: several fields need \"combine\", one needs none"


def schema_errors(db, schema_path):
    try:
        import jsonschema
    except ImportError:
        sys.exit("generate.py: the Python module jsonschema is missing (Debian: python3-jsonschema)")
    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    for error in jsonschema.Draft7Validator(schema).iter_errors(db):
        path = "/".join(str(p) for p in error.absolute_path)
        yield f"{path}: {error.message}"


def cpp_string(text):
    return json.dumps(text, ensure_ascii=False)


def put_get(field):
    kind = {"raw": "raw", "bool": "raw", "enum": "raw", "count_minus_1": "count",
            "signed": "signed", "address": "address"}[field["encoding"]]
    return kind, f"{field['high']}, {field['low']}"


def header_register(block, reg, out):
    fields = [f for f in reg["fields"] if f["encoding"] != "reserved"]
    target = f"static_cast<Target>({block['target']})" if "target" in block else "Target::none"
    out.append(f"struct {reg['name']} {{")
    out.append(f"  static constexpr Block block = Block::{block['name'].lower()};")
    out.append(f"  static constexpr Target target = {target};")
    out.append(f"  static constexpr std::uint16_t offset = {reg['offset']};")
    out.append(f"  static constexpr std::uint32_t reset = {reg['reset']};")
    for field in fields:
        if field["encoding"] == "enum":
            values = ", ".join(f"{k} = {v}" for k, v in field["values"].items())
            out.append(f"  struct {field['name']} {{")
            out.append(f"    static constexpr std::uint32_t {values};")
            out.append("  };")
    for field in fields:
        kind = {"bool": "bool", "signed": "std::int32_t"}.get(field["encoding"], "std::uint32_t")
        start = {"bool": "false", "count_minus_1": "1"}.get(field["encoding"], "0")
        out.append(f"  {kind} {member(field)} = {start};  ///< {field['high']}:{field['low']} {field['meaning']}")
    out.append("  constexpr std::uint32_t encode() const {")
    terms = []
    for field in fields:
        kind, bits = put_get(field)
        label = f"{block['name']}.{reg['name']}.{field['name'].lower()}"
        terms.append(f"detail::put_{kind}<{bits}>(\"{label}\", {member(field)})")
    out.append("    return " + " |\n           ".join(terms or ["0"]) + ";")
    out.append("  }")
    out.append(f"  static constexpr {reg['name']} decode(std::uint32_t word) {{")
    out.append(f"    {reg['name']} r;")
    for field in fields:
        kind, bits = put_get(field)
        suffix = " != 0" if field["encoding"] == "bool" else ""
        out.append(f"    r.{member(field)} = detail::get_{kind}<{bits}>(word){suffix};")
    if not fields:
        out.append("    (void)word;")
    out.append("    return r;")
    out.append("  }")
    out.append(f"  friend bool operator==(const {reg['name']}&, const {reg['name']}&) = default;")
    out.append("};")


def header(db):
    out = ["// SPDX-License-Identifier: MIT",
           "// Made by regdb/generate.py from regdb/rk3588.json. Do not edit.",
           "#pragma once", "", "#include <cstdint>", "", '#include "regdb/field.hpp"',
           '#include "regdb/regcmd.hpp"', ""]
    for block in db["blocks"]:
        out.append(f"/// {block['meaning']}")
        out.append(f"namespace npu::regdb::{block['name'].lower()} {{")
        for reg in block["registers"]:
            out.append("")
            header_register(block, reg, out)
        out.append("")
        out.append(f"}}  // namespace npu::regdb::{block['name'].lower()}")
        out.append("")
    return "\n".join(out)


def visitor(db):
    out = ["// SPDX-License-Identifier: MIT",
           "// Made by regdb/generate.py from regdb/rk3588.json. Do not edit.",
           "#pragma once", "", '#include "regdb/registers.hpp"', "", "namespace npu::regdb {", "",
           "/// Calls visit.template operator()<R>() for every register struct R.",
           "template <class Visit>", "constexpr void for_each_register(Visit&& visit) {"]
    for block in db["blocks"]:
        for reg in block["registers"]:
            out.append(f"  visit.template operator()<{block['name'].lower()}::{reg['name']}>();")
    out += ["}", "", "}  // namespace npu::regdb", ""]
    return "\n".join(out)


def lint_tables(db, index, out):
    """The rules, after the registers that they point to."""
    enable = {block["name"]: block["enable_bit"] for block in db["blocks"] if "enable_bit" in block}

    def ref(path):
        block, reg, *field = path.split(".")
        position, names = index[f"{block}.{reg}"]
        return f"{{&kRegisters[{position}], {f'&kRegisters[{position}].fields[{names.index(field[0])}]' if field else 'nullptr'}}}"

    def compare(op):
        return f"LintCompare::{op}"

    rules = []
    for r, rule in enumerate(db["lint"]):
        checks = []
        for c, check in enumerate(rule.get("checks", [])):
            paths = check.get("left", check.get("registers"))
            out.append(f"const LintOperand k_lint_{r}_{c}_left[] = {{{', '.join(map(ref, paths))}}};")
            when = "{}"
            if check.get("when"):
                when = f"k_lint_{r}_{c}_when"
                terms = ", ".join(f"{{{ref(t['field'])}, {compare(t['op'])}, {t['value']}}}" for t in check["when"])
                out.append(f"const LintTerm {when}[] = {{{terms}}};")
            mask = sum(1 << enable[b] for b in check.get("enabled", []))
            right = ref(check["field"]) if "field" in check else "{nullptr, nullptr}"
            checks.append(f"    {{LintKind::{check['kind']}, {mask:#x}, {when}, k_lint_{r}_{c}_left, "
                          f"{'true' if check.get('combine') == 'product' else 'false'}, "
                          f"{compare(check.get('op', 'eq'))}, {right}, {check.get('value', 0)}, "
                          f"{cpp_string(check['message'])}}},")
        name = "{}"
        if checks:
            name = f"k_lint_{r}"
            out.append(f"const LintCheck {name}[] = {{")
            out.extend(checks)
            out.append("};")
        rules.append(f"    {{{cpp_string(rule['id'])}, Severity::{rule['severity']}, {cpp_string(rule['summary'])}, "
                     f"{cpp_string(rule['remedy'])}, {cpp_string('; '.join(rule['provenance']))}, "
                     f"{cpp_string(rule['confidence'])}, {name}}},")
    out.append("const LintRule kLintRules[] = {")
    out.extend(rules)
    out.append("};")


def tables(db):
    out = ["// SPDX-License-Identifier: MIT",
           "// Made by regdb/generate.py from regdb/rk3588.json. Do not edit.",
           '#include "regdb/tables.hpp"', "", '#include "regdb/lint.hpp"', "", "namespace npu::regdb {",
           "namespace {", ""]
    registers = []
    for block in db["blocks"]:
        for reg in block["registers"]:
            ident = f"{block['name']}_{reg['name']}"
            rows = []
            for index, field in enumerate(reg["fields"]):
                values = "{}"
                if "values" in field:
                    values = f"k_{ident}_{index}"
                    items = ", ".join(f"{{{cpp_string(k)}, {v}}}" for k, v in field["values"].items())
                    out.append(f"constexpr EnumValue {values}[] = {{{items}}};")
                rows.append(
                    f"    {{{cpp_string(field['name'])}, {field['high']}, {field['low']}, "
                    f"Encoding::{ENCODING_TAG[field['encoding']]}, {values}, "
                    f"{cpp_string(field['meaning'])}, {cpp_string('; '.join(field['provenance']))}, "
                    f"{cpp_string(field['confidence'])}}},")
            out.append(f"constexpr FieldInfo k_{ident}[] = {{")
            out.extend(rows)
            out.append("};")
            names = [field["name"] for field in reg["fields"]]
            registers.append((number(reg["offset"]), f"{block['name']}.{reg['name']}", names,
                              f"    {{Block::{block['name'].lower()}, {cpp_string(reg['name'])}, "
                              f"{reg['offset']}, Access::{ACCESS_TAG[reg['access']]}, "
                              f"{reg['reset']}, k_{ident}}},"))
    out.append("")
    out.append("constexpr RegisterInfo kRegisters[] = {")
    registers.sort()
    out.extend(text for *_, text in registers)
    out.append("};")
    lint_tables(db, {name: (i, names) for i, (_, name, names, _) in enumerate(registers)}, out)
    out.append("constexpr BlockInfo kBlocks[] = {")
    for block in db["blocks"]:
        target = f"static_cast<Target>({block['target']})" if "target" in block else "Target::none"
        out.append(f"    {{Block::{block['name'].lower()}, {cpp_string(block['name'])}, "
                   f"{block['base']}, {target}, {cpp_string(block['meaning'])}}},")
    out += ["};", "", "}  // namespace", "",
            "std::span<const RegisterInfo> registers() { return kRegisters; }",
            "std::span<const BlockInfo> blocks() { return kBlocks; }",
            "std::span<const LintRule> lint_rules() { return kLintRules; }", "",
            "}  // namespace npu::regdb", ""]
    return "\n".join(out)


def markdown(db):
    out = ["# Registers of the RK3588 NPU", "",
           "Made from `regdb/rk3588.json` by `regdb/generate.py`; do not edit (a test compares).",
           "To refresh: `cmake --build build/release --target update-register-docs`.", "",
           "Confidence: " + "; ".join(f"**{k}**: {v}" for k, v in db["confidence"].items()) + ".", "",
           "| block | base | command target | enable bit | what it does |", "|---|---|---|---|---|"]
    for block in db["blocks"]:
        out.append(f"| [{block['name']}](#{block['name'].lower()}) | {block['base']} | "
                   f"{block.get('target', '-')} | {block.get('enable_bit', '-')} | {block['meaning']} |")
    for block in db["blocks"]:
        out += ["", f"## {block['name']}", ""]
        for reg in block["registers"]:
            out += [f"### {block['name']}.{reg['name']} ({reg['offset']})", "",
                    f"Access {reg['access']}, reset {reg['reset']}.", "",
                    "| bits | field | encoding | meaning | confidence | source |", "|---|---|---|---|---|---|"]
            for field in reg["fields"]:
                # Reserved bits are listed only where somebody found out something about them.
                if field["encoding"] == "reserved" and field["meaning"] == "reserved; write 0":
                    continue
                bits = str(field["high"]) if field["high"] == field["low"] else f"{field['high']}:{field['low']}"
                encoding = field["encoding"]
                if "values" in field:
                    encoding += ": " + ", ".join(f"{v} {k}" for k, v in field["values"].items())
                cells = [bits, field["name"], encoding, field["meaning"], field["confidence"],
                         "; ".join(field["provenance"])]
                out.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
            out.append("")
    return "\n".join(out).rstrip() + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("database")
    parser.add_argument("--schema", required=True)
    parser.add_argument("--header")
    parser.add_argument("--visitor")
    parser.add_argument("--tables")
    parser.add_argument("--markdown")
    args = parser.parse_args()
    try:
        with open(args.database, encoding="utf-8") as file:
            db = json.load(file)
    except (OSError, ValueError) as error:
        sys.exit(f"generate.py: {args.database}: {error}")
    errors = list(schema_errors(db, args.schema)) or list(semantic_errors(db)) + list(lint_errors(db))
    if errors:
        for error in errors:
            print(f"{args.database}: {error}", file=sys.stderr)
        sys.exit(1)
    for path, make in ((args.header, header), (args.visitor, visitor), (args.tables, tables),
                       (args.markdown, markdown)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(make(db))


if __name__ == "__main__":
    main()
