#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Float64 truth for the preset "released": every step of the published pipeline, written from its description.

    python3 make_released.py > released.txt

Picture and mask come from the generator of tests/data/README.md, floor(256 u). Sizes are small: the first resize goes to
28 instead of 352, which changes nothing else. A case is a line "case WIDTH HEIGHT FIRST SIZE FLIP ANGLE", then SIZE*SIZE
lines of R, G, B, mask.
"""
import math

MASK64 = (1 << 64) - 1
MEAN = (124.55, 118.90, 102.94)
STD = (56.77, 55.97, 57.50)


def generator(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK64
    i = 0
    while True:
        z = (h + (i + 1) * 0x9E3779B97F4A7C15) & MASK64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
        z ^= z >> 31
        yield (z >> 40) / 2.0**24
        i += 1


def picture(width, height):
    u = generator("augment")
    return [[[math.floor(256 * next(u)) for _ in range(4)] for _ in range(width)] for _ in range(height)]


def normalise(p):
    return [[[(q[c] - MEAN[c]) / STD[c] for c in range(3)] + [q[3] / 255.0] for q in row] for row in p]


def resize(p, width, height):
    """Half-pixel centres, edges continued, no antialiasing."""
    h, w = len(p), len(p[0])

    def taps(o, n_out, n_in):
        x = (o + 0.5) * n_in / n_out - 0.5
        x = min(max(x, 0.0), n_in - 1.0)
        low = int(math.floor(x))
        return low, min(low + 1, n_in - 1), x - low

    result = []
    for y in range(height):
        y0, y1, fy = taps(y, height, h)
        row = []
        for x in range(width):
            x0, x1, fx = taps(x, width, w)
            row.append([
                (p[y0][x0][c] * (1 - fx) + p[y0][x1][c] * fx) * (1 - fy)
                + (p[y1][x0][c] * (1 - fx) + p[y1][x1][c] * fx) * fy
                for c in range(4)
            ])
        result.append(row)
    return result


def rotate(p, degrees):
    """M = [a b (1-a)cx - b cy; -b a b cx + (1-a)cy] takes source to destination; sampled with its inverse, outside 0."""
    h, w = len(p), len(p[0])
    cx, cy = h / 2, w / 2  # as released: the two are exchanged, which a square does not show
    a, b = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    m = [[a, b, (1 - a) * cx - b * cy], [-b, a, b * cx + (1 - a) * cy]]
    det = m[0][0] * m[1][1] - m[0][1] * m[1][0]

    def at(x, y, c):
        return p[y][x][c] if 0 <= x < w and 0 <= y < h else 0.0

    result = []
    for y in range(h):
        row = []
        for x in range(w):
            dx, dy = x - m[0][2], y - m[1][2]
            sx = (m[1][1] * dx - m[0][1] * dy) / det
            sy = (m[0][0] * dy - m[1][0] * dx) / det
            x0, y0 = math.floor(sx), math.floor(sy)
            fx, fy = sx - x0, sy - y0
            row.append([
                (at(x0, y0, c) * (1 - fx) + at(x0 + 1, y0, c) * fx) * (1 - fy)
                + (at(x0, y0 + 1, c) * (1 - fx) + at(x0 + 1, y0 + 1, c) * fx) * fy
                for c in range(4)
            ])
        result.append(row)
    return result


def main():
    for width, height, first, size, flip, angle in [
        (24, 20, 28, 19, 0, 7.3),
        (24, 20, 28, 28, 1, -9.6),
        (17, 33, 28, 40, 1, 0.0),
        (28, 28, 28, 28, 0, 4.25),
    ]:
        p = resize(normalise(picture(width, height)), first, first)
        if flip:
            p = [row[::-1] for row in p]
        p = resize(rotate(p, angle), size, size)
        print("case", width, height, first, size, flip, angle)
        for row in p:
            for q in row:
                print(" ".join("%.9g" % v for v in q))


main()
