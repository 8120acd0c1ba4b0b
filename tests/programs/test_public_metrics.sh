#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# m2snet-evaluate against SciPy and scikit-image: the same masks, the same numbers.
# M2SNET_PYTHON names another Python than python3.
# shellcheck source=tests/programs/program_test.sh
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

python=${M2SNET_PYTHON:-python3}
vectors=$M2SNET_SOURCE_DIR/tests/data/metrics
command -v "$python" >/dev/null || { echo "skipped: $python is not there"; exit 77; }
mkdir "$work/p" "$work/q" "$work/m"
# Not the vectors whose point is that public tools fail there: one pixel, no mask, sides of one pixel.
for prediction in "$vectors"/v[0-9]*_pred.png; do
    id=$(basename "$prediction" _pred.png)
    case $id in v01* | v02* | v07* | v08* | v24*) continue ;; esac
    cp "$prediction" "$work/p/$id.png"
    cp "$vectors/${id}_mask.png" "$work/m/$id.png"
done
run 0 evaluate "$work/p" "$work/m" --quiet --json "$work/one.json" --spacing 1,1 --spacing 0.5,2
# A second set: the masks themselves, and a part of the first set, so that differences are neither constant nor all 0.
for mask in "$work"/m/*.png; do
    cp "$mask" "$work/q/$(basename "$mask")"
done
cp "$work/p/"v1*.png "$work/q/"
run 0 evaluate "$work/p" "$work/q" "$work/m" --quiet --json "$work/two.json"
status=0
"$python" "$M2SNET_SOURCE_DIR/tests/programs/public_metrics.py" "$work/p" "$work/m" "$work/one.json" "$work/two.json" || status=$?
[ "$failures" -eq 0 ] || finish
exit "$status"
