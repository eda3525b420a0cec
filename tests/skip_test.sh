#!/bin/sh
# How a test binary ends: skip_test.sh SKIP-SAMPLE
sample=$1
status=0
ends_with() {
    wanted=$1
    shift
    "$@" > /dev/null 2>&1
    got=$?
    [ "$got" = "$wanted" ] && return
    echo "$*: ended with $got, not $wanted"
    status=1
}
ends_with 0 "$sample" -tc=passes
ends_with 77 "$sample" "-tc=asks to be skipped"
ends_with 77 "$sample" "-tc=passes,asks*"
ends_with 1 "$sample" -tc=fails
ends_with 1 "$sample" "-tc=asks*,fails"
ends_with 1 "$sample" "-tc=says*"
ends_with 1 "$sample"
ends_with 1 "$sample" "-tc=no such name"
ends_with 0 "$sample" --list-test-cases
ends_with 77 env HETUNE_SAMPLE_NEED=1 "$sample"
exit $status
