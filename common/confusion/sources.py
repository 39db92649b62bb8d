"""Find the predictions to score, their labels and the predictions to compare with, and name them."""

from argparse import Namespace
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.cli import UserError, note
from common.data import read_labels
from common.files import read_json
from common.predictions import Predictions, align, read_predictions
from common.reading.columns import show_names
from common.runs import check_run, complete_runs, is_run, run_folder

SPLITS = {  # a run's prediction files, most rows first -> the kind of rows
    "oof": "out-of-fold",
    "valid": "validation",
    "test": "test",
    "train-excluded": "left-out training",
}


def find_predictions(options: Namespace) -> tuple[Path, Predictions, Path]:
    """Read the options: the prediction file, its predictions with checked labels, and the output folder."""
    splits = [options.split] if options.split else ["oof", "valid", "test"]
    if options.predictions:
        if options.split:
            raise UserError("--split selects rows of a run; do not combine it with --predictions")
        path, folder = Path(options.predictions), Path("confusion_matrix")
        predictions = _read(path, options)
        if options.labels:
            given = read_labels(options.labels, options.label_column, options.id_column)
            aligned = align(predictions, given["id"], predictions.classes, f"{path}, against {options.labels}")
            predictions = replace(aligned, labels=given["label"].to_numpy(dtype=object))
        elif predictions.labels is None:
            raise UserError(f"{path} has no column {options.label_column!r}; give the labels with --labels CSV")
    else:
        if options.labels:
            raise UserError("--labels needs --predictions; a run has its own labels")
        if (options.label_column, options.id_column) != ("label", "id") and not options.compare:
            raise UserError("--label-column and --id-column name columns of --predictions or --labels, not of a run")
        folders = [check_run(options.run)] if options.run else complete_runs()
        files = [file for folder in folders for file in prediction_files(folder, splits)]
        read = ((file, read_predictions(file)) for file in files)
        labelled = next(((file, found) for file, found in read if found.labels is not None), None)
        if labelled is None:
            where = f"run {folders[0]}" if options.run else "no complete run below runs/"
            or_train = "" if options.run else ", or run train.py"
            of_split = f" for {SPLITS[options.split]} rows" if options.split else ""
            raise UserError(
                f"{where} has {'no ' * bool(options.run)}predictions with labels{of_split}; "
                f"give --predictions CSV{or_train}"
            )
        path, predictions = labelled
        folder = path.parent.parent / "confusion_matrix"
    for each in filter(None, (path, options.labels, options.compare)):
        str(each).encode()  # raises now, not halfway, for names that neither metrics.json nor a picture can hold
    print(f"{path}{'' if options.predictions or options.run else ' (the newest run with labels)'}")

    if is_of_run(path) and not options.labels:
        predictions = without_unknown(path, predictions)
    if len(predictions.classes) < 2:
        raise UserError(f"{path} has only one class, {predictions.classes[0]!r}; expected two or more")
    for row_id, label in zip(predictions.ids, predictions.given, strict=True):
        if label not in predictions.classes:
            raise UserError(f"{options.labels or path}, id {row_id!r}: label {label!r} has no prob_ column in {path}")
    return path, predictions, Path(options.output) if options.output else folder


def _read(path: Path, options: Namespace) -> Predictions:
    """A prediction file with the columns that the options name; a run's files have our own."""
    if is_of_run(path):
        return read_predictions(path)
    label_column = None if options.labels or options.label_column == "label" else options.label_column
    return read_predictions(path, id_column=options.id_column, label_column=label_column)


def without_unknown(path: Path, predictions: Predictions) -> Predictions:
    """A run's predictions without rows whose label is no class: --allow-unknown-test-labels lets test rows have some.

    Raises UserError if no row is left.
    """
    known = np.isin(predictions.given, predictions.classes)
    if known.all():
        return predictions
    if not known.any():
        raise UserError(f"{path}: no label is one of the classes {show_names(predictions.classes)}")
    first = np.flatnonzero(~known)[0]
    note(
        f"{path}: {(~known).sum()} of {len(known)} rows are left out, since their label is no class (id "
        f"{predictions.ids[first]!r}: {predictions.given[first]!r}). All figures are of the other {known.sum()}; "
        "results.json counts all rows, and these as wrong"
    )
    return _take(predictions, known)


def _take(predictions, rows):
    """The predictions of the chosen rows, given as positions, a slice or a mask."""
    parts = {name: getattr(predictions, name) for name in ("ids", "probabilities", "labels", "folds")}
    return replace(predictions, **{name: None if part is None else part[rows] for name, part in parts.items()})


def has_comparison(folder: Path) -> bool:
    """Whether an earlier --compare wrote its figures to this folder."""
    try:
        return "comparison" in read_json(folder / "metrics.json")
    except UserError:  # no such file, or another tool's
        return False


def prediction_files(folder: Path, splits: Iterable[str] = SPLITS) -> list[Path]:
    """A run's existing prediction files, in the order of `splits`."""
    files = [folder / "predictions" / f"{split}.csv" for split in splits]
    return [file for file in files if file.exists()]


def describe_rows(path: Path, rows: int) -> str:
    """The scored rows, for titles: `demo: 99 test rows of sample`, or the file's name and its number of rows."""
    name, plural = name_file(path), "row" + "s" * (rows != 1)
    if not is_of_run(path):
        return f"{name}: {rows:,} {plural}"
    data = read_json(path.parent.parent / "config.json").get("data")
    of_data = f" of {data['name']}" if isinstance(data, dict) and "name" in data else ""
    return f"{path.parent.parent.name}: {rows:,} {SPLITS[path.stem]} {plural}{of_data}"


def name_file(path: Path) -> str:
    """A prediction file's name in a picture: run and kind of rows, or the file name."""
    return f"{path.parent.parent.name}, {SPLITS[path.stem]} rows" if is_of_run(path) else path.name


def is_of_run(path: Path) -> bool:
    """Whether a prediction file is one of a run's own."""
    return path.parent.name == "predictions" and path.stem in SPLITS and is_run(path.parent.parent)


def find_other(options: Namespace, path: Path, predictions: Predictions) -> tuple[Path, Predictions]:
    """The path and predictions of --compare, aligned to `predictions`, which `path` contains.

    In a run, this takes the file with the same ids; if several have them, the one with the same name.
    """
    own, path = path, Path(options.compare)
    kept = set(predictions.ids)  # the other file has the rows that `without_unknown` leaves out
    ids = [*predictions.ids, *(row_id for row_id in _read(own, options).ids if row_id not in kept)]
    names_run = path.suffix != ".csv" or run_folder(options.compare).is_dir()  # a run may be called `v1.csv`
    if names_run and not path.is_file():
        folder = check_run(options.compare)
        files = sorted(prediction_files(folder), key=lambda file: file.name != own.name)
        if not files:
            raise UserError(f"run {folder} has no predictions")
        same_rows = (file for file in files if set(read_predictions(file).ids) == set(ids))
        path = next(same_rows, files[0])
    other = align(_read(path, options), ids, predictions.classes, f"--compare {path}")
    other = _take(other, slice(len(predictions.ids)))
    if other.labels is not None and not options.labels:
        for row_id, mine, theirs in zip(predictions.ids, predictions.given, other.labels, strict=True):
            if mine != theirs:
                raise UserError(
                    f"--compare {path}, id {row_id!r}: expected label {mine!r}, found {theirs!r}; are these other rows?"
                )
    return path, replace(other, labels=predictions.labels)
