#!/usr/bin/env bash
# Runs rocm_test with a real ROCm of Debian, in a root of its own that is made once.
#   run.sh SUITE ROOT BIN-FOLDER WORKER MODELS PACKAGE...
# Exit code 77: skipped, with a line that says why. Needs root and debootstrap; HETUNE_REQUIRE_ROCM=1
# turns every skip into a failure. Packages come from where this machine gets its own.
set -euo pipefail
suite=$1 root=$2 bin=$3 worker=$4 models=$5
shift 5

# shellcheck source=tests/debian_root.sh
source "$(dirname "$0")/../debian_root.sh"
make_root "$suite" "$root" "$@"

# What rocm_test needs beyond the C and C++ libraries, which are newer in the root than here.
home="$root/opt/hetune"
rm -rf "$home"
mkdir -p "$home/bin" "$home/libexec/hetune" "$home/lib"
cp "$bin/rocm_test" "$bin/compile_bench" "$home/bin/"
cp "$worker" "$home/libexec/hetune/"
cp "$models/tiny-Q4_K_M.gguf" "$home/"
ldd "$bin/rocm_test" | awk '$3 ~ /^\// && $1 !~ /^lib(c|m|stdc\+\+|gcc_s)\.so/ { print $3 }' |
    xargs -r cp -t "$home/lib"
# Where there is a clang here, its resources are compared with those of the compilers in there.
HETUNE_ROCM_FOLDER="$home" "$bin/rocm_test" --test-case='clang:*' > "$root.clang.log" 2>&1 ||
    echo "no resources of clang's to compare with; see $root.clang.log"
flock -u 9

exec env -i PATH=/usr/sbin:/usr/bin HOME=/root LD_LIBRARY_PATH=/opt/hetune/lib ROOT="$root" \
    HETUNE_CACHE_DIR=/tmp/hetune-cache HETUNE_REQUIRE_ROCM=1 HETUNE_ROCM_FOLDER=/opt/hetune \
    unshare --mount sh -c '
        mount -t proc proc "$ROOT/proc" &&
            exec chroot "$ROOT" /opt/hetune/bin/rocm_test --test-case-exclude="clang:*"'
