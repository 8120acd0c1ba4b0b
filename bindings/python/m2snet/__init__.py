# SPDX-License-Identifier: Apache-2.0
"""M2SNet and MSNet for NumPy: medical image segmentation and its scores, without PyTorch.

    import m2snet

    model = m2snet.Model.load("polyp.safetensors")
    result = model.predict("frame.png")              # a path, an array, a Pillow image, or a list of them
    result.found, result.presence                    # nothing found is an answer, too
    result.mask                                      # uint8 (height, width), 0 or 255
    result.probability                               # float32 (height, width)
    result.components[0].contour                     # int32 (points, 2)

    scores = m2snet.metrics(result, "truth.png")     # scores.dice, scores["dice_mean"], ...
    study = m2snet.evaluate("predictions/", "masks/")
    study.dataset.dice_mean, study.folds(4).std.dice

    data = m2snet.Dataset().add_folder("polyps").split("fractions", validation=0.1)
    trainer = m2snet.Trainer(model, "finetune")
    trainer.fit(data, data, epochs=5, checkpoint_path="run.state")
    trainer.model().save("mine.safetensors")

Not a medical device.

Threads: Model, Context, Objective, LossNet and CancelToken may be used from any number of threads at once; Session,
Trainer, Dataset and Evaluator belong to one thread at a time. The GIL is released while the library works. Handles do not
survive os.fork(): a child makes its own (the default context does so by itself).

Interrupts: Ctrl-C during a long call of the main thread cancels it and raises KeyboardInterrupt; other threads are
stopped with a CancelToken.
"""

from . import objectives
from ._context import Backend, Context, ContextInfo, backends, default_context
from ._dataset import Dataset, Finding, Item, NearPair
from ._errors import (
    BackendError,
    BusyError,
    Cancelled,
    DivergedError,
    FileError,
    FormatError,
    InternalError,
    InvalidArgumentError,
    LimitError,
    M2snetError,
    M2snetWarning,
    MismatchError,
    OutOfMemoryError,
    Status,
    UnsupportedError,
)
from ._evaluate import AreaAgreement, Calibration, Difference, Evaluator, Folds, evaluate, metrics
from ._image import ImageLike, draw_overlay, read_image, resize_image, write_image
from ._library import library_path, plain as _plain, text as _text
from ._model import FeatureInfo, Model, ModelInfo, PlanInfo, Session, StepInfo, TensorInfo, encoder_names, network_count
from ._result import Component, Receipt, Result
from ._scores import LabelScores, Scores, SurfaceScores
from ._trainer import Augmentation, EpochRow, Fit, Trainer, TrainerInfo, TrainRow, Validation
from ._watch import CancelToken

__version__ = _text(_plain("version_string"))

__all__ = [
    "AreaAgreement",
    "Augmentation",
    "Backend",
    "BackendError",
    "BusyError",
    "Calibration",
    "CancelToken",
    "Cancelled",
    "Component",
    "Context",
    "ContextInfo",
    "Dataset",
    "Difference",
    "DivergedError",
    "EpochRow",
    "Evaluator",
    "FeatureInfo",
    "FileError",
    "Finding",
    "Fit",
    "Folds",
    "FormatError",
    "ImageLike",
    "InternalError",
    "InvalidArgumentError",
    "Item",
    "LabelScores",
    "LimitError",
    "M2snetError",
    "M2snetWarning",
    "MismatchError",
    "Model",
    "ModelInfo",
    "NearPair",
    "OutOfMemoryError",
    "PlanInfo",
    "Receipt",
    "Result",
    "Scores",
    "Session",
    "Status",
    "StepInfo",
    "SurfaceScores",
    "TensorInfo",
    "TrainRow",
    "Trainer",
    "TrainerInfo",
    "UnsupportedError",
    "Validation",
    "backends",
    "default_context",
    "draw_overlay",
    "encoder_names",
    "evaluate",
    "library_path",
    "metrics",
    "network_count",
    "objectives",
    "read_image",
    "resize_image",
    "write_image",
]
