# SPDX-License-Identifier: Apache-2.0
"""Writes lossnets.tsv: the distance of a map and a mask by the features of ResNet-50 and Swin-T, and its gradient in the
logits, in float64 by PyTorch's autograd. Weights are those of recipe `golden` (tests/data/README.md) under torchvision's
keys. Usage: python3 make_truth.py > lossnets.tsv (needs torch; the tests read the file alone)."""
import numpy as np
import torch
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


class Weights(dict):
    """Every key that is asked for, drawn by the recipe."""

    def get(self, key, *shape):
        if key not in self:
            v = 2 * uniform(key, int(np.prod(shape))) - 1
            if key.endswith("running_mean"):
                v = 0.1 * v
            elif key.endswith("running_var"):
                v = 1 + 0.5 * v
            elif len(shape) > 1:
                v = v * np.sqrt(3 / np.prod(shape[1:]))
            else:
                v = 0.1 * v if key.endswith("bias") else 1 + 0.1 * v
            self[key] = torch.from_numpy(v.astype(np.float32)).double().reshape(shape)
        return self[key]

    def linear(self, x, key, out, bias=True):
        return F.linear(x, self.get(key + ".weight", out, x.shape[-1]), self.get(key + ".bias", out) if bias else None)

    def layer_norm(self, x, key):
        c = x.shape[-1]
        return F.layer_norm(x, (c,), self.get(key + ".weight", c), self.get(key + ".bias", c), 1e-5)

    def conv_norm(self, x, conv, norm, out, kernel, stride=1):
        x = F.conv2d(x, self.get(conv + ".weight", out, x.shape[1], kernel, kernel), stride=stride, padding=kernel // 2)
        mean, var, gamma, beta = (self.get(f"{norm}.{n}", out)
                                  for n in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, gamma, beta, False, 0.0, 1e-5)


def resnet50(w, x, stem):
    x = w.conv_norm(x, "conv1", "bn1", 64, 7, 2).relu()
    if stem:
        yield x
    x = F.max_pool2d(x, 3, 2, 1)
    for s, blocks in enumerate((3, 4, 6, 3)):
        for b in range(blocks):
            k, width, stride = f"layer{s + 1}.{b}", 64 << s, 2 if b == 0 and s else 1
            y = w.conv_norm(x, k + ".conv1", k + ".bn1", width, 1).relu()
            y = w.conv_norm(y, k + ".conv2", k + ".bn2", width, 3, stride).relu()
            y = w.conv_norm(y, k + ".conv3", k + ".bn3", 4 * width, 1)
            if b == 0:
                x = w.conv_norm(x, k + ".downsample.0", k + ".downsample.1", 4 * width, 1, stride)
            x = (x + y).relu()
        if s < 3 or not stem:
            yield x


WINDOW = 7


def regions(size, shift):
    """Of each place of a rolled axis: which of three pieces of the picture it came from."""
    at = torch.arange(size)
    return (at >= size - WINDOW).long() + (at >= size - shift).long() if shift else 0 * at


def window_attention(w, x, key, heads, shift):
    n, h, width, c = x.shape
    x = F.pad(x, (0, 0, 0, -width % WINDOW, 0, -h % WINDOW))
    ph, pw = x.shape[1:3]
    sy, sx = shift if ph > WINDOW else 0, shift if pw > WINDOW else 0
    qkv = w.linear(x.roll((-sy, -sx), (1, 2)), key + ".qkv", 3 * c)

    def windows(map):
        m = map.reshape(*map.shape[:1], ph // WINDOW, WINDOW, pw // WINDOW, WINDOW, -1).permute(0, 1, 3, 2, 4, 5)
        return m.reshape(m.shape[0] * m.shape[1] * m.shape[2], WINDOW * WINDOW, -1)

    q, k, v = windows(qkv).reshape(-1, WINDOW * WINDOW, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
    table = w.get(key + ".relative_position_bias_table", (2 * WINDOW - 1) ** 2, heads)
    y, u = torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")
    y, u = y.flatten(), u.flatten()
    bias = table[(y[:, None] - y + WINDOW - 1) * (2 * WINDOW - 1) + u[:, None] - u + WINDOW - 1].permute(2, 0, 1)
    label = windows((regions(ph, sy)[:, None] * 3 + regions(pw, sx)).double().reshape(1, ph, pw, 1))[..., 0]
    far = -100.0 * (label[:, :, None] != label[:, None, :])
    scores = (q * (c // heads) ** -0.5) @ k.transpose(-2, -1) + bias
    scores = scores + far.repeat(n, 1, 1)[:, None]
    x = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, ph // WINDOW, pw // WINDOW, WINDOW, WINDOW, c)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(n, ph, pw, c).roll((sy, sx), (1, 2))[:, :h, :width]
    return w.linear(x, key + ".proj", c)


def swin_t(w, x):
    x = F.conv2d(x, w.get("features.0.0.weight", 96, 3, 4, 4), w.get("features.0.0.bias", 96), stride=4)
    x = w.layer_norm(x.permute(0, 2, 3, 1), "features.0.2")
    for s, blocks in enumerate((2, 2, 6, 2)):
        if s:
            k = f"features.{2 * s}"
            x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
            x = torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
            x = w.linear(w.layer_norm(x, k + ".norm"), k + ".reduction", 96 << s, bias=False)
        c = x.shape[3]
        for b in range(blocks):
            k = f"features.{2 * s + 1}.{b}"
            x = x + window_attention(w, w.layer_norm(x, k + ".norm1"), k + ".attn", c // 32, 3 * (b % 2))
            y = F.gelu(w.linear(w.layer_norm(x, k + ".norm2"), k + ".mlp.0", 4 * c))
            x = x + w.linear(y, k + ".mlp.3", c)
        yield x


NETWORKS = {"resnet50": lambda w, x: resnet50(w, x, False), "resnet50-stem": lambda w, x: resnet50(w, x, True),
            "swin_t": swin_t}


def taps(network, weights, p, size):
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float32).double().view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float32).double().view(1, 3, 1, 1)
    x = (p.expand(-1, 3, -1, -1) - mean) / std
    if size and size != p.shape[2]:
        x = F.interpolate(x, (size, size), mode="bilinear", align_corners=False)
    return list(NETWORKS[network](weights, x))


def main():
    torch.set_default_dtype(torch.float64)
    for network in NETWORKS:
        weights = Weights()
        # n, h, w of the logits; side of the classifier's picture, 0 = h x w
        for n, h, w, size in ((2, 40, 48, 64), (1, 40, 48, 0), (1, 224, 224, 224)):
            if network == "resnet50-stem" and size != 64:
                continue
            logits = torch.from_numpy((6 * uniform("logits", n * h * w) - 3).astype(np.float32)).double()
            logits = logits.reshape(n, 1, h, w).requires_grad_()
            mask = torch.from_numpy(uniform("mask", n * h * w) > 0.6).double().reshape(n, 1, h, w)
            pairs = zip(taps(network, weights, logits.sigmoid(), size), taps(network, weights, mask, size))
            value = sum(F.mse_loss(a, b) for a, b in pairs)
            g, = torch.autograd.grad(value, logits)
            g = g.flatten()
            at = [k * g.numel() // 12 + g.numel() // 24 for k in range(12)]
            print(network, n, h, w, size, f"{value.item():.15g}", f"{g.norm().item():.15g}",
                  *(f"{i}:{g[i].item():.15g}" for i in at), sep="\t", flush=True)


if __name__ == "__main__":
    main()
