#!/usr/bin/env bash
# Runs rocm_test with a real ROCm of Debian, in a root of its own that is made once.
#   run.sh SUITE ROOT BIN-FOLDER WORKER PACKAGE...
# Exit code 77: skipped, with a line that says why. Needs root and debootstrap; HETUNE_REQUIRE_ROCM=1
# turns every skip into a failure. Packages come from where this machine gets its own.
set -euo pipefail
suite=$1 root=$2 bin=$3 worker=$4
shift 4

# shellcheck source=tests/debian_root.sh
source "$(dirname "$0")/../debian_root.sh"
make_root "$suite" "$root" "$@"

# What rocm_test needs beyond the C and C++ libraries, which are newer in the root than here.
home="$root/opt/hetune"
rm -rf "$home"
mkdir -p "$home/bin" "$home/libexec/hetune" "$home/lib"
cp "$bin/rocm_test" "$bin/compile_bench" "$home/bin/"
cp "$worker" "$home/libexec/hetune/"
ldd "$bin/rocm_test" | awk '$3 ~ /^\// && $1 !~ /^lib(c|m|stdc\+\+|gcc_s)\.so/ { print $3 }' |
    xargs -r cp -t "$home/lib"
flock -u 9

exec env -i PATH=/usr/sbin:/usr/bin HOME=/root LD_LIBRARY_PATH=/opt/hetune/lib ROOT="$root" \
    HETUNE_CACHE_DIR=/tmp/hetune-cache HETUNE_REQUIRE_ROCM=1 unshare --mount sh -c '
        mount -t proc proc "$ROOT/proc" && exec chroot "$ROOT" /opt/hetune/bin/rocm_test'
