#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Each recipe for three epochs with the compact network on real pictures that fit it, and the report that comes out of it:
# curves, a page, a model, its scores. The sets are not in this repository: M2SNET_DATASETS is a folder with kvasir-train,
# covid-ct, busi, bus-bra and oct-fluid, beside the sources by default.
. "$(dirname "$0")/program_test.sh"
sets=${M2SNET_DATASETS:-$M2SNET_SOURCE_DIR/../shared/data}
for set in kvasir-train covid-ct busi bus-bra oct-fluid; do
    [ -d "$sets/$set/images" ] || { echo "no $sets/$set: real pictures are wanted here"; exit 77; }
done
recipes=$M2SNET_SOURCE_DIR/docs/recipes
compact='{"encoder":"res2net_compact","pyramid_channels":32,"input_size":96'
quick=(--epochs 3 --batch 4 --sizes 64,96 --validation-size 96 --lint warn --threads 2 --samples 2)

# pairs SET COUNT [FOLDER]: a list of its first pictures; masks from FOLDER.
pairs() {
    local picture name
    echo image,mask >"$work/$1.csv"
    for picture in "$sets/$1"/images/*; do
        name=$(basename "${picture%.*}")
        echo "$picture,$sets/$1/${3:-masks}/$name.png"
    done | head -"$2" >>"$work/$1.csv"
}

# trained NAME: what every run leaves, and that it learned something.
trained() {
    local run=$work/$1 first last
    there "$run/best.safetensors" "$run/last.safetensors" "$run/checkpoint.safetensors" "$run/index.html" "$run/recipe.json"
    [ "$(wc -l <"$run/epochs.csv")" -eq 4 ] || complain "$1: three epochs, got $(cat "$run/epochs.csv")"
    first=$(head -1 "$run/epochs.csv" | tr ',' '\n' | grep -nx loss | cut -d: -f1)
    last=$(awk -F, -v c="$first" 'NR > 1 { v[NR] = $c } END { print (v[4] < v[2]) ? "fell" : v[2] " to " v[4] }' "$run/epochs.csv")
    [ "$last" = fell ] || complain "$1: the loss went from $last"
    grep -q '<svg' "$run/index.html" || complain "$1: a page without curves"
}

# scored NAME IMAGES MASKS ARGUMENT...: the report of the run's model.
scored() {
    local name=$1 images=$2 masks=$3
    shift 3
    run 0 evaluate --model "$work/$name/last.safetensors" --json "$work/$name.json" --no-surface "$@" "$images" "$masks"
    there "$work/$name.json"
}

# some SET COUNT [FOLDER]: links to the first pictures and their masks.
some() {
    local picture name
    mkdir -p "$work/some/$1/images" "$work/some/$1/masks"
    for picture in $(find "$sets/$1/images" -type f | sort | head -"$2"); do
        name=$(basename "${picture%.*}")
        cp "$picture" "$work/some/$1/images/"
        cp "$sets/$1/${3:-masks}/$name.png" "$work/some/$1/masks/"
    done
}

pairs kvasir-train 40
run 0 train --recipe "$recipes/polyp.json" --network "$compact}" --data "$work/kvasir-train.csv" "${quick[@]}" --output "$work/polyp"
trained polyp
some kvasir-train 6
scored polyp "$work/some/kvasir-train/images" "$work/some/kvasir-train/masks" --html "$work/polyp.html"
there "$work/polyp.html"

pairs covid-ct 24
run 0 train --recipe "$recipes/lung-ct.json" --network "$compact}" --data "$work/covid-ct.csv" "${quick[@]}" --output "$work/lung"
trained lung

for fold in 0 3; do
    run 0 train --recipe "$recipes/breast-ultrasound.json" --network "$compact}" --data "$sets/busi" --fold $fold "${quick[@]}" \
        --output "$work/breast-$fold"
    says '[0-9]+ pictures train, 1[0-9] validate' # a quarter of 59
    trained breast-$fold
done

# Slices of two volumes stand for clips: train_..., val_...
run 0 train --recipe "$recipes/polyp-video.json" --network "$compact}" --data "$sets/oct-fluid" "${quick[@]}" --validation 0.5 \
    --output "$work/video"
says '1[14] pictures train, 1[14] validate' # whole clips
trained video
scored video "$sets/oct-fluid/images" "$sets/oct-fluid/masks" --group-separator _
says '^Clip by clip \(2 of them\)'
says '^train +11 '
says '^mean over clips'

# Labels of lung slices stand for layers: three classes, other gray levels.
pairs covid-ct 24 labels
some covid-ct 24 labels
classes="$compact,\"classes\":[\"glass\",\"consolidation\",\"effusion\"]}"
run 0 train --recipe "$recipes/oct-layers.json" --network "$classes" --labels 1,2,3 --background-label 0 \
    --data "$work/covid-ct.csv" "${quick[@]}" --output "$work/layers"
trained layers
scored layers "$work/some/covid-ct/images" "$work/some/covid-ct/masks" --labels glass=1,consolidation=2,effusion=3
says '^consolidation: Dice'
classes="$compact,\"classes\":[\"none\",\"glass\",\"consolidation\",\"effusion\"],\"activation\":\"softmax\"}"
run 0 train --recipe "$recipes/oct-layers.json" --network "$classes" --labels 1,2,3 --background-label 0 --softmax \
    --bce-weight 0 --iou-weight 0 --cross-entropy-weight 1 --dice-weight 1 --data "$work/covid-ct.csv" "${quick[@]}" \
    --output "$work/layers-softmax"
trained layers-softmax

# Three organs at once: the union, and evenly.
pairs covid-ct 24
pairs busi 30
pairs kvasir-train 36
for sampler in concat balanced; do
    run 0 train --recipe "$recipes/unified.json" --network "$compact}" --data "$work/covid-ct.csv" --data "$work/busi.csv" \
        --data "$work/kvasir-train.csv" "${quick[@]}" --batch 6 --sampler $sampler --output "$work/unified-$sampler"
    trained unified-$sampler
done

# Patches at the pictures' own size.
pairs bus-bra 36
run 0 train --recipe "$recipes/nnunet-style.json" --network "$compact}" --data "$work/bus-bra.csv" "${quick[@]}" --batch 6 \
    --epoch-batches 10 --sizes 128 --output "$work/nnunet"
trained nnunet
[ "$(wc -l <"$work/nnunet/steps.csv")" -eq 31 ] || complain "thirty steps of patches"
some bus-bra 3
run 0 segment --model "$work/nnunet/last.safetensors" --output "$work/maps" "$work/some/bus-bra/images"
finish
