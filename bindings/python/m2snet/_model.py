# SPDX-License-Identifier: Apache-2.0
"""Models and sessions."""

from __future__ import annotations

import json
import os
from ctypes import POINTER, byref, c_char_p, c_double, c_int64, c_uint64, c_void_p, cast
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union, overload

import numpy as np

from . import _structs
from ._context import Context, default_context
from ._image import ImageLike, as_pixels, is_path, writable_rows
from ._library import Handle, Owner, as_dict, call, options, path_bytes, plain, read_info, text
from ._result import Result
from ._watch import CancelToken, Progress, Watch

_DTYPES = ["?", "f32", "f64", "f16", "bf16", "i64", "i32", "i16", "i8", "u8", "bool"]
_PRECISIONS = {"f32": 0, "f64": 1, "f16": 2, "bf16": 3, "tf32": 4}
# Pictures held decoded at once by predict() of a list; the library computes four at a time whatever the number.
_GROUP = 16
# Sessions kept by a model for its next predict().
_IDLE_SESSIONS = 4


@dataclass(frozen=True)
class ModelInfo:
    """What a model is."""

    architecture: str
    """"m2snet" or "msnet"."""
    encoder: str
    pyramid_channels: int
    classes: int
    """Channels of the logits."""
    input_width: int
    input_height: int
    """Default size of the network's input, px."""
    threshold: float
    """Probability at which a pixel belongs to the mask."""
    parameters: int
    multiply_adds: int
    """Of the convolutions for one picture of the default size."""
    weight_bytes: int
    sha256: str
    """Of the file; "" for a created model."""
    format: str
    """"safetensors", "pytorch zip", "pytorch legacy" or "created"."""
    softmax: bool
    """Classes exclude each other, and the first is the background."""


@dataclass(frozen=True)
class TensorInfo:
    """A weight tensor as the file has it."""

    name: str
    dtype: str
    """"f32", "f16", "bf16", "i64", ...; "?" for one that the library cannot compute with."""
    shape: Tuple[int, ...]
    """As the checkpoint orders it: (out, in, height, width) for convolutions."""


@dataclass(frozen=True)
class FeatureInfo:
    """A tensor inside the network that predict(features=...) can show; its sizes for the model's default input."""

    name: str
    height: int
    width: int
    channels: int


@dataclass(frozen=True)
class PlanInfo:
    """What a run needs."""

    arena_bytes: int
    packed_weight_bytes: int
    multiply_adds: int
    steps: int
    compiled: bool
    """Whether the session has it already."""


@dataclass(frozen=True)
class StepInfo:
    """A step of the plan that ran last."""

    name: str
    kernel: str
    multiply_adds: int
    milliseconds: float
    """Of the last run; 0 when timing was off."""


def _json_bytes(value: Union[None, str, Mapping[str, Any]]) -> Optional[bytes]:
    if value is None:
        return None
    return (value if isinstance(value, str) else json.dumps(dict(value))).encode()


def network_count(
    config: Union[None, str, Mapping[str, Any]] = None,
    height: int = 352,
    width: int = 352,
    *,
    context: Optional[Context] = None,
) -> "tuple[int, int]":
    """Trainable parameters of a configuration, and the multiply-adds of one picture of that size; without weights."""
    parameters, multiply_adds = c_uint64(), c_uint64()
    where = _context(context, None, None)._live
    call("network_count", where.pointer, _json_bytes(config), width, height, byref(parameters), byref(multiply_adds))
    return parameters.value, multiply_adds.value


def encoder_names() -> List[str]:
    """Names that a configuration's "encoder" may have, family by family, each from small to large."""
    names: List[str] = []
    while True:
        name = plain("encoder_name", len(names))
        if name is None:
            return names
        names.append(text(name))


def _context(context: Optional[Context], threads: Optional[int], backend: Optional[str]) -> Context:
    if threads is None and backend is None:
        return context if context is not None else default_context()
    if context is not None:
        raise ValueError("threads and backend belong to a context: give either them or a context")
    return Context(backend or "auto", threads=threads or 0)


class Model(Owner):
    """A network with its weights: immutable, shared by any number of threads.

    Model.load, Model.from_bytes and Model.create make one. predict() and its kin may be called from several threads at
    once: each call takes one of the sessions that the model keeps, or makes one.
    """

    _context: Context
    _config_text: str
    _info: ModelInfo
    _idle: "List[Session]"

    def __init__(self) -> None:
        raise TypeError("use Model.load, Model.from_bytes or Model.create")

    @classmethod
    def _from(cls, handle: Handle, context: Context) -> "Model":
        model = cls.__new__(cls)
        model._own(handle)
        model._context = context
        values = as_dict(read_info(_structs.ModelInfo, "model_get_info", handle.pointer))
        model._config_text = values.pop("config_json")
        values["softmax"] = bool(values["softmax"])
        model._info = ModelInfo(**values)
        model._idle = []
        return model

    @classmethod
    def load(
        cls,
        path: Union[str, "os.PathLike[str]"],
        *,
        config: Union[None, str, Mapping[str, Any]] = None,
        memory_map: bool = False,
        context: Optional[Context] = None,
        threads: Optional[int] = None,
        backend: Optional[str] = None,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> "Model":
        """Loads .safetensors, or a PyTorch checkpoint (.pth) read as data: nothing in it is executed.

        config: overrides keys of the file's configuration (docs/file-format.md), a mapping or JSON text.
        memory_map: map the file instead of reading it (a mapped file that shrinks ends the process with SIGBUS).
        context, or threads and backend for one of its own; default: the default context.

        MismatchError, with a table of missing, extra and differently shaped tensors, when the file does not fit.
        """
        encoded = path_bytes(path)

        def load(pointer: Any, where: Handle, given: Any) -> None:
            call("model_load_file", where.pointer, encoded, byref(given), byref(pointer))

        return cls._load(load, config, memory_map, _context(context, threads, backend), Watch(progress, cancel))

    @classmethod
    def from_bytes(
        cls,
        data: Union[bytes, bytearray, memoryview],
        *,
        config: Union[None, str, Mapping[str, Any]] = None,
        context: Optional[Context] = None,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> "Model":
        """Loads the content of such a file; data is not copied for the call and not needed after it."""
        content = np.frombuffer(data, np.uint8)

        def load(pointer: Any, where: Handle, given: Any) -> None:
            call("model_load_memory", where.pointer, content.ctypes.data, content.size, byref(given), byref(pointer))

        return cls._load(load, config, False, _context(context, None, None), Watch(progress, cancel))

    @classmethod
    def _load(cls, load: Any, config: Any, memory_map: bool, context: Context, watch: Watch) -> "Model":
        given = options(_structs.ModelOptions, "model")
        given.config_json = _json_bytes(config)
        given.memory_map = int(memory_map)
        given.control = watch.control
        where = context._live

        def make() -> "Model":
            pointer = c_void_p()
            load(pointer, where, given)
            return cls._from(Handle(pointer, "model_destroy", where), context)

        return watch.run(make)

    @classmethod
    def create(
        cls,
        config: Union[str, Mapping[str, Any]],
        *,
        seed: int = 0,
        start: Union[None, str, "os.PathLike[str]"] = None,
        context: Optional[Context] = None,
        threads: Optional[int] = None,
        backend: Optional[str] = None,
    ) -> "Model":
        """A network with freshly drawn weights: the same seed (0 to 2**64 - 1) gives the same weights everywhere.

        start: a weight file; what it has under the same key (an encoder's without prefix, or as other libraries call it) and in the same shape is
        taken from it, as from a model with other classes or an encoder trained for ImageNet.

        config: a mapping or JSON text with the keys of docs/file-format.md, such as
        {"architecture": "m2snet", "encoder": "res2net_compact", "pyramid_channels": 32, "input_size": 256}.
        """
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed is {seed}: expected 0 to 2**64 - 1")
        made_in = _context(context, threads, backend)
        where = made_in._live
        pointer = c_void_p()
        if start is None:
            call("model_create", where.pointer, _json_bytes(config), seed, byref(pointer))
        else:
            call("model_create_from", where.pointer, _json_bytes(config), seed, os.fsencode(start), None, byref(pointer))
        return cls._from(Handle(pointer, "model_destroy", where), made_in)

    # ---- what it is ----

    @property
    def context(self) -> Context:
        """Where it lives."""
        return self._context

    @property
    def info(self) -> ModelInfo:
        """Architecture, sizes, threshold, checksum."""
        return self._info

    @property
    def config(self) -> Dict[str, Any]:
        """The complete configuration (docs/file-format.md)."""
        config: Dict[str, Any] = json.loads(self._config_text)
        return config

    @property
    def class_labels(self) -> List[int]:
        """The gray level of each class in label maps (the first of a softmax model is the background)."""
        pointer = self._live.pointer
        return [plain("model_class_label", pointer, i) for i in range(self._info.classes)]

    @property
    def class_names(self) -> List[Optional[str]]:
        """One a class; None where the file names none."""
        pointer = self._live.pointer
        names = [plain("model_class_name", pointer, i) for i in range(self._info.classes)]
        return [None if name is None else text(name) for name in names]

    @property
    def metadata(self) -> Dict[str, str]:
        """The file's metadata entries."""
        pointer = self._live.pointer
        return {
            text(plain("model_metadata_key", pointer, i)): text(plain("model_metadata_value", pointer, i))
            for i in range(plain("model_metadata_count", pointer))
        }

    @property
    def tensors(self) -> List[TensorInfo]:
        """Names, dtypes and shapes of the weights."""
        pointer = self._live.pointer
        found = []
        for i in range(plain("model_tensor_count", pointer)):
            info = read_info(_structs.TensorInfo, "model_tensor_info", pointer, i)
            dims = cast(info.dims, POINTER(c_int64))
            shape = tuple(dims[k] for k in range(info.rank))
            dtype = _DTYPES[info.dtype] if 0 <= info.dtype < len(_DTYPES) else "?"
            found.append(TensorInfo(text(info.name), dtype, shape))
        return found

    @property
    def features(self) -> List[FeatureInfo]:
        """The tensors inside the network that have a name, in the order in which they are computed: the encoder's levels
        ("enc1" to "enc5"), the subtraction units ("x5_x4"), the decoder's parts ("level1", "output2"), "logits"."""
        pointer = self._live.pointer
        rows = [
            read_info(_structs.FeatureInfo, "model_feature_info", pointer, i)
            for i in range(plain("model_feature_count", pointer))
        ]
        return [FeatureInfo(text(row.name), row.h, row.w, row.c) for row in rows]

    def multiply_adds(self, height: int, width: int) -> int:
        """Multiply-adds of all convolutions for one picture of that size."""
        count = c_uint64()
        call("model_multiply_adds", self._live.pointer, width, height, byref(count))
        return count.value

    def selftest(self) -> float:
        """Runs the vector stored in the file and compares: the largest difference of a logit. MismatchError when it is too
        large, UnsupportedError when the file has none."""
        handle = self._live

        def run() -> float:
            difference = c_double()
            call("model_selftest", handle.pointer, byref(difference))
            return difference.value

        return Watch().run(run)

    def save(
        self,
        path: Union[str, "os.PathLike[str]"],
        *,
        dtype: str = "f32",
        metadata: Optional[Mapping[str, str]] = None,
        with_selftest: bool = False,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> None:
        """Writes .safetensors; the file is either complete or not there.

        dtype: of convolution weights, "f32", "f16" or "bf16". metadata: entries to add; an empty text removes one.
        with_selftest: store a small input and its float64 result, for selftest().
        """
        if dtype not in ("f32", "f16", "bf16"):
            raise ValueError(f'dtype is {dtype!r}: expected "f32", "f16" or "bf16"')
        watch = Watch(progress, cancel)
        given = options(_structs.SaveOptions, "save")
        given.dtype = _DTYPES.index(dtype)
        given.metadata_json = _json_bytes(metadata)
        given.with_selftest = int(with_selftest)
        given.control = watch.control
        handle, encoded = self._live, path_bytes(path)
        watch.run(lambda: call("model_save_file", handle.pointer, encoded, byref(given)))

    def session(
        self,
        *,
        precision: str = "f32",
        input_size: Optional[Tuple[int, int]] = None,
        max_plans: int = 4,
        memory_limit_bytes: int = 0,
    ) -> "Session":
        """Plans and scratch memory of one's own; see Session."""
        return Session(
            self,
            precision=precision,
            input_size=input_size,
            max_plans=max_plans,
            memory_limit_bytes=memory_limit_bytes,
        )

    # ---- what it does ----

    def _borrow(self) -> "Session":
        self._live.check()
        try:
            return self._idle.pop()
        except IndexError:
            return self.session()

    def _give_back(self, session: "Session") -> None:
        if not self.closed and len(self._idle) < _IDLE_SESSIONS:
            self._idle.append(session)

    @overload
    def predict(self, image: Union[List[Any], Tuple[Any, ...]], **how: Any) -> List[Result]: ...

    @overload
    def predict(self, image: ImageLike, **how: Any) -> Result: ...

    def predict(self, image: Any, **how: Any) -> Union[Result, List[Result]]:
        """Pixels in, mask out. The same as Session.predict, which lists the options; thread safe."""
        session = self._borrow()
        return session._predict(image, how, self._give_back)

    def predict_proba(self, image: Any, **how: Any) -> Any:
        """float32 (height, width) of probabilities, 0 to 1, at the picture's size; a list of them for a list."""
        results = self.predict(image, **how)
        return results.probability if isinstance(results, Result) else [r.probability for r in results]

    def run(self, x: np.ndarray, **how: Any) -> np.ndarray:
        """The network alone, normalised pixels to logits: see Session.run; thread safe."""
        session = self._borrow()
        return session._run(x, how, self._give_back)

    def close(self) -> None:
        """Lets go of the model and of the sessions it keeps."""
        super().close()
        self._idle.clear()

    def __repr__(self) -> str:
        info = self._info
        return (
            f"<m2snet.Model {info.architecture}, {info.encoder}, {info.pyramid_channels} pyramid channels, "
            f"{info.classes} class{'' if info.classes == 1 else 'es'}, {info.input_width}x{info.input_height} px, "
            f"{info.parameters / 1e6:.1f} M parameters{', closed' if self.closed else ''}>"
        )


def _keep(session: "Session") -> None:
    """What happens to a session of the caller's own after a call: nothing."""


class Session(Owner):
    """Plans and scratch memory for running a model: for one thread at a time. A second one gets BusyError.

    precision: "f32", or "f64" on a model in a context of backend "ref"; "f16", "bf16", "tf32" on backend "cuda".
    input_size: (height, width) of the network's input for predict, px, 33 to 8192; None = the model's.
    max_plans: compiled shapes kept, 1 to 64. memory_limit_bytes: hard cap on the scratch; 0 = none.
    """

    def __init__(
        self,
        model: Model,
        *,
        precision: str = "f32",
        input_size: Optional[Tuple[int, int]] = None,
        max_plans: int = 4,
        memory_limit_bytes: int = 0,
    ) -> None:
        if precision not in _PRECISIONS:
            raise ValueError(f"precision is {precision!r}: expected one of {', '.join(_PRECISIONS)}")
        given = options(_structs.SessionOptions, "session")
        given.precision = _PRECISIONS[precision]
        if input_size is not None:
            given.input_height, given.input_width = input_size
        given.max_plans = max_plans
        given.memory_limit_bytes = memory_limit_bytes
        parent = model._live
        pointer = c_void_p()
        call("session_create", parent.pointer, byref(given), byref(pointer))
        self._own(Handle(pointer, "session_destroy", parent))
        self._context = model._context
        self._precision = precision
        self._classes = model._info.classes
        self._input = input_size or (model._info.input_height, model._info.input_width)

    def predict(
        self,
        image: Any,
        *,
        threshold: Optional[float] = None,
        class_index: int = 0,
        roi: Optional[Sequence[int]] = None,
        largest_component: bool = False,
        fill_holes: bool = False,
        min_area_px: float = 0.0,
        presence_min_area_px: Optional[float] = None,
        spacing_mm: Optional[Tuple[float, float]] = None,
        label_map: bool = False,
        order: str = "rgb",
        window: Optional[Tuple[float, float]] = None,
        apply_exif: bool = True,
        tiles: bool = False,
        tile_step: float = 0.5,
        mirror: Union[bool, str] = False,
        ensemble: "Sequence[Union[Model, Session]]" = (),
        features: Sequence[str] = (),
        gradcam: Optional[str] = None,
        out: Optional[Mapping[str, np.ndarray]] = None,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> Union[Result, List[Result]]:
        """Pixels in, mask out: a Result for a picture, a list of Results for a list, a tuple or an array with a batch axis
        (n, height, width, 3 or 4).

        image: a path, a PNG or JPEG file's bytes, an array (height, width[, 3 or 4]), a Pillow image; see ImageLike.
            Arrays are not copied when the pixels of each row lie side by side, whatever the distance of rows.
        threshold: 0 to 1; None = the model's. class_index: channel of a model with several classes (0 is the background
            where they exclude each other).
        roi: (x, y, width, height), px: the network sees only this part, results are 0 outside.
        largest_component, fill_holes, min_area_px: what is done to the mask.
        presence_min_area_px: smallest component that counts as found; None = 0.0005 of the picture.
        spacing_mm: (row, column) distance of pixels, for areas in mm2.
        label_map: also Result.labels, all classes in one map.
        order: "bgr" for arrays in OpenCV's order. window: (low, high) of uint16 and float arrays, shown as black and
            white; None = 0..65535 and 0..1. apply_exif: turn files as their EXIF orientation says.
        tiles: the picture keeps its size, and the network's input is a window that slides over it in steps of at most
            tile_step windows; logits are averaged with Gaussian weights.
        mirror: True or "both": the mean over mirror images, too; "horizontal" (left and right exchanged), "vertical".
        ensemble: models (or sessions with the same input size) whose logits are averaged with this one's.
        features: names (see Model.features) of tensors inside the network for Result.features. gradcam: name of the
            tensor of Result.gradcam. Neither goes with tiles, mirror or an ensemble.
        out: arrays of the picture's size to write into as well: {"probability": float32, "map": uint8, "mask": uint8,
            "labels": uint8}.
        progress: called with (phase, done, total) on this thread every few milliseconds; an exception cancels.
        cancel: a CancelToken. Ctrl-C in the main thread cancels, too, and raises KeyboardInterrupt as usual.
        """
        how = dict(locals())
        for name in ("self", "image"):
            del how[name]
        return self._predict(image, how, _keep)

    def _predict(self, image: Any, how: Dict[str, Any], done: Any) -> Union[Result, List[Result]]:
        unknown = set(how) - _PREDICT_NAMES
        if unknown:
            raise TypeError(f"predict() has no option {', '.join(sorted(unknown))}")
        if isinstance(image, (list, tuple)) or (isinstance(image, np.ndarray) and image.ndim == 4):
            images, single = list(image), False
        else:
            images, single = [image], True
        if how.get("out") and not single:
            raise ValueError("out holds one picture: it cannot be given for a list")
        results: List[Result] = []
        try:
            for first in range(0, len(images), _GROUP):
                results += self._predict_group(images[first : first + _GROUP], how)
        except Exception:
            done(self)  # every handle is as usable as before
            raise
        done(self)
        return results[0] if single else results

    def _predict_group(self, images: List[Any], how: Dict[str, Any]) -> List[Result]:
        progress, cancel = how.get("progress"), how.get("cancel")
        reading = {name: how[name] for name in ("order", "window", "apply_exif") if name in how}
        pixels = []
        for image in images:
            # Arrays need no watching; a file's decoding does.
            watch = Watch(progress, cancel) if is_path(image) or isinstance(image, bytes) else None
            pixels.append(as_pixels(image, self._context, watch=watch, **reading))
        watch = Watch(progress, cancel)
        given = _predict_options(how, watch)
        keep = _set_outputs(given, how.get("out"), pixels[0].struct)
        names = _set_features(given, how)
        members = [_Member(item, self._input) for item in how.get("ensemble", ())]
        live = [member.session._live for member in members]
        sessions = (c_void_p * len(live))(*(item.pointer for item in live))
        given.ensemble, given.ensemble_count = cast(sessions, c_void_p), len(live)
        handle = self._live
        has_spacing = how.get("spacing_mm") is not None
        count = len(pixels)

        def run() -> List[Result]:
            structs = (_structs.Image * count)(*(item.struct for item in pixels))
            made = (c_void_p * count)()
            call("predict_batch", handle.pointer, structs, count, byref(given), made)
            handles = [Handle(c_void_p(pointer), "result_destroy", handle) for pointer in made]
            return [Result(item, has_spacing) for item in handles]

        try:
            results = watch.run(run)
        finally:
            for member in members:
                member.give_back()
        del keep, names, live
        return results

    def predict_proba(self, image: Any, **how: Any) -> Any:
        """float32 (height, width) of probabilities, 0 to 1, at the picture's size; a list of them for a list."""
        results = self.predict(image, **how)
        return results.probability if isinstance(results, Result) else [r.probability for r in results]

    def run(
        self,
        x: np.ndarray,
        *,
        layout: str = "nhwc",
        out: Optional[np.ndarray] = None,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> np.ndarray:
        """The network alone.

        x: normalised pixels, float32 or float64, (n, height, width, 3) or (height, width, 3), at least 33 x 33 px; with
            layout="nchw" (n, 3, height, width) or (3, height, width). Any strides: nothing is copied.
        out: where the logits go, any strides; None = a new array.

        Returns logits (n, height, width, classes), in the layout and rank of x; float64 in a session of precision "f64",
        else float32.
        """
        return self._run(x, {"layout": layout, "out": out, "progress": progress, "cancel": cancel}, _keep)

    def _run(self, x: np.ndarray, how: Dict[str, Any], done: Any) -> np.ndarray:
        unknown = set(how) - {"layout", "out", "progress", "cancel"}
        if unknown:
            raise TypeError(f"run() has no option {', '.join(sorted(unknown))}")
        try:
            logits = self._run_network(x, how)
        except Exception:
            done(self)
            raise
        done(self)
        return logits

    def _run_network(self, x: np.ndarray, how: Dict[str, Any]) -> np.ndarray:
        layout = how.get("layout", "nhwc")
        if layout not in ("nhwc", "nchw"):
            raise ValueError(f'layout is {layout!r}: expected "nhwc" or "nchw"')
        x = np.asarray(x)
        if x.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise TypeError(f"x has dtype {x.dtype}: expected float32 or float64, normalised pixels")
        if x.ndim not in (3, 4):
            raise ValueError(f"x has shape {x.shape}: expected (n, height, width, 3) or (height, width, 3)")
        channels = x.ndim - 1 if layout == "nhwc" else x.ndim - 3
        shape = list(x.shape)
        shape[channels] = self._classes
        dtype = np.float64 if self._precision == "f64" else np.float32
        out = how.get("out")
        if out is None:
            out = np.empty(shape, dtype)
        elif out.shape != tuple(shape) or out.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"out has shape {out.shape} and dtype {out.dtype}: expected {tuple(shape)} of floats")
        elif not out.flags.writeable or any(n > 1 and step == 0 for n, step in zip(out.shape, out.strides)):
            raise ValueError("out must be writable, with a place of its own for every number")
        handle, where = self._live, self._context._live
        watch = Watch(how.get("progress"), how.get("cancel"))
        src, dst = tensor_view(where, x, layout), tensor_view(where, out, layout)
        control = watch.control
        watch.run(lambda: call("session_run", handle.pointer, src.pointer, dst.pointer, byref(control)))
        return out

    def prepare(self, n: int, height: int, width: int) -> None:
        """Compiles the plan for n pictures of that input size now rather than in the first run."""
        handle, watch = self._live, Watch()
        control = watch.control
        watch.run(lambda: call("session_prepare", handle.pointer, n, height, width, byref(control)))

    def plan_info(self, n: int, height: int, width: int) -> PlanInfo:
        """What a run of n pictures of that input size needs, before it runs."""
        values = as_dict(read_info(_structs.PlanInfo, "session_plan_info", self._live.pointer, n, height, width))
        values["compiled"] = bool(values["compiled"])
        return PlanInfo(**values)

    def trim(self) -> None:
        """Frees scratch memory and plans; the next run makes them again."""
        call("session_trim", self._live.pointer)

    def time_steps(self, enable: bool = True) -> None:
        """Whether the next runs are timed step by step; then read `steps`."""
        call("session_time_steps", self._live.pointer, int(enable))

    @property
    def steps(self) -> List[StepInfo]:
        """The steps of the plan that ran last."""
        pointer = self._live.pointer
        count = plain("session_step_count", pointer)
        return [StepInfo(**as_dict(read_info(_structs.StepInfo, "session_step_info", pointer, i))) for i in range(count)]

    def __repr__(self) -> str:
        height, width = self._input
        return f"<m2snet.Session {self._precision}, input {width}x{height} px{', closed' if self.closed else ''}>"


_PREDICT_NAMES = set(Session.predict.__kwdefaults__ or {})


def _predict_options(how: Dict[str, Any], watch: Watch) -> Any:
    given = options(_structs.PredictOptions, "predict")
    threshold = how.get("threshold")
    if threshold is not None:
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold is {threshold}: expected 0 to 1")
        given.threshold = threshold
    given.class_index = how.get("class_index", 0)
    roi = how.get("roi")
    if roi is not None:
        given.roi_x, given.roi_y, given.roi_width, given.roi_height = roi
    given.largest_component = int(how.get("largest_component", False))
    given.fill_holes = int(how.get("fill_holes", False))
    given.min_area_px = how.get("min_area_px", 0.0)
    if how.get("presence_min_area_px") is not None:
        given.presence_min_area_px = how["presence_min_area_px"]
    if how.get("spacing_mm") is not None:
        given.spacing_y_mm, given.spacing_x_mm = how["spacing_mm"]
    given.label_map = int(how.get("label_map", False))
    given.tiles = int(how.get("tiles", False))
    given.tile_step = how.get("tile_step", 0.5)
    mirror = how.get("mirror", False)
    if mirror not in _MIRRORS:
        raise ValueError(f'mirror is {mirror!r}: expected True, False, "horizontal", "vertical" or "both"')
    given.mirror = _MIRRORS[mirror]
    given.control = watch.control
    return given


_MIRRORS = {False: 0, "horizontal": 1, "vertical": 2, "both": 3, True: 3}


class _Member:
    """A session of an ensemble for the time of a call: the caller's own, or one of a model's."""

    def __init__(self, item: Any, size: Tuple[int, int]) -> None:
        self._model: Optional[Model] = None
        if isinstance(item, Session):
            self.session = item
        elif not isinstance(item, Model):
            raise TypeError(f"ensemble has a {type(item).__name__}: expected models or sessions")
        elif size == (item._info.input_height, item._info.input_width):
            self._model, self.session = item, item._borrow()
        else:
            self.session = item.session(input_size=size)

    def give_back(self) -> None:
        if self._model is not None:
            self._model._give_back(self.session)


def _set_features(given: Any, how: Dict[str, Any]) -> Any:
    """Points the options to the names; returns what must live as long."""
    wanted = how.get("features", ())
    if isinstance(wanted, str):
        raise TypeError("features is a str: expected a list of names")
    names = (c_char_p * len(wanted))(*(name.encode() for name in wanted))
    given.features, given.feature_count = cast(names, c_void_p), len(names)
    gradcam = how.get("gradcam")
    given.gradcam = gradcam.encode() if gradcam is not None else None
    return names


def _set_outputs(given: Any, out: Optional[Mapping[str, np.ndarray]], image: Any) -> Any:
    """Points the options to the caller's arrays; returns what must live as long."""
    kinds = {"probability": np.float32, "map": np.uint8, "mask": np.uint8, "labels": np.uint8}
    for name, array in (out or {}).items():
        if name not in kinds:
            raise ValueError(f'out has the key {name!r}: expected "probability", "map", "mask" or "labels"')
        address, stride = writable_rows(array, (image.height, image.width), kinds[name], f"out[{name!r}]")
        setattr(given, name, address)
        setattr(given, name + "_stride_bytes", stride)
    return out


def tensor_view(context: Handle, array: np.ndarray, layout: str) -> Handle:
    """An m2snet_tensor over an array's memory, whatever its strides; the handle keeps the array."""
    full = array if array.ndim == 4 else array[np.newaxis]
    if full.size == 0:
        raise ValueError(f"an array of shape {array.shape} is empty")
    if not any(full.strides):  # one number shown everywhere; four zeros would say "dense" to the library
        full = np.ascontiguousarray(full)
    axes = (0, 1, 2, 3) if layout == "nhwc" else (0, 2, 3, 1)
    desc = _structs.TensorDesc(dtype=_DTYPES.index("f64" if array.dtype == np.float64 else "f32"))
    for name, axis in zip("nhwc", axes):
        setattr(desc, name, full.shape[axis])
        setattr(desc, f"stride_{name}_bytes", full.strides[axis])
    pointer = c_void_p()
    call("tensor_create", context.pointer, byref(desc), full.ctypes.data, byref(pointer))
    return Handle(pointer, "tensor_destroy", context, extra=full)
