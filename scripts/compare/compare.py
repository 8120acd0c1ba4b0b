# SPDX-License-Identifier: Apache-2.0
"""Same weights, same picture, in turns: libm2snet, PyTorch, ONNX Runtime (official and rank-one graph), OpenVINO."""
import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time


def read_safetensors(path):
    import torch
    types = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64, "I64": torch.int64}
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = bytearray(f.read())
    out = {}
    for name, t in header.items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            x = torch.frombuffer(data, dtype=types[t["dtype"]], offset=begin, count=(end - begin) // types[t["dtype"]].itemsize)
            out[name] = x.reshape(t["shape"]).float() if x.is_floating_point() else x.reshape(t["shape"])
    return out


def timed(run, seconds):
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        t = time.perf_counter()
        run()
        times.append((time.perf_counter() - t) * 1e3)
    return statistics.median(times)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bin", required=True)
    p.add_argument("--model", required=True, help="a .safetensors file of the library")
    p.add_argument("--size", type=int, default=352)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--json")
    a = p.parse_args()
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    work = tempfile.TemporaryDirectory()
    have = {}
    for module in ("torch", "onnxruntime", "openvino", "onnx"):
        try:
            have[module] = __import__(module).__version__
        except ImportError:
            have[module] = None

    def ours():
        out = subprocess.run([os.path.join(a.bin, "m2snet-bench"), "--model", a.model, "--size", str(a.size), "--threads",
                              str(a.threads), "--seconds", "2", "--json", "--quiet"], check=True, capture_output=True)
        return json.loads(out.stdout)["network"]["median_ms"]

    runners, notes = {"libm2snet": ours}, []
    if have["torch"]:
        import torch
        from network import M2SNet
        torch.set_num_threads(a.threads)
        sd = read_safetensors(a.model)
        x = torch.randn(1, 3, a.size, a.size)
        nets = {dense: M2SNet(sd, dense) for dense in (True, False)}
        with torch.inference_mode():
            gap = (nets[True](x) - nets[False](x)).abs().max().item()
        notes.append(f"PyTorch official against rank-one logits: largest difference {gap:.2g}")
        eager = nets[True].to(memory_format=torch.channels_last)
        y = x.to(memory_format=torch.channels_last)

        def run_torch():
            with torch.inference_mode():
                eager(y)
        runners[f"PyTorch {have['torch']} official"] = lambda: timed(run_torch, 2)
        if have["onnx"] and (have["onnxruntime"] or have["openvino"]):
            for dense, name in ((True, "official"), (False, "rank-one")):
                path = os.path.join(work.name, name + ".onnx")
                torch.onnx.export(M2SNet(sd, dense), x, path, opset_version=17, input_names=["image"],
                                  output_names=["logits"], dynamo=False)
                feed = {"image": x.numpy()}
                if have["onnxruntime"]:
                    import onnxruntime as ort
                    o = ort.SessionOptions()
                    o.intra_op_num_threads = a.threads
                    s = ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])
                    runners[f"ONNX Runtime {have['onnxruntime']} {name}"] = lambda s=s: timed(lambda: s.run(None, feed), 2)
                if have["openvino"]:
                    import openvino as ov
                    core = ov.Core()
                    c = core.compile_model(core.read_model(path), "CPU", {
                        "INFERENCE_NUM_THREADS": a.threads, "INFERENCE_PRECISION_HINT": "f32",
                        "PERFORMANCE_HINT": "LATENCY"})
                    r = c.create_infer_request()
                    version = have["openvino"].split("-")[0]
                    runners[f"OpenVINO {version} {name}"] = lambda r=r: timed(lambda: r.infer(feed), 2)
    rounds = {name: [] for name in runners}
    for i in range(a.rounds):
        print(f"round {i + 1} of {a.rounds}", file=sys.stderr, flush=True)
        for name, run in runners.items():
            rounds[name].append(run())
    table = []
    for name, times in rounds.items():
        ratio = statistics.median(t / o for t, o in zip(times, rounds["libm2snet"]))
        table.append({"name": name, "median_ms": statistics.median(times), "ratio": ratio})
    print(f"{a.size}x{a.size}, batch 1, f32, {a.threads} threads, {a.rounds} rounds in turns")
    print(f"{'':42} {'ms':>8} {'ratio to libm2snet':>20}")
    for row in table:
        print(f"{row['name']:42} {row['median_ms']:8.1f} {row['ratio']:20.2f}")
    for note in notes:
        print(note)
    if a.json:
        with open(a.json, "w") as f:
            json.dump({"size": a.size, "threads": a.threads, "rounds": a.rounds, "results": table}, f, indent=2)


if __name__ == "__main__":
    main()
