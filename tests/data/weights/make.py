# SPDX-License-Identifier: Apache-2.0
"""Makes the weight files of this folder with PyTorch (2.x): python3 make.py. The tests know the values by heart:
in a float tensor element i (row-major) is i/4 - 1, in an integer tensor it is i - 2."""
import argparse
import collections
import io
import json
import os
import pickle
import struct
import zipfile

import numpy
import torch

os.chdir(os.path.dirname(os.path.abspath(__file__)))


def reals(*shape, dtype=torch.float32):
    count = int(numpy.prod(shape)) if shape else 1
    return (torch.arange(count, dtype=torch.float64) / 4 - 1).reshape(shape).to(dtype)


def integers(*shape, dtype=torch.int64):
    count = int(numpy.prod(shape)) if shape else 1
    return (torch.arange(count) - 2).reshape(shape).to(dtype)


def state():
    return collections.OrderedDict([
        ("conv.weight", reals(2, 3, 2, 2)),
        ("conv.bias", reals(2)),
        ("bn.num_batches_tracked", torch.tensor(7)),
    ])


def rezip(source, target, method):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for info in old.infolist():
            new.writestr(zipfile.ZipInfo(info.filename), old.read(info), method)


torch.save(state(), "zip.pth")
torch.save(state(), "legacy.pth", _use_new_zipfile_serialization=False)
torch.save(state(), "zip_protocol5.pth", pickle_protocol=5)
torch.save(state(), "legacy_protocol4.pth", _use_new_zipfile_serialization=False, pickle_protocol=4)
rezip("zip.pth", "zip_deflated.pth", zipfile.ZIP_DEFLATED)
torch.serialization.set_crc32_options(False)
torch.save(state(), "zip_no_crc.pth")
torch.serialization.set_crc32_options(True)

torch.save({"module." + k: v for k, v in state().items()}, "module_prefix.pth")
net = torch.nn.Conv2d(3, 2, 2)
optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
net(torch.ones(1, 3, 4, 4)).sum().backward()
optimizer.step()
torch.save({"epoch": 3, "best": torch.tensor(0.5), "args": argparse.Namespace(lr=0.1, sizes=[1, 2]),
            "score": numpy.float64(0.25), "optimizer": optimizer.state_dict(), "names": {"a", "b"},
            "model": {"state_dict": state()}}, "wrapped.pth")
torch.save({"net": state(), "model": state()}, "ambiguous.pth")
torch.save(torch.nn.Sequential(torch.nn.Linear(1, 1)), "whole_module.pth")
torch.save([1, 2.5, None], "list.pth")
torch.save({"epoch": 3, "weights": state()}, "no_wrapper.pth")

base = reals(6, 4)
torch.save({"transposed": reals(4, 6).t(), "row": base[2], "column": base[:, 1], "block": base[1:3, 1:4],
            "expanded": reals(3, 1).expand(3, 2), "same": base, "empty": torch.zeros(0, 3),
            "channels_last": reals(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)}, "strided.pth")
torch.save({"transposed": reals(4, 6).t(), "row": base[2], "same": base}, "strided_legacy.pth",
           _use_new_zipfile_serialization=False)

torch.save({"f64": reals(5, dtype=torch.float64), "f32": reals(5), "f16": reals(5, dtype=torch.float16),
            "bf16": reals(5, dtype=torch.bfloat16), "i64": integers(5), "i32": integers(5, dtype=torch.int32),
            "i16": integers(5, dtype=torch.int16), "i8": integers(5, dtype=torch.int8),
            "u8": torch.arange(5, dtype=torch.uint8), "bool": torch.tensor([False, True, True]),
            "c64": torch.ones(2, dtype=torch.complex64), "u16": torch.arange(3).to(torch.uint16),
            "f8": torch.ones(3).to(torch.float8_e4m3fn), "scalar": torch.tensor(-1.0),
            "i64_scalar": torch.tensor(1 << 40)}, "dtypes.pth")

tagged = reals(3)
tagged.tag = "a Python attribute"
torch.save({"parameter": torch.nn.Parameter(reals(2, 2)), "tagged": tagged, "buffer": torch.nn.Buffer(reals(2)),
            "sparse": torch.eye(2).to_sparse(), "number": 5, "namespace": argparse.Namespace(a=1)}, "parameters.pth")

# As Python 2 and PyTorch 0.3 wrote it: byte strings, OrderedDict made from a list of pairs, a storage view, _rebuild_tensor.
def short(text):
    return b"U" + bytes([len(text)]) + text


def old_tensor(key, count, offset, size, stride, view=b"N"):
    storage = (b"(" + short(b"storage") + b"ctorch\nFloatStorage\n" + short(key) + short(b"cpu") +
               b"K" + bytes([count]) + view + b"tQ")
    sizes = b"".join(b"K" + bytes([n]) for n in size)
    strides = b"".join(b"K" + bytes([n]) for n in stride)
    return (b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K" + bytes([offset]) + b"(" + sizes + b"t(" + strides +
            b"ttR")


stream = io.BytesIO()
for value in (0x1950a86a20f9469cfc6c, 1001, {"protocol_version": 1001, "little_endian": True}):
    pickle.dump(value, stream, 2)
view = b"(" + short(b"94") + b"K\x01K\x03t"
pairs = [(b"a", old_tensor(b"93", 4, 0, (2, 2), (2, 1))), (b"b", old_tensor(b"93", 4, 1, (2,), (1,), view)),
         (b"id", b"I140234866534288\n"), (b"long", b"L-5L\n")]
stream.write(b"\x80\x02ccollections\nOrderedDict\n(](" + b"".join(b"](" + short(k) + v + b"e" for k, v in pairs) + b"etR.")
pickle.dump(["93"], stream, 2)
stream.write(struct.pack("<q4f", 4, -1, -0.75, -0.5, -0.25))
open("legacy_python2.pth", "wb").write(stream.getvalue())

with open("plain_pickle.pth", "wb") as file:
    pickle.dump({"a": [1, 2]}, file, 2)
with zipfile.ZipFile("other.zip", "w") as file:
    file.writestr("hello.txt", "hello")
torch.jit.save(torch.jit.script(torch.nn.ReLU()), "script_full.tmp")
with zipfile.ZipFile("script_full.tmp") as old, zipfile.ZipFile("torchscript.pt", "w") as new:
    for info in old.infolist():
        if info.filename.endswith(".pkl"):
            new.writestr(zipfile.ZipInfo(info.filename), old.read(info))
os.remove("script_full.tmp")


def safetensors(path, header, data, pad=True):
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8 if pad else 0)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def every_dtype():
    numbers = [("f64", "F64", "<f8"), ("i64", "I64", "<i8"), ("f32", "F32", "<f4"), ("i32", "I32", "<i4"),
               ("f16", "F16", "<f2"), ("i16", "I16", "<i2"), ("i8", "I8", "i1"), ("u8", "U8", "u1")]
    header, data = {"__metadata__": {"format": "pt", "note": "a \"note\""}}, b""
    for name, dtype, code in numbers:
        values = (numpy.arange(5) / 4 - 1 if dtype[0] == "F" else numpy.arange(5) - (0 if dtype == "U8" else 2))
        header[name] = {"dtype": dtype, "shape": [5], "data_offsets": [len(data), len(data) + 5 * int(code[-1])]}
        data += values.astype(code).tobytes()
    for name, dtype, shape, raw in [
            ("bool", "BOOL", [3], bytes([0, 1, 1])),
            ("f8", "F8_E4M3", [2], b"\x38\x38"),
            ("bf16", "BF16", [5], bytes.fromhex("80bf40bf00bf80be0000")),
            ("scalar", "F32", [], struct.pack("<f", -1)),
            ("empty", "F32", [0, 3], b""),
            ("late", "F64", [1, 2], struct.pack("<2d", -1, -0.75))]:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return header, data


safetensors("dtypes.safetensors", *every_dtype())
safetensors("unpadded.safetensors", {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
                                     "odd": {"dtype": "F64", "shape": [], "data_offsets": [16, 24]}},
            struct.pack("<4fd", -1, -0.75, -0.5, -0.25, -1), pad=False)
