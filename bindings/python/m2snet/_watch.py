# SPDX-License-Identifier: Apache-2.0
"""Long calls: progress, cancel tokens, and Ctrl-C.

Python runs its signal handlers on the main thread and only between its own instructions, so while the main thread sits
in a C function Ctrl-C does nothing. An exception that a handler raises inside a ctypes callback would be printed and lost.
So a long call of the main thread runs on a thread of its own while the main thread waits in a queue, which signals
interrupt. Whatever exception a handler raises there (KeyboardInterrupt or any other) requests cancel; the C call comes
back at the next chunk of work; the exception goes on its way. Progress callbacks are carried over and run on the main
thread, as the caller expects. Calls of other threads run directly: Python gives them no signals.

What a call makes is owned by Python objects from the start, and it holds references to everything it uses. So even an
exception at the worst place leaks nothing and frees nothing in use.
"""

from __future__ import annotations

import _thread
import queue
import threading
from ctypes import byref, c_void_p
from typing import Any, Callable, List, Optional, Tuple, TypeVar

from . import _structs
from ._library import Handle, call, plain

Progress = Callable[[str, int, int], Any]
"""progress(phase, done, total), done and total in units of the phase, total 0 when unknown. An exception cancels the call
and is raised from it (m2snet.Cancelled is one to use); what the function returns does not matter."""

Result = TypeVar("Result")
Event = Tuple[Callable[..., Any], Tuple[Any, ...]]


def _progress_event(address: int) -> Tuple[str, int, int]:
    report = _structs.Progress.from_address(address)
    return report.phase.decode(), report.done, report.total


class CancelToken:
    """Stops work from another thread: pass it as `cancel=`, call `cancel()` from anywhere.

    It stays requested, and cancels what it is passed to next, until `reset()`.
    """

    def __init__(self) -> None:
        pointer = c_void_p()
        call("cancel_create", byref(pointer))
        self._handle = Handle(pointer, "cancel_destroy")
        self._requested = False

    @property
    def requested(self) -> bool:
        """Whether cancel() was called since the last reset()."""
        return self._requested

    def cancel(self) -> None:
        """Asks every call that has this token to stop: they raise Cancelled."""
        self._requested = True
        plain("cancel_request", self._handle.check().pointer)

    def reset(self) -> None:
        """Makes the token as new."""
        self._requested = False
        plain("cancel_reset", self._handle.check().pointer)

    def _interrupt(self) -> None:
        plain("cancel_request", self._handle.pointer)

    def _settle(self) -> None:
        """After _interrupt: back to what the user asked for."""
        if not self._requested:
            plain("cancel_reset", self._handle.pointer)

    def __repr__(self) -> str:
        return f"<m2snet.CancelToken{' requested' if self._requested else ''}>"


class Watch:
    """How one call is watched: `control` goes into the C options, `run` makes the call."""

    def __init__(self, progress: Optional[Progress] = None, cancel: Optional[CancelToken] = None) -> None:
        if progress is not None and not callable(progress):
            raise TypeError(f"progress is a function of (phase, done, total), not {type(progress).__name__}")
        if cancel is not None and not isinstance(cancel, CancelToken):
            raise TypeError(f"cancel is a m2snet.CancelToken, not {type(cancel).__name__}")
        self._token = cancel if cancel is not None else CancelToken()
        self._raised: Optional[BaseException] = None
        self._relay: Optional[_Relay] = None
        # The library calls through these objects: they must live as long as the call, which refers to self.
        self._thunks: List[Any] = []
        self.control: Any = _structs.Control(progress_user=None, cancel=self._token._handle.pointer)
        if progress is not None:
            self.control.progress = self.callback(_structs.PROGRESS_FN, progress, _progress_event)

    def callback(self, prototype: Any, function: Callable[..., Any], read: Callable[[int], Tuple[Any, ...]]) -> Any:
        """A C callback (user, address of a struct) for this call: it runs function(*read(address)) on the thread that made
        the call. An exception cancels the call and is raised from it."""

        def deliver(user: Any, address: int) -> int:
            try:  # no exception may leave a callback: ctypes would print and forget it
                arguments = read(address)
                if self._relay is not None:
                    return self._relay.ask((function, arguments))
                function(*arguments)
                return 0
            except BaseException as error:
                self._raised = self._raised or error
                self._token._interrupt()
                return 1

        thunk = prototype(deliver)
        self._thunks.append(thunk)
        return thunk

    def run(self, function: Callable[[], Result]) -> Result:
        """function(), which makes the C call with `control` and returns an object that owns what the call made. Once."""
        try:
            if threading.current_thread() is threading.main_thread():
                self._relay = _Relay(function, self._token)
                if self._relay.start():
                    answer: Result = self._relay.wait()
                    return answer
                self._relay = None
            try:
                result = function()
            except BaseException:
                if self._raised is not None:
                    raise self._raised from None
                raise
            if self._raised is not None:  # too late to cancel anything
                raise self._raised
            return result
        finally:
            if self._raised is not None:
                self._token._settle()
            # The references between this object, its callbacks and the call would keep pictures until the next
            # garbage collection.
            self._relay = self._raised = self.control = None
            self._thunks = []


class _Relay:
    """A call on its own thread, and the main thread that waits for it."""

    def __init__(self, function: Callable[[], Any], token: CancelToken) -> None:
        self._function = function
        self._token = token
        self._stopping: Optional[BaseException] = None
        self._outcome: Optional[List[Any]] = None  # [result, exception]
        self._event: Optional[Event] = None
        # Wakes only: what happened is in the attributes, which are set before. So nothing is lost when an exception
        # comes between the end of get() and the next instruction.
        self._wake: "queue.SimpleQueue[None]" = queue.SimpleQueue()
        self._answers: "queue.SimpleQueue[int]" = queue.SimpleQueue()

    def start(self) -> bool:
        """False when this interpreter starts no more threads (it is ending)."""
        try:
            # Not threading.Thread: its start() waits for the new thread and could be interrupted half way.
            _thread.start_new_thread(self._work, ())
        except RuntimeError:
            return False
        return True

    def _work(self) -> None:
        try:
            outcome = [self._function(), None]
        except BaseException as error:
            outcome = [None, error]
        self._outcome = outcome
        del outcome
        self._wake.put(None)

    def ask(self, event: Event) -> int:
        """On the worker: hands a callback's call over and waits until it is done."""
        self._event = event
        self._wake.put(None)
        while self._stopping is None:
            try:
                return self._answers.get(timeout=0.1)
            except queue.Empty:
                pass
        return 1

    def _answer(self) -> None:
        event = self._event
        if event is not None:
            function, arguments = event
            function(*arguments)
            self._event = None
            self._answers.put(0)

    def wait(self) -> Any:
        """On the main thread: until the call is back, whatever interrupts."""
        while self._outcome is None:
            try:
                if self._stopping is None:
                    self._answer()
                self._wake.get()
            except BaseException as error:
                self._stopping = self._stopping or error
                self._token._interrupt()
                self._answers.put(1)
        result, failure = self._outcome
        stopping = self._stopping
        self._outcome = self._stopping = None
        try:
            if stopping is not None:
                self._token._settle()
                raise stopping
            if failure is not None:
                raise failure
            return result
        finally:
            del result, failure, stopping  # an exception refers to this frame
