"""Soft labels (knowledge distillation): an earlier run's probabilities for training texts and unlabelled texts.

No leak: a model that validates on some rows learns only from teachers that never saw these rows. Otherwise their labels
would leak through the teacher's predictions of similar texts, and the score would be too good.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from common.cli import UserError
from common.data import Dataset, is_trained_on
from common.files import read_json
from common.files import sha256 as file_sha256
from common.predictions import TEST, VALID, Predictions, align, mean_probabilities, read_predictions
from common.reading.columns import split_names
from common.reading.identity import hashes_by_split, identify_recorded_rows
from common.reading.sources import COLUMN_HINT
from common.reading.tables import read_table
from common.runs import check_run

UNLABELLED = "unlabelled.csv"  # in the dataset's folder; where it is not there, test.csv serves


@dataclass(frozen=True, eq=False)
class Teacher:
    """One trained model of the teaching run."""

    folder: Path
    held_out: Predictions | None  # of rows of train.csv that it never saw
    saw_valid: bool  # its epoch was chosen on validation rows
    same_test: bool  # its predictions/test.csv are of this dataset's test rows


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a student learns in addition to the given labels."""

    train: np.ndarray  # [rows of train.csv, classes] float32; rows of NaN: no teacher that never saw that row
    texts: list[str]  # unlabelled
    shares: np.ndarray  # [unlabelled texts, classes] float32


def find_teachers(run: str, dataset: Dataset) -> list[Teacher]:
    """The trained models of a run or ensemble.

    Raises UserError if they were trained on another train.csv, or if unlabelled.csv cannot be read. Of predictions
    without models, as in an ensemble's models/<name>, nobody could say what they were trained on.
    """
    folder = check_run(run)
    members = sorted(path.parent for path in (folder / "members").glob("*/results.json"))
    if not members and "recipe" not in read_json(folder / "config.json"):
        raise UserError(f"--teacher: {folder} has no trained models, only their predictions; name the whole ensemble")
    _read_unlabelled(dataset)
    return [_read_teacher(member, dataset) for member in members or [folder]]


def _read_teacher(folder: Path, dataset: Dataset) -> Teacher:
    """One model of the teaching run. Raises UserError if it was trained on another train.csv."""
    config = read_json(folder / "config.json")
    data, recipe = config.get("data", {}), config.get("recipe", {})
    columns = [data.get(name) for name in ("text_column", "label_column", "id_column")]
    if not is_trained_on(config, dataset):
        raise UserError(
            f"--teacher: {folder} was trained on other rows than {dataset.places['train']} "
            f"(or on other columns of it: {', '.join(map(str, columns))}); train the teacher on this file"
        )
    saw_valid = recipe.get("keep") == "best"
    validates_on_train = config.get("fold") is not None or "valid" not in hashes_by_split(data["fingerprint"])
    held_out = None
    if validates_on_train and not saw_valid and (folder / VALID).exists():
        held_out = read_predictions(folder / VALID)
    same_test = identify_recorded_rows("test", data) == dataset.identity("test") and (folder / TEST).exists()
    return Teacher(folder, held_out, saw_valid, same_test)


def _read_unlabelled(dataset: Dataset) -> list[str]:
    """The texts of unlabelled.csv, read as test.csv is; none where the file is not there."""
    path, options = dataset.folder / UNLABELLED, dataset.options
    if not path.exists():
        return []
    column, columns = options["text_column"], options["columns"]
    table = read_table(
        path,
        texts=column,
        hint=COLUMN_HINT,
        columns=split_names(columns) if columns else None,
        may_lack=options["label_column"],
        encoding=options["encoding"],
    )
    return table[column].tolist()


def choose_teachers(teachers: Sequence[Teacher], dataset: Dataset, held_out: pd.DataFrame | None) -> list[Teacher]:
    """The teachers of a model that validates on the rows `held_out`: those that saw none of these rows.

    Raises UserError if there is none.
    """
    if held_out is None or not teachers:
        return list(teachers)
    if dataset.valid is not None and held_out is dataset.valid:
        chosen = [teacher for teacher in teachers if not teacher.saw_valid]
    else:
        ids = frozenset(held_out["id"])
        chosen = [teacher for teacher in teachers if teacher.held_out is not None and ids <= set(teacher.held_out.ids)]
    if not chosen:
        raise UserError(
            f"--teacher: each of its {len(teachers)} models saw some of the {len(held_out)} rows that this model "
            "validates on, whose score would be too good; train the teacher with the same --folds, --split-seed and "
            "--valid-fraction (and --keep last), or this model with --valid-fraction 0"
        )
    return chosen


def identify_teacher(run: str, teachers: Sequence[Teacher], dataset: Dataset) -> dict:
    """The teacher in config.json: its folder, and the fingerprint of its models' results."""
    digest = sha256("".join(file_sha256(teacher.folder / "results.json") for teacher in teachers).encode()).hexdigest()
    unlabelled = dataset.folder / UNLABELLED
    return {
        "name": Path(run).name,
        "folder": str(check_run(run).resolve()),
        "members": len(teachers),
        "sha256": digest,
        "unlabelled": file_sha256(unlabelled) if unlabelled.exists() else None,
    }


def prepare_lesson(
    teachers: Sequence[Teacher],
    dataset: Dataset,
    predict_texts: Callable[[Path, list[str]], np.ndarray],
) -> Lesson:
    """Average the teachers' probabilities. `predict_texts(run folder, texts)` computes those that are in no file.

    A row of train.csv gets the probabilities of teachers that never saw it: a model that was trained on the row only
    repeats the given label.
    """
    train = dataset.train
    place = {row_id: position for position, row_id in enumerate(train["id"])}
    sums, counts = np.zeros((len(train), len(dataset.classes))), np.zeros((len(train), 1))
    for predictions in (teacher.held_out for teacher in teachers if teacher.held_out is not None):
        rows = [place[row_id] for row_id in predictions.ids]
        sums[rows] += align(predictions, predictions.ids, dataset.classes).probabilities
        counts[rows] += 1
    with np.errstate(invalid="ignore"):
        soft = (sums / counts).astype(np.float32)

    if texts := _read_unlabelled(dataset):
        opinions = [predict_texts(teacher.folder, texts) for teacher in teachers]
    elif dataset.test is not None:
        texts = dataset.test["text"].tolist()
        opinions = [
            align(read_predictions(teacher.folder / TEST), dataset.test["id"], dataset.classes).probabilities
            if teacher.same_test
            else predict_texts(teacher.folder, texts)
            for teacher in teachers
        ]
    else:
        return Lesson(soft, [], np.empty((0, len(dataset.classes)), dtype=np.float32))
    return Lesson(soft, texts, mean_probabilities(opinions))


def mix_labels(numbers: np.ndarray, soft: np.ndarray, share: float) -> np.ndarray:
    """Targets [texts, classes] float32: `share` of the soft label plus the rest of the given label (`numbers`).

    Where the soft label is NaN, the target is the given label.
    """
    given = np.eye(soft.shape[1], dtype=np.float32)[numbers]
    return np.where(np.isnan(soft), given, (1 - share) * given + share * soft).astype(np.float32)
