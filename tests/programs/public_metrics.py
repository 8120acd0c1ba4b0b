# SPDX-License-Identifier: Apache-2.0
"""Scores pairs with SciPy and scikit-image and compares them with the JSON of m2snet-evaluate.

    python3 public_metrics.py PREDICTIONS MASKS ONE.json [OTHER_PREDICTIONS TWO.json]

With two folders the differences are compared with scipy.stats.bootstrap.
"""

import json
import pathlib
import sys

import numpy as np
import scipy
import scipy.ndimage as ndi
import scipy.stats
import skimage
import skimage.io
import skimage.metrics

CLOSE = 1e-9  # both sides round in float64; sums of some 10^4 terms
# scikit-image and SciPy choose the nearest of several equally near pixels as the definition does (smallest column, then
# row), so weighted F needs no tolerance of its own.
failures = 0
compared = 0


def compare(name, key, ours, theirs, tolerance=CLOSE):
    global failures, compared
    compared += 1
    if ours is None or not abs(ours - theirs) <= tolerance * max(1.0, abs(theirs)):
        failures += 1
        print(f"FAILED: {name}: {key} is {ours}, the public tools say {theirs}")


def stretch(gray):
    low, high = gray.min() / 255, gray.max() / 255
    return gray / 255 if low == high else (gray / 255 - low) / (high - low)


def borders(inside):
    return inside & ~ndi.binary_erosion(inside, ndi.generate_binary_structure(2, 1), border_value=0)


def surface(found, inside, spacing):
    a, b = borders(found), borders(inside)
    to_b = ndi.distance_transform_edt(~b, sampling=spacing)[a]
    to_a = ndi.distance_transform_edt(~a, sampling=spacing)[b]
    both = np.concatenate([to_b, to_a])
    return {
        "hd": both.max(),
        "hd95": np.percentile(both, 95),
        "assd": both.mean(),
        "asd_pred_to_gt": to_b.mean(),
        "asd_gt_to_pred": to_a.mean(),
        "hd95_maxdir": max(np.percentile(to_b, 95), np.percentile(to_a, 95)),
    }


def weighted_f(x, inside):
    error = np.abs(x - inside)
    distance, (row, column) = ndi.distance_transform_edt(~inside, return_indices=True)
    spread = np.where(inside, error, error[row, column])
    bell = np.exp(-np.arange(-3, 4) ** 2 / 50)
    smooth = ndi.correlate(spread, np.outer(bell, bell) / bell.sum() ** 2, mode="constant")
    error = np.where(inside & (smooth < error), smooth, error)
    weighted = error * np.where(inside, 1, 2 - np.exp(np.log(0.5) / 5 * distance))
    true = inside.sum() - weighted[inside].sum()
    eps = np.finfo(float).eps
    recall = 1 - weighted[inside].mean()
    precision = true / (true + weighted[~inside].sum() + eps)
    return 2 * recall * precision / (recall + precision + eps)


def curve(x, inside, name):
    level = np.floor(255 * x)
    values = []
    for t in range(256):
        tp = np.count_nonzero((level >= t) & inside)
        fp = np.count_nonzero((level >= t) & ~inside)
        values.append(2 * tp / (inside.sum() + tp + fp) if name == "dice" else tp / (inside.sum() + fp))
    return np.array(values)


def check_image(entry, prediction, mask):
    """Returns what set means need."""
    name = entry["name"]
    gray, inside = skimage.io.imread(prediction), skimage.io.imread(mask) > 128
    x = stretch(gray.astype(float))
    found = x > 0.5
    table = skimage.metrics.contingency_table(inside.astype(int), found.astype(int)).toarray()
    if table.shape == (2, 2):
        for key, value in zip(("tn", "fp", "fn", "tp"), table.ravel()):
            compare(name, key, entry[key], value)
    compare(name, "mae", entry["mae"], np.abs(x - inside).mean())
    curves = {}
    if inside.any():
        for key in ("dice", "iou"):
            curves[key] = curve(x, inside, key)
            compare(name, key + "_mean", entry[key + "_mean"], curves[key].mean())
            compare(name, key + "_max", entry[key + "_max"], curves[key].max())
        compare(name, "wfm", entry["wfm"], weighted_f(x, inside))
    if inside.any() and found.any():
        for spacing, numbers in entry["surface"].items():
            for key, value in surface(found, inside, [float(v) for v in spacing.split(",")]).items():
                compare(name, f"{key} {spacing}", numbers[key], value)
        compare(name, "hd of scikit-image", entry["surface"]["1.0,1.0"]["hd"],
                skimage.metrics.hausdorff_distance(borders(inside), borders(found)))
    return {
        "pixels": gray.size,
        "squares": skimage.metrics.mean_squared_error(inside.astype(float), gray / 255) * gray.size,
        "area": float(found.sum()) - float(inside.sum()),
        "curves": curves,
    }


def check_folder(predictions, masks, file):
    report = json.loads(pathlib.Path(file).read_text())
    rows = [check_image(entry, predictions / (entry["name"] + ".png"), masks / (entry["name"] + ".png"))
            for entry in report["images"]]
    compare("set", "brier", report["calibration"]["brier"],
            sum(r["squares"] for r in rows) / sum(r["pixels"] for r in rows))
    areas = np.array([r["area"] for r in rows])
    compare("set", "area bias", report["area_agreement"]["bias"], areas.mean())
    compare("set", "area deviation", report["area_agreement"]["deviation"], areas.std(ddof=1))
    if all(r["curves"] for r in rows):
        mean = np.mean([r["curves"]["dice"] for r in rows], axis=0)
        compare("set", "dice_max", report["dataset"]["dice_max"], mean.max())
    return report


def check_differences(report):
    """Other random numbers: both ends agree to about 3 % of the interval's width with 10 000 resamples on each side."""
    first, second = (s["scores"]["images"] for s in report["sets"])
    for key in ("dice", "mae", "sm", "wfm"):
        ours = report["differences"][0]["numbers"][key]
        gaps = np.array([b[key] - a[key] for a, b in zip(first, second)])
        theirs = scipy.stats.bootstrap((gaps,), np.mean, n_resamples=10000, method="percentile",
                                       random_state=np.random.default_rng(0)).confidence_interval
        compare("difference", key, ours["difference"], gaps.mean())
        for end, value in (("low", theirs.low), ("high", theirs.high)):
            compare("difference", f"{end} of {key}", ours[end], value, 0.06 * (theirs.high - theirs.low))


def main():
    print(f"SciPy {scipy.__version__}, scikit-image {skimage.__version__}, NumPy {np.__version__}")
    check_folder(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3])
    if len(sys.argv) > 4:
        check_differences(json.loads(pathlib.Path(sys.argv[4]).read_text()))
    print(f"{compared} numbers compared, {failures} differ")
    return 1 if failures or compared < 100 else 0


sys.exit(main())
