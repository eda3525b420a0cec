#!/usr/bin/env bash
# new_operation_test.sh COMPILER SOURCE: a new kind of operation does not compile until graph,
# oracle, lowerings and trials know it, and the compiler names what is missing. Copies of headers,
# with the kind added, take the place of the real ones.
set -euo pipefail
compiler=$1 source=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

compile() { "$compiler" -std=c++20 -fsyntax-only -I"$folder" -I"$source" "$source/$1" 2>&1; }

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# must_name FILE TEXT...: compiling the file fails, and the errors have each text.
must_name() {
    local file=$1 errors text
    shift
    if errors=$(compile "$file"); then fail "$file compiles without knowing the operation"; fi
    for text in "$@"; do
        grep -qF -- "$text" <<< "$errors" || fail "$file: no error has '$text'" "$errors"
    done
}

must_compile() {
    local errors
    errors=$(compile "$1") || fail "$1 does not compile" "$errors"
}

# put FILE LINE TEXT: a copy of a header, with a text before a line.
put() {
    mkdir -p "$folder/$(dirname "$1")"
    awk -v line="$2" -v text="$3" '$0 == line { print text } { print }' "$source/$1" \
        > "$folder/$1"
    ! cmp -s "$source/$1" "$folder/$1" || fail "$1 has no line '$2'"
}

# add_kind MEMBERS: ops::Softcap, whose list of members has these calls.
add_kind() {
    put planner/graph/ops.h '}  // namespace ops' "struct Softcap {
    Input x;
    Output y;
    double cap = 0;

    static constexpr std::string_view kKind = \"softcap\";
    static constexpr void members(auto& self, auto&& member) { $1 }
    bool operator==(const Softcap&) const = default;
};
"
    sed -i 's/std::variant<ops::Embed,/std::variant<ops::Softcap, ops::Embed,/' \
        "$folder/planner/graph/ops.h"
}

add_kind 'member("x", self.x); member("y", self.y);'  # without the cap
must_name planner/fusion/fused_graph.cc 'members() that leaves none out'

add_kind 'member("x", self.x); member("y", self.y); member("cap", self.cap);'
must_compile planner/fusion/fused_graph.cc
must_compile planner/fusion/graph_text.cc  # the text form needs the members alone
must_name runtime/oracle/reference_engine.cc run ops::Softcap
must_name planner/lower/plan_builder.cc lowerings ops::Softcap
must_name runtime/trial/certifier.cc certifiers ops::Softcap

put runtime/oracle/ops.h '}  // namespace hetune' 'void run(const ops::Softcap&, const OracleStep&);'
put planner/lower/lowerings.h '}  // namespace hetune' \
    'Lowerings<ops::Softcap> lowerings(const ops::Softcap&);'
put runtime/trial/certifier.h '}  // namespace hetune' \
    'Certifiers certifiers(const ops::Softcap&);'
must_compile runtime/oracle/reference_engine.cc
must_compile planner/lower/plan_builder.cc
must_compile runtime/trial/certifier.cc
