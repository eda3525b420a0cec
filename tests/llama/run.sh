#!/usr/bin/env bash
# Runs llama_test against llama.cpp of Debian forky, in a root of its own (tests/debian_root.sh).
#   run.sh ROOT TEST-BINARY
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$1 binary=$2
# shellcheck source=tests/debian_root.sh
source "$here/../debian_root.sh"
make_root forky "$root" libllama-dev gcc libc6-dev

mkdir -p "$root/opt/hetune" "$root/tmp/hetune"
cp "$here/llama_peer.c" "$root/opt/hetune/"
chroot "$root" gcc -Wall -Wextra -Werror -O2 /opt/hetune/llama_peer.c -o /opt/hetune/llama_peer \
    -lllama -lggml -lggml-base
flock -u 9

# Files have their names outside of the root; the program sees them without its prefix.
cat > "$root/opt/hetune/peer.sh" << EOF
#!/bin/sh
command=\$1
shift
for file; do
    set -- "\$@" "\${file#$root}"
    shift
done
exec chroot "$root" /opt/hetune/llama_peer "\$command" "\$@"
EOF
chmod +x "$root/opt/hetune/peer.sh"
HETUNE_LLAMA_PEER="$root/opt/hetune/peer.sh" HETUNE_LLAMA_FOLDER="$root/tmp/hetune" exec "$binary"
