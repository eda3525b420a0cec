#!/usr/bin/env bash
# Installs hetune, moves it elsewhere, and builds and runs tests/install/program.cc against it, found
# by CMake and by pkg-config; nothing but the interface of hetune.h may be exported.
# usage: install_test.sh BUILD_DIR MODEL COMPILER LIBDIR [FLAG...]
set -euo pipefail
build=$1 model=$2 compiler=$3 libdir=$4
flags=()
for flag in "${@:5}"; do [ -z "$flag" ] || flags+=("$flag"); done
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "$build/install_test.XXXXXX")
trap 'rm -rf "$work"' EXIT
fail() { echo "install_test: $*" >&2; exit 1; }

cmake --install "$build" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/moved"
prefix=$work/moved
export HETUNE_CACHE_DIR=$work/cache
[ -x "$prefix/libexec/hetune/hetune-worker" ] || fail "no compile worker"

cat >"$work/alone.cc" <<'END'
#include <hetune/hetune.h>
int main() try {  // some members of each struct, without a warning; every error by its type
    hetune::Model model("m.gguf", {.backend = "cpu", .context = 5});
    hetune::Sequence text = model.open();
    text.generate("a", {.max_tokens = 3});
    text.generate("a", {.sampling = {.temperature = 1, .seed = 3}});
} catch (const hetune::ModelError&) {
} catch (const hetune::OptionError&) {
} catch (const hetune::DeviceError&) {
} catch (const hetune::MemoryError&) {
} catch (const hetune::ContextError&) {
} catch (const hetune::NumberError&) {
} catch (const hetune::CompileError& error) {
    return error.log().empty();
}
END
"$compiler" -std=c++20 -Wall -Wextra -Werror -fsyntax-only -I"$prefix/include" "$work/alone.cc"

nm -DC --defined-only "$prefix/$libdir/libhetune.so" >"$work/symbols"
grep -q ' hetune::Sequence::generate' "$work/symbols" || fail "hetune::Model is not exported"
if grep -Ev ' hetune::((Model|Sequence)::(~?\w+|operator=)|to_string|version|cache_folder|devices)(\[abi:cxx11\])?\(' "$work/symbols"; then
    fail "these symbols are exported and not in hetune.h"
fi

cmake -S "$here" -B "$work/by_cmake" -DCMAKE_CXX_COMPILER="$compiler" \
    -DCMAKE_CXX_FLAGS="${flags[*]}" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$work/by_cmake" >/dev/null
"$work/by_cmake/program" "$model" | tee "$work/by_cmake.out"

PKG_CONFIG_PATH=$prefix/$libdir/pkgconfig
export PKG_CONFIG_PATH
# shellcheck disable=SC2046  # a list of flags
"$compiler" -std=c++20 "${flags[@]}" "$here/program.cc" -o "$work/program" $(pkg-config --cflags --libs hetune)
LD_LIBRARY_PATH=$prefix/$libdir "$work/program" "$model" >"$work/by_pkg_config.out"

grep -q '^8 tokens, cpu$' "$work/by_cmake.out" || fail "no 8 tokens"
cmp "$work/by_cmake.out" "$work/by_pkg_config.out"
"$prefix/bin/hetune" run "$model" --backend cpu -c 256 -p "Ownership is" -n 8 -q >"$work/command.out"
[ "$(cat "$work/command.out")" = "Ownership is$(head -n -1 "$work/by_cmake.out")" ] ||
    fail "the command writes something else: $(cat "$work/command.out")"
