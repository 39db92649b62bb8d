"""How far the work is: a bar where one can be drawn, elsewhere (a log, a pipe) a line a minute."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

LINE_EVERY = 60  # seconds


@contextlib.contextmanager
def show_progress(total: int, what: str, unit: str, done: int = 0, shown: bool = True) -> Iterator[Callable]:
    """Yield `advance(n=1)`, to be called whenever `n` more of the `total` units are done; `done` are done already.

    `shown` is False in the processes of a torchrun that stay silent.
    """
    if not shown:
        yield lambda n=1: None
    elif sys.stderr.isatty():
        with tqdm(total=total, initial=done, desc=what, unit=unit, leave=False) as bar:
            yield bar.update
    else:
        yield _lines(total, what, unit, done)


def _lines(total: int, what: str, unit: str, done: int) -> Callable:
    first, start = done, time.monotonic()
    last = start

    def advance(n=1):
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= LINE_EVERY and done < total:
            last = now
            rate = (done - first) / (now - start)
            left = show_duration((total - done) / rate)
            print(f"{what}: {done:,} of {total:,} {unit}s, {rate:,.1f} {unit}s/s, {left} left", flush=True)

    return advance


def show_duration(seconds: float) -> str:
    """Rounded as one would say it: `40 s`, `12 min`, `3 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def show_time_left(seconds: list[float], members: int) -> str:
    """A line about the members of an ensemble that are left, by the `seconds` that each took so far."""
    left = show_duration(members * sum(seconds) / len(seconds))
    return f"{members} member{'s' * (members > 1)} to go, about {left} at this rate"
