"""Progress: a bar on a terminal, or one line per minute in a log or pipe."""

import sys
import time

from tqdm import tqdm

LINE_EVERY = 60  # seconds


def progress_bar(total: int, what: str, unit: str, done: int = 0, shown: bool = True) -> "tqdm | Lines":
    """A context manager with `update(n=1)`, to call when `n` more of the `total` units are done.

    `done` units are already done. `shown` is False in silent processes of a torchrun.
    """
    if shown and not sys.stderr.isatty():
        return Lines(total, what, unit, done)
    return tqdm(total=total, initial=done, desc=what, unit=unit, leave=False, disable=not shown)


class Lines:
    """Prints progress, speed and remaining time once a minute; nothing if the work takes less."""

    def __init__(self, total: int, what: str, unit: str, done: int):
        self.total, self.what, self.unit = total, what, unit
        self.first = self.done = done
        self.start = self.last = time.monotonic()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, n: int = 1) -> None:
        """Count `n` more; print a line if the last one is a minute old."""
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
    """A rounded duration: `40 s`, `12 min`, `3 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def show_time_left(seconds: list[float], members: int) -> str:
    """A line on the remaining members of an ensemble, from the `seconds` of each finished member."""
    left = show_duration(members * sum(seconds) / len(seconds))
    return f"{members} member{'s' * (members > 1)} to go, about {left} at this rate"
