#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# m2snet-train as a user runs it: what it writes, recipes, going on, interrupts, kills, bad data and bad command lines.
. "$(dirname "$0")/program_test.sh"
. "$(dirname "$0")/train_run.sh"

# ---- a run, and what it leaves ----

run 0 train "${tiny[@]}" --samples 2 --epochs 3 --output "$work/a"
says '3 pictures train, 2 validate'
says '^epoch 3/3: loss .*bce .*iou .*validation Dice .*IoU'
says 'best: .*best.safetensors'
holds "$work/a" best.safetensors checkpoint.safetensors epochs.csv index.html last.safetensors recipe.json steps.csv
[ "$(wc -l <"$work/a/steps.csv")" -eq 7 ] || complain "steps.csv: $(cat "$work/a/steps.csv")"
[ "$(wc -l <"$work/a/epochs.csv")" -eq 4 ] || complain "epochs.csv: $(cat "$work/a/epochs.csv")"
[ "$(value "$work/a/recipe.json" epochs)" = 3 ] || complain "recipe.json: $(cat "$work/a/recipe.json")"
grep -q '<svg' "$work/a/index.html" || complain "no chart on the page"
[ "$(grep -o 'data:image/png' "$work/a/index.html" | wc -l)" -eq 2 ] || complain "the page should show two pictures"
grep -Eqi 'src="http|href="http|<script' "$work/a/index.html" && complain "the page loads things"
run 0 info "$work/a/last.safetensors"
says 'm2snet.training'
run 0 segment --model "$work/a/best.safetensors" --output "$work/segmented" --mask "$pairs/images"

# Quiet is quiet, and the same run gives the same files whatever the threads.
run 0 train "${tiny[@]}" --samples 2 --epochs 3 --output "$work/b" --quiet --threads 3 --workers 2
silent
[ ! -s "$work/err" ] || complain "--quiet, on standard error: $(cat "$work/err")"
equal "$work/a/last.safetensors" "$work/b/last.safetensors"
equal "$work/a/checkpoint.safetensors" "$work/b/checkpoint.safetensors"

# Less memory, the same files.
run 0 train "${tiny[@]}" --recompute --samples 2 --epochs 3 --output "$work/less"
equal "$work/a/last.safetensors" "$work/less/last.safetensors"
equal "$work/a/checkpoint.safetensors" "$work/less/checkpoint.safetensors"

# Its recipe does the same again; options count more.
run 0 train --recipe "$work/a/recipe.json" --output "$work/c"
equal "$work/a/checkpoint.safetensors" "$work/c/checkpoint.safetensors"
run 0 train --config "$work/a/recipe.json" --epochs 1 --output "$work/d"
[ "$(wc -l <"$work/d/epochs.csv")" -eq 2 ] || complain "--epochs should count more than the recipe"

# ---- going on ----

run 2 train "${tiny[@]}" --epochs 3 --output "$work/a"
errs 'resume goes on with that run'
run 0 train "${tiny[@]}" --samples 2 --epochs 3 --output "$work/a" --resume
says 'best: '
run 1 train "${tiny[@]}" --epochs 4 --output "$work/a" --resume
errs '"epochs" was 3, is now 4'
run 0 train "${tiny[@]}" --epochs 3 --output "$work/e" --max-steps 3
says 'ended after 3 steps'
run 0 train "${tiny[@]}" --epochs 3 --output "$work/e" --resume
equal "$work/a/last.safetensors" "$work/e/last.safetensors"
run 0 train "${tiny[@]}" --epochs 1 --output "$work/e" --overwrite
[ "$(wc -l <"$work/e/steps.csv")" -eq 3 ] || complain "--overwrite should begin the logs anew"

# From another's weights; more maps; no better validation for a while.
classes=${network%?},\"classes\":[\"a\",\"b\"]}
run 0 train "${tiny[@]}" --start "$work/a/last.safetensors" --supervision equal --epochs 1 --output "$work/p"
says '^([0-9]+) of \1 tensors are those of'
run 0 train "${tiny[@]}" --network "$classes" --labels 128,255 --start "$work/a/last.safetensors" --epochs 1 \
    --output "$work/q"
says '^[0-9]+ of [0-9]+ tensors are those of .*, the others are drawn'
# A network with four levels has sheets, too (which begin with the encoder's second level).
four=${network%?},\"variant\":{\"levels\":4}}
run 0 train "${tiny[@]}" --network "$four" --epochs 1 --output "$work/v"
run 0 segment --model "$work/v/last.safetensors" --features "$work/four" --output "$work/four" "$pairs/images"
[ "$(find "$work/four" -name '*_features.png' | wc -l)" -eq 5 ] || complain "five sheets of four levels were expected"

# Classes that exclude each other: what is found is the first that is not the background; all of them are in the label maps,
# which m2snet-evaluate tells from the other files by their suffix.
softmax=${network%?},\"classes\":[\"rest\",\"a\",\"b\"],\"activation\":\"softmax\"}
run 0 train "${tiny[@]}" --network "$softmax" --labels 128,255 --softmax --bce-weight 0 --iou-weight 0 \
    --cross-entropy-weight 1 --epochs 1 --output "$work/x"
run 0 info "$work/x/last.safetensors"
says '^  class 2 +exclusive, gray level 255 in label maps: b$'
for class in 0 1; do
    run 0 segment --model "$work/x/last.safetensors" --class $class --output "$work/class$class" "$pairs/images"
done
run 0 segment --model "$work/x/last.safetensors" --labels --mask --output "$work/classes" "$pairs/images"
says '^[^ ]+: class a (not )?found, presence' # of one class, whatever else is in the map
says 'class a [0-9]+ found, [0-9]+ not found$'
one=$(basename "$(find "$work/class0" -name '*.png' | LC_ALL=C sort | head -1)")
equal "$work/classes/$one" "$work/class1/$one"
cmp -s "$work/classes/$one" "$work/class0/$one" && complain "the background and class 1 are the same"
run 0 evaluate --labels b=255 --suffix _labels --no-surface "$work/classes" "$pairs/masks"
says '^5 pairs scored, 0 failed, 0 without a partner'
run 1 evaluate --labels b=255 --no-surface "$work/classes" "$pairs/masks"
errs '_labels.png: no mask of this stem'
run 1 evaluate --suffix _nothing "$work/classes" "$pairs/masks"
errs 'no pair of equal stems .*with _nothing'
run 2 evaluate --suffix _labels --model "$work/x/last.safetensors" "$pairs/images" "$pairs/masks"
errs 'suffix is of predictions'
run 0 train "${tiny[@]}" --learning-rate 0 --freeze-batch-norm --patience 1 --epochs 9 --output "$work/r"
says 'no better validation for 1: ended early'
[ "$(wc -l <"$work/r/epochs.csv")" -eq 3 ] || complain "patience 1 should end after two epochs"

# An interrupt saves and says so; going on gives the same files.
"$bin/m2snet-train" "${tiny[@]}" --epochs 400 --output "$work/f" >"$work/out" 2>"$work/err" &
pid=$!
sleep 1.5
kill -INT "$pid"
status=0
wait "$pid" || status=$?
[ "$status" -eq 130 ] || complain "interrupted: exit status $status, expected 130: $(cat "$work/err")"
errs 'interrupted at step [0-9]+; .*checkpoint.safetensors is saved: --resume goes on'
there "$work/f/checkpoint.safetensors"
run 0 train "${tiny[@]}" --epochs 400 --output "$work/f" --resume --max-steps 2

kill_and_resume 3 40

# ---- data ----

mkdir -p "$work/bad/images" "$work/bad/masks"
cp "$pairs"/images/* "$work/bad/images"
cp "$pairs"/masks/* "$work/bad/masks"
first=$(basename "$(find "$work/bad/images" -type f | LC_ALL=C sort | head -1)" .jpg)
echo "no picture" >"$work/bad/images/$first.jpg"
checked=("${settings[@]}" --lint stop --data "$work/bad" --epochs 1)
run 1 train "${checked[@]}" --output "$work/g"
errs "$first.jpg: unreadable"
errs 'would harm the training'
absent "$work/g/checkpoint.safetensors"
run 0 train "${checked[@]}" --lint warn --unreadable skip --output "$work/g"
cp "$pairs"/images/* "$work/bad/images"
mv "$work/bad/masks/$first.png" "$work/mask.png"
run 1 train "${checked[@]}" --output "$work/h"
errs "$first"
run 0 train "${checked[@]}" --missing skip --output "$work/h"
says "$first.jpg: no mask"
says '2 pictures train, 2 validate'
mv "$work/mask.png" "$work/bad/masks/$first.png"
run 1 train "${settings[@]}" --data "$work/nowhere" --output "$work/o"
errs 'nowhere'
cp "$work/bad/images/$first.jpg" "$work/bad/images/copy.jpg"
cp "$work/bad/masks/$first.png" "$work/bad/masks/copy.png"
run 0 train "${checked[@]}" --duplicates warn --split fraction --group-duplicates --output "$work/i"
# A list with a split column; a data set of its own for validation.
printf 'image,mask,split\n' >"$work/bad/list.csv"
for path in "$work/bad/images"/*.jpg; do
    name=$(basename "$path" .jpg)
    part=train
    [ "$name" = copy ] && part=val
    printf 'images/%s.jpg,masks/%s.png,%s\n' "$name" "$name" "$part" >>"$work/bad/list.csv"
done
run 0 train "${settings[@]}" --data "$work/bad/list.csv" --duplicates warn --epochs 1 --output "$work/j"
says '5 pictures train, 1 validate'
says 'near-duplicates across the split: .*copy'
run 0 train "${tiny[@]}" --validation-data "$work/bad/list.csv" --epochs 1 --output "$work/k"
says '5 pictures train, 6 validate'
run 1 train "${settings[@]}" --data "$work/bad/list.csv" --duplicates stop --epochs 1 --output "$work/l"
errs 'near-duplicates across the split'

# Two sets, the one counted twice; nothing validates, so nothing is the best.
run 0 train "${settings[@]}" --data "$pairs" --data "$work/bad" --weights 2,1 --split none --epochs 1 --output "$work/s"
says '11 pictures train, 0 validate'
[ "$(tail -1 "$work/s/epochs.csv" | cut -d, -f11)" = 16 ] || complain "2 x 5 + 6 pictures: $(cat "$work/s/epochs.csv")"
there "$work/s/last.safetensors"
absent "$work/s/best.safetensors"

# A model that knows the gray levels of its classes: masks are looked over, and shown, by these. Without them masks of 0 and
# 1 would pass for badly coded ones.
run 0 train "${tiny[@]}" --network "${network%?},\"labels\":[1]}" --epochs 1 --output "$work/t"
coded() { # FOLDER THRESHOLD: the network's label maps of the pictures are its masks
    mkdir -p "$work/$1/masks"
    cp -r "$pairs/images" "$work/$1"
    run 0 segment --model "$work/t/last.safetensors" --labels --threshold "$2" --output "$work/$1/maps" "$pairs/images"
    for path in "$work/$1/maps"/*_labels.png; do mv "$path" "$work/$1/masks/$(basename "$path" _labels.png).png"; done
    run 0 train "${settings[@]:4}" --preset finetune --model "$work/t/last.safetensors" --data "$work/$1" --lint stop \
        --learning-rate 0 --epochs 1 --samples 2 --output "$work/$1/run"
}
shown() { grep -o 'data:image/png[^"]*' "$work/$1/run/index.html"; }
coded coded 0.2
coded blank 1
[ "$(shown coded | wc -l)" -eq 2 ] || complain "the page should show two pictures"
[ "$(shown coded)" != "$(shown blank)" ] || complain "masks of gray level 1 are not on the page"
run 1 train "${settings[@]}" --data "$work/coded" --lint stop --epochs 1 --output "$work/none"
errs 'coded 0 and 1'

# What a step needs is said of patches of the size that the run would have.
run 0 train "${tiny[@]}" --preset finetune --sizes 352 --check
says '^a step of 2 pictures of 352 x 352 px: '
run 0 train --preset nnunet --network "$network" --data "$pairs" --batch 2 --lint off --threads 1 --check
says '^a step of 2 patches of 512 x 512 px: '

# A rate that diverges ends with a sentence; the disk that is full, too.
run 1 train "${tiny[@]}" --epochs 50 --learning-rate 1000000 --clip-norm 0 --output "$work/m"
errs 'diverged'
(
    ulimit -f 40
    trap '' XFSZ
    "$bin/m2snet-train" "${tiny[@]}" --epochs 1 --output "$work/n" >"$work/out" 2>"$work/err"
) && complain "a full disk should end the run"
errs 'File too large'

# ---- command lines ----

run 0 train --help
for word in --data --output --resume --learning-rate --p-crop --lossnet 'Exit status'; do says "$word"; done
run 0 train --version
says '^m2snet-train [0-9]'
run 2 train
errs 'data is missing'
run 2 train --data "$pairs"
errs 'output is missing'
refuse() { # PATTERN OPTION...
    local pattern=$1
    shift
    run 2 train "${tiny[@]}" --output "$work/z" "$@"
    errs "$pattern"
    absent "$work/z"
}
refuse 'epochs: expected a whole number' --epochs three
refuse 'momentum: expected a number' --momentum 1.5
refuse 'schedule: "fast"' --schedule fast
refuse 'unrecognized option' --speed 3
refuse 'unexpected argument "more"' more
refuse 'take one' --model "$model"
run 2 train --data "$pairs" --model "$model" --start "$model" --output "$work/z"
errs 'take one'
refuse '2 of them for 1 sets' --weights 1,2
refuse 'sizes: expected' --sizes 64,abc
refuse 'preset: expected paper' --preset best
refuse 'takes one value, not a list' --recipe <(echo '{"epochs": [1, 2]}')
refuse '"epoch" is no setting' --recipe <(echo '{"epoch": 3}')
refuse 'line 2: expected' --recipe <(printf '{"epochs": 3,\n]')

# ---- what would do nothing ----
run 2 train "${tiny[@]}" --check --drop-path 0.1
errs 'drop_path is 0.1, and encoder res2net has no branches'
refuse '--foreground-share would do nothing: it wants --patches' --foreground-share 0.5
refuse '--lossnet-family would do nothing: it wants --lossnet' --lossnet-family vgg16
refuse '--lossnet-weight would' --lossnet-weight 0.2
refuse '--balanced-longest would do nothing: it wants --sampler balanced' --balanced-longest
refuse '--fold would do nothing: it wants --split folds' --fold 1
refuse '--power would' --power 2
refuse '--beta2 would do nothing: it wants --optimiser adamw' --beta2 0.99
refuse '--patience would .* --split none leaves out' --split none --patience 3
refuse '--rotate-degrees would' --p-rotate 0 --rotate-degrees 5
refuse '--p-gamma would do nothing: it wants --augmentation-order nnunet' --p-gamma 0.3
run 0 train "${tiny[@]}" --check --patches=0 --lossnet-weight 0 --nesterov=0 --foreground-share 0.33 --recipe <(echo '{"foreground-share": 0.5}')
run 1 train "${tiny[@]}" --lossnet "$model" --output "$work/y" --epochs 1
errs 'features.0.weight'
run 1 train --preset compact --network '{"encoder":"no such"}' --data "$pairs" --output "$work/y" --lint off
errs 'no such'

finish
