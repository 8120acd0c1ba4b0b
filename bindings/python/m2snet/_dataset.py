# SPDX-License-Identifier: Apache-2.0
"""Pairs of pictures and masks to train on: docs/training-data.md has the rules."""

from __future__ import annotations

import os
from ctypes import byref, c_uint8, c_void_p, cast
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from . import _structs
from ._context import Context, default_context
from ._library import Handle, Owner, as_dict, call, options, path_bytes, plain, read_info, text
from ._watch import CancelToken, Progress, Watch

PARTS = ["none", "train", "validation", "test"]
_MISSING = ["refuse", "skip", "empty"]
_SPLITS = ["column", "folds", "fractions"]

Path = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Item:
    """A picture and its mask."""

    name: str
    image_path: str
    mask_path: Optional[str]
    """None: the mask is empty."""
    group: str
    """Patient or sequence; "" = on its own."""
    set: int
    fold: Optional[int]
    """Of the last split by folds."""
    part: str
    """"train", "validation", "test" or "none"."""


@dataclass(frozen=True)
class DataSet:
    """One of the sets that a Dataset joins."""

    name: str
    weight: float
    count: int


@dataclass(frozen=True)
class Finding:
    """Something that would harm a training."""

    kind: str
    """"mask not binary", "unreadable", "duplicate", ..."""
    item: Optional[int]
    other: Optional[int]
    """The item that came first, of two that are the same."""
    path: str
    reason: str


@dataclass(frozen=True)
class NearPair:
    """Two pictures that look the same."""

    a: int
    b: int
    distance: int
    """0 = as good as equal."""
    across: bool
    """They are in two different parts: what is learned leaks into the score."""


def choice(name: str, value: str, allowed: Sequence[str]) -> int:
    """The number of an enumeration's word."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}: expected one of {', '.join(allowed)}")
    return allowed.index(value)


def labels_of(labels: Optional[Sequence[int]]) -> Tuple[Any, int]:
    """(array or None, count) of gray levels for the library; keep the array as long as the call."""
    if not labels:
        return None, 0
    if any(not 0 <= value <= 255 for value in labels):
        raise ValueError(f"labels are {list(labels)}: expected gray levels from 0 to 255")
    return (c_uint8 * len(labels))(*labels), len(labels)


class Dataset(Owner):
    """Pairs of a picture's file and its mask's file, from folders and lists, each in a part: for Trainer.fit.

    Only names are held; adding opens no picture. For one thread at a time. add_* append a set each:

    name: of the set, for reports. weight: of the set when batches are drawn. missing: a picture without a mask is refused
    ("refuse"), left out ("skip") or has an empty mask ("empty"). mask_suffix: "_mask" pairs a.jpg with a_mask.png.
    group_column: of a list. group_separator: what stands before it in a name is the group.
    """

    def __init__(self, *, context: Optional[Context] = None) -> None:
        where = (context if context is not None else default_context())._live
        pointer = c_void_p()
        call("dataset_create", where.pointer, byref(pointer))
        self._own(Handle(pointer, "dataset_destroy", where))

    @staticmethod
    def _source(
        name: Optional[str],
        weight: float,
        missing: str,
        mask_suffix: Optional[str],
        group_column: Optional[str],
        group_separator: Optional[str],
    ) -> Any:
        given = options(_structs.SourceOptions, "source")
        given.weight = weight
        given.missing = choice("missing", missing, _MISSING)
        given.name = None if name is None else name.encode()
        given.mask_suffix = None if mask_suffix is None else mask_suffix.encode()
        given.group_column = None if group_column is None else group_column.encode()
        given.group_separator = None if group_separator is None else group_separator.encode()
        return given

    def add_folder(
        self,
        folder: Path,
        masks: Optional[Path] = None,
        *,
        name: Optional[str] = None,
        weight: float = 1.0,
        missing: str = "refuse",
        mask_suffix: Optional[str] = None,
        group_separator: Optional[str] = None,
    ) -> "Dataset":
        """PNG and JPEG files of folder/images with those of folder/masks of the same name (without ending); with `masks`
        of folder and masks themselves. On failure nothing is added."""
        given = self._source(name, weight, missing, mask_suffix, None, group_separator)
        pointer = self._live.pointer
        if masks is None:
            call("dataset_add_folder", pointer, path_bytes(folder), byref(given))
        else:
            call("dataset_add_folders", pointer, path_bytes(folder), path_bytes(masks), byref(given))
        return self

    def add_csv(
        self,
        path: Path,
        *,
        name: Optional[str] = None,
        weight: float = 1.0,
        missing: str = "refuse",
        group_column: Optional[str] = None,
        group_separator: Optional[str] = None,
    ) -> "Dataset":
        """A CSV list with columns image and mask, perhaps split and group; paths relative to its folder."""
        given = self._source(name, weight, missing, None, group_column, group_separator)
        call("dataset_add_csv", self._live.pointer, path_bytes(path), byref(given))
        return self

    def __len__(self) -> int:
        return int(plain("dataset_count", self._live.pointer))

    @property
    def items(self) -> List[Item]:
        """All items in order."""
        pointer = self._live.pointer
        found = []
        for index in range(len(self)):
            info = read_info(_structs.DatasetItem, "dataset_get_item", pointer, index)
            values = as_dict(info)
            values["mask_path"] = None if info.mask_path is None else values["mask_path"]
            values["fold"] = None if info.fold < 0 else info.fold
            values["part"] = PARTS[info.part]
            found.append(Item(**values))
        return found

    @property
    def sets(self) -> List[DataSet]:
        """The sets that were added."""
        pointer = self._live.pointer
        count = plain("dataset_set_count", pointer)
        return [DataSet(**as_dict(read_info(_structs.DatasetSet, "dataset_get_set", pointer, i))) for i in range(count)]

    def part_count(self, part: str) -> int:
        """How many items are in a part."""
        return int(plain("dataset_part_count", self._live.pointer, choice("part", part, PARTS)))

    def set_part(self, index: int, part: str) -> None:
        """Puts one item into a part."""
        call("dataset_set_part", self._live.pointer, index, choice("part", part, PARTS))

    def split(
        self,
        kind: str = "fractions",
        *,
        seed: int = 0,
        folds: int = 5,
        fold: int = 0,
        validation: float = 0.1,
        test: float = 0.0,
        ignore_groups: bool = False,
        keep_near_duplicates: bool = False,
    ) -> "Dataset":
        """Puts every item into a part; groups stay together; the same seed gives the same parts everywhere.

        kind: "fractions" (validation and test are shares of the items), "folds" (fold number `fold` of `folds` validates)
        or "column" (as the lists say). keep_near_duplicates: what find_duplicates() found stays together, too.
        """
        given = options(_structs.SplitOptions, "split")
        given.kind = choice("kind", kind, _SPLITS)
        given.seed, given.folds, given.fold = seed, folds, fold
        given.validation, given.test = validation, test
        given.ignore_groups, given.keep_near_duplicates = int(ignore_groups), int(keep_near_duplicates)
        call("dataset_split", self._live.pointer, byref(given))
        return self

    def lint(
        self,
        labels: Optional[Sequence[int]] = None,
        *,
        background_label: int = -1,
        progress: Optional[Progress] = None,
        cancel: Optional[CancelToken] = None,
    ) -> List[Finding]:
        """Reads every file and lists what would harm a training. labels: masks are label maps of these levels and
        background_label (-1: 0 or, where that is a label, the highest free level)."""
        watch = Watch(progress, cancel)
        given = options(_structs.LintOptions, "lint")
        levels, given.label_count = labels_of(labels)
        given.labels = cast(levels, c_void_p) if levels is not None else None
        given.background_label = background_label
        given.control = watch.control
        handle = self._live
        watch.run(lambda: call("dataset_lint", handle.pointer, byref(given)))
        found = []
        for index in range(plain("dataset_finding_count", handle.pointer)):
            values = as_dict(read_info(_structs.Finding, "dataset_get_finding", handle.pointer, index))
            values["kind"] = text(plain("finding_kind_name", values["kind"]))
            for key in ("item", "other"):
                values[key] = None if values[key] < 0 else values[key]
            found.append(Finding(**values))
        return found

    def find_duplicates(
        self, distance: int = 12, *, progress: Optional[Progress] = None, cancel: Optional[CancelToken] = None
    ) -> List[NearPair]:
        """Pictures that look the same, by perceptual hash, nearest first. distance: of 128 bits that two may differ in."""
        watch = Watch(progress, cancel)
        given = options(_structs.DuplicatesOptions, "duplicates")
        given.distance = distance
        given.control = watch.control
        handle = self._live
        watch.run(lambda: call("dataset_find_duplicates", handle.pointer, byref(given)))
        found = []
        for index in range(plain("dataset_near_pair_count", handle.pointer)):
            values: Dict[str, Any] = as_dict(read_info(_structs.NearPair, "dataset_get_near_pair", handle.pointer, index))
            values["across"] = bool(values["across"])
            found.append(NearPair(**values))
        return found

    def __repr__(self) -> str:
        if self.closed:
            return "<m2snet.Dataset closed>"
        counts = ", ".join(f"{self.part_count(part)} {part}" for part in PARTS[1:] if self.part_count(part))
        return f"<m2snet.Dataset {len(self)} items{': ' if counts else ''}{counts}>"
