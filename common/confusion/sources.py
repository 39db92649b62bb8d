"""What is scored: the prediction file, its labels, the other one to compare with; and what these are called."""

from argparse import Namespace
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from common.cli import UserError
from common.data import read_labels
from common.files import read_json
from common.predictions import Predictions, align, read_predictions
from common.runs import check_run, complete_runs

SPLITS = {  # a run's prediction files, the one with most rows first -> what their rows are
    "oof": "out-of-fold",
    "valid": "validation",
    "test": "test",
    "train-excluded": "left-out training",
}


def find_predictions(options: Namespace) -> tuple[Path, Predictions, Path]:
    """What the options mean: the prediction file's path, its predictions with checked labels, the output folder."""
    splits = [options.split] if options.split else ["oof", "valid", "test"]
    if options.predictions:
        if options.split:
            raise UserError("--split chooses among a run's rows; --predictions names a file")
        path, folder = Path(options.predictions), Path("confusion_matrix")
        predictions = read_predictions(path)
        if options.labels:
            given = read_labels(options.labels, options.label_column, options.id_column)
            aligned = align(predictions, given["id"], predictions.classes, f"{path}, against {options.labels}")
            predictions = replace(aligned, labels=given["label"].to_numpy(dtype=object))
        elif predictions.labels is None:
            raise UserError(f"{path} has no column 'label'; give the labels with --labels CSV")
    else:
        if options.labels:
            raise UserError("--labels goes with --predictions: a run brings its labels along")
        folders = [check_run(options.run)] if options.run else complete_runs()
        files = [file for folder in folders for file in prediction_files(folder, splits)]
        labelled = ((file, found) for file in files if (found := read_predictions(file)).labels is not None)
        path, predictions = next(labelled, (None, None))
        if path is None:
            where = f"run {folders[0]}" if options.run else "no complete run below runs/"
            or_train = "" if options.run else ", or run train.py"
            of_split = f" for {SPLITS[options.split]} rows" if options.split else ""
            raise UserError(
                f"{where} has {'no ' * bool(options.run)}predictions with labels{of_split}; "
                f"give --predictions CSV{or_train}"
            )
        folder = path.parent.parent / "confusion_matrix"
    print(f"{path}{'' if options.predictions or options.run else ' (the newest run with labels)'}")

    if len(predictions.classes) < 2:
        raise UserError(f"{path} has only one class, {predictions.classes[0]!r}: nothing can be confused")
    for row_id, label in zip(predictions.ids, predictions.labels, strict=True):
        if label not in predictions.classes:
            raise UserError(f"{options.labels or path}, id {row_id!r}: label {label!r} is no prob_ column of {path}")
    return path, predictions, Path(options.output) if options.output else folder


def prediction_files(folder: Path, splits: Iterable[str] = SPLITS) -> list[Path]:
    """Those of a run's prediction files that there are, in the order of `splits`."""
    files = [folder / "predictions" / f"{split}.csv" for split in splits]
    return [file for file in files if file.exists()]


def describe_rows(path: Path, rows: int) -> str:
    """What was scored, for titles: `demo: 99 test rows of sample`, or a file's name and its number of rows."""
    name, plural = name_file(path), "row" + "s" * (rows != 1)
    if not is_of_run(path):
        return f"{name}: {rows:,} {plural}"
    data = read_json(path.parent.parent / "config.json").get("data")
    of_data = f" of {data['name']}" if isinstance(data, dict) and "name" in data else ""
    return f"{path.parent.parent.name}: {rows:,} {SPLITS[path.stem]} {plural}{of_data}"


def name_file(path: Path) -> str:
    """A prediction file's name in a picture: run and rows, or the file's own."""
    return f"{path.parent.parent.name}, {SPLITS[path.stem]} rows" if is_of_run(path) else path.name


def is_of_run(path: Path) -> bool:
    """Whether a prediction file lies in a run's folder under its own name."""
    return path.parent.name == "predictions" and path.stem in SPLITS and (path.parent.parent / "config.json").exists()


def find_other(options: Namespace, path: Path, predictions: Predictions) -> tuple[Path, Predictions]:
    """The path and predictions of --compare, aligned to `predictions`, which are those of `path`.

    Of a run it takes the file that has the same ids, if several have, the one of the same name.
    """
    mine, path = path, Path(options.compare)
    if not path.is_file() and path.suffix != ".csv":
        folder = check_run(options.compare)
        files = sorted(prediction_files(folder), key=lambda file: file.name != mine.name)
        if not files:
            raise UserError(f"run {folder} has no predictions")
        same_rows = (file for file in files if set(read_predictions(file).ids) == set(predictions.ids))
        path = next(same_rows, files[0])
    other = align(read_predictions(path), predictions.ids, predictions.classes, f"--compare {path}")
    if other.labels is not None and not options.labels:
        for row_id, mine, theirs in zip(predictions.ids, predictions.labels, other.labels, strict=True):
            if mine != theirs:
                raise UserError(f"--compare {path}, id {row_id!r}: label {theirs!r}, not {mine!r}; not the same rows?")
    return path, replace(other, labels=predictions.labels)
