"""Which saved models predict, each with its weight; and what their held-out rows say of how sure they are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.cli import UserError
from common.confidence.temperature import recalibrate
from common.predictions import Predictions, align, read_predictions
from common.runs import check_run
from common.saved.settings import FILE, Settings, read_settings

HELD_OUT = {"oof": "out-of-fold rows", "valid": "validation rows"}  # the better one first


@dataclass(frozen=True)
class Member:
    """One saved model and its weight in the mean; the weights of all members sum to 1."""

    folder: Path  # with config.json, the weights, predicting.json
    settings: Settings
    weight: float


@dataclass(frozen=True)
class Sureness:
    """What held-out rows say of the probabilities; without such rows, what predicting.json says."""

    temperature: float | None  # None: the probabilities are taken as they are
    rows: str  # "297 out-of-fold rows", for messages
    held_out: Predictions | None  # labelled, at the temperature (cross-fitted)


def find_members(arguments: Sequence[str]) -> tuple[list[Member], list[Path]]:
    """The models of the given runs (names or folders) and model folders; and those of the arguments that are runs.

    Each argument weighs the same, and so does each member of an ensemble. Raises UserError where there is no such run
    or model, where a run came without its weights, and where two models have other classes.
    """
    members, runs = [], []
    for argument in arguments:
        folders = [Path(argument)]
        if not is_model(folders[0]):
            run = check_run(argument)
            folders = _model_folders(run)
            runs.append(run)
        share = 1 / len(arguments) / len(folders)
        members += [Member(folder, read_settings(folder), share) for folder in folders]
    first = members[0]
    for other in members[1:]:
        if set(other.settings.classes) != set(first.settings.classes):
            differing = sorted(set(other.settings.classes) ^ set(first.settings.classes))
            raise UserError(
                f"{first.folder} and {other.folder} have other classes: only one of the two has {differing[0]!r}"
            )
    return members, runs


def read_sureness(members: Sequence[Member], runs: Sequence[Path], arguments: int) -> Sureness:
    """What the runs' held-out rows say, where all of the `arguments` are runs and have the same such rows."""
    if len(runs) == arguments:
        for split, words in HELD_OUT.items():
            held_out = _mean_of([run / "predictions" / f"{split}.csv" for run in runs])
            if held_out:
                scaling, recalibrated = recalibrate(held_out)
                rows = f"{len(held_out.ids):,} {words}"
                return Sureness(scaling and scaling["temperature"], rows, recalibrated or held_out)
    temperature = members[0].settings.temperature if len(members) == 1 else None
    return Sureness(temperature, f"the rows named in {FILE}" if temperature else "no held-out rows", None)


def is_model(path: Path) -> bool:
    """Whether a path is a model folder: one with weights."""
    return any(weight_files(path))


def weight_files(folder: Path) -> list[Path]:
    """The weights in a model folder: an encoder's or those of `tfidf`."""
    return sorted([*folder.glob("*.safetensors"), *folder.glob("tfidf.npz")])


def _model_folders(run):
    """The model folders of a complete run: its own, or its members'."""
    members = sorted(path.parent for path in run.glob("members/*/results.json"))
    folders = [folder / "model" for folder in members or [run]]
    missing = next((folder for folder in folders if not folder.is_dir()), None)
    if missing:
        raise UserError(f"{missing} is not there: run {run} was copied without its weights")
    return folders


def _mean_of(files):
    """The runs' mean predictions of the same labelled rows, or None where they have no such rows in common."""
    if not all(file.exists() for file in files):
        return None
    first, *others = [read_predictions(file) for file in files]
    if first.labels is None or any(set(other.ids) != set(first.ids) for other in others):
        return None
    aligned = [first, *(align(other, first.ids, first.classes) for other in others)]
    if any(other.labels is None or (other.labels != first.labels).any() for other in aligned):
        return None
    mean = np.mean([each.probabilities for each in aligned], axis=0, dtype=np.float64).astype(np.float32)
    return replace(first, probabilities=mean)
