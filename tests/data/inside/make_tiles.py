# SPDX-License-Identifier: Apache-2.0
"""Weights and places of sliding windows, with SciPy: writes tiles.tsv.

weight window index:value ...     row `window // 3` of the weights of a square window: a Gaussian filter of a single point in
                                  the middle (sigma an eighth of the side, zeros around), scaled to a maximum of 10, zeros
                                  replaced by the smallest other number
place length window step begin... of the windows of an axis, as nnU-Net v2 computes them
"""
import numpy as np
from scipy.ndimage import gaussian_filter


def weights(side):
    point = np.zeros((side, side))
    point[side // 2, side // 2] = 1
    weight = gaussian_filter(point, side / 8, 0, mode="constant", cval=0)
    weight *= 10 / weight.max()
    weight[weight == 0] = weight[weight != 0].min()
    return weight


def places(length, window, step):
    count = int(np.ceil((length - window) / (window * step))) + 1 if length > window else 1
    if count == 1:
        return [-((window - length) // 2)] if window > length else [0]
    distance = (length - window) / (count - 1)
    return [int(np.round(distance * i)) for i in range(count)]


with open("tiles.tsv", "w") as file:
    for side in (33, 34, 64, 97, 352):
        row = weights(side)[side // 3]
        file.write(f"weight\t{side}\t" + " ".join(f"{i}:{row[i]:.12g}" for i in range(0, side, max(1, side // 16))) + "\n")
    for length, window, step in (
        (352, 352, 0.5), (353, 352, 0.5), (528, 352, 0.5), (529, 352, 0.5), (1920, 352, 0.5), (1080, 352, 0.5),
        (100, 33, 0.5), (67, 33, 0.25), (65535, 8192, 1.0), (101, 34, 0.3), (40, 64, 0.5), (41, 64, 0.5), (1, 33, 0.5),
        (101, 96, 0.5), (103, 64, 0.05),
    ):
        file.write(f"place\t{length}\t{window}\t{step}\t" + " ".join(map(str, places(length, window, step))) + "\n")
