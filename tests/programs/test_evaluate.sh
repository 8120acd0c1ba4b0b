#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# m2snet-evaluate: the JSON's structure and numbers, the table, and pairs that cannot be scored.
# shellcheck source=tests/programs/program_test.sh
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

vectors=$M2SNET_SOURCE_DIR/tests/data/metrics
p=$work/predictions m=$work/masks
mkdir "$p" "$m"
# give ID...: puts pairs into the two folders
give() {
    local id
    for id; do
        cp "$vectors/${id}_pred.png" "$p/$id.png"
        cp "$vectors/${id}_mask.png" "$m/$id.png"
    done
}
# same FILE PATH EXPECTED: a number of the JSON, to nine digits
same() {
    local got
    got=$(value "$1" "$2")
    awk -v a="$got" -v b="$3" 'BEGIN { exit !(a != "" && (a - b)^2 <= 1e-18) }' || complain "$2 is $got, expected $3"
}

give v30_typical_200x160 v12_one_pixel_miss v07_empty_gt v18_multi_object v26_noise_ties
run 0 evaluate "$p" "$m" --json "$work/a.json" --csv "$work/a.csv" --spacing 1,1 --spacing 0.5,2
says '^5 pairs scored, 0 failed, 0 without a partner'
says '^empty masks: 1 \(overlap counts as 0\)'
says ' mDice +mIoU +wFm +Sm +maxEm +MAE'
says 'undefined for 1 more'
says '4 folds'

# One image, by name order, against the vector's own file.
[ "$(value "$work/a.json" images.4.name)" = '"v30_typical_200x160"' ] || complain "images are not in the order of their names"
truth=$vectors/v30_typical_200x160.json
for key in mae sm wfm em_max em_mean em_adp dice_mean dice_max iou_mean fm_max f1_max spec_pranet_mean tp tn dice ber miou \
    sm_matlab_rounding; do
    same "$work/a.json" "images.4.$key" "$(value "$truth" "spec.$key")"
done
[ "$(value "$work/a.json" dataset.members.0)" = '"v07_empty_gt"' ] || complain "the members are missing"
[ "$(value "$work/a.json" counts.empty_masks)" = 1 ] || complain "the empty mask is not counted"
grep -q '"0.5,2.0": {' "$work/a.json" || complain "no key for the second spacing"
grep -q '"four_fold_cv"' "$work/a.json" || complain "no cross-validation"
grep -q '"hd95": null' "$work/a.json" || complain "an undefined distance should be null"
grep -qi 'nan\|inf[^o]' "$work/a.json" && complain "NaN or infinity in the JSON"
[ "$(wc -l <"$work/a.csv")" -eq 7 ] || complain "the CSV should have a head, five images and the set"
head -1 "$work/a.csv" | grep -q '^name,tp,.*hd95 0.5 x 2' || complain "the head of the CSV: $(head -1 "$work/a.csv")"
[ "$(awk -F, '{ print NF }' "$work/a.csv" | sort -u | wc -l)" -eq 1 ] || complain "the CSV's lines differ in length"
holds "$work" a.csv a.json err json_value masks out predictions

# Threads change nothing; quiet is quiet.
run 0 evaluate --quiet --threads 1 --json "$work/b.json" --spacing 1,1 --spacing 0.5,2 "$p" "$m"
silent
equal "$work/a.json" "$work/b.json"

# Policies and profiles.
run 0 evaluate --empty skip --json "$work/c.json" "$p" "$m"
says 'left out of all means'
[ "$(value "$work/c.json" counts.in_means)" = 4 ] || complain "skip leaves the wrong number in the means"
run 0 evaluate --profile authors --json "$work/c.json" "$p" "$m"
says 'M_dice'
same "$work/c.json" images.4.authors.dice_soft "$(value "$truth" tools.m2snet_authors.dice_soft)"
run 0 evaluate --profile pranet --json "$work/c.json" "$p" "$m"
says 'meanDic'
same "$work/c.json" images.4.pranet.dice_mean "$(value "$truth" tools.pranet_matlab_octave_k255.dice_mean)"

# Two files, whatever they are called.
run 0 evaluate "$p/v18_multi_object.png" "$vectors/v18_multi_object_mask.png"
says '^1 pairs scored'

# What cannot be scored is named and counted, the rest scored.
give v24_gt_01
cp "$vectors/v05_7x5_soft_pred.png" "$p/lonely.png"
cp "$vectors/v05_7x5_soft_mask.png" "$m/widow.png"
cp "$vectors/v05_7x5_soft_pred.png" "$p/size.png"
cp "$vectors/v19_ring_mask.png" "$m/size.png"
echo 'no picture' >"$p/broken.png"
cp "$vectors/v19_ring_mask.png" "$m/broken.png"
cp "$vectors/v19_ring_mask.png" "$m/twice.png"
cp "$vectors/v19_ring_mask.png" "$p/twice.png"
cp "$vectors/v19_ring_mask.png" "$p/twice.JPG"
run 1 evaluate "$p" "$m" --json "$work/d.json"
says '^6 pairs scored, 2 failed, 3 without a partner'
errs 'lonely\.png: no mask of this stem'
errs 'widow\.png: no prediction of this stem'
errs 'size: the prediction has 5 x 7 pixels and the mask 44 x 48'
errs 'broken: .*broken\.png'
errs 'twice\.(png|JPG): 2 files of this folder have the stem "twice"'
errs 'warning: v24_gt_01: .*0 and 1'
[ "$(grep -c 'lonely' "$work/err")" -eq 1 ] || complain "what has no partner is named more than once"
[ "$(value "$work/d.json" counts.failed)" = 5 ] || complain "the failures are not counted"
[ "$(value "$work/d.json" failures.2.name failures.3.name failures.4.name | tr '\n' ' ')" = '"twice" "widow" "lonely" ' ] ||
    complain "what has no partner is not in the JSON"
[ "$(value "$work/d.json" failures.1.name)" = '"size"' ] || complain "the failures are not named"
run 1 evaluate "$p" "$m" --resize
says '^7 pairs scored, 1 failed'
errs 'warning: size: the prediction was resized'

# A name that is no UTF-8 is written so that it can be in the JSON.
rm "$p"/* "$m"/*
give v19_ring
odd=$(printf 'r\377\303\251')
cp "$p/v19_ring.png" "$p/$odd.png"
cp "$m/v19_ring.png" "$m/$odd.png"
cp "$m/v19_ring.png" "$m/${odd}2.png"
run 1 evaluate "$p" "$m" --json "$work/d.json"
says '^2 pairs scored, 0 failed, 1 without a partner'
[ "$(value "$work/d.json" images.0.name failures.0.name | tr '\n' ' ')" = '"r\\xffé" "r\\xffé2" ' ] ||
    complain "names that are no UTF-8: $(value "$work/d.json" images.0.name failures.0.name)"

# Label maps.
rm "$p"/* "$m"/*
give voct1_wavy voct3_missing_layer
run 0 evaluate --labels rnfl=0,gcipl=80,choroid=160 --json "$work/e.json" --spacing 1,1 --spacing 0.5,2 "$p" "$m"
says '^choroid: Dice 0\.4'
says 'undefined: boundaries of 1 images'
same "$work/e.json" images.0.layers.gcipl.dice "$(value "$vectors/voct1_wavy.json" layers.gcipl.dice)"
same "$work/e.json" images.0.mean.dice "$(value "$vectors/voct1_wavy.json" mean.dice)"

# A model and pictures: the same as its maps, written and read back.
run 0 evaluate --model "$model" --json "$work/f.json" --threads 2 "$pictures" "$data/demo-polyps/masks"
says '^5 pairs scored, 0 failed'
run 0 segment --model "$model" --output "$work/maps" --threads 2 --quiet "$pictures"
run 0 evaluate --json "$work/g.json" "$work/maps" "$data/demo-polyps/masks"
equal "$work/f.json" "$work/g.json"
# As m2snet-segment predicts: mirrored, and with a second model.
one=cju0rx1idathl0835detmsp84 truth=$data/demo-polyps/masks/cju0rx1idathl0835detmsp84.png
views=(--model "$model" --model "$model" --mirror=horizontal --tiles 256 --tile-step 1)
run 0 evaluate "${views[@]}" --no-surface --json "$work/views.json" --quiet "$pictures/$one.jpg" "$truth"
run 0 segment "${views[@]}" --output "$work/views" --quiet "$pictures/$one.jpg"
run 0 evaluate --no-surface --json "$work/views2.json" --quiet "$work/views/$one.png" "$truth"
equal "$work/views.json" "$work/views2.json"
# Its label maps, too: of one class 255 and 0.
run 0 evaluate --model "$model" --labels outside=0,inside=255 --json "$work/h.json" "$pictures" "$data/demo-polyps/masks"
says '^inside: Dice 0\.[5-9]'
run 0 segment --model "$model" --output "$work/label-maps" --labels --quiet "$pictures"
mkdir "$work/labels"
for map in "$work"/label-maps/*_labels.png; do
    name=$(basename "$map" _labels.png)
    mv "$map" "$work/labels/$name.png"
done
run 0 evaluate --labels outside=0,inside=255 --json "$work/i.json" "$work/labels" "$data/demo-polyps/masks"
equal "$work/h.json" "$work/i.json"
# A picture that fails is named everywhere, and the rest is scored.
mkdir "$work/some"
cp "$pictures/"* "$work/some"
echo 'no picture' >"$work/some/cju0qx73cjw570799j4n5cjze.jpg"
run 1 evaluate --model "$model" --json "$work/g.json" --csv "$work/g.csv" --html "$work/g.html" "$work/some" \
    "$data/demo-polyps/masks"
says '^4 pairs scored, 1 failed, 0 without a partner'
errs 'cju0qx73cjw570799j4n5cjze: .*neither PNG nor JPEG'
[ "$(value "$work/g.json" counts.failed counts.scored failures.0.name | tr '\n' ' ')" = '1 4 "cju0qx73cjw570799j4n5cjze" ' ] ||
    complain "the picture that failed is not in the JSON"
grep -q 'failed</td>.*cju0qx73cjw570799j4n5cjze' "$work/g.html" || complain "the picture that failed is not on the page"
[ "$(wc -l <"$work/g.csv")" -eq 6 ] || complain "the CSV should have a head, four images and the set"
run 1 evaluate --model "$work/no.safetensors" "$pictures" "$data/demo-polyps/masks"

# The page: everything in it, nothing fetched, names escaped, whatever the number of images.
page() {
    there "$1"
    grep -qi '<script\|src="[^d]\|href=\|url(\|@import' "$1" && complain "$1 is not self-contained"
    grep -q 'nan\|inf[^oe]' <(grep -o '<td[^>]*>[^<]*\|[cdxyr]*="[-0-9.MLHVZ ]*nan[^"]*"' "$1") && complain "NaN on $1"
    [ "$(grep -o '<svg' "$1" | wc -l)" -eq "$(grep -o '</svg>' "$1" | wc -l)" ] || complain "$1: <svg> and </svg> differ"
    tail -1 "$1" | grep -q '^</html>$' || complain "$1 ends early"
}
rm "$p"/* "$m"/*
give v30_typical_200x160
mv "$p/v30_typical_200x160.png" "$p/<b>&.png"
mv "$m/v30_typical_200x160.png" "$m/<b>&.png"
run 0 evaluate "$p" "$m" --html "$work/one.html"
page "$work/one.html"
grep -q '&lt;b&gt;&amp;' "$work/one.html" || complain "the name is missing or not escaped"
grep -q '<b>&' "$work/one.html" && complain "a name was not escaped"
[ "$(grep -o 'data:image/png' "$work/one.html" | wc -l)" -eq 3 ] || complain "mask, prediction and outlines are expected"
for word in Scores Distribution 'Threshold curves' Calibration Bland-Altman ECE Cases 'Every image'; do
    grep -q "$word" "$work/one.html" || complain "no \"$word\" on the page"
done
run 0 evaluate "$p" "$m" --html "$work/again.html" --threads 1 --quiet
equal "$work/one.html" "$work/again.html"
run 0 evaluate --model "$model" --html "$work/model.html" --cases 1 --threads 2 --quiet "$pictures" "$data/demo-polyps/masks"
page "$work/model.html"
[ "$(grep -o 'data:image/png' "$work/model.html" | wc -l)" -eq 8 ] || complain "two cases of four pictures are expected"
# A picture alone, as files: its input is shown too.
run 0 evaluate --model "$model" --html "$work/file.html" --quiet "$pictures/cju0qx73cjw570799j4n5cjze.jpg" \
    "$data/demo-polyps/masks/cju0qx73cjw570799j4n5cjze.png"
page "$work/file.html"
[ "$(grep -o 'data:image/png' "$work/file.html" | wc -l)" -eq 4 ] || complain "four pictures of the one case are expected"
run 0 evaluate --html "$work/maps.html" --cases 1 --images "$pictures" --name polyp-compact.safetensors "$work/maps" "$data/demo-polyps/masks"
[ "$(grep -o 'src="data[^"]*' "$work/maps.html" | cksum)" = "$(grep -o 'src="data[^"]*' "$work/model.html" | cksum)" ] ||
    complain "a model's cases and its maps' cases look different"

# Several folders: only images that both have are compared.
q=$work/other
mkdir "$q"
rm "$p"/* "$m"/*
give v30_typical_200x160 v12_one_pixel_miss v18_multi_object v26_noise_ties v19_ring
for id in v30_typical_200x160 v12_one_pixel_miss v18_multi_object v26_noise_ties; do
    cp "$m/$id.png" "$q/$id.png"
done
run 1 evaluate "$p" "$q" "$m" --json "$work/two.json" --csv "$work/two.csv" --html "$work/two.html" --name soft
errs 'v19_ring\.png: no prediction of this stem'
says '^set +mDice +mIoU +wFm +Sm +maxEm +MAE +Dice +IoU +HD95 +ASD'
says '^other less soft, images in both; paired bootstrap, 10000 resamples, 95 % interval'
says '^ MAE +-0\.[0-9]+ +-0\.[0-9]+ +-0\.[0-9]+ +4  other'
page "$work/two.html"
grep -q 'Differences' "$work/two.html" || complain "no differences on the page"
[ "$(value "$work/two.json" sets.0.name)" = '"soft"' ] || complain "the first name is not as given"
[ "$(value "$work/two.json" sets.1.name)" = '"other"' ] || complain "the second name is not the folder's"
[ "$(value "$work/two.json" differences.0.numbers.dice_mean.pairs)" = 4 ] || complain "four images are in both"
same "$work/two.json" sets.1.scores.dataset.dice 1
same "$work/two.json" differences.0.numbers.dice.second 1
[ "$(head -1 "$work/two.csv" | cut -d, -f1,2)" = set,name ] || complain "the CSV does not name the set"
[ "$(wc -l <"$work/two.csv")" -eq 12 ] || complain "the CSV should have a head, nine images and two sets"
run 1 evaluate "$p" "$q" "$m" --json "$work/three.json" --threads 1 --quiet --name soft
equal "$work/two.json" "$work/three.json"
run 1 evaluate "$p" "$q" "$m" --json "$work/three.json" --seed 1 --quiet --name soft
cmp -s "$work/two.json" "$work/three.json" && complain "the seed changes nothing"
run 1 evaluate "$p" "$q" "$q/" "$m" --resamples 100 --no-surface --html "$work/three.html" --quiet
page "$work/three.html"
grep -q '>HD95' "$work/three.html" && complain "--no-surface leaves HD95 on the page"

# Command lines that make no sense; nothing is written.
bad() { run 2 evaluate --json "$work/none.json" "$@"; silent; absent "$work/none.json"; }
bad "$p"
errs 'PREDICTIONS and MASKS'
bad --model "$model" "$p" "$q" "$m"
errs 'IMAGES and MASKS'
bad --mirror "$p" "$m"
errs '--tiles and --mirror go with --model'
bad --name a --name b "$p" "$m"
errs '2 names for 1'
bad --labels a=1 "$p" "$q" "$m"
bad --labels a=1 --html "$work/none.html" "$p" "$m"
bad --resamples 99 "$p" "$q" "$m"
bad --cases -1 "$p" "$m"
bad "$p" "$p" "$p" "$p" "$p" "$p" "$p" "$p" "$p" "$m"
errs 'at most 8'
bad --profile paper "$p" "$m"
errs 'default, authors or pranet'
bad --empty maybe "$p" "$m"
bad --spacing 1 "$p" "$m"
bad --spacing 0,1 "$p" "$m"
bad --folds 1 "$p" "$m"
bad --connectivity 8 "$p" "$m"
bad --labels rnfl "$p" "$m"
bad --labels rnfl=256 "$p" "$m"
bad --labels a=1 --csv "$work/none.csv" "$p" "$m"
bad --unknown "$p" "$m"
run 2 evaluate --spacing 1,1 --spacing 1.0,1 "$p" "$m"
errs 'there twice'
run 2 evaluate --json "$m/v19_ring.png" "$p" "$m"
errs 'would overwrite the input'
run 2 evaluate --html "$m/v19_ring.png" "$p" "$m"
errs 'would overwrite the input'
run 1 evaluate "$work/nowhere" "$m"
errs 'nowhere'
run 1 evaluate --json "$work/no/such/folder.json" "$p" "$m"
# The help names every column of every table, and every number it maps to is in the JSON.
rm -f "$p"/* "$m"/*
give v30_typical_200x160 v18_multi_object v19_ring v26_noise_ties
"$bin/m2snet-evaluate" --help >"$work/help"
for profile in default authors pranet; do
    run 0 evaluate --profile $profile "$p" "$m" --json "$work/$profile.json"
    # a line of names stands above a line of numbers
    awk '$1 ~ /^[0-9.]+$/ && NF > 4 && names != "" { print names } { names = $0 }' "$work/out" | tr -s ' ' '\n' >"$work/names"
    [ "$(grep -c . "$work/names")" -ge 30 ] || complain "the tables' heads were not found"
    while read -r name; do
        [ -z "$name" ] || grep -qE "(^|[ ,(])$name([ ,.;:)]|$)" "$work/help" || complain "the help does not name $name"
    done <"$work/names"
done
for key in dice_mean iou_mean dice_max iou_max wfm sm sm_matlab_rounding em_max em_mean em_adp fm_max fm_mean fm_adp f1_max \
    f1_mean pre_mean rec_mean spec_mean spec_max spec_pranet_mean mae dice f1 iou miou iou_bg precision recall specificity \
    accuracy ber; do
    value "$work/default.json" images.0.$key >/dev/null
    value "$work/default.json" dataset.$key >/dev/null
    grep -qE "(^|[ ,(])$key([ ,.;:)]|$)|${key%_*}_\*" "$work/help" || complain "the help does not name $key"
done
for key in tp fp fn tn; do
    value "$work/default.json" images.0.$key >/dev/null
    value "$work/default.json" dataset.pooled.$key >/dev/null
done
for key in mae fm_max fm_adp sm em wfm dice_soft iou ber acc; do
    value "$work/authors.json" dataset.authors.$key >/dev/null
done
for key in dice_mean iou_mean wfm sm em_mean mae em_max dice_max iou_max sen_mean sen_max spe_mean spe_max; do
    value "$work/pranet.json" dataset.pranet.$key >/dev/null
done
# Clips: the frames of each as a set, and the plain mean over clips.
mkdir -p "$work/clips/all" "$work/clips/masks"
number=0
for mask in "$data"/demo-polyps/masks/*.png; do
    number=$((number + 1))
    clip=$([ $number -le 2 ] && echo a || echo b)
    cp "$mask" "$work/clips/masks/${clip}_$number.png"
    cp "$mask" "$work/clips/all/${clip}_$number.png"
done
write_black "$work/clips/all/single.png"
write_black "$work/clips/masks/single.png"
run 0 evaluate --group-separator _ --json "$work/clips.json" --no-surface "$work/clips/all" "$work/clips/masks"
says '^Clip by clip \(3 of them\)'
says '^a +2 '
says '^b +3 '
says '^single +1 '
[ "$(value "$work/clips.json" sets.0.clips.clips.1.images)" = 3 ] || complain "three frames of b"
sum=0
for i in 0 1 2; do
    sum=$(awk -v s="$sum" -v x="$(value "$work/clips.json" sets.0.clips.clips.$i.numbers.dice)" 'BEGIN { print s + x }')
done
awk -v s="$sum" -v m="$(value "$work/clips.json" sets.0.clips.mean.dice)" 'BEGIN { exit !(s / 3 - m < 1e-6 && m - s / 3 < 1e-6) }' ||
    complain "the mean over clips is no plain mean: $sum, $(value "$work/clips.json" sets.0.clips.mean.dice)"
run 2 evaluate --group-separator '' "$work/clips/all" "$work/clips/masks"
run 2 evaluate --group-separator _ --labels a=1 "$work/clips/all" "$work/clips/masks"

run 0 evaluate --help
says 'mDice, mIoU +dice_mean, iou_mean'
run 0 evaluate --version
finish
