# SPDX-License-Identifier: Apache-2.0
"""Scores of predictions, any tool's, against masks: one pair, or a set."""

from __future__ import annotations

import json
import os
import warnings
from ctypes import byref, c_char_p, c_double, c_int32, c_uint8, c_void_p, cast
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from . import _scores, _structs
from ._context import Context, default_context
from ._errors import Cancelled, M2snetError, M2snetWarning, OutOfMemoryError, Status
from ._image import ImageLike, as_pixels, is_path
from ._library import Handle, Owner, as_dict, call, options, path_bytes, plain, read_info, text
from ._result import Result
from ._scores import LabelScores, Scores
from ._watch import CancelToken, Progress, Watch

_PROFILES = ["default", "authors", "pranet"]
_POLICIES = ["zero", "skip", "one"]
_CURVES = ["em", "precision", "recall", "specificity", "specificity_pranet", "dice", "iou", "fm", "f1"]
_PICTURES = (".png", ".jpg", ".jpeg")

Labels = Union[Sequence[int], Mapping[str, int]]
Spacing = Union[Tuple[float, float], Sequence[Tuple[float, float]]]


class Named(NamedTuple):
    """A pair's name and what there is to say about it."""

    name: str
    message: str


class Calibration(NamedTuple):
    """Whether probabilities mean what they say (not stretched): pixels by bin of the predicted probability."""

    ece: float
    """Sum over bins of (share of the pixels) |probability - observed|."""
    mce: float
    """Largest |probability - observed| of a bin that has pixels."""
    brier: float
    """Mean of (probability - inside)^2."""
    pixels: np.ndarray
    """int64 (bins,)."""
    probability: np.ndarray
    """float64 (bins,): mean prediction; NaN where a bin has no pixel."""
    observed: np.ndarray
    """float64 (bins,): share of the pixels inside the mask; NaN where a bin has no pixel."""


@dataclass(frozen=True)
class AreaAgreement:
    """Bland and Altman's numbers of the areas: prediction less mask."""

    count: int
    bias: float
    deviation: float
    lower: float
    upper: float
    """lower, upper: limits of agreement, bias -+ 1.96 deviation; NaN for one image."""


class Difference(NamedTuple):
    """Paired bootstrap of one number between two sets."""

    pairs: int
    first: float
    second: float
    difference: float
    """second - first."""
    low: float
    high: float
    """low, high: percentile interval of the difference; NaN for a single image."""
    share_above: float
    """Of the resamples with a difference above 0."""


class Folds(NamedTuple):
    """Cross-validation: mean and standard deviation of the folds' set scores, and those scores."""

    mean: Scores
    std: Scores
    per_fold: List[Scores]


def _spacing_list(spacing: Spacing) -> List[Tuple[float, float]]:
    array = np.asarray(spacing, np.float64)
    if array.shape == (2,):
        array = array[np.newaxis]
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"spacing is {spacing!r}: expected (row, column) in mm, or a list of such pairs")
    return [(float(row), float(column)) for row, column in array]


def _choice(name: str, value: str, allowed: Sequence[str]) -> int:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}: expected one of {', '.join(allowed)}")
    return allowed.index(value)


def _utf8(name: Any) -> bytes:
    """Of a file name that is no UTF-8 the bytes that are not are written as they look in Python, \\udcff."""
    return str(name).encode("utf-8", "backslashreplace")


def _number(value: float) -> str:
    """As the library's JSON writes it: the fewest digits that read back equal."""
    return json.dumps(value).replace("e-0", "e-").replace("e+0", "e+")


class Evaluator(Owner):
    """Collects pairs of prediction and mask, and their scores. For one thread at a time.

    profile: "default"; "authors" adds the numbers of the test script published with M2SNet; "pranet" adds what the PraNet
        protocol's program prints. empty: images with an empty mask count as "zero", are left out ("skip"), or are "one"
        where the prediction is empty, too.
    spacing: (row, column) pixel size in mm, or a list of up to 8 such pairs. connectivity: of borders, 1 or 2.
    surface: whether distances are computed at all. surface_penalty: the picture's diagonal where one side is empty and 0
        where both are, instead of undefined. resize: bring predictions of another size to the mask's.
    labels: pictures are label maps; gray values to score, or {"rnfl": 0, "gcipl": 80}. Each is a class.

    Results do not depend on the number of the context's threads.
    """

    def __init__(
        self,
        *,
        profile: str = "default",
        empty: str = "zero",
        spacing: Spacing = (1.0, 1.0),
        connectivity: int = 1,
        surface: bool = True,
        surface_penalty: bool = False,
        resize: bool = False,
        labels: Optional[Labels] = None,
        context: Optional[Context] = None,
    ) -> None:
        self._context = context if context is not None else default_context()
        self._profile = profile
        given = options(_structs.EvaluatorOptions, "evaluator")
        given.profile = _choice("profile", profile, _PROFILES)
        given.empty = _choice("empty", empty, _POLICIES)
        pairs = _spacing_list(spacing)
        flat = (c_double * (2 * len(pairs)))(*(value for pair in pairs for value in pair))
        given.spacings_mm, given.spacing_count = cast(flat, c_void_p), len(pairs)
        given.connectivity = connectivity
        given.without_surface = int(not surface)
        given.surface_penalty = int(surface_penalty)
        given.resize_prediction = int(resize)
        self._spacing_keys = [f"{_number(row)},{_number(column)}" for row, column in pairs]
        values = list(labels.values() if isinstance(labels, Mapping) else labels or ())
        self._labels = [str(name) for name in (labels.keys() if isinstance(labels, Mapping) else values)]
        if any(not 0 <= value <= 255 for value in values):
            raise ValueError(f"labels are {values}: expected gray values from 0 to 255")
        grays = (c_uint8 * max(len(values), 1))(*values)
        names = (c_char_p * max(len(values), 1))(*(_utf8(name) for name in self._labels))
        if values:
            given.labels, given.label_count = cast(grays, c_void_p), len(values)
            given.label_names = cast(names, c_void_p)
        where = self._context._live
        pointer = c_void_p()
        call("evaluator_create", where.pointer, byref(given), byref(pointer))
        self._own(Handle(pointer, "evaluator_destroy", where))
        self.unmatched: List[str] = []
        """Files that had no partner (evaluate() of folders); each is in `failures`, too."""

    # ---- adding ----

    def add(self, prediction: Any, mask: Any, name: Optional[str] = None) -> None:
        """Scores one pair and appends it; on failure raises and appends nothing.

        prediction, mask: pictures of one size, see ImageLike, or a Result (its map). Floats are probabilities from 0 to 1,
        rounded to 255 levels; bool is 0 and 255. name: None = its number.
        """
        named = name if name is not None else str(len(self))
        first = as_pixels(_plain_picture(prediction, self._labels), self._context)
        second = as_pixels(_plain_picture(mask, self._labels), self._context)
        call("evaluator_add", self._live.pointer, _utf8(named), byref(first.struct), byref(second.struct))

    def add_failure(self, name: str, error: Union[BaseException, str]) -> None:
        """Appends a pair that could not get as far as scores, so that it is counted and told in `failures`.

        error: what stopped it, or a message."""
        failure = error.status if isinstance(error, M2snetError) else Status.INVALID_ARGUMENT
        message = str(error) or type(error).__name__
        call("evaluator_add_failure", self._live.pointer, _utf8(name), int(failure), _utf8(message))

    def add_files(
        self,
        pairs: Iterable[Tuple[str, Any, Any]],
        *,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> int:
        """Scores pairs (name, prediction's path, mask's path) of PNG or JPEG files on all threads. A pair that cannot be
        scored is appended, too, and told in `failures`; it does not stop the others. Returns how many failed. Cancelled
        or out of memory: nothing is appended. Progress: phase "score", unit pairs."""
        encoded = [(_utf8(name), path_bytes(left), path_bytes(right)) for name, left, right in pairs]
        watch = Watch(progress, cancel)
        handle, control = self._live, watch.control
        files = (_structs.FilePair * max(len(encoded), 1))()
        for file, (name, left, right) in zip(files, encoded):
            file.name, file.prediction_path, file.mask_path = name, left, right
        failed = c_int32()
        arguments = (handle.pointer, files, len(encoded), byref(control), byref(failed))
        watch.run(lambda: call("evaluator_add_files", *arguments))
        return failed.value

    # ---- images ----

    def __len__(self) -> int:
        """Pairs, failed ones included."""
        return int(plain("evaluator_count", self._live.pointer))

    @property
    def names(self) -> List[str]:
        """The pairs' names in order, failed ones included."""
        pointer = self._live.pointer
        return [text(plain("evaluator_name", pointer, i)) for i in range(len(self))]

    def scores(self, index: int) -> Any:
        """Scores of pair `index`: Scores, or with labels a dict of a LabelScores each. Of a pair that failed: its error."""
        if not 0 <= index < len(self):
            raise IndexError(f"pair {index}: there are {len(self)}")
        pointer = self._live.pointer
        if self._labels:
            return self._by_label("evaluator_image_label", pointer, index)
        return self._scores("evaluator_image_scores", pointer, index)

    @property
    def images(self) -> List[Any]:
        """(name, scores) of every pair that was scored, in order."""
        found = []
        for index, name in enumerate(self.names):
            try:
                found.append((name, self.scores(index)))
            except M2snetError:  # told in `failures`
                continue
        return found

    @property
    def failures(self) -> List[Named]:
        """Pairs that could not be scored, and why."""
        return self._messages("failures")

    @property
    def warnings(self) -> List[Named]:
        """What is suspicious: a mask coded 0 and 1, a nearly empty prediction that was stretched, another size."""
        return self._messages("warnings")

    def _messages(self, kind: str) -> List[Named]:
        return [Named(entry["name"], entry["message"]) for entry in self.to_dict()[kind]]

    # ---- the set ----

    @property
    def counts(self) -> Dict[str, int]:
        """scored, failed, in_means, empty_masks, empty_predictions, both_empty, warned."""
        info = as_dict(self._info())
        info["in_means"] = info.pop("counted")
        keys = ("scored", "failed", "in_means", "empty_masks", "empty_predictions", "both_empty", "warned")
        return {key: info[key] for key in keys}

    @property
    def pooled(self) -> Dict[str, Optional[float]]:
        """dice, iou, precision, recall, specificity of tp, fp, fn, tn summed over all images."""
        info = self._info()
        keys = ("dice", "iou", "precision", "recall", "specificity")
        return {key: _scores.defined(getattr(info, "pooled_" + key)) for key in keys}

    def _info(self) -> Any:
        return read_info(_structs.SetInfo, "evaluator_set_info", self._live.pointer)

    @property
    def dataset(self) -> Any:
        """The set's Scores: means over the images that count, curves averaged before their mean and maximum are taken;
        with labels a dict of a LabelScores each. MismatchError when no image counts."""
        pointer = self._live.pointer
        if self._labels:
            return self._by_label("evaluator_set_label", pointer)
        return self._scores("evaluator_set_scores", pointer)

    def folds(self, folds: int = 4, *, ddof: int = 0) -> Folds:
        """Cross-validation: image i of those that count belongs to fold i mod folds; the deviation has the divisor
        folds - ddof (0 or 1)."""
        pointer = self._live.pointer
        mean, deviation = _structs.Scores(), _structs.Scores()
        call("evaluator_folds", pointer, folds, ddof, byref(mean), byref(deviation))
        per_fold = [self._scores("evaluator_fold_scores", pointer, folds, i) for i in range(folds)]
        return Folds(self._named(mean), self._named(deviation), per_fold)

    def subset(self, indices: Sequence[int]) -> Scores:
        """The set's Scores over some of its images alone, such as the frames of one clip; each index once."""
        array = (c_int32 * max(len(indices), 1))(*indices)
        return self._scores("evaluator_subset_scores", self._live.pointer, array, len(indices))

    def curve(self, name: str, index: Optional[int] = None) -> np.ndarray:
        """float64 (256,): "em", "precision", "recall", "specificity", "specificity_pranet", "dice", "iou", "fm" or "f1"
        at each threshold t, where the prediction is foreground from floor(255 x) >= t on. index: of one pair; None: of
        the set."""
        values = np.empty(256, np.float64)
        kind = _choice("name", name, _CURVES)
        call("evaluator_curve", self._live.pointer, -1 if index is None else index, kind, values.ctypes.data)
        return values

    def calibration(self, bins: int = 15, index: Optional[int] = None) -> Calibration:
        """Reliability of the probabilities, of one pair or (None) of the set; bins: 1 to 64."""
        place = -1 if index is None else index
        info = read_info(_structs.Calibration, "evaluator_calibration", self._live.pointer, place, bins)
        used = info.bins[: info.bin_count]
        return Calibration(
            info.ece,
            info.mce,
            info.brier,
            np.array([part.pixels for part in used], np.int64),
            np.array([part.probability for part in used]),
            np.array([part.observed for part in used]),
        )

    @property
    def area_agreement(self) -> AreaAgreement:
        """Agreement of the areas over the images that count; mm2 with the first spacing."""
        info = read_info(_structs.AreaAgreement, "evaluator_area_agreement", self._live.pointer)
        return AreaAgreement(**as_dict(info))

    def compare(
        self,
        other: "Evaluator",
        key: str = "dice_mean",
        *,
        resamples: int = 10000,
        level: float = 0.95,
        seed: int = 0,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> Difference:
        """other's number less this one's, by its JSON key ("dice_mean", "em_max", "hd95" of the first spacing, ...), with
        an interval: images, matched by name, are drawn with replacement, the same ones for both."""
        watch = Watch(progress, cancel)
        given = options(_structs.CompareOptions, "compare")
        given.resamples, given.level, given.seed = resamples, level, seed
        given.control = watch.control
        first, second, found = self._live, other._live, _structs.Difference()
        encoded = key.encode()

        def run() -> None:
            call("evaluator_compare", first.pointer, second.pointer, encoded, byref(given), byref(found))

        watch.run(run)
        return Difference(**as_dict(found))

    def json(self, folds: int = 0) -> str:
        """Everything as one JSON object, as m2snet-evaluate writes it (docs/metrics.md). folds 0: without
        cross-validation."""
        pointer = c_void_p()
        handle = self._live
        call("evaluator_json", handle.pointer, folds, byref(pointer))
        return text(cast(pointer, c_char_p).value)

    def to_dict(self, folds: int = 0) -> Dict[str, Any]:
        """The same as dicts and lists."""
        report: Dict[str, Any] = json.loads(self.json(folds))
        return report

    def _scores(self, name: str, *arguments: Any) -> Scores:
        return self._named(read_info(_structs.Scores, name, *arguments))

    def _named(self, struct: Any) -> Scores:
        return _scores.scores(struct, self._spacing_keys, self._profile)

    def _by_label(self, name: str, *arguments: Any) -> Dict[str, LabelScores]:
        made = {}
        for number, label in enumerate(self._labels):
            struct = read_info(_structs.LabelScores, name, *arguments, number)
            made[label] = _scores.label_scores(struct, self._spacing_keys)
        return made

    def __repr__(self) -> str:
        if self.closed:
            return "<m2snet.Evaluator closed>"
        counts = self.counts
        return f"<m2snet.Evaluator {counts['scored']} scored, {counts['failed']} failed, profile {self._profile}>"


def _plain_picture(picture: ImageLike, labels: Any) -> ImageLike:
    """A Result's map; integers of other types as uint8; everything else as it is."""
    if isinstance(picture, Result):
        return picture.map
    if is_path(picture) or isinstance(picture, (bytes, bytearray, memoryview)) or not hasattr(picture, "dtype"):
        return picture
    array = np.asarray(picture)
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        if array.size and (array.min() < 0 or array.max() > 255):
            raise ValueError(f"{array.dtype} pixels from {array.min()} to {array.max()}: expected 0 to 255")
        return array.astype(np.uint8)
    if labels and array.dtype.kind == "f":
        raise TypeError("label maps are integers, not floats")
    return array


def metrics(
    prediction: ImageLike,
    mask: ImageLike,
    *,
    profile: str = "default",
    empty: str = "zero",
    spacing: Spacing = (1.0, 1.0),
    connectivity: int = 1,
    surface: bool = True,
    surface_penalty: bool = False,
    resize: bool = False,
    labels: Optional[Labels] = None,
    context: Optional[Context] = None,
) -> Any:
    """Scores of one prediction against one mask: Scores, or with `labels` a dict of a LabelScores each.

    prediction: probabilities or a mask: uint8 0 to 255, floats 0 to 1 (rounded to 255 levels), bool, a path, a Pillow
        image, a Result. It is stretched to its own minimum and maximum, as the protocol says.
    mask: the same kinds, inside where above 128 of 255. Both (height, width); colour is read as gray.
    The options are Evaluator's. What is suspicious (a mask coded 0 and 1) is warned of as M2snetWarning.
    """
    with Evaluator(
        profile=profile,
        empty=empty,
        spacing=spacing,
        connectivity=connectivity,
        surface=surface,
        surface_penalty=surface_penalty,
        resize=resize,
        labels=labels,
        context=context,
    ) as evaluator:
        evaluator.add(prediction, mask)
        warning = plain("evaluator_warning", evaluator._live.pointer, 0)
        if warning is not None:
            warnings.warn(text(warning), M2snetWarning, stacklevel=2)
        return evaluator.scores(0)


def evaluate(
    predictions: Any,
    masks: Any,
    *,
    names: Optional[Sequence[str]] = None,
    profile: str = "default",
    empty: str = "zero",
    spacing: Spacing = (1.0, 1.0),
    connectivity: int = 1,
    surface: bool = True,
    surface_penalty: bool = False,
    resize: bool = False,
    labels: Optional[Labels] = None,
    context: Optional[Context] = None,
    progress: Optional[Progress] = None,
    cancel: Optional[CancelToken] = None,
) -> Evaluator:
    """Scores a set; returns the Evaluator with every pair in it: `.dataset`, `.images`, `.folds(4)`, `.json()`.

    predictions, masks: two folders (files are matched by stem: a.jpg belongs to a.png; what has no partner is in
        `.unmatched`, with an M2snetWarning), two files, two lists of equal length, or two arrays (n, height, width). Items
        of lists are paths, arrays, Pillow images, Results, as for `metrics`. Paths are scored on all threads of the
        context; a file that cannot be read or has another size is in `.failures` and does not stop the others, as is a
        file without a partner. A pair of two arrays that cannot be scored is an exception.
    names: of the pairs of lists; default: the masks' stems, or numbers.
    progress: called with ("score", done, total). Ctrl-C cancels.
    """
    evaluator = Evaluator(
        profile=profile,
        empty=empty,
        spacing=spacing,
        connectivity=connectivity,
        surface=surface,
        surface_penalty=surface_penalty,
        resize=resize,
        labels=labels,
        context=context,
    )
    if is_path(predictions) and is_path(masks):
        pairs, lonely = _match(Path(predictions), Path(masks))
        evaluator.unmatched = [os.fspath(path) for path, _ in lonely]
        if evaluator.unmatched:
            warnings.warn(f"without a partner: {', '.join(evaluator.unmatched)}", M2snetWarning, stacklevel=2)
        if not pairs:
            raise ValueError(f"no pair of equal stems in {os.fspath(predictions)} and {os.fspath(masks)}")
    else:
        left, right = list(predictions), list(masks)
        if len(left) != len(right) or not left:
            raise ValueError(f"{len(left)} predictions and {len(right)} masks: expected the same number, at least one")
        if names is not None and len(names) != len(left):
            raise ValueError(f"{len(names)} names for {len(left)} pairs")
        pairs = [(names[i] if names is not None else _name_of(right[i], i), left[i], right[i]) for i in range(len(left))]
        lonely = []
    if all(is_path(prediction) and is_path(mask) for _, prediction, mask in pairs):
        evaluator.add_files(pairs, progress=progress, cancel=cancel)
    else:
        _add_each(evaluator, pairs, progress, cancel)
    for path, why in lonely:
        evaluator.add_failure(path.stem, f"{os.fspath(path)}: {why}")
    return evaluator


def _add_each(evaluator: Evaluator, pairs: Any, progress: Optional[Progress], cancel: Optional[CancelToken]) -> None:
    for number, (name, prediction, mask) in enumerate(pairs):
        try:
            evaluator.add(prediction, mask, name)
        except OutOfMemoryError:
            raise
        except M2snetError as error:
            if not (is_path(prediction) or is_path(mask)):
                raise
            evaluator.add_failure(name, error)
        if progress is not None:
            progress("score", number + 1, len(pairs))
        if cancel is not None and cancel.requested:
            raise Cancelled(f"cancelled by the caller after {number + 1} of {len(pairs)} pairs")


def _name_of(mask: Any, number: int) -> str:
    return Path(mask).stem if is_path(mask) else str(number)


def _pictures(folder: Path) -> Dict[str, List[Path]]:
    by_stem: Dict[str, List[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _PICTURES and path.is_file():
            by_stem.setdefault(path.stem, []).append(path)
    return by_stem


def _match(predictions: Path, masks: Path) -> Tuple[List[Tuple[str, Path, Path]], List[Tuple[Path, str]]]:
    """Pairs by stem in order, and the files without a partner and why; of several with one stem none can be chosen."""
    if not predictions.is_dir() and not masks.is_dir():
        return [(masks.stem, predictions, masks)], []
    left, right = _pictures(predictions), _pictures(masks)
    pairs = []
    unmatched: List[Tuple[Path, str]] = []
    for stem in sorted(set(left) | set(right), key=os.fsencode):
        found, truth = left.get(stem, []), right.get(stem, [])
        if len(found) == 1 and len(truth) == 1:
            pairs.append((stem, found[0], truth[0]))
        elif max(len(found), len(truth)) > 1:
            unmatched += [(path, f"several files have the stem {stem!r}") for path in found + truth]
        else:
            unmatched += [(path, "no mask of this stem") for path in found]
            unmatched += [(path, "no prediction of this stem") for path in truth]
    return pairs, unmatched
