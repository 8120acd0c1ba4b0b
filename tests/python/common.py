# SPDX-License-Identifier: Apache-2.0
"""What the Python tests share: where data lies, a model, pictures. The tests see the public package, as a user does."""

import functools
import os
import pathlib

import numpy as np

import m2snet

ROOT = pathlib.Path(os.environ.get("M2SNET_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
MODEL = ROOT / "examples" / "data" / "polyp-compact.safetensors"
POLYPS = ROOT / "examples" / "data" / "demo-polyps"
DATA = ROOT / "tests" / "data"


@functools.lru_cache(maxsize=None)
def model():
    """The compact polyp model on the default context."""
    return m2snet.Model.load(MODEL)


def library_file():
    """The file of the library in this process; `m2snet.library_path` may be a soname."""
    if os.path.isabs(m2snet.library_path):
        return pathlib.Path(m2snet.library_path)
    name = os.path.basename(m2snet.library_path)
    with open("/proc/self/maps") as maps:
        found = {line.split()[-1] for line in maps if name in line}
    assert len(found) == 1, found
    return pathlib.Path(found.pop())


def picture_paths():
    paths = sorted((POLYPS / "images").iterdir())
    assert len(paths) == 5, paths
    return paths


def mask_paths():
    paths = sorted((POLYPS / "masks").iterdir())
    assert len(paths) == 5, paths
    return paths


@functools.lru_cache(maxsize=None)
def picture():
    """uint8 (height, width, 3)."""
    return m2snet.read_image(picture_paths()[0])


def random_picture(height, width, channels=3, seed=0):
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def address(array):
    """Of the first element."""
    return array.__array_interface__["data"][0]
