# SPDX-License-Identifier: Apache-2.0
"""Training: docs/training.md has the recipes and what determines a run's numbers."""

from __future__ import annotations

import ctypes
import json
import os
from ctypes import byref, c_int, c_int32, c_void_p, cast, pointer as pointer_to
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from . import _structs
from ._dataset import PARTS, Dataset, choice, labels_of
from ._library import Handle, Owner, as_dict, call, options, path_bytes, plain, read_info
from ._model import Model, PlanInfo, StepInfo, tensor_view
from ._watch import CancelToken, Progress, Watch
from .objectives import Objective, as_floats

_OPTIMISERS = ["sgd", "adamw"]
_SUPERVISIONS = ["final", "equal", "halving"]
_SCHEDULES = ["triangle", "warmup_linear", "poly", "cosine", "constant"]
_PRECISIONS = ["f32", "f64", "f16", "bf16", "tf32"]
_SAMPLERS = ["concat", "balanced", "random"]
_UNREADABLE = ["stop", "skip"]
_BEST = ["dice", "iou"]
_ENDS = ["done", "patience", "steps"]

Path = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class TrainRow:
    """The numbers of one step."""

    epoch: int
    """From 0."""
    batch: int
    batches: Optional[int]
    """Of an epoch; None: unknown."""
    step: int
    """Steps taken so far, this one included."""
    updates: int
    loss: float
    bce: float
    iou: float
    dice: float
    cross_entropy: float
    lossnet: float
    grad_norm: float
    """Of all gradients together, before clipping."""
    rate: float
    finite: bool
    """False: loss or gradient was not finite, and the step changed nothing."""
    bad_steps: int
    images: int
    height: int
    width: int
    milliseconds: float
    waiting_milliseconds: float
    loss_scale: float
    """That the gradients were made with: 1 but for precision "f16"."""


@dataclass(frozen=True)
class EpochRow:
    """The numbers of one epoch, means over its finite steps, and of its validation (None where there was none)."""

    epoch: int
    epochs: int
    step: int
    updates: int
    loss: float
    bce: float
    iou: float
    dice: float
    cross_entropy: float
    lossnet: float
    rate: float
    images: int
    bad_steps: int
    unreadable: int
    seconds: float
    validation_seconds: float
    waiting_seconds: float
    validated: bool
    validation_dice: Optional[float]
    validation_iou: Optional[float]
    validation_images: Optional[int]
    is_best: bool
    best_score: Optional[float]
    best_epoch: Optional[int]


@dataclass(frozen=True)
class Validation:
    """Mean Dice and IoU over pictures (and classes) at their own size, at the model's threshold; 1 where prediction and
    mask are both empty."""

    images: int
    unreadable: int
    dice: float
    iou: float
    seconds: float


@dataclass(frozen=True)
class TrainerInfo:
    """Where a trainer stands."""

    epoch: int
    batch: int
    """Of the next step in fit()."""
    step: int
    updates: int
    parameters: int
    """Elements that learn."""
    state_bytes: int
    arena_bytes: int
    plans: int
    best_score: float
    best_epoch: Optional[int]
    recipe: Dict[str, Any]
    """Everything that determines the run's numbers."""


class Fit(NamedTuple):
    """How fit() ended."""

    end: str
    """"done" (all epochs), "patience" or "steps"."""
    history: List[EpochRow]


def _train_row(struct: Any) -> TrainRow:
    values = as_dict(struct)
    values["finite"] = bool(values["finite"])
    values["batches"] = values["batches"] or None
    return TrainRow(**values)


def _epoch_row(struct: Any) -> EpochRow:
    values = as_dict(struct)
    for key in ("validated", "is_best"):
        values[key] = bool(values[key])
    if not values["validated"]:
        values.update(validation_dice=None, validation_iou=None, validation_images=None)
    if values["best_epoch"] < 0:
        values.update(best_score=None, best_epoch=None)
    return EpochRow(**values)


class Augmentation:
    """How pictures are changed at random while training: a preset ("none", "released", "compact", "nnunet") and what differs
    from it, by the names of m2snet_augment_options, such as p_flip_horizontal=0.5, rotate_degrees=15 (docs/training-data.md).
    `settings` has all of them."""

    def __init__(self, preset: str = "released", **changes: Any) -> None:
        struct = _structs.AugmentOptions()
        call("augment_options_init", byref(struct), preset.encode())
        names = [field[0] for field in struct._fields_[1:]]
        for name, value in changes.items():
            if name not in names:
                raise TypeError(f"augmentation has no setting {name!r}; there are: {', '.join(names)}")
            setattr(struct, name, tuple(value) if name in ("mean", "std") else value)
        self._struct = struct
        self._preset = preset

    @property
    def settings(self) -> Dict[str, Any]:
        """Every setting by name."""
        return {k: list(v) if isinstance(v, ctypes.Array) else v for k, v in as_dict(self._struct).items()}

    def __repr__(self) -> str:
        return f"<m2snet.Augmentation {self._preset}>"


def _json_object(value: Optional[Mapping[str, str]]) -> Optional[bytes]:
    return None if value is None else json.dumps(dict(value)).encode()


class Trainer(Owner):
    """Trains a copy of a model's weights; the model stays as it is. For one thread at a time.

    What is None is as the preset says: "paper", "released" (one rate for all), "compact" (from random weights),
    "finetune" (a few pictures, gentle) or "nnunet" (nnU-Net's; docs/training.md has what goes with it).

    objective: an objectives.Objective; None = the paper's.
    supervision: "final", or the decoder's coarser maps too: "equal" or "halving" weights (deep supervision).
    optimiser: "sgd" or "adamw". learning_rate: of the head; encoder_rate: the encoder's share of it. momentum (AdamW:
        beta1), beta2, epsilon, weight_decay, nesterov.
    schedule: "triangle", "warmup_linear", "poly", "cosine" or "constant", with warmup (share of all steps) and power;
        epochs and steps_per_epoch: what it spans when steps are the caller's (fit knows both). rate_per_epoch: the rate
        changes between epochs alone.
    clip_norm: of all gradients together; 0: none. accumulate: steps for each update.
    freeze_encoder, freeze_batch_norm. ema_decay: of averaged weights; 0: none. drop_path: how often
        the last block of ConvNeXt or PVTv2 is left out for a picture; 0: never. recompute: less memory, more time.
    max_bad_steps: so many steps in a row that are not finite end the training with DivergedError.
    seed: of batches and augmentation. precision: "f32", "f64" on backend "ref"; "f16", "bf16", "tf32" on "cuda".
    max_plans, memory_limit_bytes.

    The same model, options, data and seed give the same weights bit for bit, for any number of threads.
    """

    def __init__(
        self,
        model: Model,
        preset: str = "paper",
        *,
        objective: Optional[Objective] = None,
        supervision: Optional[str] = None,
        optimiser: Optional[str] = None,
        learning_rate: Optional[float] = None,
        encoder_rate: Optional[float] = None,
        momentum: Optional[float] = None,
        beta2: Optional[float] = None,
        epsilon: Optional[float] = None,
        weight_decay: Optional[float] = None,
        nesterov: Optional[bool] = None,
        schedule: Optional[str] = None,
        warmup: Optional[float] = None,
        power: Optional[float] = None,
        epochs: Optional[int] = None,
        steps_per_epoch: Optional[int] = None,
        rate_per_epoch: Optional[bool] = None,
        clip_norm: Optional[float] = None,
        accumulate: Optional[int] = None,
        freeze_encoder: Optional[bool] = None,
        freeze_batch_norm: Optional[bool] = None,
        ema_decay: Optional[float] = None,
        drop_path: Optional[float] = None,
        recompute: Optional[bool] = None,
        max_bad_steps: Optional[int] = None,
        seed: int = 0,
        precision: str = "f32",
        max_plans: Optional[int] = None,
        memory_limit_bytes: int = 0,
    ) -> None:
        struct = options(_structs.TrainerOptions, "trainer")
        call("trainer_options_preset", byref(struct), preset.encode())
        given = {
            "supervision": None if supervision is None else choice("supervision", supervision, _SUPERVISIONS),
            "optimiser": None if optimiser is None else choice("optimiser", optimiser, _OPTIMISERS),
            "learning_rate": learning_rate,
            "encoder_rate": encoder_rate,
            "momentum": momentum,
            "beta2": beta2,
            "epsilon": epsilon,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "schedule": None if schedule is None else choice("schedule", schedule, _SCHEDULES),
            "warmup": warmup,
            "power": power,
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
            "rate_per_epoch": rate_per_epoch,
            "clip_norm": clip_norm,
            "accumulate": accumulate,
            "freeze_encoder": freeze_encoder,
            "freeze_batch_norm": freeze_batch_norm,
            "ema_decay": ema_decay,
            "drop_path": drop_path,
            "recompute": recompute,
            "max_bad_steps": max_bad_steps,
            "seed": seed,
            "precision": choice("precision", precision, _PRECISIONS),
            "max_plans": max_plans,
            "memory_limit_bytes": memory_limit_bytes,
        }
        for name, value in given.items():
            if value is not None:
                setattr(struct, name, int(value) if isinstance(value, bool) else value)
        if objective is not None:
            struct.objective = cast(pointer_to(objective._struct), c_void_p)
        parent, made = model._live, c_void_p()
        call("trainer_create", parent.pointer, byref(struct), byref(made))
        self._own(Handle(made, "trainer_destroy", parent, extra=objective))
        self._context = model._context
        self._classes = model._info.classes
        self._preset = preset

    def step(
        self,
        images: np.ndarray,
        masks: np.ndarray,
        *,
        rate: Optional[float] = None,
        layout: str = "nhwc",
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> TrainRow:
        """One step with a batch of one's own: taken as a whole or, after an error or a cancel, not at all.

        images: normalised pixels, float32 or float64, (n, height, width, 3), with layout="nchw" (n, 3, height, width).
        masks: floats from 0 to 1 or bool, (n, height, width, classes) in the same layout, or (n, height, width) for one
            class. Any strides: nothing is copied but bool.
        rate: the head's learning rate; None: the schedule's.
        """
        if layout not in ("nhwc", "nchw"):
            raise ValueError(f'layout is {layout!r}: expected "nhwc" or "nchw"')
        images, masks = as_floats(images, "images"), as_floats(masks, "masks")
        if masks.ndim == 3:
            masks = masks[..., np.newaxis] if layout == "nhwc" else masks[:, np.newaxis]
        if images.ndim != 4 or masks.ndim != 4:
            raise ValueError(f"images of shape {images.shape} and masks of shape {masks.shape}: expected a batch of each")
        if rate is not None and not rate >= 0.0:
            raise ValueError(f"rate is {rate}: expected 0 or more")
        handle, where = self._live, self._context._live
        src, truth = tensor_view(where, images, layout), tensor_view(where, masks, layout)
        watch = Watch(progress, cancel)
        row, control, factor = _structs.TrainRow(), watch.control, -1.0 if rate is None else float(rate)

        def run() -> None:
            call("trainer_step", handle.pointer, src.pointer, truth.pointer, factor, byref(row), byref(control))

        watch.run(run)
        return _train_row(row)

    def fit(
        self,
        train: Dataset,
        validation: Optional[Dataset] = None,
        *,
        epochs: Optional[int] = None,
        batch: Optional[int] = None,
        sizes: Optional[Sequence[int]] = None,
        augment: Union[None, str, Augmentation] = None,
        mask_threshold: int = 0,
        mask_binarize: bool = False,
        labels: Optional[Sequence[int]] = None,
        background_label: int = -1,
        patches: bool = False,
        foreground_share: float = 0.33,
        epoch_batches: int = 0,
        sampler: str = "concat",
        balanced_longest: bool = False,
        drop_last: bool = False,
        unreadable: str = "stop",
        workers: int = 0,
        prefetch_bytes: int = 0,
        cache_bytes: int = 0,
        shrink_px: int = 0,
        max_pixels: int = 0,
        max_steps: int = 0,
        validate_every: int = 1,
        validation_size: Optional[Tuple[int, int]] = None,
        validate_averaged: bool = True,
        best: str = "dice",
        patience: int = 0,
        checkpoint_path: Optional[Path] = None,
        checkpoint_every: int = 0,
        resume: bool = False,
        best_path: Optional[Path] = None,
        last_path: Optional[Path] = None,
        metadata: Optional[Mapping[str, str]] = None,
        on_step: Optional[Callable[[TrainRow], Any]] = None,
        on_epoch: Optional[Callable[[EpochRow], Any]] = None,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> Fit:
        """Trains on the items of `train` in part "train" and validates on those of `validation` in part "validation" (it
        may be the same Dataset, or None).

        epochs, batch (pictures): None = 50 and 16. sizes: sides of the square input, px, one drawn for each batch.
        augment: an Augmentation or a preset's name; None = "released".
        mask_threshold: gray levels from here on are foreground; 0: level / 255, soft. mask_binarize: 0 or 1 after
            interpolation. labels: of several classes, the gray level of each (with softmax all but the background); None =
            those that the model knows. background_label: of what is no class; -1: 0 or the highest free level.
        patches: sizes are those of windows cut out of the pictures (None = the median picture's); foreground_share: of a
            batch that is centred on something to find.
        sampler: "concat", "balanced" (with balanced_longest) or "random" (with replacement; epoch_batches: of an epoch);
            drop_last; unreadable: "stop" or "skip".
        workers (threads that read), prefetch_bytes, cache_bytes, shrink_px, max_pixels: how pictures are read.
        max_steps: stop after so many steps of this call. patience: after so many validations without a best one. 0: never.
        validate_every epochs; 0: at the end. validation_size: (height, width) of the network's input; best: "dice", "iou".
        checkpoint_path: the whole state, written at each epoch's end and every checkpoint_every steps; resume: go on from
            it where it is there, bit for bit as if nothing had happened. best_path, last_path: model files. metadata: for
            the model files.
        on_step(TrainRow), on_epoch(EpochRow), progress(phase, done, total): called on this thread. on_epoch may use
            evaluate(), model() and save() of this trainer. An exception in one of them cancels the training and is raised.

        Ctrl-C, an exception and a CancelToken write the checkpoint first.
        """
        watch = Watch(progress, cancel)
        history: List[EpochRow] = []

        def ended(row: EpochRow) -> None:
            history.append(row)
            if on_epoch is not None:
                on_epoch(row)

        struct = options(_structs.FitOptions, "fit")
        if epochs is not None:
            struct.epochs = epochs
        if batch is not None:
            struct.batch = batch
        sides = None
        if sizes is not None:
            sides = (c_int32 * max(len(sizes), 1))(*sizes)
            struct.sizes_px, struct.size_count = cast(sides, c_void_p), len(sizes)
        augmentation = Augmentation(augment) if isinstance(augment, str) else augment
        if augmentation is not None:
            struct.augment = cast(pointer_to(augmentation._struct), c_void_p)
        levels, struct.label_count = labels_of(labels)
        struct.labels = cast(levels, c_void_p) if levels is not None else None
        if validation_size is not None:
            struct.validation_height, struct.validation_width = validation_size
        numbers = {
            "mask_threshold": mask_threshold,
            "mask_binarize": mask_binarize,
            "sampler": choice("sampler", sampler, _SAMPLERS),
            "balanced_longest": balanced_longest,
            "background_label": background_label,
            "patches": patches,
            "epoch_batches": epoch_batches,
            "drop_last": drop_last,
            "unreadable": choice("unreadable", unreadable, _UNREADABLE),
            "workers": workers,
            "prefetch_bytes": prefetch_bytes,
            "cache_bytes": cache_bytes,
            "shrink_px": shrink_px,
            "max_pixels": max_pixels,
            "max_steps": max_steps,
            "validate_every": validate_every,
            "validate_averaged": validate_averaged,
            "best": choice("best", best, _BEST),
            "patience": patience,
            "checkpoint_every": checkpoint_every,
            "resume": resume,
        }
        for name, value in numbers.items():
            setattr(struct, name, int(value))
        for name, path in (("checkpoint_path", checkpoint_path), ("best_path", best_path), ("last_path", last_path)):
            setattr(struct, name, None if path is None else path_bytes(path))
        struct.foreground_share = foreground_share
        struct.metadata_json = _json_object(metadata)
        if on_step is not None:
            struct.row = watch.callback(
                _structs.ROW_FN, on_step, lambda at: (_train_row(_structs.TrainRow.from_address(at)),)
            )
        struct.epoch_row = watch.callback(
            _structs.ROW_FN, ended, lambda at: (_epoch_row(_structs.EpochRow.from_address(at)),)
        )
        struct.control = watch.control
        handle, left = self._live, train._live
        right = validation._live if validation is not None else None
        end = c_int()

        def run() -> Any:
            other = right.pointer if right is not None else None
            call("trainer_fit", handle.pointer, left.pointer, other, byref(struct), byref(end))
            return sides, levels, augmentation

        watch.run(run)
        return Fit(_ENDS[end.value], history)

    def evaluate(
        self,
        dataset: Dataset,
        part: str = "validation",
        *,
        averaged: bool = True,
        size: Optional[Tuple[int, int]] = None,
        tiles: bool = False,
        mask_threshold: int = 0,
        labels: Optional[Sequence[int]] = None,
        max_pixels: int = 0,
        unreadable: str = "stop",
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> Validation:
        """Scores the weights as they are on a part of a data set. averaged: the averaged weights, where there are any.
        size: (height, width) of the network's input; None: the model's. tiles: that is a window which slides over pictures of
        their own size. mask_threshold: 0 = 128."""
        watch = Watch(progress, cancel)
        struct = options(_structs.ValidationOptions, "validation")
        struct.part = choice("part", part, PARTS)
        struct.averaged = int(averaged)
        if size is not None:
            struct.input_height, struct.input_width = size
        struct.tiles = int(tiles)
        struct.mask_threshold = mask_threshold
        levels, struct.label_count = labels_of(labels)
        struct.labels = cast(levels, c_void_p) if levels is not None else None
        struct.max_pixels = max_pixels
        struct.unreadable = choice("unreadable", unreadable, _UNREADABLE)
        struct.control = watch.control
        result = _structs.Validation()
        handle, data = self._live, dataset._live

        def run() -> Any:
            call("trainer_evaluate", handle.pointer, data.pointer, byref(struct), byref(result))
            return levels

        watch.run(run)
        return Validation(**as_dict(result))

    def model(self, *, averaged: bool = False) -> Model:
        """The weights as they are now, as an ordinary model: to predict with, to save. averaged: the averaged ones."""
        handle, made = self._live, c_void_p()
        call("trainer_model", handle.pointer, int(averaged), byref(made))
        return Model._from(Handle(made, "model_destroy", handle.parent), self._context)

    def save(
        self, path: Path, *, progress: Optional[Progress] = None, cancel: Optional[CancelToken] = None
    ) -> None:
        """Writes the whole state, exact: weights, statistics, momentum, counters. The file is complete, or the old one.
        (A model file is trainer.model().save(path).)"""
        self._state("trainer_save_state", path, Watch(progress, cancel))

    def load(
        self, path: Path, *, progress: Optional[Progress] = None, cancel: Optional[CancelToken] = None
    ) -> None:
        """Goes on from such a file. MismatchError names what differs when it is of another network or of a run with other
        options."""
        self._state("trainer_load_state", path, Watch(progress, cancel))

    def _state(self, name: str, path: Path, watch: Watch) -> None:
        handle, encoded, control = self._live, path_bytes(path), watch.control
        watch.run(lambda: call(name, handle.pointer, encoded, byref(control)))

    @property
    def info(self) -> TrainerInfo:
        """Where it stands, and its recipe."""
        values = as_dict(read_info(_structs.TrainerInfo, "trainer_get_info", self._live.pointer))
        values["recipe"] = json.loads(values.pop("recipe_json"))
        if values["best_epoch"] < 0:
            values["best_epoch"] = None
        return TrainerInfo(**values)

    def plan_info(self, n: int, height: int, width: int) -> PlanInfo:
        """What a step of n pictures of that size needs, before it runs."""
        values = as_dict(read_info(_structs.PlanInfo, "trainer_plan_info", self._live.pointer, n, height, width))
        values["compiled"] = bool(values["compiled"])
        return PlanInfo(**values)

    def time_steps(self, enable: bool = True) -> None:
        """Whether the next training steps are timed kernel by kernel; then read `steps`."""
        call("trainer_time_steps", self._live.pointer, int(enable))

    @property
    def steps(self) -> List[StepInfo]:
        """The parts of the training step that ran last."""
        pointer = self._live.pointer
        count = plain("trainer_step_count", pointer)
        return [StepInfo(**as_dict(read_info(_structs.StepInfo, "trainer_step_info", pointer, i))) for i in range(count)]

    def __repr__(self) -> str:
        if self.closed:
            return "<m2snet.Trainer closed>"
        info = self.info
        return f"<m2snet.Trainer {self._preset}, step {info.step}, epoch {info.epoch}, {info.parameters / 1e6:.1f} M parameters>"
