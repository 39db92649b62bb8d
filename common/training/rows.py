"""Which rows train and validate, and with which labels, for every kind of model. No torch."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.classes import class_numbers
from common.cli import UserError, data_options
from common.data import Dataset, load_dataset
from common.files import sha256
from common.reading.corrections import apply_corrections, flagged_ids
from common.splitting.splits import describe_overlap, split_validation
from common.training.encoders.registry import TFIDF
from common.training.options import unused_by_tfidf
from common.training.recipe import Recipe, TfidfRecipe, tfidf_recipe
from common.training.teacher import Teacher

COLUMN_OPTIONS = ("text_column", "label_column", "id_column")


@dataclass(frozen=True, eq=False)
class Task:
    """The dataset, and the labels to train with."""

    dataset: Dataset
    train_labels: np.ndarray  # [rows of train.csv] class numbers, corrected; -1: excluded from training
    config: dict  # its part of config.json


@dataclass(frozen=True, eq=False)
class TfidfInputs:
    """What `tfidf` is trained on: the counterpart of an encoder's Inputs."""

    dataset: Dataset
    train_labels: np.ndarray  # as in Task
    recipe: TfidfRecipe
    config: dict  # config.json without the seed and the rows
    name: str = TFIDF
    teachers: tuple[Teacher, ...] = ()


def prepare_tfidf(arguments: Namespace, print_line: Callable[[str], None], task: Task | None = None) -> TfidfInputs:
    """Resolve the recipe of `tfidf`, and read the dataset unless its `task` is given.

    Without encoders beside it, a line names options that do nothing. Raises UserError for bad input.
    """
    if "models" not in arguments or arguments.models == [TFIDF]:
        if arguments.teacher:
            raise UserError("--teacher is for encoders; tfidf learns only from given labels")
        if unused := unused_by_tfidf(arguments.changed):
            print_line(f"{TFIDF} does not use {', '.join(unused)}")
    task, recipe = task or load_task(arguments, print_line), tfidf_recipe(arguments)
    config = {"model": {"name": TFIDF}, **task.config, "recipe": asdict(recipe)}
    return TfidfInputs(task.dataset, task.train_labels, recipe, config)


def load_task(arguments: Namespace, print_line: Callable[[str], None]) -> Task:
    """Read the dataset and the corrections. Raises UserError for bad input."""
    options = data_options(arguments)
    dataset = load_dataset(arguments.data, **options)
    for line in describe_overlap(dataset):
        print_line(f"warning: {line}")
    train_labels, changes = corrected_labels(dataset, arguments)
    if changes:
        print_line(f"{changes['file']}: " + ", ".join(f"{n} {what}" for what, n in changes["counts"].items()))
    reading = {key: value for key, value in options.items() if key not in COLUMN_OPTIONS}
    data = {
        "name": dataset.name,
        "folder": dataset.location,
        **{key: getattr(arguments, key) for key in COLUMN_OPTIONS},
        **({"options": reading} if reading else {}),
        "fingerprint": dataset.fingerprint,
        "corrections": changes,
    }
    return Task(dataset, train_labels, {"data": data, "classes": dataset.classes})


def corrected_labels(dataset: Dataset, arguments: Namespace) -> tuple[np.ndarray, dict | None]:
    """The class number with which each row of train.csv trains, -1 for none; and the changes, for config.json.

    Corrections apply only to training: validation rows keep their given labels.
    """
    label_of = dict(zip(dataset.train["id"], dataset.train["label"], strict=True))
    changes = None
    if arguments.corrections:
        corrected, counts = apply_corrections(dataset.train, arguments.corrections, dataset.classes)
        label_of = dict(zip(corrected["id"], corrected["label"], strict=True))
        changes = {"file": Path(arguments.corrections).name, "sha256": sha256(arguments.corrections), "counts": counts}
    if arguments.auto_exclude:
        excluded = flagged_ids(arguments.auto_exclude, label_of)
        label_of = {row_id: label for row_id, label in label_of.items() if row_id not in excluded}
        changes = {
            "file": Path(arguments.auto_exclude).name,
            "sha256": sha256(arguments.auto_exclude),
            "counts": {"excluded": len(excluded)},
        }
    ids = dataset.train["id"]
    trains = ids.isin(label_of.keys()).to_numpy()
    numbers = np.full(len(ids), -1, dtype=np.int64)
    numbers[trains] = class_numbers((label_of[row_id] for row_id in ids[trains]), dataset.classes)
    return numbers, changes


def describe_kept_labels(dataset: Dataset, train_labels: np.ndarray, valid_rows: np.ndarray) -> str | None:
    """A line on how many corrections are ignored because they are of validation rows; None if there are none."""
    given = class_numbers(dataset.train["label"].iloc[valid_rows], dataset.classes)
    kept = int((train_labels[valid_rows] != given).sum())
    return f"corrections: {kept} ignored, because validation rows keep their given labels" if kept else None


def choose_rows(
    dataset: Dataset, recipe: Recipe | TfidfRecipe, train_labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Positions in train.csv of the training and validation rows: a seeded split, limited by max_train_rows.

    `train_labels` are as in Task; training rows are those of `without_excluded`.
    """
    fraction = 0 if dataset.valid is not None else recipe.valid_fraction
    train_rows, valid_rows = split_validation(dataset.train, fraction, recipe.split_seed)
    return without_excluded(thin(train_rows, recipe), dataset, train_labels), valid_rows


def without_excluded(rows: np.ndarray, dataset: Dataset, train_labels: np.ndarray) -> np.ndarray:
    """The training `rows` that have a label to train with. Raises UserError if a class loses all its rows."""
    kept = rows[train_labels[rows] >= 0]
    given = class_numbers(dataset.train["label"].iloc[rows], dataset.classes)
    emptied = np.setdiff1d(given, train_labels[kept])
    if len(emptied):
        name = dataset.classes[emptied[0]]
        raise UserError(f"--corrections or --auto-exclude: no row of class {name!r} would be left to train on")
    return kept


def thin(rows: np.ndarray, recipe: Recipe | TfidfRecipe) -> np.ndarray:
    """A random part of `rows`, in order, if the recipe limits them."""
    if not recipe.max_train_rows or recipe.max_train_rows >= len(rows):
        return rows
    order = np.random.default_rng(recipe.split_seed).permutation(len(rows))
    return np.sort(rows[order[: recipe.max_train_rows]])


def validation_frame(dataset: Dataset, valid_rows: np.ndarray) -> pd.DataFrame | None:
    """The validation rows: those of valid.csv, else the given rows of train.csv, else None."""
    if dataset.valid is not None:
        return dataset.valid
    return dataset.train.iloc[valid_rows] if len(valid_rows) else None
