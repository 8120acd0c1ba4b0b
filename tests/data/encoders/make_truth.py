# SPDX-License-Identifier: Apache-2.0
"""Writes encoders.tsv: the five levels of small encoders at an odd size in float64, by PyTorch, with the weights and the
input of tests/data/README.md (golden). A row is NETWORK LEVEL shape sum sum_of_squares float32_deviation index:value ...
Usage: python3 make_truth.py > encoders.tsv (needs torch; the tests read the file alone)."""
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

MASK64 = (1 << 64) - 1
SIZE = (2, 3, 45, 70)


def balanced(name, count):
    """v(NAME, i) of tests/data/README.md."""
    h = 0xcbf29ce484222325
    for b in name.encode():
        h = (h ^ b) * 0x100000001b3 & MASK64
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9e3779b97f4a7c15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xbf58476d1ce4e5b9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94d049bb133111eb)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1.0


def fill(network):
    for name, tensor in network.state_dict().items():
        v = torch.from_numpy(balanced("resnet." + name, tensor.numel())).reshape(tensor.shape)
        if tensor.dim() >= 2:
            v = v * math.sqrt(3.0 / (tensor.numel() // tensor.shape[0]))
        elif name.endswith("bias") or name.endswith("gamma"):
            v = 0.1 * v
        else:
            v = 1.0 + 0.1 * v
        tensor.copy_(v.float().double())


class ChannelNorm(nn.LayerNorm):
    """Of (n, c, h, w)."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dwconv = nn.Conv2d(c, c, 7, padding=3, groups=c)
        self.norm = nn.LayerNorm(c, eps=1e-6)
        self.pwconv1 = nn.Linear(c, 4 * c)
        self.pwconv2 = nn.Linear(4 * c, c)
        self.gamma = nn.Parameter(torch.zeros(c))

    def forward(self, x):
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        return x + (self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    def __init__(self, blocks, channels, norms):
        super().__init__()
        first = nn.Sequential(nn.Conv2d(3, channels[0], 4, 4), ChannelNorm(channels[0], eps=1e-6))
        self.downsample_layers = nn.ModuleList([first])
        for a, b in zip(channels, channels[1:]):
            self.downsample_layers.append(nn.Sequential(ChannelNorm(a, eps=1e-6), nn.Conv2d(a, b, 2, 2)))
        self.stages = nn.ModuleList(nn.Sequential(*[Block(c) for _ in range(n)]) for n, c in zip(blocks, channels))
        for i in range(4 if norms else 0):
            self.add_module(f"norm{i}", ChannelNorm(channels[i], eps=1e-6))

    def forward(self, x):
        x = self.downsample_layers[0](x)
        levels = [x]
        for i in range(4):
            x = self.stages[i](self.downsample_layers[i](x) if i else x)
            levels.append(getattr(self, f"norm{i}")(x) if hasattr(self, f"norm{i}") else x)
        return levels


def main():
    torch.set_num_threads(1)
    shape = ((2, 1, 3, 1), (8, 12, 20, 33))
    networks = {"convnext": ConvNeXt(*shape, False), "convnext_norms": ConvNeXt(*shape, True)}
    count = math.prod(SIZE)
    image = torch.from_numpy(balanced("input", count)).float().double().reshape(SIZE)
    for name, network in networks.items():
        network = network.double()
        with torch.no_grad():
            fill(network)
            truth = network(image)
            single = network.float()(image.float())
        for i, (a, b) in enumerate(zip(truth, single)):
            flat = a.flatten()
            deviation = ((b.double() - a).norm() / a.norm()).item()
            numbers = sorted({0, flat.numel() // 7, flat.numel() // 3, flat.numel() // 2, flat.numel() - 1})
            print(name, f"enc{i + 1}", "x".join(map(str, a.shape)), f"{flat.sum():.12g}", f"{(flat * flat).sum():.12g}",
                  f"{deviation:.2g}", *[f"{k}:{flat[k]:.12g}" for k in numbers], sep="\t")


main()
