#!/usr/bin/env bash
# Installs hetune, moves it elsewhere, and builds and runs programs of tests/install and of the docs
# against it, in C++, C and Python, found by CMake and by pkg-config.
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

cmake -S "$here" -B "$work/by_cmake" -DCMAKE_CXX_COMPILER="$compiler" \
    -DCMAKE_CXX_FLAGS="${flags[*]}" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$work/by_cmake" >/dev/null
"$work/by_cmake/program" "$model" | tee "$work/by_cmake.out"

PKG_CONFIG_PATH=$prefix/$libdir/pkgconfig
export PKG_CONFIG_PATH
# shellcheck disable=SC2046  # a list of flags
"$compiler" -std=c++20 "${flags[@]}" "$here/program.cc" -o "$work/program" $(pkg-config --cflags --libs hetune)
LD_LIBRARY_PATH=$prefix/$libdir "$work/program" "$model" >"$work/by_pkg_config.out"

# C: a whole program, and those of the docs. No GPU, for the error that says so.
export LD_LIBRARY_PATH=$prefix/$libdir HIP_VISIBLE_DEVICES=-1
c_flags=(-x c -std=c99 -Wall -Wextra -Werror -pedantic "${flags[@]}")
cmake -S "$here/c" -B "$work/c_by_cmake" -DCMAKE_C_FLAGS="${flags[*]}" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$work/c_by_cmake" >/dev/null
"$work/c_by_cmake/program" "$model" >"$work/c.out"
cmp "$work/by_cmake.out" "$work/c.out"
example() { sed -n '/^```c$/,/^```$/{/^```/!p}' "$1" >"$work/example.c"; [ -s "$work/example.c" ] || fail "no C in $1"; }
example "$here/../../README.md"
"$compiler" "${c_flags[@]}" -fsyntax-only -I"$prefix/include" "$work/example.c"
example "$here/../../docs/c-api.md"
# shellcheck disable=SC2046
"$compiler" "${c_flags[@]}" "$work/example.c" -o "$work/example" $(pkg-config --cflags --libs hetune)
"$work/example" "$model" cpu >"$work/example.out"
[ -s "$work/example.out" ] || fail "the example of docs/c-api.md writes nothing"
if "$work/example" "$work/no.gguf" 2>"$work/example.err"; then fail "the example loads no.gguf"; fi
grep -q no.gguf "$work/example.err" || fail "no name of a file: $(cat "$work/example.err")"

# Python, which no sanitizer is built into (ctypes_test runs with one).
if [ ${#flags[@]} -eq 0 ]; then
    python3 "$here/ctypes_test.py" "$prefix/$libdir/libhetune.so" "$model" cpu
    sed -n '/^```python$/,/^```$/{/^```/!p}' "$here/../../docs/c-api.md" | sed "s|model.gguf|$model|" >"$work/example.py"
    [ -s "$work/example.py" ] || fail "no Python in docs/c-api.md"
    python3 "$work/example.py"
fi

grep -q '^8 tokens, cpu$' "$work/by_cmake.out" || fail "no 8 tokens"
cmp "$work/by_cmake.out" "$work/by_pkg_config.out"
"$prefix/bin/hetune" run "$model" --backend cpu -c 256 -p "Ownership is" -n 8 -q >"$work/command.out"
[ "$(cat "$work/command.out")" = "Ownership is$(head -n -1 "$work/by_cmake.out")" ] ||
    fail "the command writes something else: $(cat "$work/command.out")"
