# SPDX-License-Identifier: Apache-2.0
"""Scores under the names of the JSON (docs/metrics.md)."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional, Sequence

from . import _structs

SURFACE_KEYS = [field[0] for field in _structs.SurfaceScores._fields_]
_FIELDS = [field[0] for field in _structs.Scores._fields_]
COUNT_KEYS = ["tp", "fp", "fn", "tn"]
_AUTHORS = [name for name in _FIELDS if name.startswith("authors_")]
# The numbers between the counts and the profile's own.
SCORE_KEYS = [name for name in _FIELDS[_FIELDS.index("mae") : _FIELDS.index("mask_empty")] if name not in _AUTHORS]
# Name in the JSON's object "pranet" -> field.
_PRANET = {
    "dice_mean": "dice_mean",
    "iou_mean": "iou_mean",
    "wfm": "wfm",
    "sm": "sm_matlab_rounding",
    "em_mean": "em_mean",
    "mae": "mae",
    "em_max": "em_max",
    "dice_max": "dice_max",
    "iou_max": "iou_max",
    "sen_mean": "rec_mean",
    "sen_max": "rec_max",
    "spe_mean": "spec_pranet_mean",
    "spe_max": "spec_pranet_max",
}


class _Named(Dict[str, Any]):
    """A dict whose keys are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no {name!r}; there are: {', '.join(self)}") from None

    def __dir__(self) -> List[str]:
        return [*super().__dir__(), *self]


class SurfaceScores(_Named):
    """Surface distances in mm (pixels with spacing 1 x 1); None where a side is empty."""

    hd: Optional[float]
    hd95: Optional[float]
    assd: Optional[float]
    asd_pred_to_gt: Optional[float]
    asd_gt_to_pred: Optional[float]
    hd95_maxdir: Optional[float]


class Scores(_Named):
    """One image's scores, or a set's: a dict with the JSON's keys (docs/metrics.md defines each), which are attributes,
    too: scores["dice_mean"] is scores.dice_mean. None is what is not defined. json.dumps and pandas take it as it is.

    `surface` has a SurfaceScores for each spacing, keyed as in the JSON ("1.0,1.0"). Profile "authors" adds `authors`,
    profile "pranet" adds `pranet`. Of a set, `height` and `width` are 0, tp to tn are sums, and mask_empty,
    prediction_empty and surface_undefined say how many.
    """

    height: int
    width: int
    tp: int
    fp: int
    fn: int
    tn: int
    mae: Optional[float]
    sm: Optional[float]
    sm_matlab_rounding: Optional[float]
    wfm: Optional[float]
    em_mean: Optional[float]
    em_max: Optional[float]
    pre_mean: Optional[float]
    pre_max: Optional[float]
    rec_mean: Optional[float]
    rec_max: Optional[float]
    spec_mean: Optional[float]
    spec_max: Optional[float]
    spec_pranet_mean: Optional[float]
    spec_pranet_max: Optional[float]
    dice_mean: Optional[float]
    dice_max: Optional[float]
    iou_mean: Optional[float]
    iou_max: Optional[float]
    fm_mean: Optional[float]
    fm_max: Optional[float]
    f1_mean: Optional[float]
    f1_max: Optional[float]
    em_adp: Optional[float]
    fm_adp: Optional[float]
    dice: Optional[float]
    iou: Optional[float]
    precision: Optional[float]
    recall: Optional[float]
    specificity: Optional[float]
    accuracy: Optional[float]
    iou_bg: Optional[float]
    f1: Optional[float]
    miou: Optional[float]
    ber: Optional[float]
    mask_empty: int
    prediction_empty: int
    surface_undefined: int
    surface: Dict[str, SurfaceScores]

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{key} {self[key]:.4f}" for key in ("dice_mean", "iou_mean", "wfm", "sm", "mae") if self.get(key) is not None
        )
        return f"<m2snet.Scores {shown}, and {len(self) - 5} more>"


class LabelScores(_Named):
    """One class of a label map, or the layer of an OCT picture: a dict whose keys are attributes, too. `spacing` has for
    each spacing the boundary errors med, med_top and med_bottom (mean distance along columns, mm) and `surface`."""

    tp: int
    n_pred: int
    n_gt: int
    dice: Optional[float]
    iou: Optional[float]
    columns_both: int
    columns_gt_only: int
    columns_pred_only: int
    boundary_undefined: int
    surface_undefined: int
    spacing: Dict[str, _Named]


def defined(value: float) -> Optional[float]:
    """None for NaN."""
    return None if math.isnan(value) else value


def surface_scores(struct: Any) -> SurfaceScores:
    return SurfaceScores((key, defined(getattr(struct, key))) for key in SURFACE_KEYS)


def scores(struct: Any, spacing_keys: Sequence[str], profile: str) -> Scores:
    """Scores of an m2snet_scores."""
    made = Scores((key, getattr(struct, key)) for key in ["height", "width", *COUNT_KEYS])
    made.update((key, defined(getattr(struct, key))) for key in SCORE_KEYS)
    made.update((key, getattr(struct, key)) for key in ("mask_empty", "prediction_empty", "surface_undefined"))
    made["surface"] = {spacing_keys[i]: surface_scores(struct.surface[i]) for i in range(struct.surface_count)}
    if profile == "authors":
        made["authors"] = _Named((key[len("authors_") :], defined(getattr(struct, key))) for key in _AUTHORS)
    elif profile == "pranet":
        made["pranet"] = _Named((key, defined(getattr(struct, field))) for key, field in _PRANET.items())
    return made


def label_scores(struct: Any, spacing_keys: Sequence[str]) -> LabelScores:
    """Scores of an m2snet_label_scores."""
    names = [field[0] for field in _structs.LabelScores._fields_]
    whole = [name for name in names if name not in ("struct_size", "dice", "iou", "surface_count", "spacing")]
    made = LabelScores((name, getattr(struct, name)) for name in whole)
    made["dice"], made["iou"] = defined(struct.dice), defined(struct.iou)
    made["spacing"] = {}
    for key, spacing in zip(spacing_keys, struct.spacing):
        numbers = _Named((name, defined(getattr(spacing, name))) for name in ("med_top", "med_bottom", "med"))
        numbers["surface"] = surface_scores(spacing.surface)
        made["spacing"][key] = numbers
    return made
