# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by the tests of the programs: where things are, and how a run is checked.
# shellcheck disable=SC2034
# By hand: M2SNET_SOURCE_DIR=. M2SNET_BIN_DIR=build/release/bin bash tests/programs/test_usage.sh
set -uo pipefail
bin=${M2SNET_BIN_DIR:?run through ctest}
data=${M2SNET_SOURCE_DIR:?}/examples/data
model=$data/polyp-compact.safetensors
pictures=$data/demo-polyps/images
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

complain() {
    printf 'FAILED: %s\n' "$*"
    failures=$((failures + 1))
}

# run STATUS PROGRAM ARGUMENT...: runs bin/m2snet-PROGRAM, leaves $work/out and $work/err, checks the exit status.
run() {
    local expected=$1 program=$2 status=0
    shift 2
    "$bin/m2snet-$program" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
    if [ "$status" -ne "$expected" ]; then
        complain "m2snet-$program $*: exit status $status, expected $expected"
        sed 's/^/    /' "$work/out" "$work/err"
    fi
}

# The last run's standard output or standard error has a line that matches.
says() { grep -Eq -- "$1" "$work/out" || complain "not on standard output: $1"$'\n'"$(cat "$work/out" "$work/err")"; }
errs() { grep -Eq -- "$1" "$work/err" || complain "not on standard error: $1"$'\n'"$(cat "$work/out" "$work/err")"; }
silent() { [ ! -s "$work/out" ] || complain "standard output should be empty: $(cat "$work/out")"; }
there() { for file; do [ -s "$file" ] || complain "$file is missing or empty"; done; }
absent() { for file; do [ ! -e "$file" ] || complain "$file should not be there"; done; }
equal() { cmp -s "$1" "$2" || complain "$1 and $2 differ"; }
# Nothing temporary was left behind: the folder holds exactly these names.
holds() {
    local folder=$1 found
    shift
    found=$(find "$folder" -mindepth 1 -maxdepth 1 -printf '%f\n' | LC_ALL=C sort | tr '\n' ' ')
    [ "$found" = "$(printf '%s\n' "$@" | LC_ALL=C sort | tr '\n' ' ')" ] || complain "$folder holds: $found, not: $*"
}

# value FILE PATH...: checks that FILE is one JSON value, prints the members at the paths. Built on first use.
value() {
    [ -x "$work/json_value" ] ||
        ${CC:-cc} -O1 -o "$work/json_value" "$M2SNET_SOURCE_DIR/tests/programs/json_value.c" || return 1
    "$work/json_value" "$@" || complain "$1: not the expected JSON"$'\n'"$(head -c 2000 "$1")"
}

finish() {
    [ "$failures" -eq 0 ] || { printf '%s checks failed\n' "$failures"; exit 1; }
}

# A black picture of 64 x 48: nothing to be found in it.
write_black() {
    base64 -d >"$1" <<'END'
iVBORw0KGgoAAAANSUhEUgAAAEAAAAAwCAIAAAAuKetIAAAAH0lEQVR42u3BAQEAAACCIP+vbkhAAQAAAAAAAAAALwYkMAABdG+8JQAAAABJ
RU5ErkJggg==
END
}
