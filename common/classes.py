"""Class names and class numbers. A class's number is its position in the list of classes."""

from collections.abc import Iterable, Sequence

import numpy as np


def class_numbers(labels: Iterable[str], classes: Sequence[str]) -> np.ndarray:
    """The number of each label, [rows] int64. Raises KeyError for a label that is not a class."""
    number_of = {name: position for position, name in enumerate(classes)}
    return np.array([number_of[label] for label in labels], dtype=np.int64)


def most_probable(probabilities: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The name of the most probable class of each row, [rows, classes] -> [rows] str. Ties: the first class."""
    return np.array(classes, dtype=object)[probabilities.argmax(axis=1)]
