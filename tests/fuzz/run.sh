#!/usr/bin/env bash
# Runs one fuzz target from its seeds and its regressions: run.sh HETUNE-FUZZ TARGET LIBFUZZER-OPTION...
# An input that crashes it, or takes longer than 10 s or 1 GiB, stays in fuzz-findings/TARGET of the
# current folder, and the exit status is that of libFuzzer.
set -euo pipefail
program=$1 target=$2
shift 2
corpus=$(mktemp -d)
trap 'rm -rf "$corpus"' EXIT
regressions=$(dirname "$0")/regressions/$target
mkdir -p "fuzz-findings/$target"
"$program" "--target=$target" "--seeds=$corpus" -timeout=10 -rss_limit_mb=1024 -max_len=20000 \
    -artifact_prefix="fuzz-findings/$target/" -print_final_stats=1 "$@" \
    "$corpus" $([ -d "$regressions" ] && echo "$regressions") 2> "fuzz-findings/$target.log" || {
    status=$?
    tail -60 "fuzz-findings/$target.log"
    exit $status
}
tail -8 "fuzz-findings/$target.log"
