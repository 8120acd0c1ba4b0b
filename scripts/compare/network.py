# SPDX-License-Identifier: Apache-2.0
"""M2SNet with Res2Net v1b in PyTorch, with the checkpoints' key names: what compare.py runs beside libm2snet.
Shapes are read off a state dict, so that any model file of the library fits."""
import torch
import torch.nn as nn
import torch.nn.functional as F

UNITS = [("x5_x4", "d5", "d4"), ("x4_x3", "d4", "d3"), ("x3_x2", "d3", "d2"), ("x2_x1", "d2", "x1"),
         ("x5_x4_x3", "x5_x4", "x4_x3"), ("x4_x3_x2", "x4_x3", "x3_x2"), ("x3_x2_x1", "x3_x2", "x2_x1"),
         ("x5_x4_x3_x2", "x5_x4_x3", "x4_x3_x2"), ("x4_x3_x2_x1", "x4_x3_x2", "x3_x2_x1"),
         ("x5_x4_x3_x2_x1", "x5_dem_4", "x4_x3_x2_x1")]


def up(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def conv_bn_relu(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU())


class Block(nn.Module):
    def __init__(self, i, width, out, stride, first):
        super().__init__()
        self.width, self.first = width, first
        self.conv1 = nn.Conv2d(i, 4 * width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(4 * width)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, stride, 1, bias=False) for _ in range(3))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(3))
        self.conv3 = nn.Conv2d(4 * width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        if first:
            self.pool = nn.AvgPool2d(3, stride, 1)
            self.downsample = nn.Sequential(nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
                                            nn.Conv2d(i, out, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        groups = F.relu(self.bn1(self.conv1(x))).split(self.width, 1)
        parts = []
        for k in range(3):
            t = groups[k] if self.first or k == 0 else parts[-1] + groups[k]
            parts.append(F.relu(self.bns[k](self.convs[k](t))))
        parts.append(self.pool(groups[3]) if self.first else groups[3])
        y = self.bn3(self.conv3(torch.cat(parts, 1)))
        return F.relu(y + (self.downsample(x) if self.first else x))


class Encoder(nn.Module):
    def __init__(self, sd):
        super().__init__()
        a, b, c = (sd[f"resnet.conv1.{k}.weight"].shape[0] for k in (0, 3, 6))
        conv = lambda i, o, s: nn.Conv2d(i, o, 3, s, 1, bias=False)
        self.conv1 = nn.Sequential(conv(3, a, 2), nn.BatchNorm2d(a), nn.ReLU(), conv(a, b, 1), nn.BatchNorm2d(b),
                                   nn.ReLU(), conv(b, c, 1))
        self.bn1 = nn.BatchNorm2d(c)
        self.channels = [c]
        for s in range(1, 5):
            blocks, i = [], self.channels[-1]
            while f"resnet.layer{s}.{len(blocks)}.conv1.weight" in sd:
                width = sd[f"resnet.layer{s}.0.convs.0.weight"].shape[0]
                out = sd[f"resnet.layer{s}.0.conv3.weight"].shape[0]
                blocks.append(Block(i, width, out, 2 if s > 1 and not blocks else 1, not blocks))
                i = out
            setattr(self, f"layer{s}", nn.Sequential(*blocks))
            self.channels.append(i)

    def forward(self, x):
        out = [F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)]
        for s in range(1, 5):
            out.append(getattr(self, f"layer{s}")(out[-1]))
        return out


class Filter(nn.Module):
    """The full-channel all-ones filter, batch norm, ReLU. dense: as released; else by its rank-one identity."""

    def __init__(self, kernel, channels, dense):
        super().__init__()
        self.norm, self.kernel, self.dense = nn.BatchNorm2d(channels), kernel, dense
        shape = (channels, channels, kernel, kernel) if dense else (1, 1, kernel, kernel)
        self.register_buffer("ones", torch.ones(shape), persistent=False)

    def forward(self, x):
        s = F.conv2d(x if self.dense else x.sum(1, keepdim=True), self.ones, padding=self.kernel // 2)
        return F.relu(self.norm(s if self.dense else s.expand(-1, x.shape[1], -1, -1)))


class M2SNet(nn.Module):
    def __init__(self, sd, dense):
        super().__init__()
        self.resnet = Encoder(sd)
        level, c = self.resnet.channels, sd["x5_dem_5.0.weight"].shape[0]
        self.kernels = [k for k in range(3, 32, 2) if f"conv_{k}.norm.weight" in sd]
        for k in self.kernels:
            setattr(self, f"conv_{k}", Filter(k, c, dense))
        for i in (5, 4, 3, 2):
            setattr(self, f"x{i}_dem_1", conv_bn_relu(level[i - 1], c))
        for name in [u[0] for u in UNITS] + ["x5_dem_4", "level3", "level2", "level1", "output4", "output3", "output2"]:
            setattr(self, name, conv_bn_relu(c, c))
        self.x5_dem_5 = conv_bn_relu(level[4], c)
        self.output1 = nn.Sequential(nn.Conv2d(c, sd["output1.0.weight"].shape[0], 3, padding=1))
        missing, _ = self.load_state_dict({k: v for k, v in sd.items()}, strict=False)
        assert not [k for k in missing if not k.endswith("num_batches_tracked")], missing
        self.eval()

    def unit(self, name, a, b):
        a = up(a, b.shape[2:])
        t = (a - b).abs()
        for k in self.kernels:
            f = getattr(self, f"conv_{k}")
            t = t + (f(a) - f(b)).abs()
        return getattr(self, name)(t)

    def forward(self, x):
        e = self.resnet(x)
        v = {"x1": e[0]}
        for i in (5, 4, 3, 2):
            v[f"d{i}"] = getattr(self, f"x{i}_dem_1")(e[i - 1])
        for name, a, b in UNITS:
            if a == "x5_dem_4":
                v[a] = self.x5_dem_4(v["x5_x4_x3_x2"])
            v[name] = self.unit(name, v[a], v[b])
        levels = {4: v["x5_x4"], 3: self.level3(v["x4_x3"] + v["x5_x4_x3"]),
                  2: self.level2(v["x3_x2"] + v["x4_x3_x2"] + v["x5_x4_x3_x2"]),
                  1: self.level1(v["x2_x1"] + v["x3_x2_x1"] + v["x4_x3_x2_x1"] + v["x5_x4_x3_x2_x1"])}
        o = self.x5_dem_5(e[4])
        for i in (4, 3, 2, 1):
            o = getattr(self, f"output{i}")(up(o, levels[i].shape[2:]) + levels[i])
        return up(o, x.shape[2:])
