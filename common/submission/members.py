"""Read the members of an ensemble (runs, prediction files, plain submissions) and align their rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.classes import class_numbers
from common.cli import UserError, note
from common.data import Dataset, load_run_dataset
from common.files import read_json, sha256
from common.predictions import (
    OOF,
    TEST,
    VALID,
    Predictions,
    align,
    find_class_columns,
    read_predictions,
)
from common.reading.columns import find_column
from common.reading.identity import identify_recorded_rows
from common.reading.tables import read_table
from common.runs import check_run, run_folder
from common.submission.files import read_submission


@dataclass(frozen=True)
class Contribution:
    """A member of an ensemble as read from its file: probabilities, or only the labels of a plain submission."""

    name: str
    file: Path
    run: Path | None  # the run folder of a run
    ids: np.ndarray  # [rows] str
    labels: np.ndarray  # [rows] str, the submitted labels or the most probable classes
    predictions: Predictions | None  # None: a plain submission
    header: list[str] | None = None  # of a plain submission
    written: dict[str, str] = field(default_factory=dict)  # ids and labels of a plain submission that NFC changes


def find_run_folder(argument: str) -> Path | None:
    """The complete run that an argument names, or None if it names a file. A run may be called `v1.csv`."""
    path = Path(argument)
    missing_file = path.suffix == ".csv" and not run_folder(argument).is_dir()
    return None if path.is_file() or missing_file else check_run(argument)


def find_test_predictions(run: Path, dataset: Dataset | None) -> Path:
    """The run's prediction file for the test rows of `dataset`: the run's own rows, or those of another --data.

    The hash of the test file and the options that read it tell the two apart. The prediction file need not exist yet.
    """
    own = read_json(run / "config.json").get("data") or {}
    asked = dataset.identity("test") if dataset and own.get("fingerprint") else None
    if asked is None or asked == identify_recorded_rows("test", own):
        return run / TEST
    return run / "predictions" / f"test-{asked[:12]}.csv"


def parts_of(argument: str) -> list[str]:
    """The runs of the encoders of an ensemble with several; for other arguments, the argument itself."""
    run = find_run_folder(argument)
    return sorted(str(path.parent) for path in run.glob("models/*/results.json")) or [argument] if run else [argument]


def read_contribution(argument: str, run: Path | None, dataset: Dataset | None) -> Contribution:
    """Read the argument: a run, a prediction file or a plain submission. Raises UserError."""
    file = find_test_predictions(run, dataset) if run else Path(argument)
    sample, classes = (dataset.sample, dataset.classes) if dataset else (None, [])
    wanted = ["id", *(sample.header if sample else [])]
    try:
        table = read_table(file, optional=wanted)
    except UserError:
        read_table(file, ["id"], hint="A submission has id,label; predictions id,prob_<class>")
        raise
    id_column = sample.id_column if sample and find_column(file, list(table.columns), "id") is None else "id"
    if run or find_class_columns(table, classes, _spelling(file, table, id_column)):
        predictions = read_predictions(file, classes, id_column)
        return Contribution(str(run or file), file, run, predictions.ids, predictions.predicted, predictions)
    ids, labels, header, written = read_submission(file, sample)
    return Contribution(str(file), file, None, ids, labels, None, header, written)


def find_dataset(runs: Iterable[Path]) -> Dataset | None:
    """The dataset on which the runs were trained, None without runs.

    Raises UserError if the test texts of two runs differ: the same id would mean different texts.
    """
    datasets = {}  # each is loaded once, also for 200 runs
    for run in runs:
        source = str(read_json(run / "config.json").get("data"))
        if source not in datasets:
            datasets[source] = run, load_run_dataset(run)
    if not datasets:
        return None
    (first, dataset), *others = datasets.values()
    for run, other in others:
        if dataset.test is not None and other.test is not None and _texts(dataset) != _texts(other):
            raise UserError(
                f"runs {first} and {run} were trained for different test rows: "
                f"{dataset.places['test']} and {other.places['test']}"
            )
    return dataset


def find_classes(members: Sequence[Contribution]) -> list[str]:
    """The sorted classes of members without a dataset: those of a prediction file, else all labels."""
    for member in members:
        if member.predictions:
            return sorted(member.predictions.classes)
    return sorted({label for member in members for label in member.labels})


def align_members(
    members: Sequence[Contribution], ids: np.ndarray, classes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Reorder members to `ids` and `classes`. Raises UserError, naming file and id, class or row.

    Returns probabilities [members, rows, classes] float32, 0 and 1 for a plain submission, and the members' votes
    [members, rows] int: the most probable class, the first of equal ones.
    """
    known = set(classes)
    probabilities = np.empty((len(members), len(ids), len(classes)), dtype=np.float32)
    for position, member in enumerate(members):
        predictions = member.predictions
        if predictions is None:
            for row, label in enumerate(member.labels, 1):
                if label not in known:
                    raise UserError(f"{member.file}, row {row}: unknown label {label!r}; known: {', '.join(classes)}")
            certain = np.eye(len(classes), dtype=np.float32)[class_numbers(member.labels, classes)]
            predictions = Predictions(member.ids, classes, certain)
        probabilities[position] = align(predictions, ids, classes, source=str(member.file)).probabilities
    return probabilities, probabilities.argmax(axis=2)


def given_labels(dataset: Dataset | None, members: Sequence[Contribution], ids: Iterable[str]) -> np.ndarray | None:
    """The given labels of `ids`, [rows] str, if test.csv or a prediction file has them, else None.

    Raises UserError if two prediction files give an id different labels.
    """
    if dataset is not None and dataset.test is not None:
        test = dataset.test
        return test.set_index("id")["label"][ids].to_numpy(dtype=object) if "label" in test else None
    given = [
        (member.file, dict(zip(member.ids, member.predictions.labels, strict=True)))
        for member in members
        if member.predictions and member.predictions.labels is not None
    ]
    if not given:
        return None
    (first, label), *others = given
    for file, found in others:
        for key, expected in label.items():
            if found[key] != expected:
                raise UserError(
                    f"{file}, id {key!r}: expected label {expected!r}, as in {first}, found {found[key]!r}; "
                    "are these other rows?"
                )
    return np.array([label[key] for key in ids], dtype=object)


def describe_members(
    members: Sequence[Contribution],
    weights: np.ndarray,
    votes: np.ndarray,
    labels: np.ndarray,
    truth: np.ndarray | None,
    classes: list[str],
    costs: Sequence[dict[str, Any] | None],
) -> list[dict[str, Any]]:
    """The members' part of a submission's record, one JSON object each.

    `labels` are the ensemble's, `truth` the given ones or None, `costs` those of leaving each member out.
    """
    voted = np.array(classes, dtype=object)[votes]  # [members, rows] str
    return [
        {
            "name": member.name,
            "file": str(member.file),
            "sha256": sha256(member.file),
            "kind": "labels" if member.predictions is None else "probabilities",
            "weight": float(weight),
            "agreement_with_ensemble": float((vote == labels).mean()),
            **({} if truth is None else {"accuracy": float((vote == truth).mean())}),
            "leaving_out": cost,
        }
        for member, weight, vote, cost in zip(members, weights, voted, costs, strict=True)
    ]


def read_weighting_rows(members: Sequence[Contribution], classes: list[str]) -> tuple[str, np.ndarray, np.ndarray]:
    """The members' predictions for rows outside their training: out-of-fold, else validation predictions.

    Returns the file's name, probabilities [members, rows, classes] and labels [rows] int, sorted by id. Raises
    UserError if a member is not a run, has neither file, or has other rows.
    """
    plain = next((member for member in members if member.run is None), None)
    if plain:
        raise UserError(f"--weights auto needs runs, with predictions for held-out rows; {plain.file} is not a run")
    runs = [member.run for member in members if member.run]
    name = next((name for name in (OOF, VALID) if all((run / name).exists() for run in runs)), None)
    if name is None:
        raise UserError("--weights auto needs predictions/oof.csv in every run, or predictions/valid.csv in every run")
    for run in runs:
        if read_json(run / "results.json").get("selected_on_validation"):
            note(f"{run} was trained with --keep best: epochs were selected on these rows, which flatters its weight")
    files = [run / name for run in runs]
    held_out = [read_predictions(file) for file in files]
    for file, each in zip(files, held_out, strict=True):
        if each.labels is None:
            raise UserError(f"--weights auto needs labels; {file} has no column label")
    ids = sorted(held_out[0].ids)
    held_out = [
        align(each, ids, classes, f"--weights auto: {file}") for file, each in zip(files, held_out, strict=True)
    ]
    labels = held_out[0].given
    for file, each in zip(files, held_out, strict=True):
        differing = np.flatnonzero(each.labels != labels)
        if len(differing):
            raise UserError(f"{files[0]} and {file} give id {ids[differing[0]]!r} different labels")
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise UserError(f"{files[0]}: label {unknown[0]!r} is not a class")
    return Path(name).name, np.stack([each.probabilities for each in held_out]), class_numbers(labels, classes)


def _texts(dataset):
    return dict(zip(dataset.test["id"], dataset.test["text"], strict=True))


def _spelling(file, table, name):
    """The column that matches `name`, as the file spells it."""
    position = find_column(file, list(table.columns), name)
    return name if position is None else table.columns[position]
