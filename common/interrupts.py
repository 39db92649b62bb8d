"""Ctrl-C and SIGTERM: how a script ends on them, and how a loop ends at a whole step."""

import _thread
import contextlib
import signal
import sys
import threading

STOPPING = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; and how rented machines are taken back


class Interrupted(Exception):
    """The user (or the machine's owner) asked the run to stop; the message says what was saved."""


@contextlib.contextmanager
def interruptible():
    """While entered, Ctrl-C and SIGTERM raise KeyboardInterrupt.

    Python swallows what is raised in finalizers and other callbacks: the interruption is raised again after them.
    """
    previous = _handle(signal.default_int_handler)
    hook = sys.unraisablehook

    def raise_again(swallowed):
        if swallowed.exc_type is not KeyboardInterrupt:
            return hook(swallowed)
        later = threading.Timer(0.01, _thread.interrupt_main)
        later.daemon = True
        later.start()

    sys.unraisablehook = raise_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        _give_back(previous)


class StopSignals:
    """While entered, SIGINT and SIGTERM only set `requested`: the loop ends at a whole step. A second SIGINT kills.

    A request that came too late for the loop to see is not forgotten: it interrupts on leaving.
    """

    def __init__(self):
        self.requested = False
        self._previous = {}

    def __enter__(self):
        self._previous = _handle(self._request)
        return self

    def __exit__(self, kind, *_):
        _give_back(self._previous)
        if self.requested and kind is None:
            raise KeyboardInterrupt

    def _request(self, signum, _frame):
        if self.requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


def _handle(handler):
    """Let `handler` take the signals; returns the handlers before. Only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {signum: signal.signal(signum, handler) for signum in STOPPING}


def _give_back(previous):
    for signum, handler in previous.items():
        signal.signal(signum, handler)
