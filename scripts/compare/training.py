# SPDX-License-Identifier: Apache-2.0
"""One recipe, in turns: training steps of libm2snet and of PyTorch (the network as published, channels-last).
Each measurement is a process of its own, so that peaks of memory can be compared."""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time


def torch_steps(a):
    """Prints one JSON object: images_per_second and process_peak_bytes."""
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
    from compare import read_safetensors
    from network import M2SNet
    torch.set_num_threads(a.threads)
    net = M2SNet(read_safetensors(a.model), True).train().to(memory_format=torch.channels_last)
    blocks = (((3, 64), (64, 64)), ((64, 128), (128, 128)), ((128, 256), (256, 256), (256, 256)),
              ((256, 512), (512, 512), (512, 512)))
    vgg = nn.ModuleList(nn.Sequential(*([nn.MaxPool2d(2)] if k else []),
                                      *(m for i, o in b for m in (nn.Conv2d(i, o, 3, padding=1), nn.ReLU())))
                        for k, b in enumerate(blocks)).requires_grad_(False).to(memory_format=torch.channels_last)
    mean = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)

    def taps(p):
        x = F.interpolate((p.expand(-1, 3, -1, -1) - mean) / std, (224, 224), mode="bilinear", align_corners=False)
        for block in vgg:
            x = block(x)
            yield x

    def loss(x, m):
        w = 1 + 5 * (F.avg_pool2d(m, 31, 1, 15) - m).abs()
        bce = F.binary_cross_entropy_with_logits(x, m, reduction="none")
        p = x.sigmoid()
        i, s = (p * m * w).sum((2, 3)), ((p + m) * w).sum((2, 3))
        total = ((w * bce).sum((2, 3)) / w.sum((2, 3)) + 1 - (i + 1) / (s - i + 1)).mean()
        if a.lossnet:
            with torch.no_grad():
                target = list(taps(m))
            total = total + 0.1 * sum(F.mse_loss(f, t) for f, t in zip(taps(p), target))
        return total

    x = torch.randn(a.batch, 3, a.size, a.size).to(memory_format=torch.channels_last)
    m = torch.zeros(a.batch, 1, a.size, a.size)
    m[:, :, a.size // 4:a.size // 2, a.size // 4:a.size // 2] = 1
    learning = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learning, 1e-4, momentum=0.9, weight_decay=5e-4, nesterov=True)

    def step():
        optimiser.zero_grad(set_to_none=True)
        value = loss(net(x), m)
        value.backward()
        optimiser.step()
        return value.item()

    step()
    times = []
    for _ in range(a.steps):
        t = time.perf_counter()
        step()
        times.append(time.perf_counter() - t)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"images_per_second": a.batch / statistics.median(times), "process_peak_bytes": peak}))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bin")
    p.add_argument("--model", required=True, help="a .safetensors file of the library")
    p.add_argument("--size", type=int, default=352)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--steps", type=int, default=3, help="of each measurement, after one to warm up")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--no-lossnet", dest="lossnet", action="store_false", help="without the VGG-16 loss network")
    p.add_argument("--torch-steps", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--json")
    a = p.parse_args()
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, here)
    if a.torch_steps:
        return torch_steps(a)
    common = ["--model", a.model, "--size", str(a.size), "--batch", str(a.batch), "--threads", str(a.threads)]
    ours = [os.path.join(a.bin, "m2snet-bench"), "--train", *common, "--iterations", str(a.steps), "--json",
            *(["--lossnet", "random"] if a.lossnet else [])]
    theirs = [sys.executable, os.path.join(here, "training.py"), "--torch-steps", *common, "--steps", str(a.steps),
              *([] if a.lossnet else ["--no-lossnet"])]
    runners = {"libm2snet": ours}
    try:
        import torch
        runners[f"PyTorch {torch.__version__}"] = theirs
    except ImportError:
        print("PyTorch is not installed here: libm2snet alone", file=sys.stderr)
    rounds = {name: [] for name in runners}
    for i in range(a.rounds):
        print(f"round {i + 1} of {a.rounds}", file=sys.stderr, flush=True)
        for name, command in runners.items():
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rounds[name].append(json.loads(out))
    print(f"training, {a.size}x{a.size}, batch {a.batch}, f32, {a.threads} threads, "
          f"{'VGG-16 loss network' if a.lossnet else 'no loss network'}, {a.rounds} rounds in turns")
    print(f"{'':24} {'images/s':>10} {'ratio to libm2snet':>20} {'peak MB':>10}")
    table = []
    for name, results in rounds.items():
        speed = statistics.median(r["images_per_second"] for r in results)
        ratio = statistics.median(r["images_per_second"] / o["images_per_second"]
                                  for r, o in zip(results, rounds["libm2snet"]))
        peak = max(r["process_peak_bytes"] for r in results) / 1e6
        table.append({"name": name, "images_per_second": speed, "ratio": ratio, "peak_mb": peak})
        print(f"{name:24} {speed:10.2f} {ratio:20.2f} {peak:10.0f}")
    if a.json:
        with open(a.json, "w") as f:
            json.dump({"size": a.size, "batch": a.batch, "threads": a.threads, "lossnet": a.lossnet,
                       "rounds": a.rounds, "results": table}, f, indent=2)


if __name__ == "__main__":
    main()
