#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes variant_NAME_training.tsv: every variant of the pyramid behind a small Res2Net, in PyTorch and float64.

    python3 make_variants.py FOLDER [NAME...]

The network is defined here once more, from the formulas, and shares no code with the library. Weights, input and mask
follow the recipe `golden` of ../README.md; float32_deviation is PyTorch's own float32 run. Rows: maps in eval mode
(`eval.*`), the structure loss and gradients with frozen batch norm (`eval.grad.*`) and with the batch's statistics
(`train.grad.*`), and running statistics of the filters' norms after one step (`after_train.*`).
"""
import math
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

SIDE, COUNT, PYRAMID = 128, 2, 8
STEM, WIDTH, CHANNELS = (4, 4, 8), (3, 4, 4, 4), (12, 16, 16, 20)

VARIANTS = {
    "paper": dict(reduce_x1=True, include_ms1=True, ce4_conv=True, ce5="shared", dem4=False, channels="depthwise",
                  norm="none", one="ones"),
    "structure": dict(reduce_x1=True, include_ms1=True, ce4_conv=True, ce5="shared", dem4=False),
    "reducer": dict(ce5="reducer", dem4=False),
    "depth1": dict(depth=1, include_ms1=True, ce4_conv=True),
    "depth3": dict(depth=3, include_ms1=True, ce4_conv=True),
    "levels4": dict(levels=4, dem4=False, ce5="reducer"),
    "depthwise": dict(channels="depthwise"),
    "per_unit": dict(norm="per_unit"),
    "bare": dict(norm="none"),
    "ones": dict(one="ones"),
    "sigma": dict(sigma=1.5),
    "addition": dict(unit="addition"),
    "dense_shared": dict(unit="dense_shared"),
}


def uniform(name, count):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) % 2**64
    i = np.arange(1, count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(h) + i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1.0


def draw(state):
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        v = torch.from_numpy(uniform(name, tensor.numel())).reshape(tensor.shape)
        kernel = int(name[5]) if name.startswith("conv_") else 0
        if name.endswith("running_mean"):
            v = kernel**2 * (5 + v) if kernel else 0.1 * v
        elif name.endswith("running_var"):
            v = (100 * kernel**2) ** 2 * (1 + 0.3 * v) if kernel else 1 + 0.5 * v
        elif tensor.dim() > 1:
            v = v * math.sqrt(3 / (tensor.numel() // tensor.shape[0]))
        else:
            v = 0.1 * v if name.endswith("bias") else 1 + 0.1 * v
        tensor.copy_(v.to(torch.float32))


def conv(i, o, k, stride=1, dilation=1, bias=False):
    return nn.Conv2d(i, o, k, stride, dilation * (k // 2), dilation=dilation, bias=bias)


def cbr(i, o=PYRAMID):
    return nn.Sequential(conv(i, o, 3, bias=True), nn.BatchNorm2d(o), nn.ReLU())


class Block(nn.Module):
    """The first block of a stage: four groups that do not meet, the last one pooled."""

    def __init__(self, inputs, width, outputs, stride):
        super().__init__()
        self.width, self.stride = width, stride
        self.conv1, self.bn1 = conv(inputs, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.convs = nn.ModuleList(conv(width, width, 3, stride) for _ in range(3))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(3))
        self.conv3, self.bn3 = conv(4 * width, outputs, 1), nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential(nn.Identity(), conv(inputs, outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x):
        group = F.relu(self.bn1(self.conv1(x))).split(self.width, 1)
        parts = [F.relu(n(c(g))) for g, c, n in zip(group, self.convs, self.bns)]
        parts.append(F.avg_pool2d(group[3], 3, self.stride, 1))
        small = F.avg_pool2d(x, self.stride, self.stride, ceil_mode=True, count_include_pad=False)
        return F.relu(self.bn3(self.conv3(torch.cat(parts, 1))) + self.downsample(small))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        a, b, c = STEM
        self.conv1 = nn.Sequential(conv(3, a, 3, 2), nn.BatchNorm2d(a), nn.ReLU(), conv(a, b, 3), nn.BatchNorm2d(b),
                                   nn.ReLU(), conv(b, c, 3))
        self.bn1 = nn.BatchNorm2d(c)
        for s in range(4):
            block = Block(c if s == 0 else CHANNELS[s - 1], WIDTH[s], CHANNELS[s], 1 if s == 0 else 2)
            setattr(self, f"layer{s + 1}", nn.Sequential(block))

    def forward(self, x):
        levels = [F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)]
        for s in range(4):
            levels.append(getattr(self, f"layer{s + 1}")(levels[-1]))
        return levels


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(PYRAMID)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        shapes = ((1, 1), (3, 1), (3, 2))
        self.b = nn.ModuleList(
            nn.Sequential(conv((i + 1) * PYRAMID, PYRAMID, k, dilation=d), nn.BatchNorm2d(PYRAMID), nn.ReLU())
            for i, (k, d) in enumerate(shapes))

    def forward(self, x):
        seen = [x]
        for b in self.b:
            seen.append(b(torch.cat(seen, 1)))
        return seen[1:]


class Network(nn.Module):
    def __init__(self, levels=5, depth=5, reduce_x1=False, include_ms1=False, ce4_conv=False, dem4=True, ce5="own",
                 unit="subtraction", channels="full", norm="shared", one="identity", sigma=None, scales=(1, 3, 5)):
        super().__init__()
        self.resnet = Encoder()
        self.levels, self.depth, self.include_ms1, self.unit, self.sigma = levels, depth, include_ms1, unit, sigma
        self.channels, self.norm, self.one, self.scales = channels, norm, one, scales
        widths = (STEM[2], *CHANNELS)[5 - levels:]
        for i in range(levels, 0, -1):
            if i > 1 or levels == 4 or reduce_x1:
                self.add_module(f"x{i}_dem_1", cbr(widths[i - 1]))
        kernels = [k for k in scales if k > 1 or one == "ones"] if unit != "dense_shared" and depth > 1 else []
        for k in kernels if norm == "shared" else ():
            self.add_module(f"conv_{k}", Norm())
        for order in range(2, depth + 1):
            for level in range(levels - order + 1, 0, -1):
                name = "_".join(f"x{i}" for i in range(level + order - 1, level - 1, -1))
                self.add_module(name, cbr(PYRAMID))
                for k in kernels if norm == "per_unit" else ():
                    self.add_module(f"{name}_conv_{k}", Norm())
                if unit == "dense_shared":
                    self.add_module(f"{name}_ab", Branches())
        if dem4 and depth >= levels:
            self.add_module(f"x{levels}_dem_4", cbr(PYRAMID))
        for i in range(levels - 1 if ce4_conv else levels - 2, 0, -1):
            self.add_module(f"level{i}", cbr(PYRAMID))
        if ce5 != "reducer":
            self.add_module(f"x{levels}_dem_5", cbr(widths[-1] if ce5 == "own" else PYRAMID))
        self.ce5 = ce5
        for i in range(levels - 1, 1, -1):
            self.add_module(f"output{i}", cbr(PYRAMID))
        self.output1 = nn.Sequential(conv(PYRAMID, 1, 3, bias=True))
        self.maps = {}

    def module(self, name):
        return getattr(self, name, None)

    def window(self, k, dtype):
        if self.sigma is None:
            return torch.ones(k, k, dtype=dtype)
        g = torch.exp(-((torch.arange(k, dtype=dtype) - (k - 1) / 2) ** 2) / (2 * self.sigma**2))
        return torch.outer(g, g) / g.sum() ** 2

    def filter(self, unit, x, k):
        w = self.window(k, x.dtype)
        if self.channels == "depthwise":
            x = F.conv2d(x, w.expand(PYRAMID, 1, k, k), padding=k // 2, groups=PYRAMID)
        else:
            x = F.conv2d(x, w.expand(PYRAMID, PYRAMID, k, k), padding=k // 2)
        if self.norm == "none":
            return x
        norm = self.module(f"conv_{k}" if self.norm == "shared" else f"{unit}_conv_{k}").norm
        return F.relu(norm(x))

    def compare(self, unit, a, b):
        a = F.interpolate(a, size=b.shape[2:], mode="bilinear", align_corners=False)
        if self.unit == "dense_shared":
            branches = self.module(f"{unit}_ab")
            pairs = list(zip(branches(a), branches(b)))
        else:
            pairs = [(a, b) if k == 1 and self.one == "identity" else (self.filter(unit, a, k), self.filter(unit, b, k))
                     for k in self.scales]
        t = sum(p + q if self.unit == "addition" else (p - q).abs() for p, q in pairs)
        self.maps[f"{unit}.sum_in"] = t
        return self.module(unit)(t)

    def forward(self, x):
        levels = self.levels
        encoded = self.resnet(x)[5 - levels:]
        ms = {(1, i + 1): self.module(f"x{i + 1}_dem_1")(encoded[i]) if self.module(f"x{i + 1}_dem_1") else encoded[i]
              for i in range(levels)}
        for order in range(2, self.depth + 1):
            for level in range(levels - order + 1, 0, -1):
                name = "_".join(f"x{i}" for i in range(level + order - 1, level - 1, -1))
                coarse = ms[order - 1, level + 1]
                if order == levels and self.module(f"x{levels}_dem_4"):
                    coarse = self.module(f"x{levels}_dem_4")(coarse)
                ms[order, level] = self.compare(name, coarse, ms[order - 1, level])
        y = ms[1, levels] if self.ce5 != "own" else encoded[-1]
        y = self.module(f"x{levels}_dem_5")(y) if self.module(f"x{levels}_dem_5") else y
        for level in range(levels - 1, 0, -1):
            orders = range(1 if self.include_ms1 else 2, self.depth + 1)
            ce = sum(ms[order, level] for order in orders if (order, level) in ms)
            ce = self.module(f"level{level}")(ce) if self.module(f"level{level}") else ce
            y = F.interpolate(y, size=ce.shape[2:], mode="bilinear", align_corners=False) + ce
            y = self.module(f"output{level}")(y)
        self.maps["logits"] = F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)
        return self.maps["logits"]


def structure_loss(logits, mask):
    w = 1 + 5 * (F.avg_pool2d(mask, 31, 1, 15) - mask).abs()
    bce = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    p = torch.sigmoid(logits)
    common, both = (p * mask * w).sum((2, 3)), ((p + mask) * w).sum((2, 3))
    return ((w * bce).sum((2, 3)) / w.sum((2, 3)) + 1 - (common + 1) / (both - common + 1)).mean()


def run(options, dtype):
    network = Network(**options)
    draw(network.state_dict())
    network.to(dtype)
    image = torch.from_numpy(uniform("input", COUNT * 3 * SIDE * SIDE)).reshape(COUNT, 3, SIDE, SIDE)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    mask = np.stack([(x - 40 - 16 * i) ** 2 + (y - 60) ** 2 < 28**2 for i in range(COUNT)])[:, None]
    image, mask = image.to(torch.float32).to(dtype), torch.from_numpy(mask).to(dtype)
    rows = {}
    for mode in ("eval", "train"):
        network.train(mode == "train")
        network.zero_grad(set_to_none=True)
        loss = structure_loss(network(image), mask)
        for name, value in network.maps.items() if mode == "eval" else ():
            rows[f"eval.{name}"] = value
        rows[f"{mode}.structure_loss.fixed"] = loss.reshape(1)
        loss.backward()
        for name, value in network.named_parameters():
            # Of the encoder the first convolution, which all gradients pass. Biases in front of a norm have none.
            first = name == "resnet.conv1.0.weight"
            head = not name.startswith("resnet.") and (value.dim() == 4 or ".norm." in name)
            if (first or head) and value.grad is not None:  # at depth 1 nothing reads x5_dem_1
                rows[f"{mode}.grad.{name}"] = value.grad
    for name, value in network.named_buffers():
        if ".norm.running" in name:
            rows[f"after_train.{name}"] = value
    return {name: value.detach().double().flatten().clone() for name, value in rows.items()}


def main():
    torch.set_num_threads(1)
    for name in sys.argv[2:] or VARIANTS:
        options = VARIANTS[name]
        truth, single = run(options, torch.float64), run(options, torch.float32)
        with open(f"{sys.argv[1]}/variant_{name}_training.tsv", "w") as file:
            for tag, a in truth.items():
                deviation = ((a - single[tag]).norm() / (a.norm() + 1e-300)).item()
                n = a.numel()
                samples = " ".join(f"{i}:{a[i]:.12g}" for i in sorted({0, n // 3, 5 * n // 6, n - 1}))
                file.write(f"{tag}\t{n}\t{a.sum():.12g}\t{(a * a).sum():.12g}\t{deviation:.2g}\t{samples}\n")
        print(name, len(truth))


main()
