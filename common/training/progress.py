"""How far the work is: a bar where one can be drawn, elsewhere (a log, a pipe) a line a minute."""

import sys
import time

from tqdm import tqdm

LINE_EVERY = 60  # seconds


def progress_bar(total: int, what: str, unit: str, done: int = 0, shown: bool = True) -> "tqdm | Lines":
    """A context manager with `update(n=1)`, to be called whenever `n` more of the `total` units are done.

    `done` are done already. `shown` is False in the processes of a torchrun that stay silent.
    """
    if shown and not sys.stderr.isatty():
        return Lines(total, what, unit, done)
    return tqdm(total=total, initial=done, desc=what, unit=unit, leave=False, disable=not shown)


class Lines:
    """Prints how many are done, how fast, and the time left: once a minute, and not at all where it is over sooner."""

    def __init__(self, total: int, what: str, unit: str, done: int):
        self.total, self.what, self.unit = total, what, unit
        self.first = self.done = done
        self.start = self.last = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, n: int = 1) -> None:
        """Count `n` more; print a line where the last one is a minute old."""
        self.done += n
        now = time.monotonic()
        if now - self.last < LINE_EVERY or self.done >= self.total:
            return
        self.last = now
        rate = (self.done - self.first) / (now - self.start)
        left = show_duration((self.total - self.done) / rate)
        counts = f"{self.done:,} of {self.total:,} {self.unit}s"
        print(f"{self.what}: {counts}, {rate:,.1f} {self.unit}s/s, {left} left", flush=True)


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
