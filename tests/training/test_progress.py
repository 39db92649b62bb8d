"""Progress in a log: a line a minute, with rate and time left."""

import sys

import pytest

from common.training import progress
from common.training.progress import progress_bar, show_duration, show_time_left


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are told to."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_a_line_a_minute_where_no_bar_can_be_drawn(clock, capsys):
    with progress_bar(1200, "train", "step", done=200) as bar:
        for _ in range(100):
            clock(1.5)
            bar.update()
        clock(60)
        bar.update(899)
        clock(60)
        bar.update()  # done: the results follow
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        "train: 240 of 1,200 steps, 0.7 steps/s, 24 min left",
        "train: 280 of 1,200 steps, 0.7 steps/s, 23 min left",
        "train: 1,199 of 1,200 steps, 4.8 steps/s, 0 s left",
    ]
    assert output.err == ""


def test_a_bar_where_one_can_be_drawn(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress_bar(10, "train", "step", done=5) as bar:
        bar.update(5)
    output = capsys.readouterr()
    assert "train:  50%" in output.err and output.out == ""


def test_a_silent_process(monkeypatch, clock, capsys):
    with progress_bar(10, "train", "step", shown=False) as bar:
        clock(100)
        bar.update()
        bar.update(3)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3569, "59 min"), (3600, "1 h 0 min"), (11100, "3 h 5 min")],
)
def test_durations(seconds, shown):
    assert show_duration(seconds) == shown


def test_the_time_left_of_an_ensemble():
    assert show_time_left([100, 140], 9) == "9 members to go, about 18 min at this rate"
    assert show_time_left([30], 1) == "1 member to go, about 30 s at this rate"
