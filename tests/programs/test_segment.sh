#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# m2snet-segment on real pictures: what it writes, what it prints, what it never touches.
# shellcheck source=tests/programs/program_test.sh
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

small() { run "$1" segment --model "$model" --size 96 "${@:2}"; }
mkdir "$work/in"
cp "$pictures/cju0roawvklrq0799vmjorwfv.jpg" "$work/in/b.jpg"
cp "$pictures/cju0rx1idathl0835detmsp84.jpg" "$work/in/c.JPEG"
write_black "$work/in/a.png"
echo 'no picture' >"$work/in/notes.txt"
(cd "$work/in" && sha256sum ./*) >"$work/inputs"

# ---- a folder, in order of name, everything on ----

run 0 segment --model "$model" --output "$work/all/of it" --mask --overlay --receipt --spacing 0.1,0.1 "$work/in"
says '^a\.png: nothing found, presence 0\.000, area [0-9]+ px'
says '^b\.jpg: found, presence 0\.[0-9]+, area [0-9]+ px \([0-9]+\.[0-9]+ mm2\), [0-9]+ ms$'
says '^3 of 3 pictures done in '
[ "$(cut -d: -f1 "$work/out" | head -n 3 | tr '\n' ' ')" = "a.png b.jpg c.JPEG " ] || complain "not in order of name"
holds "$work/all/of it" {a,b,c}{.png,_mask.png,_overlay.png,.json}
for stem in a b c; do
    there "$work/all/of it/$stem"{.png,_mask.png,_overlay.png,.json}
    value "$work/all/of it/$stem.json" >/dev/null
done

# ---- the same bytes for any number of threads; --quiet says nothing ----

for threads in 1 2 3; do
    run 0 segment --model "$model" --quiet --threads $threads --mask --output "$work/t$threads" "$work/in/b.jpg"
    silent
    [ ! -s "$work/err" ] || complain "--quiet and standard error has: $(cat "$work/err")"
    equal "$work/t$threads/b.png" "$work/all/of it/b.png"
    equal "$work/t$threads/b_mask.png" "$work/all/of it/b_mask.png"
done

# ---- options reach the library ----

small 0 --threshold 0 --output "$work/opt" "$work/in/a.png"
says 'area 3072 px'
small 0 --threshold 0 --min-area 4000 --output "$work/opt" "$work/in/a.png"
says 'area 0 px'
small 0 --largest --fill-holes --backend ref --threads 1 --output "$work/opt" "$work/in/a.png"
small 0 --size 64x96 --output "$work/opt" "$work/in/a.png"

# ---- windows, mirrored inputs, several models ----

small 0 --model "$model" --mirror --receipt --output "$work/views" "$work/in/b.jpg"
[ "$(value "$work/views/b.json" views)" = '"whole picture, mirrored both ways, 2 models"' ] ||
    complain "views: $(value "$work/views/b.json" views)"
value "$work/views/b.json" ensemble.0 >/dev/null
run 0 segment --model "$model" --tiles 64 --tile-step 1 --mirror=horizontal --receipt --output "$work/views" "$work/in/a.png"
[ "$(value "$work/views/a.json" views)" = '"1 window, step 1.00, Gaussian weights, mirrored horizontally"' ] ||
    complain "views: $(value "$work/views/a.json" views)"
small 2 --tiles 64 --output "$work/none" "$work/in/a.png"
errs '--size and --tiles exclude each other'
run 2 segment --model "$model" --mirror=left --output "$work/none" "$work/in/a.png"
errs 'expected horizontal, vertical or both'
run 2 segment --model "$model" --tile-step 0.5 --output "$work/none" "$work/in/a.png"
absent "$work/none"

# ---- what the network computed inside ----

small 0 --features "$work/inside/sheets" --gradcam x4_x3 --output "$work/inside" "$work/in/a.png" "$work/in/b.jpg"
holds "$work/inside" a.png b.png a_gradcam.png b_gradcam.png sheets
holds "$work/inside/sheets" a_features.png b_features.png
small 0 --features "$work/again" --gradcam x4_x3 --threads 3 --output "$work/again" "$work/in/b.jpg"
equal "$work/again/b_features.png" "$work/inside/sheets/b_features.png"
equal "$work/again/b_gradcam.png" "$work/inside/b_gradcam.png"
for name in x9 image level3.0.weight; do # neither an input nor weights
    small 2 --gradcam $name --output "$work/none" "$work/in/b.jpg"
    errs "gradcam $name: the network has no such tensor; m2snet-info --features .*polyp-compact"
    silent
done
small 2 --features "$work/none" --mirror --output "$work/none" "$work/in/a.png"
errs 'look into one run of one model'
small 2 --features "$work/in" --output "$work/none" "$work/in/a.png" "$work/../$(basename "$work")/in/a.png"
absent "$work/none"
run 0 info --features "$model"
says '^  64x64x32  x2_x1$'

# ---- one bad file among good ones ----

mkdir "$work/mixed"
cp "$work/in/b.jpg" "$work/mixed/good1.jpg"
cp "$work/in/a.png" "$work/mixed/good2.png"
: >"$work/mixed/empty.png"
head -c 60 "$work/in/a.png" >"$work/mixed/cut.png"
head -c 4000 /dev/zero >"$work/mixed/zeros.jpg"
small 1 --output "$work/some" "$work/mixed" "$work/missing.png"
for name in empty.png cut.png zeros.jpg missing.png; do
    errs "^m2snet-segment: .*$name"
done
says '^2 of 5 pictures done'
holds "$work/some" good1.png good2.png
mkdir "$work/hollow"
small 1 --output "$work/none" "$work/hollow"
errs 'no PNG or JPEG file in this folder'
absent "$work/none"

# ---- places where nothing can be written ----

echo 'a file' >"$work/file"
small 1 --output "$work/file" "$work/in/a.png"
small 1 --output "$work/file/below" "$work/in/a.png"
mkdir -p "$work/blocked/a.png"
small 1 --output "$work/blocked" "$work/in"
errs 'a\.png'
there "$work/blocked/b.png" "$work/blocked/c.png"
holds "$work/blocked" a.png b.png c.png

# ---- an output never replaces an input: nothing is written at all ----

small 2 --output "$work/in" "$work/in"
errs 'would overwrite the input .*a\.png'
ln -s in "$work/link"
small 2 --output "$work/link" "$work/in/b.jpg" "$work/in/../in/a.png"
errs 'would overwrite the input'
small 2 --output "$work/none" "$work/in/a.png" "$work/mixed" "$work/mixed/good1.jpg"
errs 'would both be written to'
cp "$work/in/a.png" "$work/in_mask.png"
cp "$work/in/a.png" "$work/in.png"
small 2 --output "$work/none" --mask "$work/in.png" "$work/in_mask.png"
errs 'would both be written to'
absent "$work/none"
(cd "$work/in" && sha256sum --quiet -c "$work/inputs") || complain "an input has changed"
small 0 --output "$work/in" "$work/in/b.jpg"
there "$work/in/b.png"
(cd "$work/in" && sha256sum --quiet -c "$work/inputs") || complain "an input has changed"

# ---- interrupted: what is done is done, nothing half ----

mkdir "$work/many"
for i in $(seq -w 400); do ln -s "$work/in/b.jpg" "$work/many/p$i.jpg"; done
"$bin/m2snet-segment" --model "$model" --output "$work/part" "$work/many" >"$work/out" 2>"$work/err" &
process=$!
for _ in $(seq 600); do
    [ ! -e "$work/part/p002.png" ] || break
    sleep 0.1
done
kill -INT $process
wait $process
status=$?
[ $status -eq 1 ] || complain "interrupted: exit status $status, expected 1"
says '^interrupted, [0-9]+ of 400 pictures done'
[ "$(find "$work/part" -name '*.png' | wc -l)" -lt 400 ] || complain "was not interrupted"
[ -z "$(find "$work/part" ! -name 'p???.png' -type f)" ] || complain "something else was left in the folder"
finish
