"""Write the predictions: id, the input's other columns, label, probability, optionally one column per class."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from common.classes import most_probable
from common.cli import UserError
from common.confidence.temperature import at_temperature
from common.files import find_target, whole_file
from common.predicting.texts import Texts
from common.predictions import INPUT_PREFIX, PREFIX, SURENESS
from common.reading.columns import fold
from common.reading.formats import FORMATS
from common.reading.tables import csv_writer

OURS = ("id", "label", "fold", SURENESS)  # columns of a prediction file


@dataclass(frozen=True)
class Choice:
    """Which rows get a label, and which columns are written."""

    classes: list[str]
    min_probability: float | None  # below it, a row has no label; None: every row has a label
    temperature: float | None  # applied before comparing with min_probability
    probabilities: bool  # one column per class, too
    copy: bool  # the input's other columns


def header_of(texts: Texts, choice: Choice) -> list[str]:
    """The header. An input column whose name is taken is renamed: `label` becomes `input_label`."""
    header = ["id"]
    for name in texts.columns if choice.copy else ():
        while fold(name) in OURS or fold(name).startswith(PREFIX) or name in header:
            name = INPUT_PREFIX + name
        header.append(name)
    return [*header, "label", SURENESS, *(PREFIX + name for name in choice.classes if choice.probabilities)]


def check_output(path: Path, source: Path | int, kept: Sequence[Path]) -> None:
    """Raise UserError before hours of prediction if `path` cannot be the output.

    It may be no folder or device, not the input (`source`, a file or a file descriptor), not in the folders `kept`.
    """
    find_target(path)
    if path.exists() and os.path.samefile(path, source):
        raise UserError(f"--output {path} is the input; name another file")
    if path.suffix.lower() in FORMATS:
        raise UserError(f"--output {path}: predictions are written as CSV; name a .csv file")
    if any(path.resolve().is_relative_to(folder.resolve()) for folder in kept):
        raise UserError(f"--output {path} is inside a model or a run's predictions; name another folder")


def write_output(path: Path | None, texts: Texts, means: Iterable[np.ndarray], choice: Choice) -> Counter[str | None]:
    """Write the file atomically, or without a path to standard output.

    `means` are the probabilities of each chunk, [rows, classes]. Returns how many rows have each label; None counts
    the undecided ones.
    """
    counts: Counter[str | None] = Counter()
    rows = [header_of(texts, choice)], _rows(texts, means, choice, counts)
    if path is None:
        csv_writer(sys.stdout).writerows(chain(*rows))
    else:
        with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            csv_writer(file).writerows(chain(*rows))
    return counts


def _rows(texts: Texts, means: Iterable[np.ndarray], choice: Choice, counts: Counter[str | None]) -> Iterator[list]:
    """The rows of the file. The columns per class are the model's own probabilities, without temperature."""
    for chunk, shares in zip(texts.chunks(), means, strict=True):
        labels = most_probable(shares, choice.classes)
        sure = shares.max(axis=1)
        if choice.min_probability is not None:
            sure = (at_temperature(shares, choice.temperature) if choice.temperature else shares).max(axis=1)
            labels[sure < choice.min_probability] = None
        counts.update(labels)
        for position, row_id in enumerate(chunk.ids):
            copied = chunk.others[position] if choice.copy else ()
            columns = (f"{value:.9g}" for value in shares[position]) if choice.probabilities else ()
            yield [row_id, *copied, labels[position] or "", f"{sure[position]:.9g}", *columns]
