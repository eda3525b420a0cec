#!/usr/bin/env bash
# Measures on this machine's GPU what hetune claims of GPUs: see docs/benchmarks.md.
set -uo pipefail
usage() {
    cat <<'TEXT'
tools/bench/gpu.sh [--quick] [--backend NAME] [--hetune PROGRAM] [--work FOLDER] [--out FOLDER]

Checks the small models of tests/models against the oracle, makes synthetic models of the shapes of
Qwen3-8B (Q4_K_M) and Qwen3.6-35B-A3B (Q4_K_S), benches them, and prints one table. Needs a GPU, its
driver, and a compiler for it (NVRTC, hipRTC, comgr or clang); no packages and no network.

  --quick           in about four minutes: fewer repetitions, weights repacked in memory
  --seconds N       all of it within N seconds (quick: 255; else without limit)
  --backend NAME    cuda or hip; default: the best there is. cpu tries the script out, on little
  --layers N        keep N layers of the large models
  --hetune PROGRAM  default: the newest of build-portable/bin/hetune and build/bin/hetune
  --work FOLDER     for 26 GB of models (full: 52); default: /dev/shm or /tmp, the one with more room
  --out FOLDER      for all results; default: bench-results
TEXT
}

root=$(cd "$(dirname "$0")/../.." && pwd)
quick=0 backend= layers= program= work= out=bench-results seconds=
while (($#)); do
    case $1 in
        --quick) quick=1 ;;
        --seconds) seconds=${2:?--seconds needs a number}; shift ;;
        --backend) backend=${2:?--backend needs a name}; shift ;;
        --layers) layers=${2:?--layers needs a number}; shift ;;
        --hetune) program=${2:?--hetune needs a program}; shift ;;
        --work) work=${2:?--work needs a folder}; shift ;;
        --out) out=${2:?--out needs a folder}; shift ;;
        -h | --help) usage; exit 0 ;;
        *) echo "gpu.sh: unknown option '$1'; --help lists them" >&2; exit 2 ;;
    esac
    shift
done

if [ -z "$program" ]; then
    program=$(ls -t "$root"/build-portable/bin/hetune "$root"/build/bin/hetune 2>/dev/null | head -1)
    [ -n "$program" ] || { echo "gpu.sh: no build-portable/bin/hetune and no build/bin/hetune; build one or name it with --hetune" >&2; exit 1; }
fi
if [ -z "$seconds" ]; then ((quick)) && seconds=255 || seconds=1000000; fi
[ "$backend" = cpu ] && layers=${layers:-2}

# NVRTC and cuBLAS that come with Python packages or an odd toolkit.
cuda_library() {
    ldconfig -p 2>/dev/null | grep -q "lib$1\\.so\\.1[23]" && return
    ls /usr/local/cuda*/lib64/lib$1.so.1[23] /usr/local/cuda*/lib/lib$1.so.1[23] \
       /usr/local/cuda*/targets/*/lib/lib$1.so.1[23] /usr/l*/python3*/*-packages/nvidia/*/lib/lib$1.so.1[23] \
       /usr/local/lib/python3*/*-packages/nvidia/*/lib/lib$1.so.1[23] \
       /opt/*/lib/python3*/site-packages/nvidia/*/lib/lib$1.so.1[23] 2>/dev/null | tail -1
}
export HETUNE_NVRTC_LIBRARY=${HETUNE_NVRTC_LIBRARY:-$(cuda_library nvrtc)}
export HETUNE_CUBLAS_LIBRARY=${HETUNE_CUBLAS_LIBRARY:-$(cuda_library cublas)}

room() { df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print $4 }'; }
if [ -z "$work" ]; then
    work=/tmp
    [ -w /dev/shm ] && [ "$(room /dev/shm)" -gt "$(room /tmp)" ] && work=/dev/shm
fi
work=$(mktemp -d "$work/hetune-bench.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" || exit 1
export HETUNE_CACHE_DIR=$work/cache
choose=(); [ -n "$backend" ] && choose=(--backend "$backend")

began=$SECONDS
left() { echo $((seconds - (SECONDS - began))); }
say() { printf '[%3d s] %s\n' $((SECONDS - began)) "$*"; }
failed=0
# step LIMIT NAME COMMAND...: its output goes to a file of that name; what fails is told, and the rest goes on.
step() {
    local limit=$1 name=$2 rest status; shift 2
    rest=$(left)
    ((limit > rest)) && limit=$rest
    if ((limit < 5)); then say "$name: left out, no time is left"; failed=1; return 1; fi
    timeout --signal=INT --kill-after=5 "$limit" "$@" >"$out/$name.log" 2>"$out/$name.err" </dev/null
    status=$?
    ((status == 0)) && return 0
    say "$name failed ($status), after:"
    tail -n 6 "$out/$name.err"
    failed=1
    return 1
}

say "$("$program" --version), $program, models in $work ($(($(room "$work") >> 20)) GiB free)"
"$program" doctor >"$out/doctor.log" 2>&1
sed -n '1,/^$/p' "$out/doctor.log" | head -12

# Correctness first: a fast wrong answer is no figure.
for model in tiny-Q4_K_M mini35-Q4_K_M; do
    for how in "" --one-by-one; do
        step 60 "verify-$model$how" "$program" verify "$root/tests/models/$model.gguf" "${choose[@]}" $how
        grep -h 'against the oracle' "$out/verify-$model$how.log" 2>/dev/null | while read -r line; do say "$model ${how:---in steps}: $line"; done
    done
done

# bench NAME SHAPE QUANT SECONDS: one model, made, benched, removed.
bench() {
    local name=$1 shape=$2 quant=$3 limit=$4 rest
    local options=("${choose[@]}" --steps --save "$out/$name")
    step 90 "synth-$name" "$program" synth --like "$shape" --quant "$quant" ${layers:+--layers "$layers"} "$work/$name.gguf" || return
    say "$(cat "$out/synth-$name.log")"
    if [ "$backend" = cpu ]; then
        options+=(-r 1 -p 16 -n 4 -d 0,64)
    elif ((quick)); then
        options+=(-r 3 -p 512,4096 -n 128 -d 0,512,32768 --no-tiles)
    else
        options+=(-r 5 -p 512,4096 -n 128 -d 0,512,32768)
    fi
    rest=$(left)
    ((limit > rest)) && limit=$rest
    step "$limit" "bench-$name" "$program" bench "$work/$name.gguf" "${options[@]}" --budget $((limit > 40 ? limit - 30 : 10))
    if ! ((quick)); then  # the same again, from cached kernels and tiles
        step "$limit" "warm-$name" "$program" bench "$work/$name.gguf" "${choose[@]}" -r 1 -p 0 -n 16 --no-rates --save "$out/warm-$name"
    fi
    rm -rf "$work/$name.gguf" "$work/cache/tiles"
    cat "$out/$name.txt" 2>/dev/null
    say "$name done"
}
if [ "$backend" = cpu ]; then
    bench qwen3-0.6b-Q4_K_M qwen3-0.6b Q4_K_M 600
else
    bench qwen3-8b-Q4_K_M qwen3-8b Q4_K_M $((quick ? 100 : 3600))
    bench qwen3.6-35b-a3b-Q4_K_S qwen3.6-35b-a3b Q4_K_S $((quick ? 130 : 3600))
fi

# One table of all.
{
    first=1
    for file in "$out"/*.md; do
        [ -e "$file" ] || continue
        name=$(basename "$file" .md)
        awk -v name="$name" -v first=$first '
            /^\| test/ { table = 1; if (first) print "| model " $0; next }
            /^\| kernel/ { table = 0 }
            table && /^\| ---/ { if (first) print "| --- " $0; next }
            table && /^\|/ { print "| " name " " $0 }' "$file"
        first=0
    done
} >"$out/table.md"
echo
cat "$out/table.md"
say "all in $out; $( ((failed)) && echo 'something failed, see above' || echo 'nothing failed')"
exit $failed
