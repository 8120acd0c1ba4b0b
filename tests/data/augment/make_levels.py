#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Float64 truth for nnU-Net's changes of levels, one after the other, by PyTorch's own padding and interpolation.

    python3 make_levels.py > levels.txt

The picture, 12 x 17 and 33 x 20 of R, G, B, is u("levels", i) of the generator in tests/data/README.md. A case is a line
"case HEIGHT WIDTH", a line a channel of "BLUR BRIGHTNESS CONTRAST LOW_RESOLUTION GAMMA_INVERTED GAMMA" (0: not at all),
then HEIGHT*WIDTH lines of R, G, B.
"""
import torch
import torch.nn.functional as F

MASK64 = (1 << 64) - 1
CASES = [
    (12, 17, [(0.5, 0, 0, 0, 0, 0), (1.0, 0, 0, 0, 0, 0), (0.77, 0, 0, 0, 0, 0)]),
    (12, 17, [(0, 0.75, 0, 0, 0, 0), (0, 0, 1.25, 0, 0, 0), (0, 0, 0.8, 0, 0, 0)]),
    (33, 20, [(0, 0, 0, 0.5, 0, 0), (0, 0, 0, 0.63, 0, 0), (0, 0, 0, 0.97, 0, 0)]),
    (12, 17, [(0, 0, 0, 0, 0.7, 0), (0, 0, 0, 0, 0, 1.5), (0, 0, 0, 0, 1.4, 0.8)]),
    (33, 20, [(0.9, 1.2, 0.9, 0.7, 1.1, 0.75), (2.2, 0.8, 1.1, 0.55, 0, 1.3), (0, 0, 0, 0, 0, 0)]),
]


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


def blur(x, sigma):
    width = 6 * sigma + 0.5
    size = min(range(1, 99, 2), key=lambda odd: abs(odd - width))
    at = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    half = size // 2
    padded = F.pad(x[None, None], (half, half, half, half), mode="reflect")
    return F.conv2d(padded, torch.outer(kernel, kernel)[None, None])[0, 0]


def contrast(x, factor):
    return ((x - x.mean()) * factor + x.mean()).clamp(x.min(), x.max())


def low_resolution(x, share):
    small = [round(side * share) for side in x.shape]
    y = F.interpolate(x[None, None], size=small, mode="nearest-exact")
    return F.interpolate(y, size=x.shape, mode="bilinear", align_corners=False)[0, 0]


def gamma(x, exponent, inverted):
    x = -x if inverted else x
    low, span = x.min(), x.max() - x.min()
    y = ((x - low) / span) ** exponent * span + low
    y = (y - y.mean()) / y.std(unbiased=False) * x.std(unbiased=False) + x.mean()
    return -y if inverted else y


for height, width, channels in CASES:
    u = generator("levels")
    values = torch.tensor([next(u) for _ in range(height * width * 3)], dtype=torch.float64).reshape(height, width, 3)
    made = []
    print("case", height, width)
    for c, (sigma, bright, strength, share, inverted, exponent) in enumerate(channels):
        print(sigma, bright, strength, share, inverted, exponent)
        x = values[..., c].to(torch.float32).to(torch.float64)
        x = blur(x, sigma) if sigma else x
        x = x * bright if bright else x
        x = contrast(x, strength) if strength else x
        x = low_resolution(x, share) if share else x
        x = gamma(x, inverted, True) if inverted else x
        x = gamma(x, exponent, False) if exponent else x
        made.append(x)
    for pixel in torch.stack(made, -1).reshape(-1, 3).tolist():
        print(*("%.9g" % v for v in pixel))
