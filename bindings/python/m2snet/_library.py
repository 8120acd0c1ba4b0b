# SPDX-License-Identifier: Apache-2.0
"""Finds libm2snet, checks that it is the one these modules are written for, and calls it.

Searched in this order: the file that the environment variable M2SNET_LIBRARY names (nothing else then); `lib` in this
package's folder, where a wheel carries it; the system's own way (LD_LIBRARY_PATH, ldconfig) by the name that has the
ABI's number.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import byref, c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from . import _errors, _structs

ABI = 0

_LETTERS = {
    "p": c_void_p,
    "s": c_char_p,
    "i": c_int32,
    "I": c_uint32,
    "q": c_int64,
    "Q": c_uint64,
    "z": c_size_t,
    "d": c_double,
}
# Functions that return m2snet_status: the arguments' types without the m2snet_error* that ends them all.
_CALLS = {
    "cancel_create": "p",
    "context_create": "pp",
    "context_get_info": "pp",
    "backend_get_info": "ip",
    "model_load_file": "pspp",
    "model_load_memory": "ppzpp",
    "model_create": "psQp",
    "model_create_from": "psQspp",
    "model_save_file": "psp",
    "model_get_info": "pp",
    "model_multiply_adds": "piip",
    "network_count": "psiipp",
    "model_tensor_info": "pip",
    "model_feature_info": "pip",
    "model_selftest": "pp",
    "tensor_create": "pppp",
    "session_create": "ppp",
    "session_prepare": "pqqqp",
    "session_plan_info": "pqqqp",
    "session_trim": "p",
    "session_run": "pppp",
    "session_time_steps": "pi",
    "session_step_info": "pip",
    "image_read_file": "pspp",
    "image_read_memory": "ppzpp",
    "image_write_png": "psp",
    "image_resize": "ppp",
    "image_overlay": "pppIip",
    "predict_batch": "ppipp",
    "result_component": "pip",
    "result_contour": "pipp",
    "result_receipt": "pp",
    "result_feature": "pip",
    "evaluator_create": "ppp",
    "evaluator_add": "pspp",
    "evaluator_add_files": "ppipp",
    "evaluator_add_failure": "psis",
    "evaluator_image_scores": "pip",
    "evaluator_image_label": "piip",
    "evaluator_set_info": "pp",
    "evaluator_set_scores": "pp",
    "evaluator_set_label": "pip",
    "evaluator_folds": "piipp",
    "evaluator_fold_scores": "piip",
    "evaluator_subset_scores": "ppip",
    "evaluator_curve": "piip",
    "evaluator_json": "pip",
    "evaluator_calibration": "piip",
    "evaluator_area_agreement": "pp",
    "evaluator_compare": "ppspp",
    "dataset_create": "pp",
    "dataset_add_folder": "psp",
    "dataset_add_folders": "pssp",
    "dataset_add_csv": "psp",
    "dataset_get_item": "pip",
    "dataset_set_part": "pii",
    "dataset_get_set": "pip",
    "dataset_split": "pp",
    "dataset_lint": "pp",
    "dataset_get_finding": "pip",
    "dataset_find_duplicates": "pp",
    "dataset_get_near_pair": "pip",
    "augment_options_init": "ps",
    "lossnet_load_file": "pspp",
    "lossnet_create": "psQp",
    "objective_options_preset": "ps",
    "objective_evaluate": "ppppppp",
    "trainer_options_preset": "ps",
    "trainer_create": "ppp",
    "trainer_step": "pppdpp",
    "trainer_fit": "ppppp",
    "trainer_evaluate": "pppp",
    "trainer_model": "pip",
    "trainer_save_state": "psp",
    "trainer_load_state": "psp",
    "trainer_get_info": "pp",
    "trainer_plan_info": "pqqqp",
    "trainer_time_steps": "pi",
    "trainer_step_info": "pip",
}
# The others: arguments and result ("" = nothing).
_PLAIN = {
    "version": ("", "i"),
    "version_string": ("", "s"),
    "abi": ("", "i"),
    "struct_size": ("s", "z"),
    "cancel_request": ("p", ""),
    "cancel_reset": ("p", ""),
    "cancel_destroy": ("p", ""),
    "context_options_init": ("p", ""),
    "context_destroy": ("p", ""),
    "backend_count": ("", "i"),
    "model_options_init": ("p", ""),
    "model_destroy": ("p", ""),
    "save_options_init": ("p", ""),
    "encoder_name": ("i", "s"),
    "model_class_name": ("pi", "s"),
    "model_class_label": ("pi", "i"),
    "model_metadata_count": ("p", "i"),
    "model_metadata_key": ("pi", "s"),
    "model_metadata_value": ("pi", "s"),
    "model_tensor_count": ("p", "i"),
    "model_feature_count": ("p", "i"),
    "tensor_destroy": ("p", ""),
    "session_options_init": ("p", ""),
    "session_destroy": ("p", ""),
    "session_step_count": ("p", "i"),
    "image_read_options_init": ("p", ""),
    "image_release": ("p", ""),
    "predict_options_init": ("p", ""),
    "result_destroy": ("p", ""),
    "result_width": ("p", "i"),
    "result_height": ("p", "i"),
    "result_probability": ("p", "p"),
    "result_map": ("p", "p"),
    "result_mask": ("p", "p"),
    "result_labels": ("p", "p"),
    "result_found": ("p", "i"),
    "result_presence": ("p", "d"),
    "result_component_count": ("p", "i"),
    "result_receipt_json": ("p", "s"),
    "result_feature_count": ("p", "i"),
    "result_gradcam": ("p", "p"),
    "evaluator_options_init": ("p", ""),
    "evaluator_destroy": ("p", ""),
    "evaluator_count": ("p", "i"),
    "evaluator_name": ("pi", "s"),
    "evaluator_warning": ("pi", "s"),
    "compare_options_init": ("p", ""),
    "dataset_destroy": ("p", ""),
    "source_options_init": ("p", ""),
    "dataset_count": ("p", "i"),
    "dataset_part_count": ("pi", "i"),
    "dataset_set_count": ("p", "i"),
    "split_options_init": ("p", ""),
    "lint_options_init": ("p", ""),
    "dataset_finding_count": ("p", "i"),
    "finding_kind_name": ("i", "s"),
    "duplicates_options_init": ("p", ""),
    "dataset_near_pair_count": ("p", "i"),
    "lossnet_options_init": ("p", ""),
    "lossnet_destroy": ("p", ""),
    "objective_options_init": ("p", ""),
    "trainer_options_init": ("p", ""),
    "trainer_destroy": ("p", ""),
    "trainer_step_count": ("p", "i"),
    "fit_options_init": ("p", ""),
    "validation_options_init": ("p", ""),
}


def _open() -> Tuple[ctypes.CDLL, str]:
    named = os.environ.get("M2SNET_LIBRARY")
    carried = Path(__file__).with_name("lib") / "libm2snet.so"
    system = f"libm2snet.so.{ABI}"
    if named:
        candidate, why = named, "M2SNET_LIBRARY names it"
    elif carried.is_file():
        candidate, why = str(carried), "the package carries it"
    else:
        candidate, why = system, f"M2SNET_LIBRARY is not set and there is no {carried}"
    try:
        return ctypes.CDLL(candidate), candidate
    except OSError as error:
        raise ImportError(f"libm2snet could not be loaded from {candidate} ({why}): {error}") from error


def _declare(library: ctypes.CDLL, path: str) -> None:
    missing: List[str] = []
    rows = [(name, arguments + "p", "status") for name, arguments in _CALLS.items()]
    rows += [(name, arguments, result) for name, (arguments, result) in _PLAIN.items()]
    for name, arguments, result in rows:
        try:
            function = getattr(library, "m2snet_" + name)
        except AttributeError:
            missing.append("m2snet_" + name)
            continue
        function.argtypes = [_LETTERS[letter] for letter in arguments]
        function.restype = ctypes.c_int if result == "status" else _LETTERS.get(result)
    if missing:
        raise ImportError(f"{path} is not the libm2snet of this package: it lacks {', '.join(missing)}")


def _load() -> Tuple[ctypes.CDLL, str]:
    library, path = _open()
    # First what has been there in every version, so that the message can say which version it is.
    try:
        library.m2snet_version_string.restype = c_char_p
        version = library.m2snet_version_string().decode()
        abi = library.m2snet_abi()
    except AttributeError as error:
        raise ImportError(f"{path} is not libm2snet: {error}") from error
    if abi != ABI:
        raise ImportError(f"{path} is libm2snet {version} with ABI {abi}; this package is written for ABI {ABI}")
    _declare(library, path)
    differences = _structs.check(library.m2snet_struct_size)
    if differences:
        raise ImportError(
            f"{path} (libm2snet {version}) is not the library that this package is written for: "
            + "; ".join(differences)
        )
    return library, path


library, library_path = _load()


def call(name: str, *arguments: Any) -> None:
    """m2snet_NAME(*arguments, &error); raises the exception of its status. The GIL is released meanwhile."""
    error = _structs.Error()
    status = getattr(library, "m2snet_" + name)(*arguments, byref(error))
    if status != 0:
        raise _errors.error_for(status, error.message.decode("utf-8", "replace"))


def plain(name: str, *arguments: Any) -> Any:
    """m2snet_NAME(*arguments), which cannot fail."""
    return getattr(library, "m2snet_" + name)(*arguments)


def options(struct: Any, name: str) -> Any:
    """A new options struct with the library's defaults."""
    made = struct()
    plain(name + "_options_init", byref(made))
    return made


def text(value: Optional[bytes]) -> str:
    """A string of the library; "" for NULL."""
    return value.decode("utf-8", "replace") if value is not None else ""


def path_bytes(path: Any) -> bytes:
    """A path (str, bytes, os.PathLike) as the system writes it."""
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError(f"a path cannot contain a NUL character: {path!r}")
    return encoded


def read_info(struct: Any, name: str, *arguments: Any) -> Any:
    """An info struct: m2snet_NAME(*arguments, &info, &error)."""
    info = struct()
    call(name, *arguments, byref(info))
    return info


def as_dict(struct: Any) -> Dict[str, Any]:
    """The fields of a struct, strings decoded, without struct_size."""
    values: Dict[str, Any] = {}
    for field in struct._fields_:
        value = getattr(struct, field[0])
        if field[0] != "struct_size":
            values[field[0]] = text(value) if isinstance(value, bytes) or field[1] is c_char_p else value
    return values


class Handle:
    """A handle of the library. It is destroyed when the last reference goes: a call in progress holds one, and so does
    every array that shows the handle's memory, so that closing an object elsewhere never frees what is in use. It keeps
    its parent, because the parent's callbacks must live as long as the library may call them."""

    __slots__ = ("pointer", "_destroy", "_pid", "parent", "extra", "__weakref__")

    def __init__(self, pointer: c_void_p, destroy: str, parent: Optional["Handle"] = None, extra: Any = None) -> None:
        self.pointer = pointer
        self._destroy = getattr(library, "m2snet_" + destroy)
        self._pid = os.getpid()
        self.parent = parent
        self.extra = extra

    def check(self) -> "Handle":
        """Itself, unless this process is a fork of the one that made it."""
        if self._pid != os.getpid():
            raise RuntimeError("a handle of libm2snet does not survive fork(): make a new one in the child process")
        return self

    def __del__(self, getpid: Any = os.getpid) -> None:
        if getattr(self, "pointer", None) and self._pid == getpid():
            self._destroy(self.pointer)


class Owner:
    """What Context, Model, Session and others share: one handle, close(), `with`."""

    _handle: Optional[Handle] = None

    def _own(self, handle: Handle) -> None:
        self._handle = handle

    @property
    def _live(self) -> Handle:
        """The handle; ValueError after close()."""
        handle = self._handle
        if handle is None:
            raise ValueError(f"this {type(self).__name__} is closed")
        return handle.check()

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._handle is None

    def close(self) -> None:
        """Lets go of the handle. Its memory is freed once no call and no array uses it any more. Twice is fine."""
        self._handle = None

    def __reduce__(self) -> Any:
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied: it belongs to this process")

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()
