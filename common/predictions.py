"""Prediction files connect the scripts. Columns: `id`, optional `label` and `fold`, one `prob_<class>` per class."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from common.classes import most_probable
from common.cli import UserError
from common.files import whole_file
from common.reading.columns import fold, show_names
from common.reading.probabilities import check_probabilities, numbers_of
from common.reading.tables import check_ids, csv_writer, read_table

# Prediction files in a run folder: out-of-fold, validation and test rows
OOF, VALID, TEST = "predictions/oof.csv", "predictions/valid.csv", "predictions/test.csv"
EXCLUDED = "predictions/train-excluded.csv"  # training rows left out by corrections or --auto-exclude
INPUT_PREFIX = "input_"  # predict.py renames input columns whose names it needs itself
GIVEN = INPUT_PREFIX + "label"  # or input_Label: the input's spelling stays
SURENESS = "probability"  # only files of predict.py have this column; their `label` is the prediction
PREFIX = "prob_"


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of some rows, in dataset order."""

    ids: np.ndarray  # [rows] str
    classes: list[str]  # [classes], the order of the columns
    probabilities: np.ndarray  # [rows, classes] float32
    labels: np.ndarray | None = None  # [rows] str, the given labels
    folds: np.ndarray | None = None  # [rows] int, the fold that held the row out

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each row, [rows] str. Ties: the first in class order."""
        return most_probable(self.probabilities, self.classes)

    @property
    def given(self) -> np.ndarray:
        """The given labels, [rows] str. Raises ValueError if there are none."""
        if self.labels is None:
            raise ValueError("these predictions have no labels")
        return self.labels


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write a prediction file. Nine significant digits restore the same float32."""
    header = ["id"]
    columns = [predictions.ids]
    if predictions.labels is not None:
        header.append("label")
        columns.append(predictions.labels)
    if predictions.folds is not None:
        header.append("fold")
        columns.append(predictions.folds)
    header += [PREFIX + name for name in predictions.classes]
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv_writer(file)
        writer.writerow(header)
        for *front, row in zip(*columns, predictions.probabilities, strict=True):
            writer.writerow([*front, *(f"{value:.9g}" for value in row)])


def read_predictions(
    path: str | Path, classes: Sequence[str] = (), id_column: str = "id", label_column: str | None = None
) -> Predictions:
    """Read and check a prediction file, ours or another tool's.

    Class columns may lack the prefix `prob_` if they are exactly `classes`, or exactly the labels in the file.
    Probabilities may be rounded: a row's sum may be off by half a unit of the last digit per class, and is then
    rescaled to 1. The ids are in `id` where the file lacks `id_column`. The given labels are in `label`, but in files
    of predict.py, whose `label` is the prediction, in `input_label`, if the input had labels. Raises UserError, naming
    file and row, for missing id or class columns, a repeated id, a probability that is not a finite number in [0, 1], a
    wrong sum, an empty label, a fold that is not a whole number.
    """
    hint = "A prediction file has id and one prob_<class> column per class"
    named = [id_column, "id", label_column or "label", "label", "fold", GIVEN]
    table = read_table(path, [], hint, optional=list(dict.fromkeys(named)), all_unique=True)
    id_column = id_column if id_column in table else "id"
    if id_column not in table:
        raise UserError(f"{path} has no column {named[0]!r}; it has: {show_names(list(table.columns))}. {hint}")
    columns = find_class_columns(table, classes, id_column, label_column or "label")
    if not columns:
        hint = "; predict.py writes them with --probabilities" if SURENESS in table else ""
        raise UserError(f"{path} has no column prob_<class>; it has: {show_names(list(table.columns))}{hint}")
    check_ids(path, table[id_column])
    probabilities = np.column_stack([numbers_of(path, table[name], name) for name in columns])
    probabilities = check_probabilities(path, probabilities, table, list(columns))
    labels = folds = None
    given = label_column or (GIVEN if SURENESS in table else "label")
    if given in table:
        labels = table[given].str.strip().to_numpy(dtype=object)
        if (labels == "").any():
            raise UserError(f"{path}, row {np.flatnonzero(labels == '')[0] + 1}: the label is empty")
    if "fold" in table:
        values = numbers_of(path, table["fold"], "fold")
        broken = np.flatnonzero((values != values.round()) | ~(np.abs(values) < 2**31))  # NaN and infinity, too
        if len(broken):
            raise UserError(f"{path}, row {broken[0] + 1}: fold {table['fold'][broken[0]]!r} is not a whole number")
        folds = values.astype(int)
    ids = table[id_column].to_numpy(dtype=object)
    return Predictions(ids, list(columns.values()), probabilities.astype(np.float32), labels, folds)


def find_class_columns(
    table: pd.DataFrame, classes: Sequence[str] = (), id_column: str = "id", label_column: str = "label"
) -> dict[str, str]:
    """The probability columns and their classes: those that start with prob_, else exactly the classes."""
    prefixed = {name: name[len(PREFIX) :] for name in table.columns if fold(name).startswith(PREFIX)}
    if prefixed:
        return prefixed
    others = [name for name in table.columns if name not in (id_column, label_column, "label", "fold")]
    known = set(classes) or (set(table[label_column].str.strip()) if label_column in table else set())
    return {name: name for name in others} if known and set(others) == known else {}


def align(
    predictions: Predictions, ids: Collection[str], classes: Collection[str], source: str = "the predictions"
) -> Predictions:
    """Reorder predictions to `ids` and `classes`. Matches names, never positions.

    Raises UserError if an id or class is missing or unknown; `source` is the file's name in the message.
    """
    columns = _positions(predictions.classes, classes, "class", source)
    rows = _positions(predictions.ids, ids, "id", source)
    return replace(
        predictions,
        ids=predictions.ids[rows],
        classes=list(classes),
        probabilities=predictions.probabilities[np.ix_(rows, columns)],
        labels=None if predictions.labels is None else predictions.labels[rows],
        folds=None if predictions.folds is None else predictions.folds[rows],
    )


def mean_probabilities(
    members: Sequence[np.ndarray] | np.ndarray, weights: Sequence[float] | np.ndarray | None = None
) -> np.ndarray:
    """The weighted mean of aligned probabilities, [members, rows, classes] -> [rows, classes], summed in float64."""
    return np.average(np.asarray(members, dtype=np.float64), axis=0, weights=weights).astype(np.float32)


def _positions(have, want, what, source):
    place = {name: position for position, name in enumerate(have)}
    missing = [name for name in want if name not in place]
    unknown = sorted(set(have).difference(want))
    if missing:
        raise UserError(f"{source}: {what} {missing[0]!r} is missing ({len(missing)} missing in all)")
    if unknown:
        raise UserError(f"{source}: {what} {unknown[0]!r} is unknown ({len(unknown)} unknown in all)")
    return [place[name] for name in want]
