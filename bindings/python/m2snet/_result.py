# SPDX-License-Identifier: Apache-2.0
"""What a prediction gives."""

from __future__ import annotations

import threading
from ctypes import byref, c_int32, c_void_p
from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

import numpy as np

from . import _structs
from ._image import view
from ._library import Handle, Owner, as_dict, call, plain, read_info, text


@dataclass(frozen=True)
class Component:
    """A connected part of the mask (eight neighbours)."""

    area_px: int
    area_mm2: Optional[float]
    """None without spacing_mm."""
    x: int
    y: int
    width: int
    height: int
    """x, y, width, height: bounding box, px."""
    mean_probability: float
    """0 to 1."""
    centroid: Tuple[float, float]
    """(x, y) in px; the centre of the top left pixel is (0.5, 0.5)."""
    contour: np.ndarray = field(repr=False, compare=False)
    """int32 (points, 2): x, y of the outer contour as a closed polygon along pixel edges, clockwise on the screen; (0, 0)
    is the outer corner of the top left pixel. Read-only."""


@dataclass(frozen=True)
class Receipt:
    """What was run on what."""

    model_sha256: str
    architecture: str
    encoder: str
    library_version: str
    dependencies: str
    backend: str
    device: str
    instruction_set: str
    precision: str
    preprocessing: str
    threads: int
    image_width: int
    image_height: int
    input_width: int
    input_height: int
    threshold: float
    found: bool
    presence: float
    milliseconds_pre: float
    milliseconds_network: float
    """Of all pictures that were computed together."""
    milliseconds_post: float
    views: str
    """How the logits came about: "whole picture", "35 windows, step 0.50, Gaussian weights, mirrored both ways"."""
    windows: int
    models: int
    ensemble: Tuple[str, ...]
    """SHA-256 of the ensemble's other models."""
    json: str = field(repr=False)
    """The same as JSON, with the components."""


class Result(Owner):
    """One picture's segmentation, at the picture's own size.

    The arrays are the library's memory: read-only, no copy, valid as long as they are referenced, also after close().
    Reading from several threads is fine.
    """

    def __init__(self, handle: Handle, has_spacing: bool) -> None:
        self._own(handle)
        pointer = handle.pointer
        self._shape = (plain("result_height", pointer), plain("result_width", pointer))
        self._found = bool(plain("result_found", pointer))
        self._presence = float(plain("result_presence", pointer))
        self._count = int(plain("result_component_count", pointer))
        self._has_spacing = has_spacing
        self._lock = threading.Lock()
        self._components: Optional[Tuple[Component, ...]] = None

    def _plane(self, name: str, dtype: Any) -> np.ndarray:
        handle = self._live
        return view(plain("result_" + name, handle.pointer), self._shape, dtype, handle)

    @property
    def shape(self) -> Tuple[int, int]:
        """(height, width) of the picture, px."""
        return self._shape

    @property
    def probability(self) -> np.ndarray:
        """float32 (height, width), 0 to 1."""
        return self._plane("probability", np.float32)

    @property
    def map(self) -> np.ndarray:
        """uint8 (height, width): the 8-bit probability map as the published code makes it, never stretched."""
        return self._plane("map", np.uint8)

    @property
    def mask(self) -> np.ndarray:
        """uint8 (height, width), 0 or 255. `result.mask > 0` is the boolean mask."""
        return self._plane("mask", np.uint8)

    @property
    def labels(self) -> Optional[np.ndarray]:
        """uint8 (height, width): of each pixel the gray level of its class (Model.class_labels); None unless predict was
        asked for it with label_map."""
        pointer = plain("result_labels", self._live.pointer)
        return None if pointer is None else self._plane("labels", np.uint8)

    @property
    def features(self) -> Dict[str, np.ndarray]:
        """The tensors that predict(features=...) asked for: float32 (height, width, channels), at the network's scale."""
        handle = self._live
        found = {}
        for index in range(plain("result_feature_count", handle.pointer)):
            info = read_info(_structs.Feature, "result_feature", handle.pointer, index)
            found[text(info.name)] = view(info.data, (info.h, info.w, info.c), np.float32, handle)
        return found

    @property
    def gradcam(self) -> Optional[np.ndarray]:
        """float32 (height, width): the Grad-CAM map of the tensor that predict(gradcam=...) names, at least 0, not scaled;
        None when it was not asked for."""
        handle = self._live
        address = plain("result_gradcam", handle.pointer)
        return view(address, self._shape, np.float32, handle) if address else None

    @property
    def found(self) -> bool:
        """Whether anything was found: a component of at least presence_min_area_px, before largest_component and
        min_area_px take from the mask."""
        return self._found

    @property
    def presence(self) -> float:
        """Mean probability of the largest such component, 0 when there is none."""
        return self._presence

    @property
    def components(self) -> Tuple[Component, ...]:
        """The parts of the mask, largest first, with their contours."""
        with self._lock:
            if self._components is None:
                handle = self._live
                self._components = tuple(self._component(handle, index) for index in range(self._count))
            return self._components

    def _component(self, handle: Handle, index: int) -> Component:
        info = as_dict(read_info(_structs.Component, "result_component", handle.pointer, index))
        points, count = c_void_p(), c_int32()
        call("result_contour", handle.pointer, index, byref(points), byref(count))
        centroid = (info.pop("centroid_x"), info.pop("centroid_y"))
        if not self._has_spacing:
            info["area_mm2"] = None
        return Component(
            centroid=centroid, contour=view(points.value, (count.value, 2), np.int32, handle), **info
        )

    @property
    def receipt(self) -> Receipt:
        """What was run on what."""
        handle = self._live
        values: Dict[str, Any] = as_dict(read_info(_structs.Receipt, "result_receipt", handle.pointer))
        values["found"] = bool(values["found"])
        values["ensemble"] = tuple(values["ensemble"].split("\n")) if values["models"] > 1 else ()
        return Receipt(json=text(plain("result_receipt_json", handle.pointer)), **values)

    def __repr__(self) -> str:
        parts = f"{self._count} component{'' if self._count == 1 else 's'}"
        found = f"found, presence {self._presence:.3f}, {parts}" if self._found else "nothing found"
        return f"<m2snet.Result {self._shape[1]}x{self._shape[0]} px, {found}>"
