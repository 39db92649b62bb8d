"""Ctrl-C and SIGTERM: how a script stops, and how a training loop stops after a complete step."""

import _thread
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

STOPPING = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C, and the signal before a rented machine stops


class Interrupted(Exception):
    """The user (or the machine's owner) stopped the run. The message says what was saved."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """While entered, Ctrl-C and SIGTERM raise KeyboardInterrupt.

    Python swallows exceptions in finalizers and other callbacks; this raises the interrupt again after them.
    """
    previous = _handle(signal.default_int_handler)
    hook = sys.unraisablehook

    def interrupt_later():
        time.sleep(0.05)
        _thread.interrupt_main()

    def raise_again(swallowed):
        if swallowed.exc_type is not KeyboardInterrupt:
            return hook(swallowed)
        _thread.start_new_thread(interrupt_later, ())  # Thread.start would wait for the thread, within this callback

    sys.unraisablehook = raise_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        _give_back(previous)


class StopSignals:
    """While entered, SIGINT and SIGTERM only set `requested`, so the loop can finish its step. A second SIGINT stops.

    If the loop ended without seeing the request, leaving raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._previous = _handle(self._request)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _give_back(self._previous)
        if self.requested and kind is None:
            raise KeyboardInterrupt

    def _request(self, signum: int, _frame: FrameType | None) -> None:
        if self.requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


def _handle(handler):
    """Install `handler` for the signals; returns the handlers before it. Only the main thread can do that."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {signum: signal.signal(signum, handler) for signum in STOPPING}


def _give_back(previous):
    for signum, handler in previous.items():
        signal.signal(signum, handler)
