#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Command lines that only ask, and command lines that make no sense: nothing on standard output, the reason on standard
# error, exit status 2.
# shellcheck source=tests/programs/program_test.sh
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

for program in segment info convert bench demo; do
    run 0 $program --help
    says "^Usage: m2snet-$program "
    says '^Exit status: '
    run 0 $program --version
    says "^m2snet-$program [0-9]+\.[0-9]+\.[0-9]+ \(libm2snet [0-9]+\.[0-9]+\.[0-9]+.*\)$"
    run 2 $program --no-such-option
    silent
    errs "no-such-option"
    errs "Try 'm2snet-$program --help'"
    run 2 $program
    silent
    [ ! -e /dev/full ] || { "$bin/m2snet-$program" --help >/dev/full 2>"$work/err"; [ $? -eq 1 ] ||
        complain "m2snet-$program --help on a full disk does not exit with 1"; }
done

# ---- options that every program shares ----

picture=$(find "$pictures" -name '*.jpg' | head -n 1)
segment() { run 2 segment --model "$model" --output "$work/none" "$@" "$picture"; silent; }
for threads in 0 -1 1025 two 2.5 2x '' ' 2' 99999999999999999999; do
    segment --threads "$threads"
    errs '--threads: expected a whole number from 1 to 1024'
done
for size in 0 32 8193 352x 352x0 x352 352x352x3 '352 ' 1e3; do
    segment --size "$size"
    errs '--size: expected a whole number from 33 to 8192'
done
for threshold in -0.1 1.1 nan half 0,5; do
    segment --threshold "$threshold"
    errs '--threshold: expected a number from 0 to 1'
done
segment --precision f8
errs '--precision: expected f32, f64, f16, bf16 or tf32'
segment --cuda-search
errs '^m2snet-segment: --cuda-search is of --backend cuda'
segment --cuda-search --backend cpu
run 2 bench --model "$model" --cuda-search
errs 'is of --backend cuda'
run 2 train --model "$model" --data "$pictures/.." --check --cuda-search
errs '^m2snet-train: --cuda-search is of --backend cuda'
segment --backend quantum
errs 'quantum'
for spacing in '0.5' '0,1' '1,' ',1' '1,2,3' '-1,1' 'nan,1'; do
    segment --spacing "$spacing"
    errs '--spacing: expected'
done
segment --min-area -1
errs '--min-area'
segment --class -1
errs '--class'
segment --class 1
errs '--class 1'
absent "$work/none"

# ---- what is missing or does not go together ----

run 2 segment --output "$work/none" "$picture"
errs '--model is missing'
run 2 segment --model "$model" "$picture"
errs '--output is missing'
run 2 segment --model "$model" --output "$work/none"
errs 'no picture'
run 2 segment --model "$model" --input-npy "$work/a.npy"
errs '--logits-npy'
run 2 segment --model "$model" --input-npy "$work/a.npy" --logits-npy "$work/b.npy" --mask
run 2 segment --model "$model" --input-npy "$work/a.npy" --logits-npy "$work/b.npy" "$picture"
run 2 info "$model" "$model"
run 2 info --list "$model"
for option in --features --tensors --selftest --size=64 --quiet; do
    run 2 info --list $option
    errs 'goes with --json alone'
    silent
done
run 2 convert "$model"
run 2 convert --dtype f8 "$model" "$work/none"
errs '--dtype: expected f32, f16 or bf16'
run 2 bench --model "$model" "$picture"
for batch in 0 65; do
    run 2 bench --model "$model" --batch $batch
    errs '--batch: expected a whole number from 1 to 64'
done
run 2 bench --model "$model" --iterations 0
run 2 bench --model "$model" --iterations 3 --seconds 1
errs 'take one'
for options in '--cases 2' '--images x' '--resamples 200' '--seed 1' '--size 64' '--precision f64' '--no-surface --penalty'; do
    # shellcheck disable=SC2086
    run 2 evaluate $options "$work" "$work"
    errs "${options%% *}" # no page, one folder alone, no model, no distances
    silent
done
run 2 demo --model "$model" --images "$pictures" --output "$work/none"
errs '--truth'
absent "$work/none"

# ---- files that are not there or not what they should be: exit status 1 ----

run 1 segment --model "$work/missing.safetensors" --output "$work/none" "$picture"
errs 'missing.safetensors'
run 1 segment --model "$picture" --output "$work/none" "$picture"
run 1 info "$work/missing.safetensors"
run 1 info "$picture"
run 1 convert "$picture" "$work/none"
run 1 bench --model "$work/missing.safetensors"
run 1 bench --model "$model" --image "$model"
run 1 demo --model "$model" --images "$work/missing" --truth "$work" --output "$work/none"
absent "$work/none"
finish
