# SPDX-License-Identifier: Apache-2.0
"""Truth in float64 for looking inside and for predictions from windows, by an independent program (PyTorch).

    python make_inside.py FOLDER      FOLDER holds an implementation of the networks in PyTorch: ref_models.py, and
                                      gen_golden.py with fill() and uniform(), the recipe of `golden`

Writes gradcam.tsv: Grad-CAM of several tensors for a picture of 64 x 64, and views.tsv: probabilities of a picture of
100 x 80 from windows of 64 x 64 (step 0.5), mirrored both ways, and the mean of M2SNet and MSNet. Rows:
`tag shape sum float32_deviation index:value ...`. The picture's bytes are floor(128 (1 + v)) of the stream "picture".
"""
import math
import sys

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, sys.argv[1])
import gen_golden as g  # noqa: E402
import ref_models as rm  # noqa: E402

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def picture(width, height):
    byte = np.floor(128 * (1 + g.uniform("picture", width * height * 3))).astype(np.uint8).reshape(height, width, 3)
    x = (byte.astype(np.float32) / np.float32(255) - MEAN) / STD
    return torch.from_numpy(x.transpose(2, 0, 1)[None].copy())


def network(dtype, **how):
    net = rm.M2SNet(**how)
    g.fill(net.state_dict())
    return net.to(dtype).eval()


def write(file, tag, truth, single):
    a, b = truth.flatten().double(), single.flatten().double()
    n = a.numel()
    deviation = ((a - b).norm() / (a.norm() + 1e-300)).item()
    picks = sorted({(k * n) // 41 for k in range(41)} | {n - 1})
    file.write(
        f"{tag}\t{'x'.join(map(str, truth.shape))}\t{a.sum():.12g}\t{deviation:.2g}\t"
        + " ".join(f"{i}:{a[i]:.12g}" for i in picks)
        + "\n"
    )


def gradcam(net, name, x, threshold):
    kept = []
    if name.startswith("enc"):
        hook = net.resnet.register_forward_hook(lambda m, i, o: kept.append(o[int(name[3]) - 1]))
    else:
        hook = getattr(net, name).register_forward_hook(lambda m, i, o: kept.append(o))
    y = net(x)
    hook.remove()
    inside = torch.sigmoid(y) >= threshold
    assert 0 < inside.sum() < inside.numel() or threshold == 1.0
    mean = y[inside].mean() if inside.any() else y.mean()
    (diff,) = torch.autograd.grad(mean, kept[0])
    weight = diff.mean((2, 3), keepdim=True)
    cam = F.relu((weight * kept[0]).sum(1, keepdim=True)).detach()
    return F.interpolate(cam, size=x.shape[2:], mode="bilinear", align_corners=False)[0, 0]


def windows(nets, x, side):
    """nnU-Net v2's sliding window: positions, weights and means."""
    height, width = x.shape[2:]
    spots = []
    for length in (height, width):
        count = int(np.ceil((length - side) / (side * 0.5))) + 1
        step = (length - side) / (count - 1) if count > 1 else 0
        spots.append([int(np.round(step * i)) for i in range(count)])
    d = (np.arange(side) - side // 2) / (side / 8)
    row = np.exp(-0.5 * d * d)
    weight = torch.from_numpy(10 * np.outer(row, row)).to(x.dtype)
    total, sums = torch.zeros(height, width, dtype=x.dtype), torch.zeros(height, width, dtype=x.dtype)
    with torch.no_grad():
        for top in spots[0]:
            for left in spots[1]:
                part = x[:, :, top : top + side, left : left + side]
                mean = torch.zeros(side, side, dtype=x.dtype)
                for net in nets:
                    for flip in ((), (3,), (2,), (2, 3)):
                        mean += torch.flip(net(torch.flip(part, flip)), flip)[0, 0] / (4 * len(nets))
                total[top : top + side, left : left + side] += weight * mean
                sums[top : top + side, left : left + side] += weight
    return torch.sigmoid(total / sums)


def main():
    x = picture(64, 64)
    nets = [network(dtype) for dtype in (torch.float64, torch.float32)]
    with open("gradcam.tsv", "w") as file:
        for name, threshold in (("x4_x3", 0.5), ("enc5", 0.5), ("level1", 0.5), ("x5_x4_x3_x2_x1", 0.5), ("output2", 1.0)):
            write(file, f"{name}@{threshold}", *(gradcam(net, name, x.to(next(net.parameters()).dtype), threshold) for net in nets))
    x = picture(100, 80)
    with open("views.tsv", "w") as file:
        both = []
        for net, dtype in zip(nets, (torch.float64, torch.float32)):
            both.append(windows([net, network(dtype, scales=(1,))], x.to(dtype), 64))
        write(file, "windows64_mirrored_m2snet_msnet", *both)


main()
