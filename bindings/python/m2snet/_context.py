# SPDX-License-Identifier: Apache-2.0
"""Contexts: a backend, its threads, a memory cap."""

from __future__ import annotations

import logging
import os
import threading
from ctypes import byref, c_void_p, cast, pointer as pointer_to
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Union

from . import _structs
from ._library import Handle, Owner, as_dict, call, options, path_bytes, plain, read_info

_LEVELS = {"error": 0, "warning": 1, "info": 2, "debug": 3}
_PYTHON_LEVELS = [logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG]
_logger = logging.getLogger("m2snet")


def _log(user: Any, level: int, message: bytes) -> None:
    try:
        _logger.log(_PYTHON_LEVELS[min(max(level, 0), 3)], "%s", message.decode("utf-8", "replace"))
    except Exception:  # a handler's own failure has no caller to go to
        pass


# One for all contexts: the library may call it until the last context is gone.
_LOG_THUNK = _structs.LOG_FN(_log)


@dataclass(frozen=True)
class ContextInfo:
    """What a context runs on."""

    backend: str
    """"cpu" """
    device: str
    """The processor's name."""
    instruction_set: str
    """Of the library's own kernels: "avx512"."""
    gemm_provider: str
    """"oneDNN 2.6.3", "OpenBLAS 0.3.21" or "none"."""
    threads: int
    memory_used_bytes: int
    """Now, by the context and everything made in it."""
    memory_peak_bytes: int
    """Since the context was made."""


@dataclass(frozen=True)
class Backend:
    """A backend that the library was built with."""

    name: str
    description: str
    devices: int
    """0 when it cannot be used here."""


class Context(Owner):
    """Threads and a backend. Most programs need none: the first use of the package makes a default one.

    backend: "auto" (the fastest built-in one), "cpu", "ref" (plain loops, float32 and float64: slow, the definition) or
        "cuda" (a module: backend_path is its folder or file; None = M2SNET_BACKEND_PATH, else beside the library).
    device: of a backend with several; 0 is the first.
    cuda_search: "cuda" alone: measure every way to make each convolution when a size is first run, and keep the fastest.
    threads: 1 to 1024 worker threads; 0 = the processors this process may use.
    memory_limit_bytes: hard cap on what everything in this context holds; 0 = none. LimitError beyond it.
    log_level: the library's messages of this and graver levels ("error", "warning", "info", "debug") go to
        logging.getLogger("m2snet"); None for silence.
    instruction_set: upper bound ("baseline", "avx2", "avx512"); None = the best.

    Thread safe. Results do not depend on the number of threads. After os.fork() the child makes its own.
    """

    def __init__(
        self,
        backend: str = "auto",
        *,
        device: int = 0,
        threads: int = 0,
        memory_limit_bytes: int = 0,
        log_level: Optional[str] = "warning",
        instruction_set: Optional[str] = None,
        backend_path: Union[None, str, "os.PathLike[str]"] = None,
        cuda_search: bool = False,
    ) -> None:
        if cuda_search and backend != "cuda":
            raise ValueError(f'cuda_search is of backend "cuda": backend {backend!r} measures no convolutions')
        if log_level is not None and log_level not in _LEVELS:
            raise ValueError(f"log_level is {log_level!r}: expected one of {', '.join(_LEVELS)} or None")
        given = options(_structs.ContextOptions, "context")
        given.backend = backend.encode()
        given.device = device
        given.threads = threads
        given.memory_limit_bytes = memory_limit_bytes
        given.instruction_set = None if instruction_set is None else instruction_set.encode()
        given.backend_path = None if backend_path is None else path_bytes(backend_path)
        cuda = options(_structs.CudaOptions, "cuda")
        cuda.search = int(cuda_search)
        given.cuda = cast(pointer_to(cuda), c_void_p)
        if log_level is not None:
            given.log = _LOG_THUNK
            given.log_level = _LEVELS[log_level]
        pointer = c_void_p()
        call("context_create", byref(given), byref(pointer))
        self._own(Handle(pointer, "context_destroy", extra=_LOG_THUNK))

    @property
    def info(self) -> ContextInfo:
        """What it runs on and how much memory it holds now."""
        return ContextInfo(**as_dict(read_info(_structs.ContextInfo, "context_get_info", self._live.pointer)))

    def __repr__(self) -> str:
        if self.closed:
            return "<m2snet.Context closed>"
        info = self.info
        return f"<m2snet.Context {info.backend}, {info.instruction_set}, {info.gemm_provider}, {info.threads} threads>"


def backends() -> List[Backend]:
    """The backends that the library was built with."""
    count = plain("backend_count")
    return [Backend(**as_dict(read_info(_structs.BackendInfo, "backend_get_info", i))) for i in range(count)]


# By backend: made on first use.
_shared: Dict[str, Context] = {}
_shared_lock = threading.Lock()


def _shared_context(backend: str) -> Context:
    context = _shared.get(backend)
    if context is None or context.closed:
        with _shared_lock:
            context = _shared.get(backend)
            if context is None or context.closed:
                context = _shared[backend] = Context(backend)
    return context


def default_context() -> Context:
    """The context that is used where none is given: made on first use, one a process (a forked child gets its own)."""
    return _shared_context("auto")


def reference_context() -> Context:
    """The one that computes in float64 where none is given."""
    return _shared_context("ref")


def _after_fork_in_child() -> None:
    global _shared_lock
    _shared.clear()
    _shared_lock = threading.Lock()


def _register_fork_hook() -> None:
    import os

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork_in_child)


_register_fork_hook()
