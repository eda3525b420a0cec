#!/usr/bin/env bash
# Compares what libhetune.so exports with symbols.txt, the list of what a program may have linked to.
# usage: symbols_test.sh LIBRARY [--write]      --write: makes the list anew
set -euo pipefail
list=$(cd "$(dirname "$0")" && pwd)/symbols.txt
# Without weak ones: inline functions, of which each program has a copy; optimisation decides whether
# the library has one.
exported() { nm -DC --defined-only "$1" | sed -n 's/^[0-9a-f]* [BDRT] //p' | LC_ALL=C sort -u; }

if [ "${2:-}" = --write ]; then
    exported "$1" >"$list"
    exit
fi
if ! changes=$(exported "$1" | diff -U0 "$list" -); then
    grep '^[-+][^-+]' <<<"$changes" | sed 's/^-/missing: /; s/^+/new: /' >&2
    echo "symbols_test: programs that are linked to libhetune.so notice what is missing; where all of" \
        "this is meant, run $0 $1 --write" >&2
    exit 1
fi
