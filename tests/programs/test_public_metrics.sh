#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# m2snet-evaluate against SciPy and scikit-image: the same masks, the same numbers.
# PYTHON names an interpreter that has both; default: python3, or the system's own.
# shellcheck source=tests/programs/program_test.sh
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

vectors=$M2SNET_SOURCE_DIR/tests/data/metrics
python=
for candidate in ${PYTHON:-python3 /usr/bin/python3}; do
    "$candidate" -c 'import scipy, skimage' 2>/dev/null && { python=$candidate; break; }
done
[ -n "$python" ] || { echo "needs SciPy and scikit-image (Debian: python3-scipy python3-skimage; or set PYTHON)"; exit 77; }
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
