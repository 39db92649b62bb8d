"""Datasets: a folder with train.csv, and perhaps valid.csv, test.csv, sample_submission.csv; and how it is split."""

import importlib.util
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold, train_test_split

from common.cli import UserError
from common.files import read_json, sha256
from common.tables import check_ids, read_table

DATA_FOLDER = Path(__file__).resolve().parent.parent / "data"
DATASETS = {
    "sample": None,  # shipped
    "gnad10": "python data/gnad10/prepare.py",
    "kaggle": "python data/kaggle/prepare.py",
}
FILES = ("train.csv", "valid.csv", "test.csv", "sample_submission.csv")


@dataclass(frozen=True)
class Dataset:
    """A checked dataset. Frames have the columns id, text and (train, valid; test where known) label, all strings."""

    name: str
    folder: Path
    classes: list[str]  # the sorted labels of train.csv: class k is column k everywhere
    train: pd.DataFrame
    valid: pd.DataFrame | None
    test: pd.DataFrame | None
    fingerprint: dict[str, str]  # file name -> sha256


def load_dataset(name_or_folder, text_column="text", label_column="label", id_column="id"):
    """Read and check a dataset given by short name or folder; `gnad10` is fetched on first use.

    Raises UserError, naming file and row, for whatever would make training or scoring wrong: a missing file or
    column, an empty text or label, a repeated id, a single class, a label outside train.csv's classes.
    """
    columns = {"id": id_column, "text": text_column, "label": label_column}
    columns = {key: unicodedata.normalize("NFC", name) for key, name in columns.items()}  # as headers are read
    if len(set(columns.values())) < 3:
        raise UserError("--text-column, --label-column and --id-column must name three different columns")
    folder = find_folder(name_or_folder)
    train = _read_rows(folder / "train.csv", columns, label="required")
    classes = sorted(set(train["label"]))
    if len(classes) < 2:
        raise UserError(f"{folder / 'train.csv'}: only one class, {classes[0]!r}; a classifier needs two or more")
    valid = _read_rows(folder / "valid.csv", columns, label="required") if (folder / "valid.csv").exists() else None
    test = _read_rows(folder / "test.csv", columns, label="optional") if (folder / "test.csv").exists() else None
    known = set(classes)
    for frame, file in ((valid, "valid.csv"), (test, "test.csv")):
        if frame is not None and "label" in frame:
            for row, label in enumerate(frame["label"], 1):
                if label not in known:
                    raise UserError(f"{folder / file}, row {row}: label {label!r} does not occur in train.csv")
    fingerprint = {file: sha256(folder / file) for file in FILES if (folder / file).exists()}
    name = os.path.basename(os.path.abspath(folder))  # also of `--data .`
    return Dataset(name, folder, classes, train, valid, test, fingerprint)


def load_run_dataset(folder):
    """The dataset that a run was trained on, by its config.json. Raises UserError where it is not there."""
    data = read_json(folder / "config.json").get("data")
    if not isinstance(data, dict) or "folder" not in data:
        raise UserError(f"{folder / 'config.json'} names no dataset; name it with --data")
    there = (Path(data["folder"]) / "train.csv").exists()
    if not there and data.get("name") not in DATASETS:  # a short name's folder is known, wherever the run was trained
        raise UserError(f"run {folder}: its dataset {data['folder']} is not there; name it with --data")
    columns = {key: data[key] for key in ("text_column", "label_column", "id_column") if data.get(key)}
    return load_dataset(data["folder"] if there else data["name"], **columns)


def read_labels(path, label_column="label", id_column="id"):
    """Read a CSV of given labels, texts or not: a frame with the columns id and label. Raises as `load_dataset`."""
    table = read_table(path, [label_column], hint="Name it with --label-column")
    frame = pd.DataFrame({"id": _ids(path, table, id_column), "label": table[label_column].str.strip()})
    _refuse_blanks(path, frame)
    return frame


def find_folder(name_or_folder):
    """The folder of a short name (fetched or refused with the command that fills it) or of a path."""
    name = str(name_or_folder)
    folder = DATA_FOLDER / name if name in DATASETS else Path(name)
    if (folder / "train.csv").exists():
        return folder
    if name == "gnad10":
        prepare_module("gnad10").fetch(folder)
        return folder
    if name in DATASETS:
        raise UserError(f"dataset {name!r} is not there yet; fill it with: {DATASETS[name]}")
    if folder.is_dir():
        raise UserError(f"{folder} has no train.csv")
    raise UserError(f"no dataset {name!r}: neither one of {', '.join(DATASETS)} nor a folder")


def prepare_module(name):
    """The module data/<name>/prepare.py: each dataset's folder owns the script that fills it."""
    spec = importlib.util.spec_from_file_location(f"prepare_{name}", DATA_FOLDER / name / "prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def split_validation(frame, fraction, seed):
    """Split rows into training and validation: stratified, seeded, identical texts on the same side.

    Returns two sorted arrays of row positions. `fraction` is the share of distinct texts that validates; a class
    with a single text stays in training. Raises UserError where the rows are too few for the classes.
    """
    if fraction == 0:
        return np.arange(len(frame)), np.arange(0)
    group, labels = _text_groups(frame)
    splittable = pd.Series(labels).map(pd.Series(labels).value_counts()).to_numpy() >= 2
    candidates = np.flatnonzero(splittable)
    try:
        _, valid = train_test_split(candidates, test_size=fraction, random_state=seed, stratify=labels[candidates])
    except ValueError as error:
        raise UserError(
            f"{len(frame)} rows with a validation share of {fraction} leave a class without a row on one "
            "side; choose another --valid-fraction (0: no validation) or add rows"
        ) from error
    is_valid = np.isin(group, valid)
    return np.flatnonzero(~is_valid), np.flatnonzero(is_valid)


def assign_folds(frame, folds, seed):
    """The fold (0 to folds - 1) of every row: stratified, seeded, identical texts in the same fold.

    Raises UserError where a class has fewer distinct texts than there are folds: its model would never see it.
    """
    group, labels = _text_groups(frame)
    texts = pd.Series(labels).value_counts().reindex(sorted(set(frame["label"])), fill_value=0)
    if texts.min() < folds:
        raise UserError(
            f"class {texts.idxmin()!r}: {texts.min()} distinct texts are too few for {folds} folds; use fewer folds"
        )
    fold_of_group = np.empty(len(labels), dtype=int)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(labels, labels)):
        fold_of_group[held_out] = fold
    return fold_of_group[group]


def _text_groups(frame):
    """Number the distinct texts: the group of every row, and every group's label (that of its first row)."""
    group, _ = pd.factorize(frame["text"])
    labels = frame.drop_duplicates("text")["label"].to_numpy(dtype=object)
    return group, labels


def _read_rows(path, columns, label):
    wanted = [columns["text"]] + ([columns["label"]] if label == "required" else [])
    table = read_table(path, wanted, hint="Name it with --text-column or --label-column")
    frame = pd.DataFrame({"text": table[columns["text"]]})
    frame.insert(0, "id", _ids(path, table, columns["id"]))
    if columns["label"] in table and (label == "required" or table[columns["label"]].str.strip().any()):
        frame["label"] = table[columns["label"]].str.strip()
    _refuse_blanks(path, frame)
    return frame


def _ids(path, table, id_column):
    """The checked ids of a table: its id column, or the row numbers where it has none."""
    if id_column in table:
        check_ids(path, table[id_column])
        return table[id_column]
    if id_column != "id":
        raise UserError(f"{path} has no column {id_column!r} (--id-column); it has: {', '.join(table.columns)}")
    return [str(number) for number in range(1, len(table) + 1)]


def _refuse_blanks(path, frame):
    for column in frame.columns.drop("id"):
        blank = np.flatnonzero(frame[column].str.strip() == "")
        if len(blank):
            raise UserError(f"{path}, row {blank[0] + 1}: the {column} is empty")
