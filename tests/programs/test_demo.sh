#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# m2snet-demo: the Dice of the model's card on the demo pictures, and the page.
# shellcheck source=tests/programs/program_test.sh
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

masks=$data/demo-polyps/masks
run 0 demo --model "$model" --images "$pictures" --truth "$masks" --output "$work/demo"

# From examples/data/MODELCARD.md, in order of name; 0.003 is the tolerance it was agreed with.
awk 'BEGIN { split("0.835 0.834 0.806 0.515 0.751", card, " "); bad = 0 }
     match($0, /: Dice [0-9.]+/) { n++; dice = substr($0, RSTART + 7, RLENGTH - 7)
         if (dice - card[n] > 0.0035 || card[n] - dice > 0.0035) { print $0 ", the card says " card[n]; bad = 1 } }
     /^mean Dice/ { mean = $3 + 0; if (mean - 0.748 > 0.003 || 0.748 - mean > 0.003) { print $0; bad = 1 } }
     END { exit bad || n != 5 || mean == 0 }' "$work/out" || complain "not the Dice of the card: $(cat "$work/out")"

says "^$(cd "$work/demo" && pwd -P)/index.html$"
expected=(index.html)
for picture in "$pictures"/*.jpg; do
    stem=$(basename "$picture" .jpg)
    expected+=("${stem}_input.jpg" "${stem}_probability.png" "${stem}_outline.png" "${stem}_truth.png")
    equal "$picture" "$work/demo/${stem}_input.jpg"
done
holds "$work/demo" "${expected[@]}"
page=$work/demo/index.html
grep -q 'not a medical device' "$page" || complain "the page does not say that this is not a medical device"
grep -q 'HyperKvasir' "$page" || complain "the page does not say where the pictures come from"
# It needs nothing from elsewhere, and everything it shows is there.
! grep -Eqi '<script|<link|src="(https?:)?//' "$page" || complain "the page loads something from elsewhere"
grep -o 'src="[^"]*"' "$page" | sed 's/src="//; s/"//' | while read -r file; do
    [ -s "$work/demo/$file" ] || echo "$file"
done >"$work/missing"
[ ! -s "$work/missing" ] || complain "the page shows what is not there: $(cat "$work/missing")"
[ "$(grep -c '<figure>' "$page")" -eq 20 ] || complain "the page has not 20 figures"

# A picture without truth, and one whose truth has another size, fail by name; the rest is done.
mkdir "$work/images" "$work/truth"
picture=cju0roawvklrq0799vmjorwfv
cp "$pictures/$picture.jpg" "$work/images/one.jpg"
cp "$pictures/$picture.jpg" "$work/images/two & a <b>.jpg"
cp "$pictures/$picture.jpg" "$work/images/three.jpg"
cp "$masks/$picture.png" "$work/truth/two & a <b>.png"
write_black "$work/truth/three.png"
run 1 demo --model "$model" --size 96 --images "$work/images" --truth "$work/truth" --output "$work/part"
errs 'one\.jpg: there is no mask'
errs 'three\.jpg: the picture is [0-9]+ x [0-9]+, its truth 64 x 48'
says 'over 1 pictures'
grep -q 'two &amp; a &lt;b&gt;.jpg' "$work/part/index.html" || complain "a name is not escaped"
grep -q 'src="two%20%26%20a%20%3Cb%3E_outline.png"' "$work/part/index.html" || complain "an address is not escaped"

# An output never replaces an input.
mkdir "$work/clash"
cp "$pictures/$picture.jpg" "$work/clash/a.jpg"
cp "$pictures/$picture.jpg" "$work/clash/a_input.jpg"
run 2 demo --model "$model" --images "$work/clash" --truth "$work/truth" --output "$work/clash"
errs 'would overwrite the input'
holds "$work/clash" a.jpg a_input.jpg
finish
