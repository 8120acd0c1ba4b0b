# SPDX-License-Identifier: Apache-2.0
"""Writes objectives.tsv: values and gradients of the objectives in float64, computed by PyTorch's autograd.
Usage: python3 make_truth.py > objectives.tsv (needs torch; the tests read the file alone)."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

MASK64 = (1 << 64) - 1


def uniform(name, count):
    """u(NAME, i) of tests/data/README.md."""
    h = 0xcbf29ce484222325
    for b in name.encode():
        h = (h ^ b) * 0x100000001b3 & MASK64
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9e3779b97f4a7c15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xbf58476d1ce4e5b9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94d049bb133111eb)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / 2**24


def tensor(name, shape, low, high):
    u = uniform(name, int(np.prod(shape)))
    return torch.from_numpy((low + (high - low) * u).astype(np.float32)).double().reshape(shape)


class Vgg(nn.Module):
    BLOCKS = (((0, 3, 64), (2, 64, 64)), ((5, 64, 128), (7, 128, 128)), ((10, 128, 256), (12, 256, 256), (14, 256, 256)),
              ((17, 256, 512), (19, 512, 512), (21, 512, 512)))

    def taps(self, p, size):
        mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float32).double().view(1, 3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float32).double().view(1, 3, 1, 1)
        x = (p.expand(-1, 3, -1, -1) - mean) / std
        if size:
            x = F.interpolate(x, (size, size), mode="bilinear", align_corners=False)
        for k, block in enumerate(self.BLOCKS):
            x = F.max_pool2d(x, 2) if k else x
            for n, i, o in block:
                bound = 0.9 * np.sqrt(6.0 / (9 * i))
                weight = tensor(f"features.{n}.weight", (o, i, 3, 3), -bound, bound)
                x = F.relu(F.conv2d(x, weight, tensor(f"features.{n}.bias", (o,), -0.1, 0.1), padding=1))
            yield x


def distance(a, b, l2):
    return (a - b).flatten(1).norm(dim=1).mean() if l2 else F.mse_loss(a, b)


def lossnet(p, m, size, l2):
    v = Vgg()
    channels = range(p.shape[1]) if p.shape[1] not in (1, 3) else [slice(None)]
    total = 0
    for c in channels:
        q, n = (p, m) if isinstance(c, slice) else (p[:, c:c + 1], m[:, c:c + 1])
        total = total + sum(distance(a, b, l2) for a, b in zip(v.taps(q, size), v.taps(n, size)))
    return total / len(channels)


def dice(p, m, batch):
    axes = (0, 2, 3) if batch else (2, 3)
    i, s = (p * m).sum(axes), (p + m).sum(axes)
    return 1 - ((2 * i + 1e-5) / (s + 1e-5)).mean()


def write(tag, logits, value):
    gradient, = torch.autograd.grad(value, logits, retain_graph=True)
    g = gradient.flatten()
    at = [k * g.numel() // 12 + g.numel() // 24 for k in range(12)]
    print(tag, f"{value.item():.15g}", f"{g.norm().item():.15g}", *(f"{i}:{g[i].item():.15g}" for i in at), sep="\t")


def case(channels):
    shape = (2, channels, 40, 48)
    logits = tensor(f"logits{channels}", shape, -3, 3).requires_grad_()
    hard = torch.zeros(shape).double()
    pick = (uniform(f"classes{channels}", 2 * 40 * 48).reshape(2, 40, 48) * channels).astype(np.int64)
    hard.scatter_(1, torch.from_numpy(pick)[:, None], 1.0) if channels > 1 else hard.copy_(
        (tensor("mask1", shape, 0, 1) > 0.6).double())
    return logits, hard


torch.set_default_dtype(torch.float64)
for channels in (1, 3, 4):
    x, m = case(channels)
    p = x.sigmoid()
    write(f"dice.{channels}.image", x, dice(p, m, False))
    write(f"dice.{channels}.batch", x, dice(p, m, True))
    if channels > 1:
        s = x.softmax(1)
        write(f"softmax_dice.{channels}.image", x, dice(s[:, 1:], m[:, 1:], False))
        write(f"softmax_dice.{channels}.batch", x, dice(s[:, 1:], m[:, 1:], True))
        write(f"cross_entropy.{channels}", x, -(m * x.log_softmax(1)).sum(1).mean())
    for size in (64, 0):
        for l2 in (False, True):
            if channels == 4 and size == 0:
                continue
            write(f"lossnet.{channels}.{size}.{'l2' if l2 else 'mse'}", x, lossnet(p, m, size, l2))
x, m = case(4)
s = x.softmax(1)
write("softmax_lossnet.4.64.mse", x, lossnet(s[:, 1:], m[:, 1:], 64, False))
