"""Class names and class numbers: a class's number is its place in the list of classes."""

from collections.abc import Iterable, Sequence

import numpy as np


def class_numbers(labels: Iterable[str], classes: Sequence[str]) -> np.ndarray:
    """The number of each label, [rows] int64. Raises KeyError for one that is none of the classes."""
    number_of = {name: position for position, name in enumerate(classes)}
    return np.array([number_of[label] for label in labels], dtype=np.int64)


def most_probable(probabilities: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The name of the most probable class of each row, [rows, classes] -> [rows] str; of equal ones the first."""
    return np.array(classes, dtype=object)[probabilities.argmax(axis=1)]
