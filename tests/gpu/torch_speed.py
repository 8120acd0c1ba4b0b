# SPDX-License-Identifier: Apache-2.0
"""Times the same network in PyTorch: torch_speed.py FOLDER eager | compiled BATCH, where FOLDER has ref_models.py with
M2SNet. Channels last; training as autocast and GradScaler have it. f32 is without TF32, as the library's. One line a
measurement."""
import statistics
import sys
import time

import torch
import torch.nn.functional as F

sys.path.insert(0, sys.argv[1])
import ref_models  # noqa: E402

torch.backends.cudnn.benchmark = True


def allow_tf32(allow):
    torch.backends.cuda.matmul.allow_tf32 = allow
    torch.backends.cudnn.allow_tf32 = allow


def timed(run, batch, seconds=1.5):
    for _ in range(5):
        run()
    torch.cuda.synchronize()
    times = []
    begin = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    median = statistics.median(times)
    return f"median {median * 1e3:.3f} ms, {batch / median:.1f} pictures/s ({len(times)} runs)"


def inference(name, dtype, batch, size=352, compiled=False):
    net = ref_models.M2SNet().cuda().eval().to(dtype).to(memory_format=torch.channels_last)
    run = torch.compile(net, dynamic=False) if compiled else net
    x = torch.rand(batch, 3, size, size, device="cuda", dtype=dtype).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        print(f"torch {name} batch {batch}: {timed(lambda: run(x), batch)}", flush=True)


def structure_loss(logits, mask):
    weights = 1 + 5 * (F.avg_pool2d(mask, 31, 1, 15) - mask).abs()
    bce = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    bce = (weights * bce).sum((2, 3)) / weights.sum((2, 3))
    p = torch.sigmoid(logits)
    inter = (p * mask * weights).sum((2, 3))
    union = ((p + mask) * weights).sum((2, 3))
    return (bce + 1 - (inter + 1) / (union - inter + 1)).mean()


def training(name, amp, batch, size=352, tf32=False):
    """amp: None, or the type that autocast computes in. The scale is for float16 alone."""
    allow_tf32(tf32)
    net = ref_models.M2SNet().cuda().train().to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, weight_decay=5e-4, nesterov=True)
    scaler = torch.amp.GradScaler("cuda", enabled=amp == torch.float16)
    x = torch.rand(batch, 3, size, size, device="cuda").to(memory_format=torch.channels_last)
    mask = (torch.rand(batch, 1, size, size, device="cuda") > 0.5).float()

    def step():
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=amp or torch.float16, enabled=amp is not None):
            logits = net(x)
        loss = structure_loss(logits.float(), mask)
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()

    print(f"torch {name} batch {batch}: {timed(step, batch)}", flush=True)
    allow_tf32(False)


def attempt(function, *arguments):
    try:
        function(*arguments)
    except Exception as error:  # a line says so, the rest goes on
        print(f"torch {arguments[0]} batch {arguments[2]}: {type(error).__name__}: {str(error)[:100]}", flush=True)
    torch.cuda.empty_cache()


allow_tf32(False)
if sys.argv[2] == "compiled":
    attempt(inference, "compiled f16", torch.float16, int(sys.argv[3]), 352, True)
else:
    for batch in (1, 8, 64):
        attempt(inference, "eager f32", torch.float32, batch)
        attempt(inference, "eager f16", torch.float16, batch)
    attempt(training, "training f32", None, 16)
    attempt(training, "training tf32", None, 16, 352, True)
    attempt(training, "training AMP f16", torch.float16, 16)
    attempt(training, "training AMP bf16", torch.bfloat16, 16)
