"""Find predictions for rows outside the model's training, and the rows of the dataset that they belong to.

A model reproduces its training labels, wrong ones included, so predictions for training rows cannot show wrong labels.
They are refused if the run folder reveals them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.cli import UserError
from common.data import Dataset, is_trained_on
from common.files import read_json
from common.predictions import EXCLUDED, OOF, TEST, VALID, Predictions, align, read_predictions
from common.reading.identity import hashes_by_split
from common.runs import complete_runs, is_run

UNSEEN = (OOF, VALID, TEST, EXCLUDED)  # a run's predictions for rows outside its training


@dataclass(frozen=True)
class HeldOut:
    """Labelled rows of one file of a dataset, with the predictions of one or more models."""

    file: str  # its name without the folder
    place: str  # the same with the folder, for messages
    rows: pd.DataFrame  # [rows] id, text, label, in the order of that file
    members: np.ndarray  # [members, rows, classes] float32
    prefix: str = ""  # of ids in the review list, so that no row number is taken for one of train.csv


def find_out_of_fold_run(dataset: Dataset | None, model: str | None) -> Path | None:
    """The newest complete run with out-of-fold predictions, for this dataset and encoder if given."""
    for run in complete_runs():
        config = read_json(run / "config.json")
        models = config.get("models")
        of_model = model is None or (isinstance(models, dict) and model in models)
        if (run / OOF).exists() and of_model and (dataset is None or is_trained_on(config, dataset)):
            return run
    return None


def run_of(path: Path) -> Path | None:
    """The run folder of a prediction file, or None."""
    return next((folder for folder in (path.parent, path.parent.parent) if is_run(folder)), None)


def read_held_out(paths: list[Path], dataset: Dataset) -> HeldOut:
    """Read prediction files for the same labelled rows of a dataset, one file per model or seed.

    Raises UserError, naming file and id, for missing labels, for rows that the run's model was trained on, for ids,
    labels or classes that are not the dataset's, and for files with different rows.
    """
    files = [_read_file(path, dataset) for path in paths]
    split, rows = _find_rows(paths[0], files[0], dataset)
    for path in paths:
        _refuse_changed_rows(path, split, dataset)
    members = []
    for path, file in zip(paths, files, strict=True):
        predictions = align(file, rows["id"], dataset.classes, source=str(path))
        differing = np.flatnonzero(predictions.given != rows["label"].to_numpy(dtype=object))
        if len(differing):
            row_id, label = predictions.ids[differing[0]], predictions.given[differing[0]]
            raise UserError(
                f"{path}: id {row_id!r} has label {label!r}, {paths[0]} has {rows['label'][differing[0]]!r}"
            )
        members.append(predictions.probabilities)
    name = dataset.files[split]
    prefix = f"{name}:" if split != "train" and split in dataset.numbered else ""
    return HeldOut(name, dataset.places[split], rows, np.stack(members), prefix)


def _read_file(path: Path, dataset: Dataset) -> Predictions:
    predictions = read_predictions(path, dataset.classes)
    if predictions.labels is None:
        raise UserError(f"{path} has no column 'label'; label issues need the given labels")
    _refuse_in_sample(path, predictions.ids, dataset)
    return predictions


def _refuse_in_sample(path, ids, dataset):
    folder = run_of(path)
    reason = "a model reproduces the labels of its training, wrong ones included"
    if path.name == "train.csv" and folder:
        raise UserError(f"{path} has predictions for the training rows of {folder}: {reason}")
    if not folder or path.name in [Path(file).name for file in UNSEEN]:
        return
    files = [folder / file for file in UNSEEN]
    held_out = {row_id for file in files if file.exists() for row_id in read_predictions(file).ids}
    seen = set(dataset.train["id"]) - held_out
    first = next((row_id for row_id in ids if row_id in seen), None)
    if first is not None:
        raise UserError(f"{path}: run {folder} was trained on id {first!r}, and {reason}")


def _refuse_changed_rows(path, split, dataset):
    """Row numbers belong to other texts when rows were moved; ids of a file's own go with their texts."""
    folder = run_of(path)
    data = read_json(folder / "config.json").get("data") if folder else None
    if not isinstance(data, dict) or split not in dataset.numbered:
        return
    before = hashes_by_split(data.get("fingerprint") or {}).get(split)
    if before not in (None, hashes_by_split(dataset.fingerprint)[split]):
        raise UserError(
            f"{dataset.places[split]} has changed since run {folder} was trained, and its rows have no ids to find "
            "them by; restore the file, or train again (a column id would keep them apart)"
        )


def _find_rows(path, predictions, dataset):
    """The split whose ids and labels match the predictions, and its rows.

    Ids, such as row numbers, may fit several splits: the one that the name of a run's file stands for counts.
    """
    label_of = dict(zip(predictions.ids, predictions.labels, strict=True))
    fitting, complaint = {}, ""
    for split, frame in dataset.frames.items():
        place = dataset.places[split]
        if "label" not in frame:
            continue
        rows = frame[frame["id"].isin(label_of.keys())].reset_index(drop=True)
        strange = sorted(set(label_of) - set(rows["id"]))
        if strange:
            complaint = complaint or f"id {strange[0]!r} is not in {place}"
            continue
        differing = next((row for row in rows.itertuples() if label_of[row.id] != row.label), None)
        if differing is None:
            fitting[split] = rows
            continue
        there = f"{place} has {differing.label!r}"
        complaint = f"id {differing.id!r} has label {label_of[differing.id]!r}, {there}"
    if not fitting:
        raise UserError(
            f"{path} does not belong to dataset {dataset.name}: {complaint}; name the right one with --data"
        )
    named = path.stem if path.stem in dataset.frames else "train"  # oof.csv, and valid.csv of a share of train.csv
    if len(fitting) > 1 and (named not in fitting or not run_of(path)):
        places = " and ".join(dataset.places[split] for split in fitting)
        raise UserError(f"{path}: its ids and labels fit {places}; other ids or a run's own file would tell them apart")
    split = named if named in fitting else next(iter(fitting))
    for row in fitting[split].itertuples():
        if row.label not in dataset.classes:  # with --allow-unknown-test-labels
            raise UserError(f"{path}, id {row.id!r}: no training row has the label {row.label!r}")
    return split, fitting[split]
