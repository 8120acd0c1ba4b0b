# SPDX-License-Identifier: Apache-2.0
"""One exception a status. Each is also the builtin exception that fits, so that code which knows nothing of this library
handles it as it handles others."""

from __future__ import annotations

import enum
from typing import Dict, Type


class Status(enum.IntEnum):
    """m2snet_status."""

    OK = 0
    INVALID_ARGUMENT = 1
    OUT_OF_MEMORY = 2
    IO = 3
    FORMAT = 4
    UNSUPPORTED = 5
    MISMATCH = 6
    LIMIT = 7
    CANCELLED = 8
    BACKEND = 9
    BUSY = 10
    INTERNAL = 11
    DIVERGED = 12


class M2snetError(Exception):
    """What every failure of the library is; str() is the library's message, `status` its number."""

    status = Status.INTERNAL


class InvalidArgumentError(M2snetError, ValueError):
    """A parameter or option makes no sense."""

    status = Status.INVALID_ARGUMENT


class OutOfMemoryError(M2snetError, MemoryError):
    """An allocation failed."""

    status = Status.OUT_OF_MEMORY


class FileError(M2snetError, OSError):
    """A file cannot be opened, read or written."""

    status = Status.IO


class FormatError(M2snetError, ValueError):
    """A file or buffer is damaged, or not what it should be."""

    status = Status.FORMAT


class UnsupportedError(M2snetError, NotImplementedError):
    """Well formed, but this build or backend cannot do it."""

    status = Status.UNSUPPORTED


class MismatchError(M2snetError, ValueError):
    """Weights do not fit the network, or shapes do not fit each other."""

    status = Status.MISMATCH


class LimitError(M2snetError, RuntimeError):
    """A cap (memory, picture size, file size) would be exceeded."""

    status = Status.LIMIT


class Cancelled(M2snetError):
    """A cancel token asked to stop. Progress callbacks may raise it, too."""

    status = Status.CANCELLED


class BackendError(M2snetError, RuntimeError):
    """A device or the library that drives it failed."""

    status = Status.BACKEND


class BusyError(M2snetError, RuntimeError):
    """The session, trainer or evaluator is in use on another thread."""

    status = Status.BUSY


class InternalError(M2snetError, RuntimeError):
    """A bug in libm2snet: please report the message."""

    status = Status.INTERNAL


class DivergedError(M2snetError, ArithmeticError):
    """Training: too many losses in a row that are not finite."""

    status = Status.DIVERGED


class M2snetWarning(UserWarning):
    """Something suspicious about data, such as a mask coded 0 and 1."""


_BY_STATUS: Dict[int, Type[M2snetError]] = {
    int(kind.status): kind
    for kind in (
        InvalidArgumentError,
        OutOfMemoryError,
        FileError,
        FormatError,
        UnsupportedError,
        MismatchError,
        LimitError,
        Cancelled,
        BackendError,
        BusyError,
        InternalError,
        DivergedError,
    )
}


def error_for(status: int, message: str) -> M2snetError:
    """The exception of a status; one that this version does not know is an M2snetError."""
    return _BY_STATUS.get(status, M2snetError)(message)
