# SPDX-License-Identifier: Apache-2.0
"""What training makes small: value and gradient, for arrays.

    from m2snet import objectives

    values, gradient = objectives.value_and_gradient(logits, mask)
    objective = objectives.Objective("released", dice_weight=1.0)
    objective.value(logits, mask).loss

docs/training.md has the formulas.
"""

from __future__ import annotations

import os
from ctypes import byref, c_void_p
from dataclasses import dataclass
from typing import Any, Optional, Tuple, Union

import numpy as np

from . import _structs
from ._context import Context, default_context, reference_context
from ._dataset import choice
from ._library import Handle, Owner, as_dict, call, options, path_bytes
from ._model import tensor_view
from ._watch import CancelToken, Progress, Watch

__all__ = ["LossNet", "Objective", "Values", "value", "value_and_gradient"]

_FORMS = ["weighted", "mean"]
_DISTANCES = ["mse", "l2"]


@dataclass(frozen=True)
class Values:
    """The loss (the weighted sum) and its terms before weighting; 0 for a term that is not computed."""

    loss: float
    bce: float
    iou: float
    dice: float
    cross_entropy: float
    lossnet: float


class LossNet(Owner):
    """A frozen classifier whose features measure how far a prediction is from its mask (the paper's loss network). May be
    shared by any number of threads, objectives and trainers. LossNet.load and LossNet.create make one."""

    def __init__(self) -> None:
        raise TypeError("use LossNet.load or LossNet.create")

    @classmethod
    def _from(cls, handle: Handle, context: Context) -> "LossNet":
        made = cls.__new__(cls)
        made._own(handle)
        made._context = context
        return made

    _context: Context

    @classmethod
    def load(
        cls,
        path: Union[str, "os.PathLike[str]"],
        *,
        family: Optional[str] = None,
        context: Optional[Context] = None,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> "LossNet":
        """torchvision's checkpoint of the classifier (.pth or .safetensors). family: "vgg16", "resnet50",
        "resnet50-stem" (features after the stem and three stages) or "swin_t"; None: told by its keys."""
        where = context if context is not None else default_context()
        watch = Watch(progress, cancel)
        given = options(_structs.LossnetOptions, "lossnet")
        given.family = None if family is None else family.encode()
        given.control = watch.control
        encoded, parent = path_bytes(path), where._live

        def make() -> "LossNet":
            pointer = c_void_p()
            call("lossnet_load_file", parent.pointer, encoded, byref(given), byref(pointer))
            return cls._from(Handle(pointer, "lossnet_destroy", parent), where)

        return watch.run(make)

    @classmethod
    def create(cls, *, family: str = "vgg16", seed: int = 0, context: Optional[Context] = None) -> "LossNet":
        """One with drawn weights, for tests."""
        where = context if context is not None else default_context()
        parent, pointer = where._live, c_void_p()
        call("lossnet_create", parent.pointer, family.encode(), seed, byref(pointer))
        return cls._from(Handle(pointer, "lossnet_destroy", parent), where)

    def __repr__(self) -> str:
        return f"<m2snet.objectives.LossNet{' closed' if self.closed else ''}>"


class Objective:
    """A weighted sum of terms; a term of weight 0 is not computed. What is None is as the preset says.

    preset: "paper", "released" (as the published code), "softmax" (cross-entropy and Dice of exclusive classes) or "nnunet"
        (plain cross-entropy and Dice of masks that are each their own).
    bce_form: "weighted" (pixels near the mask's border count more) or "mean". softmax: classes exclude each other, else each
    channel is a mask of its own. batch_dice: Dice of the whole batch instead of each picture. lossnet: a LossNet, whose
    term has lossnet_weight, lossnet_distance ("mse" or "l2") and lossnet_size_px (side of its input; 0: the picture's).

    Immutable; any number of threads may use it.
    """

    def __init__(
        self,
        preset: str = "paper",
        *,
        bce_weight: Optional[float] = None,
        iou_weight: Optional[float] = None,
        dice_weight: Optional[float] = None,
        cross_entropy_weight: Optional[float] = None,
        lossnet_weight: Optional[float] = None,
        bce_form: Optional[str] = None,
        softmax: Optional[bool] = None,
        batch_dice: Optional[bool] = None,
        lossnet: Optional[LossNet] = None,
        lossnet_distance: Optional[str] = None,
        lossnet_size_px: Optional[int] = None,
    ) -> None:
        struct = options(_structs.ObjectiveOptions, "objective")
        call("objective_options_preset", byref(struct), preset.encode())
        given = {
            "bce_weight": bce_weight,
            "iou_weight": iou_weight,
            "dice_weight": dice_weight,
            "cross_entropy_weight": cross_entropy_weight,
            "lossnet_weight": lossnet_weight,
            "bce_form": None if bce_form is None else choice("bce_form", bce_form, _FORMS),
            "softmax": None if softmax is None else int(softmax),
            "batch_dice": None if batch_dice is None else int(batch_dice),
            "lossnet_distance": (
                None if lossnet_distance is None else choice("lossnet_distance", lossnet_distance, _DISTANCES)
            ),
            "lossnet_size_px": lossnet_size_px,
        }
        for name, number in given.items():
            if number is not None:
                setattr(struct, name, number)
        self._lossnet = lossnet
        self._lossnet_handle = lossnet._live if lossnet is not None else None
        if self._lossnet_handle is not None:
            struct.lossnet = self._lossnet_handle.pointer
        self._struct = struct
        self._preset = preset

    def value(self, logits: np.ndarray, mask: np.ndarray, **how: Any) -> Values:
        """The objective's numbers; arguments as for value_and_gradient."""
        return self._evaluate(logits, mask, False, None, **how)[0]

    def value_and_gradient(
        self, logits: np.ndarray, mask: np.ndarray, *, out: Optional[np.ndarray] = None, **how: Any
    ) -> Tuple[Values, np.ndarray]:
        """The objective of logits against a mask, and its gradient with respect to the logits.

        logits: float32, or float64 (computed in float64 by the reference backend), (n, height, width, classes), with
            layout="nchw" (n, classes, height, width), or (height, width) of one picture and class. Any strides.
        mask: the same shape, floats from 0 to 1, or bool.
        out: where the gradient goes; None: a new array of the logits' shape and dtype.
        context: where to compute; progress, cancel: as everywhere.
        """
        values, gradient = self._evaluate(logits, mask, True, out, **how)
        assert gradient is not None
        return values, gradient

    def _evaluate(
        self,
        logits: np.ndarray,
        mask: np.ndarray,
        wanted: bool,
        out: Optional[np.ndarray],
        *,
        layout: str = "nhwc",
        context: Optional[Context] = None,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> Tuple[Values, Optional[np.ndarray]]:
        logits, mask = as_floats(logits, "logits"), as_floats(mask, "mask")
        if logits.shape != mask.shape:
            raise ValueError(f"logits of shape {logits.shape} and a mask of shape {mask.shape}: expected equal shapes")
        if context is None:
            context = reference_context() if logits.dtype == np.float64 else default_context()
            if self._lossnet is not None:
                context = self._lossnet._context
        gradient = None
        if wanted:
            gradient = np.empty(logits.shape, logits.dtype) if out is None else out
            if gradient.shape != logits.shape or gradient.dtype != logits.dtype or not gradient.flags.writeable:
                raise ValueError(f"out must be a writable array of shape {logits.shape} and dtype {logits.dtype}")
        where = context._live
        views = [four_axes(array, layout) for array in (logits, mask)]
        src, truth = (tensor_view(where, array, layout) for array in views)
        dst = tensor_view(where, four_axes(gradient, layout), layout) if gradient is not None else None
        watch = Watch(progress, cancel)
        numbers, control, struct = _structs.ObjectiveValues(), watch.control, self._struct
        keep = self._lossnet_handle

        def evaluate() -> Any:
            target = dst.pointer if dst is not None else None
            pointers = (where.pointer, byref(struct), src.pointer, truth.pointer, byref(numbers), target, byref(control))
            call("objective_evaluate", *pointers)
            return keep

        watch.run(evaluate)
        return Values(**as_dict(numbers)), gradient

    def __repr__(self) -> str:
        weights = {name: getattr(self._struct, name + "_weight") for name in ("bce", "iou", "dice", "cross_entropy")}
        if self._lossnet is not None:
            weights["lossnet"] = self._struct.lossnet_weight
        shown = " + ".join(f"{weight:g} {name}" for name, weight in weights.items() if weight)
        return f"<m2snet.objectives.Objective {self._preset}: {shown}>"


def as_floats(given: Any, name: str) -> np.ndarray:
    """float32 and float64 as they are; bool as float32 0 and 1; anything else is refused."""
    array: np.ndarray = np.asarray(given)
    if array.dtype == np.bool_:
        return array.astype(np.float32)
    if array.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"{name} has dtype {array.dtype}: expected float32, float64 or, for a mask, bool")
    return array


def four_axes(array: np.ndarray, layout: str) -> np.ndarray:
    """A view with four axes: (height, width) is one picture of one class."""
    if layout not in ("nhwc", "nchw"):
        raise ValueError(f'layout is {layout!r}: expected "nhwc" or "nchw"')
    if array.ndim == 2:
        array = array[np.newaxis, ..., np.newaxis] if layout == "nhwc" else array[np.newaxis, np.newaxis]
    if array.ndim != 4:
        raise ValueError(f"an array of shape {array.shape}: expected (n, height, width, classes) or (height, width)")
    return array


def value(logits: np.ndarray, mask: np.ndarray, preset: str = "paper", **how: Any) -> Values:
    """Objective(preset).value(logits, mask)."""
    return Objective(preset).value(logits, mask, **how)


def value_and_gradient(
    logits: np.ndarray, mask: np.ndarray, preset: str = "paper", **how: Any
) -> Tuple[Values, np.ndarray]:
    """Objective(preset).value_and_gradient(logits, mask)."""
    return Objective(preset).value_and_gradient(logits, mask, **how)
