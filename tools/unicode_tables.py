#!/usr/bin/env python3
"""Writes runtime/text/jinja/unicode_tables.h from Python's own Unicode data.

usage: tools/unicode_tables.py > runtime/text/jinja/unicode_tables.h
Templates are written for Python's str; Python 3.11 (Debian 12) has Unicode 14, as PCRE2 10.42 has,
from which hetune takes the other properties of characters.
"""
import sys
import unicodedata

CODE_POINTS = [c for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]


def runs(change, differs_from):
    """(first, last, step, delta) of the characters that become one other character."""
    pairs = [(c, ord(change(chr(c))) - c) for c in CODE_POINTS
             if len(change(chr(c))) == 1 and change(chr(c)) != differs_from(chr(c))]
    found, i = [], 0
    while i < len(pairs):
        first, delta = pairs[i]
        best = (1, 1)
        for step in (1, 2):
            n = 1
            while i + n < len(pairs) and pairs[i + n] == (first + n * step, delta):
                n += 1
            best = max(best, (n, step))
        found.append((first, first + (best[0] - 1) * best[1], best[1], delta))
        i += best[0]
    return found


def several(change, differs_from):
    return [(c, change(chr(c))) for c in CODE_POINTS
            if len(change(chr(c))) > 1 and change(chr(c)) != differs_from(chr(c))]


def ranges(holds):
    found = []
    for c in CODE_POINTS:
        if not holds(chr(c)):
            continue
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return found


def table(kind, name, entries):
    print(f"inline constexpr {kind} {name}[] = {{")
    line = "   "
    for entry in entries:
        if len(line) + 1 + len(entry) + 1 > 100:
            print(line)
            line = "   "
        line += f" {entry},"
    print(line + "\n};")


def text(s):
    return '"' + "".join(f"\\x{b:02x}" for b in s.encode()) + '"'


print(f"""// Made by tools/unicode_tables.py with Unicode {unicodedata.unidata_version}; do not edit.
// clang-format off
#pragma once

#include <cstdint>

namespace hetune::jinja {{

struct CaseRun {{
    char32_t first, last;
    uint8_t step;
    int32_t delta;
}};
struct CaseText {{
    char32_t from;
    const char* to;
}};
struct CodePoints {{
    char32_t first, last;
}};
""")
for name, change, base in (("Upper", str.upper, str), ("Lower", str.lower, str),
                           ("Title", str.title, str.upper), ("Fold", str.casefold, str.lower)):
    table("CaseRun", f"k{name}Runs", [f"{{0x{a:x}, 0x{b:x}, {s}, {d}}}" for a, b, s, d in runs(change, base)])
    if several(change, base):
        table("CaseText", f"k{name}Texts", [f"{{0x{c:x}, {text(t)}}}" for c, t in several(change, base)])
table("CodePoints", "kDigitsOnly", [f"{{0x{a:x}, 0x{b:x}}}" for a, b in
                                    ranges(lambda c: c.isdigit() and not c.isdecimal())])
table("CodePoints", "kNumericLetters", [f"{{0x{a:x}, 0x{b:x}}}" for a, b in ranges(
    lambda c: c.isnumeric() and unicodedata.category(c)[0] != "N")])
print("""
}  // namespace hetune::jinja
// clang-format on""")
