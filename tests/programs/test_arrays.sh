#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# m2snet-segment --input-npy --logits-npy: types and shapes, and the same logits whatever the threads.
# shellcheck source=tests/programs/program_test.sh
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

# npy FILE TYPE ORDER SHAPE BYTES [VERSION]: a header and that many bytes that are all the same finite number
npy() {
    {
        printf '\223NUMPY%b' "\\0${6:-1}\\0000v\\0000"
        [ "${6:-1}" != 2 ] || printf '\000\000'
        printf '%-117s\n' "{'descr': '$2', 'fortran_order': $3, 'shape': $4, }"
        head -c "$5" /dev/zero | tr '\0' '='
    } >"$1"
}
arrays() { run "$1" segment --model "$model" --input-npy "$2" --logits-npy "${@:3}"; }

n=2 h=40 w=57
bytes=$((n * 3 * h * w * 4))
npy "$work/a.npy" '<f4' False "($n, 3, $h, $w)" $bytes
arrays 0 "$work/a.npy" "$work/logits.npy"
says "\($n, 1, $h, $w\) float32 logits"
head -c 200 "$work/logits.npy" | grep -aq "'descr': '<f4', 'fortran_order': False, 'shape': ($n, 1, $h, $w)" ||
    complain "the header of the logits is wrong"
[ "$(stat -c %s "$work/logits.npy")" -eq $((128 + n * h * w * 4)) ] || complain "the logits have a wrong size"
# Both images are the same, so are their logits.
cmp -s <(tail -c $((n * h * w * 4)) "$work/logits.npy" | head -c $((h * w * 4))) \
    <(tail -c $((h * w * 4)) "$work/logits.npy") ||
    complain "equal images of a batch have different logits"

for threads in 1 2 3; do
    arrays 0 "$work/a.npy" "$work/logits$threads.npy" --threads $threads --quiet
    silent
    equal "$work/logits$threads.npy" "$work/logits.npy"
done

# Version 2 of the format means the same.
npy "$work/v2.npy" '<f4' False "($n, 3, $h, $w)" $bytes 2
arrays 0 "$work/v2.npy" "$work/v2out.npy"
equal "$work/v2out.npy" "$work/logits.npy"

# float64 comes from the reference backend, and only from it.
arrays 0 "$work/a.npy" "$work/f64.npy" --precision f64
says 'float64 logits'
head -c 200 "$work/f64.npy" | grep -aq "'descr': '<f8'" || complain "the float64 logits are not float64"
arrays 1 "$work/a.npy" "$work/none.npy" --precision f64 --backend cpu
absent "$work/none.npy"

# What is not an array of pictures is refused in words, and nothing is written.
refused() { arrays 1 "$1" "$work/none.npy"; errs "$2"; silent; absent "$work/none.npy"; }
npy "$work/bad.npy" '<i8' False "($n, 3, $h, $w)" $((2 * bytes))
refused "$work/bad.npy" "expected '<f4' or '<f8'"
npy "$work/bad.npy" '>f4' False "($n, 3, $h, $w)" $bytes
refused "$work/bad.npy" "expected '<f4' or '<f8'"
npy "$work/bad.npy" '<f4' True "($n, 3, $h, $w)" $bytes
refused "$work/bad.npy" 'expected C order'
npy "$work/bad.npy" '<f4' False "($n, $h, $w, 3)" $bytes
refused "$work/bad.npy" 'expected an array of shape \(n, 3, h, w\)'
npy "$work/bad.npy" '<f4' False "(3, $h, $w)" $((3 * h * w * 4))
refused "$work/bad.npy" 'expected an array of shape \(n, 3, h, w\)'
npy "$work/bad.npy" '<f4' False "($n, 3, $h, $w)" $((bytes - 1))
refused "$work/bad.npy" 'do not fit each other'
npy "$work/bad.npy" '<f4' False "($n, 3, $h, $w)" $((bytes + 4))
refused "$work/bad.npy" 'do not fit each other'
npy "$work/bad.npy" '<f4' False "(4294967296, 3, 4294967296, 4294967296)" 0
refused "$work/bad.npy" 'do not fit each other'
npy "$work/bad.npy" '<f4' False "(0, 3, $h, $w)" 0
refused "$work/bad.npy" 'bad.npy'
npy "$work/bad.npy" '<f4' False "(1, 3, 20, 20)" $((3 * 20 * 20 * 4))
refused "$work/bad.npy" '33'
npy "$work/bad.npy" '<f4' False "($n, 3, $h, -1)" $bytes
refused "$work/bad.npy" 'cannot be read'
npy "$work/bad.npy" '<f4' False "($n, 3, $h, $w)" $bytes 3
refused "$work/bad.npy" 'expected .npy version'
head -c 60 "$work/a.npy" >"$work/bad.npy"
refused "$work/bad.npy" 'ends inside its header'
: >"$work/bad.npy"
refused "$work/bad.npy" 'not a .npy file'
refused "$model" 'not a .npy file'
refused "$work/missing.npy" 'missing.npy'

# The input is never the output.
run 2 segment --model "$model" --input-npy "$work/a.npy" --logits-npy "$work/../$(basename "$work")/a.npy"
errs 'would overwrite the input'
arrays 1 "$work/a.npy" "$work/no/such/folder.npy"
finish
