"""Predictions for rows that the model was not trained on: which files hold them, which rows of the dataset they mean.

A model agrees with the labels that it has learned, the wrong ones included, so predictions for training rows cannot
show wrong labels: they are refused, as far as a run folder tells.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.cli import UserError
from common.predictions import OOF, TEST, VALID, align, read_predictions

HELD_OUT = (OOF, VALID, TEST)  # of a run: rows that its model has not seen


@dataclass(frozen=True)
class HeldOut:
    """Labelled rows of one file of a dataset, and what one or more models think of them."""

    file: str  # train.csv, valid.csv or test.csv
    rows: pd.DataFrame  # [rows] id, text, label, in the order of that file
    members: np.ndarray  # [members, rows, classes] float32


def out_of_fold_files(folder):
    """A run's out-of-fold predictions: those of its members, where two or more have the run's rows, else its own."""
    own = folder / OOF
    ids = set(read_predictions(own).ids)
    members = sorted(folder.glob(f"members/*/{OOF}"))
    members = [path for path in members if set(read_predictions(path).ids) == ids]
    return members if len(members) > 1 else [own]


def run_of(path):
    """The run folder that a prediction file lies in, or None."""
    folders = (path.parent, path.parent.parent)
    return next((folder for folder in folders if (folder / "config.json").exists()), None)


def read_held_out(paths, dataset):
    """Read prediction files for the same labelled rows of a dataset, one file per model or seed.

    Raises UserError, naming file and id: no labels, rows that the run's model was trained on, ids or labels that are
    not the dataset's, files that hold different rows, other classes.
    """
    file = rows = None
    members = []
    for path in paths:
        predictions = read_predictions(path)
        if predictions.labels is None:
            raise UserError(f"{path} has no column 'label'; label issues need the given labels")
        _refuse_in_sample(path, predictions.ids, dataset)
        if rows is None:
            file, rows = _find_rows(path, predictions, dataset)
        predictions = align(predictions, rows["id"], dataset.classes, source=str(path))
        differing = np.flatnonzero(predictions.labels != rows["label"].to_numpy(dtype=object))
        if len(differing):
            row_id, label = predictions.ids[differing[0]], predictions.labels[differing[0]]
            raise UserError(
                f"{path}: id {row_id!r} has label {label!r}, {paths[0]} has {rows['label'][differing[0]]!r}"
            )
        members.append(predictions.probabilities)
    return HeldOut(file, rows, np.stack(members))


def _refuse_in_sample(path, ids, dataset):
    folder = run_of(path)
    reason = "the model agrees with what it was trained on, wrong labels included"
    if path.name == "train.csv" and folder:
        raise UserError(f"{path} holds predictions for the rows that {folder} was trained on: {reason}")
    if not folder or f"predictions/{path.name}" in HELD_OUT:
        return
    files = [folder / name for name in HELD_OUT]
    held_out = {row_id for file in files if file.exists() for row_id in read_predictions(file).ids}
    seen = set(dataset.train["id"]) - held_out
    first = next((row_id for row_id in ids if row_id in seen), None)
    if first is not None:
        raise UserError(f"{path}: run {folder} was trained on id {first!r}, and {reason}")


def _find_rows(path, predictions, dataset):
    """The file of the dataset whose ids and labels the predictions have (row numbers are ids, too), and its rows."""
    label_of = dict(zip(predictions.ids, predictions.labels, strict=True))
    frames = {"train.csv": dataset.train, "valid.csv": dataset.valid, "test.csv": dataset.test}
    complaint = ""
    for file, frame in frames.items():
        if frame is None or "label" not in frame:
            continue
        rows = frame[frame["id"].isin(label_of.keys())].reset_index(drop=True)
        strange = sorted(set(label_of) - set(rows["id"]))
        if strange:
            complaint = complaint or f"id {strange[0]!r} is not in {dataset.folder / file}"
            continue
        differing = next((row for row in rows.itertuples() if label_of[row.id] != row.label), None)
        if differing is None:
            return file, rows
        there = f"{dataset.folder / file} has {differing.label!r}"
        complaint = f"id {differing.id!r} has label {label_of[differing.id]!r}, {there}"
    raise UserError(f"{path} does not belong to dataset {dataset.name}: {complaint}; name the right one with --data")
