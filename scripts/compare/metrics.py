# SPDX-License-Identifier: Apache-2.0
"""Time of a complete evaluation of one pair of 352 x 352 pictures in memory, surface distances included, on one thread:
here, and in public Python tools, in turns within one run. See scripts/compare-metrics.sh."""

import argparse
import ctypes
import importlib.metadata
import statistics
import sys
import time

import numpy as np
import scipy.ndimage as ndi


# ---- Pictures


def make_pair(seed, size):
    """A blob of 2 to 20 % of the picture and a soft, shifted guess of it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    angle = np.arctan2(y - 0.5, x - 0.5)
    edge = rng.uniform(0.1, 0.24) * (1 + 0.15 * np.sin(3 * angle + rng.uniform(0, 6)) + 0.08 * np.sin(7 * angle))
    inside = np.hypot(y - 0.5, x - 0.5) < edge
    dy, dx = rng.normal(0, 0.02, 2)
    distance = np.hypot(y - 0.5 - dy, x - 0.5 - dx) - edge * rng.uniform(0.85, 1.1)
    noise = ndi.gaussian_filter(rng.normal(0, 1, (size, size)), 9)
    guess = 1 / (1 + np.exp(np.clip((distance + 0.3 * noise) * 60, -40, 40)))
    return (255 * guess).astype(np.uint8), np.where(inside, 255, 0).astype(np.uint8)


# ---- Ours


class Image(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("width", ctypes.c_int32), ("height", ctypes.c_int32),
                ("row_stride_bytes", ctypes.c_ssize_t), ("format", ctypes.c_int), ("window_low", ctypes.c_float),
                ("window_high", ctypes.c_float), ("owner", ctypes.c_void_p)]


class Scores(ctypes.Structure):
    """The head of m2snet_scores: the library fills as much as struct_size has room for, and computes everything."""

    _fields_ = [("struct_size", ctypes.c_size_t), ("height", ctypes.c_int32), ("width", ctypes.c_int32),
                ("counts", ctypes.c_int64 * 4), ("mae", ctypes.c_double), ("sm", ctypes.c_double),
                ("sm_matlab_rounding", ctypes.c_double), ("wfm", ctypes.c_double)]


GRAY8 = 5


class Ours:
    name = "libm2snet: everything"

    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        self.context = ctypes.c_void_p()
        self.error = ctypes.create_string_buffer(4096)
        if self.library.m2snet_context_create(None, ctypes.byref(self.context), self.error):
            sys.exit("compare-metrics: no context")

    def score(self, prediction, mask):
        images = [Image(a.ctypes.data, a.shape[1], a.shape[0], a.strides[0], GRAY8, 0, 0, None) for a in (prediction, mask)]
        scores = Scores(struct_size=ctypes.sizeof(Scores))
        if self.library.m2snet_score(self.context, ctypes.byref(images[0]), ctypes.byref(images[1]), None,
                                     ctypes.byref(scores), self.error):
            sys.exit("compare-metrics: m2snet_score failed")
        return {"mae": scores.mae, "sm": scores.sm, "wfm": scores.wfm}


# ---- Theirs


class PySODMetrics:
    """MAE, S, weighted F, E, and Dice, IoU, precision, recall, specificity, F over 256 thresholds."""

    def __init__(self):
        import py_sod_metrics as tool

        self.tool = tool
        self.name = "PySODMetrics " + importlib.metadata.version("pysodmetrics") + ": MAE, Sm, wFm, E, six sweeps"

    def score(self, prediction, mask):
        t = self.tool
        sweeps = {name: handler(with_dynamic=True, with_adaptive=False, with_binary=True)
                  for name, handler in (("dice", t.DICEHandler), ("iou", t.IOUHandler), ("pre", t.PrecisionHandler),
                                        ("rec", t.RecallHandler), ("spec", t.SpecificityHandler))}
        sweeps["fm"] = t.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3)
        mae, sm, wfm, em = t.MAE(), t.Smeasure(), t.WeightedFmeasure(), t.Emeasure()
        fm = t.FmeasureV2(metric_handlers=sweeps)
        for metric in (mae, sm, wfm, em, fm):
            metric.step(pred=prediction, gt=mask)
        return {"mae": mae.get_results()["mae"], "sm": sm.get_results()["sm"], "wfm": wfm.get_results()["wfm"]}


class SurfaceDistance:
    def __init__(self):
        import surface_distance as tool

        self.tool = tool
        self.name = "surface-distance: averages and HD95"

    def score(self, prediction, mask):
        distances = self.tool.compute_surface_distances(mask > 128, prediction > 127, spacing_mm=(1.0, 1.0))
        self.tool.compute_average_surface_distance(distances)
        self.tool.compute_robust_hausdorff(distances, 95)
        return {}


class SciPyDistances:
    """medpy's definition of HD95 and ASSD with one distance map a side instead of one a call, cut to what matters."""

    name = "SciPy: borders, two distance maps, HD95 and ASSD"

    def score(self, prediction, mask):
        found, inside = prediction > 127, mask > 128
        box = ndi.find_objects((found | inside).astype(np.uint8))[0]
        cross = ndi.generate_binary_structure(2, 1)
        found, inside = (np.pad(a[box], 1) for a in (found, inside))
        a, b = (s & ~ndi.binary_erosion(s, cross) for s in (found, inside))
        both = np.concatenate([ndi.distance_transform_edt(~b)[a], ndi.distance_transform_edt(~a)[b]])
        np.percentile(both, 95), both.mean(), both.max()
        return {}


# ---- Timing


def available(*tools):
    made = []
    for tool in tools:
        try:
            made.append(tool())
        except ImportError as error:
            print(f"not there: {error.name}")
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", required=True, help="libm2snet.so")
    parser.add_argument("--size", type=int, default=352)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    pairs = [make_pair(seed, options.size) for seed in range(options.pairs)]
    ours, overlap, surface = Ours(options.library), available(PySODMetrics), available(SurfaceDistance, SciPyDistances)
    tools = [ours, *overlap, *surface]
    times = {tool: [[] for _ in pairs] for tool in tools}
    for tool in overlap:  # the same work: the same numbers
        for pair in pairs:
            a, b = ours.score(*pair), tool.score(*pair)
            assert all(abs(a[key] - b[key]) < 1e-9 for key in b), (a, b)
    for _ in range(options.rounds):
        for index, pair in enumerate(pairs):
            for tool in tools:
                start = time.process_time()
                tool.score(*pair)
                times[tool][index].append(1e3 * (time.process_time() - start))
    # processor time, so that other work on the machine does not count; of each pair the best round; of the pairs the median
    ms = {tool: statistics.median(min(rounds) for rounds in times[tool]) for tool in tools}
    print(f"{options.pairs} pairs of {options.size} x {options.size}, processor time, best of {options.rounds} rounds, median of pairs")
    for tool in tools:
        print(f"{ms[tool]:9.2f} ms  {tool.name}")
    if overlap and surface:
        fastest = min(ms[t] for t in overlap) + min(ms[t] for t in surface)
        print(f"{fastest:9.2f} ms  fastest combination of the public ones: {fastest / ms[ours]:.1f} times ours")


main()
