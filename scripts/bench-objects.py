#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Compares the machine code of functions in two kernels.

bench-objects.py [--diff DIR] OBJDUMP BASE/vmlinux SERIES/vmlinux FUNCTION...

One line a function, tab-separated: its instructions in either kernel; how many
of them differ once addresses are made alike; how many once the offsets into
structures and into the stack's frame are, too; and how many if the order, which
the compiler chooses anew for the whole function, is left out of account.  With
--diff, what differs lands in DIR/FUNCTION.diff.
"""

import collections
import difflib
import os
import re
import subprocess
import sys

HEAD = re.compile(r"^[0-9a-f]+ <(.+)>:$")
INSN = re.compile(r"^\s*[0-9a-f]+:\s+(.*)$")


def disassemble(objdump, vmlinux, functions):
    """{function: [instruction]}; a function that was inlined is not there."""
    code = {}
    for name in functions:
        args = [objdump, "--no-show-raw-insn", f"--disassemble={name}", vmlinux]
        text = subprocess.run(args, check=True, capture_output=True, text=True).stdout
        current = None
        for line in text.splitlines():
            if match := HEAD.match(line):
                current = code.setdefault(match[1], [])
            elif current is not None and (match := INSN.match(line)):
                current.append(" ".join(match[1].split()))
    return {name: trim(code[name]) for name in functions if name in code}


def trim(insns):
    """Without the padding at the end."""
    while insns and re.match(r"(nop|xchg %ax,%ax|int3|udf|cs nop|data16)", insns[-1]):
        insns.pop()
    return insns


def same_addresses(insn):
    """Targets by symbol, places inside of a function without their offset."""
    if insn.startswith("adrp"):
        return insn.split(",")[0]
    insn = re.sub(r"\b(0x)?[0-9a-f]{8,16}\b(?= <)", "", insn)
    insn = re.sub(r"\$0xffffffff[89][0-9a-f]{7}\b", "$SYMBOL", insn)
    insn = re.sub(r"<([^>+]+)\+0x[0-9a-f]+>", r"<\1+>", insn)
    insn = re.sub(r"0x[0-9a-f]+\(%rip\)", "(%rip)", insn)
    return re.sub(r"#\s*(0x)?[0-9a-f]{8,16}\b", "#", insn)


def same_layout(insn):
    """Offsets, of structures and of the stack's frame, made alike."""
    insn = re.sub(r"-?0x[0-9a-f]+(?=\()", "N", insn)
    insn = re.sub(r"(?<=, )#-?(0x[0-9a-f]+|\d+)", "#N", insn)
    return re.sub(r"(?<=\$)-?0x[0-9a-f]+(?=,%rsp)", "N", insn)


def changes(a, b):
    """The lines that are in one of them only, as in a diff."""
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    gone = new = 0
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag != "equal":
            gone, new = gone + i2 - i1, new + j2 - j1
    return f"-{gone} +{new}"


def changes_unordered(a, b):
    a, b = collections.Counter(a), collections.Counter(b)
    return f"-{(a - b).total()} +{(b - a).total()}"


def main():
    args = sys.argv[1:]
    where = None
    if args[:1] == ["--diff"]:
        where, args = args[1], args[2:]
    if len(args) < 4:
        sys.exit(__doc__)
    objdump, base, series, *functions = args
    codes = [disassemble(objdump, vmlinux, functions) for vmlinux in (base, series)]
    for name in functions:
        there = [name in code for code in codes]
        if not all(there):
            print(name, *("there" if x else "inlined" for x in there), "-", "-", "-",
                  sep="\t")
            continue
        a, b = ([same_addresses(x) for x in code[name]] for code in codes)
        c, d = ([same_layout(x) for x in code] for code in (a, b))
        print(name, len(a), len(b), changes(a, b), changes(c, d),
              changes_unordered(c, d), sep="\t")
        if where and c != d:
            with open(os.path.join(where, f"{name}.diff"), "w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in difflib.unified_diff(
                    c, d, "base", "series", n=3, lineterm=""))


main()
